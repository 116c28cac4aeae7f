"""Dead letters in the file of SQLite: the contract, bounds, full disks, damage, interruptions."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.facilities import needs_modes
from tests.interrupting import interrupt_everywhere
from tests.queue.dead_letter_contract import REFUSED, DeadLetterContract, read, refuse
from tests.queue.processes import SQLiteProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import claim, put, to_numbers, trust_clock
from whisperr._queue.dead_letters import KEPT, KEPT_FOR_OLDEST, LONGEST_AGE, Moved
from whisperr._queue.sqlite import dead_letters as sqlite_dead_letters
from whisperr._queue.sqlite import file as sqlite_file
from whisperr._queue.sqlite.dead_letters import SQLiteDeadLetters
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[SQLiteProcesses]:
    made = SQLiteProcesses(tmp_path / "events.db")
    made.dead_letters = True
    yield made
    made.close_all()


class TestContract(DeadLetterContract):
    @pytest.fixture
    def processes(self, tmp_path: Path) -> Iterator[SQLiteProcesses]:
        made = SQLiteProcesses(tmp_path / "events.db")
        yield made
        made.close_all()


class TestBounds:
    def test_the_oldest_are_deleted_for_the_newest_and_that_is_reported(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_dead_letters, "MOST", 32)
        a = processes.start()
        refuse(a, *range(32))
        assert (a.kept, len(read(processes))) == (KEPT, 32)
        refuse(a, 32)
        assert a.kept == KEPT_FOR_OLDEST
        assert to_numbers([one.data for one in read(processes)]) == [*range(32, 2, -1)]
        refuse(a, 33, 34)
        assert (a.kept, len(read(processes))) == (KEPT, 32)

    def test_the_oldest_are_deleted_if_they_exceed_the_bytes(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(processes.start(), 10)
        (one,) = read(processes)
        monkeypatch.setattr(sqlite_dead_letters, "MOST_BYTES", 16 * (len(one.data) + 41))
        a = processes.start()
        refuse(a, *range(11, 26))
        assert (a.kept, len(read(processes))) == (KEPT, 16)
        refuse(a, 26)
        assert (a.kept, len(read(processes))) == (KEPT_FOR_OLDEST, 15)

    def test_what_is_deleted_by_hand_makes_room(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_dead_letters, "MOST", 16)
        a = processes.start()
        refuse(a, *range(16))
        with closing(processes.open_dead_letters()) as found:
            assert found.drop([one.id for one in found.read()][:15]) == 15
        refuse(a, *range(20, 35))
        assert (a.kept, len(read(processes))) == (KEPT, 16)
        assert to_numbers([one.data for one in read(processes)])[-1] == 0

    def test_they_are_deleted_when_they_are_old_also_without_new_ones(
        self, processes: SQLiteProcesses
    ) -> None:
        a = processes.start()
        refuse(a, 1)
        processes.pass_time(LONGEST_AGE / 2)
        refuse(a, 2)
        trust_clock(a)
        processes.pass_time(LONGEST_AGE / 2 + 60)
        a.poll()
        assert to_numbers([one.data for one in read(processes)]) == [2]

    def test_a_clock_that_is_set_forward_deletes_none(self, processes: SQLiteProcesses) -> None:
        a = processes.start()
        refuse(a, 1)
        processes.now += 10 * LONGEST_AGE
        a.poll()
        refuse(a, 2)
        assert len(read(processes)) == 2

    def test_an_id_is_never_given_again(self, processes: SQLiteProcesses) -> None:
        a = processes.start()
        refuse(a, 1, 2)
        with closing(processes.open_dead_letters()) as found:
            assert found.drop(["2", "1"]) == 2
        refuse(a, 3)
        assert [one.id for one in read(processes)] == ["3"]


class TestRoom:
    def test_on_a_full_disk_an_event_is_dropped_and_that_is_reported(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a = processes.start()
        put(a, 1)
        claim(a)
        monkeypatch.setattr(sqlite_file, "has_room", lambda *_: False)
        assert a.ack(1, REFUSED) == 1
        assert (a.kept, processes.get_stored(), read(processes)) == ("", [], [])

    def test_a_disk_that_becomes_full_amid_the_transaction_ends_the_event_all_the_same(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a = processes.start()
        put(a, 1)
        claim(a)
        table = a._store._dead_letters  # type: ignore[attr-defined]  # of this store

        def fill(db: sqlite3.Connection, *_: object) -> str:
            db.execute("ROLLBACK")  # as SQLite itself does then
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(table, "_insert", fill)
        assert a.ack(1, REFUSED) == 1
        assert (a.kept, processes.get_stored()) == ("", [])
        monkeypatch.undo()
        refuse(a, 2)
        assert a.kept == KEPT

    def test_a_table_of_another_program_does_not_keep_an_event_from_ending(
        self, processes: SQLiteProcesses
    ) -> None:
        a = processes.start()
        put(a, 1)
        processes.query("CREATE TABLE dead_letter (x)")
        assert claim(a) == [1]
        assert a.ack(1, REFUSED) == 1
        assert (a.kept, processes.get_stored()) == ("", [])
        assert not list(processes.path.parent.glob("*.corrupt-*"))
        with pytest.raises(StoreError, match="no such column"):
            read(processes)

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE dead_letter SET total = 9223372036854775807",
            "UPDATE dead_letter SET total = 'x'",
            "UPDATE dead_letter SET total = -5",
            "UPDATE dead_letter SET id = 9223372036854775807",
            "UPDATE sqlite_sequence SET seq = 'x'",
        ],
    )
    def test_damaged_sums_do_not_keep_an_event_from_ending(
        self, processes: SQLiteProcesses, damage: str
    ) -> None:
        a = processes.start()
        refuse(a, 1)
        processes.query(damage)
        refuse(a, 2)
        assert a.kept in {"", KEPT}
        assert processes.get_stored() == []

    def test_what_is_damaged_is_read_as_far_as_it_goes(self, processes: SQLiteProcesses) -> None:
        a = processes.start()
        refuse(a, 1, 2)
        processes.query(
            "UPDATE dead_letter SET at = 'x', reason = X'ff', status = 'y', data = 'text' "
            "WHERE id = 1"
        )
        newest, damaged = read(processes)
        assert newest.data == event(2)
        assert damaged[1:4] == (None, "\ufffd", None)
        assert damaged.data == b"text"
        processes.query("UPDATE dead_letter SET data = 5 WHERE id = 1")
        assert read(processes)[1].data == b""
        with closing(processes.open_dead_letters()) as found:
            assert found.replay(["1", "2"], 100, 10_000) == Moved(1, 0)
            assert found.drop(["1"]) == 1


class TestFile:
    def test_one_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with (
            closing(SQLiteDeadLetters(str(tmp_path / "none.db"))) as found,
            pytest.raises(StoreError, match="no such file"),
        ):
            list(found.read())
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_one_stays_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.db"
        path.touch(0o600)
        with pytest.raises(StoreError, match="no client has used it yet"):
            list(SQLiteDeadLetters(str(path)).read())
        assert path.stat().st_size == 0

    @pytest.mark.parametrize("content", [b"a text" * 100, b"SQLite format 3\x00" + b"x" * 200])
    def test_a_file_of_another_program_is_refused_and_left_unchanged(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = tmp_path / "other.db"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(StoreError, match=r"not a SQLite database|of another program"):
            list(SQLiteDeadLetters(str(path)).read())
        assert path.read_bytes() == content
        assert [one.name for one in tmp_path.iterdir()] == ["other.db"]

    def test_a_damaged_one_is_left_to_the_processes_that_use_it(
        self, processes: SQLiteProcesses
    ) -> None:
        refuse(processes.start(), 1)
        processes.close_all()
        with processes.path.open("r+b") as opened:
            opened.seek(100)
            opened.write(b"\xff" * 4_000)
        with pytest.raises(StoreError, match="malformed"):
            read(processes)
        assert not list(processes.path.parent.glob("*.corrupt-*"))

    @needs_modes
    def test_one_of_another_user_is_refused_with_what_to_do(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(processes.start(), 1)
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        with pytest.raises(StoreError, match="run the command as that user"):
            read(processes)

    def test_a_replay_puts_a_damaged_state_right_first(self, processes: SQLiteProcesses) -> None:
        a = processes.start()
        refuse(a, 1)
        put(a, 2)
        processes.query("UPDATE state SET rows = -7")
        with closing(processes.open_dead_letters()) as found:
            assert found.replay(["1"], 100, 10_000) == Moved(1, 0)
        assert claim(a) == [2, 1]
        assert get_accounting(a).lost_own == 0


def test_an_interrupted_ack_keeps_an_event_once(tmp_path: Path) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        number = len(list(tmp_path.iterdir()))
        (tmp_path / str(number)).mkdir()
        processes = SQLiteProcesses(tmp_path / str(number) / "events.db")
        processes.dead_letters = True
        a = processes.start()
        put(a, 1)
        claim(a)
        interrupt(lambda: a.ack(1, REFUSED))
        a.release()
        processes.pass_retry()
        while a.claim(10):
            a.ack(1, REFUSED)
        assert [one.data for one in read(processes)] == [event(1)]
        assert processes.get_stored() == []
        processes.close_all()

    assert interrupt_everywhere(story, every=3) > 10
