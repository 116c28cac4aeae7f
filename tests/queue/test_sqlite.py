"""The SQLite store: leases by the clock, outcomes that age, and the file itself."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.rig import event, identify
from tests.facilities import needs_open_files_to_move
from tests.queue.processes import LEASE, SQLiteProcesses
from tests.queue.queues import get_accounting, get_stored
from tests.queue.store_contract import put, to_numbers, trust_clock
from whisperr._queue.sqlite import file as sqlite_file
from whisperr._queue.sqlite.file import SCHEMA_VERSION
from whisperr._queue.sqlite.rows import fetch_all
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr._queue.store import LONGEST_CLAIM
from whisperr.errors import Loss, NotNow, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from whisperr._queue.durable import LeasedQueue


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[SQLiteProcesses]:
    made = SQLiteProcesses(tmp_path / "events.db")
    yield made
    made.close_all()


def get_claim_wait(queue: LeasedQueue) -> float:
    """Return how long another process keeps this one from claiming."""
    with pytest.raises(NotNow) as caught:
        queue.claim(10)
    assert caught.value.problem is None
    return caught.value.seconds


class TestLease:
    def test_a_process_asks_again_soon_at_first_and_then_less_often(
        self, processes: SQLiteProcesses
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        assert [get_claim_wait(b) for _ in range(6)] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5]

    def test_it_lasts_to_the_second(self, processes: SQLiteProcesses) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        processes.now += LEASE - 1
        assert get_claim_wait(b) <= 0.5
        processes.now += 1
        assert to_numbers(b.claim(10)) == [1]

    def test_an_extended_one_lasts_to_the_second(self, processes: SQLiteProcesses) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        assert a.extend(60)
        processes.now += 64
        get_claim_wait(b)
        processes.now += 1
        assert to_numbers(b.claim(10)) == [1]

    @pytest.mark.parametrize("until", ["9e15", "1e308", "since + 100000"])
    def test_one_that_is_longer_than_any_can_be_locks_no_process_out(
        self, processes: SQLiteProcesses, until: str
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        processes.query(f"UPDATE state SET until = {until}")
        assert to_numbers(b.claim(10)) == [1]

    def test_one_for_a_very_long_request_ends_all_the_same(
        self, processes: SQLiteProcesses
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        assert a.extend(1e9)
        get_claim_wait(b)
        processes.now += LONGEST_CLAIM
        assert to_numbers(b.claim(10)) == [1]

    def test_a_clock_that_was_set_back_locks_no_process_out(
        self, processes: SQLiteProcesses
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        processes.now -= 3_600
        assert to_numbers(b.claim(10)) == [1]


def test_outcomes_that_no_process_asks_for_are_forgotten_after_a_week(
    processes: SQLiteProcesses,
) -> None:
    a, b = processes.start(), processes.start()
    put(a, 1)
    b.claim(10)
    b.ack(1)
    processes.pass_time(8 * 86_400)
    c = processes.start()
    put(c, 2)
    b.claim(10)
    b.ack(1, Loss(1, "rejected"))
    a.poll()
    c.poll()
    assert get_accounting(a).settled == {}
    assert get_accounting(c).settled == {"rejected": 1}


def test_a_clock_that_is_far_ahead_for_a_moment_loses_no_outcome_and_no_event(
    processes: SQLiteProcesses,
) -> None:
    a, b = processes.start(), processes.start()
    processes.pass_time(3_600)
    young = event(1)[:-1] + b',"occurred_at":"2026-06-01T00:00:00.000Z"}'
    a.put(young)
    a.put(event(2))
    b.claim(1)
    processes.now += 60 * 86_400
    b.ack(1)
    assert to_numbers(b.claim(10)) == [2]
    b.ack(1)
    processes.now -= 60 * 86_400
    a.poll()
    assert get_accounting(a).settled == {"delivered": 2}
    assert (get_accounting(a).lost_own, get_accounting(b).losses) == (0, [])


def test_an_event_is_too_old_after_30_days_to_the_second(processes: SQLiteProcesses) -> None:
    def stamped(number: int, stamp: bytes) -> bytes:
        return event(number)[:-1] + b',"occurred_at":"%b"}' % stamp

    a = processes.start()
    trust_clock(a)
    old = stamped(1, b"2026-05-10T10:13:19.999Z")
    young = [stamped(2, b"2026-05-10T10:13:20.000Z"), stamped(3, b"2026-06-01T00:00:00.000Z")]
    for data in (old, *young, identify(3)):
        a.put(data)
    assert list(a.claim(10)) == young
    assert get_accounting(a).losses == [("expired", [old])]
    assert get_stored(a) == [*young, identify(3)]


def put_in_another_process(path: Path) -> None:
    program = """
import sys
from tests.delivery.rig import event
from tests.queue.queues import RecordingAccounting
from whisperr.buffers import SQLiteBuffer
queue = SQLiteBuffer(sys.argv[1]).open(10, 100_000, RecordingAccounting())
queue.put(event(1))
queue.drain()
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)


class TestFile:
    def test_only_its_owner_can_read_it(self, processes: SQLiteProcesses) -> None:
        before = os.umask(0)
        try:
            put(processes.start(), 1)
        finally:
            os.umask(before)
        made = sorted(processes.path.parent.iterdir())
        assert [path.name for path in made] == ["events.db", "events.db-shm", "events.db-wal"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}

    @pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
    def test_it_is_written_as_asked(
        self, processes: SQLiteProcesses, synchronous: str, level: int
    ) -> None:
        store = SQLiteStore(str(processes.path), synchronous, LEASE, 10, 1_000)
        asked: Callable[[sqlite3.Connection, object], list[object]] = lambda db, _: [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode", "user_version")
        ]
        assert store._session.read(asked) == [level, b"wal", SCHEMA_VERSION]
        store.close()

    def test_what_is_in_it_is_there_for_the_next_process(self, processes: SQLiteProcesses) -> None:
        a = processes.start()
        put(a, 1, 2)
        a.drain()
        b = processes.start()
        assert (len(b), b.stored) == (2, 2)
        assert to_numbers(b.claim(10)) == [1, 2]

    def test_one_of_a_newer_version_is_left_alone(self, processes: SQLiteProcesses) -> None:
        put(processes.start(), 1)
        processes.close_all()
        processes.query("PRAGMA user_version = 7")
        b = processes.start()
        put(b, 2)
        assert f"newer whisperr (schema 7, this one knows {SCHEMA_VERSION})" in (
            get_accounting(b).problem or ""
        )
        assert processes.query("SELECT count(*) FROM event") == [(1,)]
        assert list(b.drain()) == [event(2)]

    @pytest.mark.parametrize("at", range(4))  # then this queue makes it
    def test_a_file_that_another_process_creates_meanwhile_is_used(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        read, queries = fetch_all, []

        def fetch_and_put(*given: Any) -> list[tuple[Any, ...]]:
            rows = read(*given)
            queries.append(given[1])
            if len(queries) == at + 1:
                put_in_another_process(processes.path)
            return rows

        monkeypatch.setattr(sqlite_file, "fetch_all", fetch_and_put)
        b = processes.start()
        put(b, 2)
        assert get_accounting(b).problem is None
        assert processes.query("SELECT count(*) FROM event") == [(2,)]

    def test_a_database_of_another_program_is_left_alone(self, processes: SQLiteProcesses) -> None:
        processes.query("CREATE TABLE users (id)")
        b = processes.start()
        put(b, 1)
        assert "a SQLite database of another program" in (get_accounting(b).problem or "")
        assert processes.query("SELECT name FROM sqlite_master") == [("users",)]
        assert list(b.drain()) == [event(1)]

    def test_a_directory_that_is_not_there_is_a_problem_and_no_error(self, tmp_path: Path) -> None:
        nowhere = SQLiteProcesses(tmp_path / "nowhere" / "events.db")
        queue = nowhere.start()
        put(queue, 1)
        assert "does not exist; create it" in (get_accounting(queue).problem or "")
        assert to_numbers(queue.claim(10)) == [1]
        assert queue.ack(1) == 1
        (tmp_path / "nowhere").mkdir()
        nowhere.steady += 1
        put(queue, 2)
        assert (to_numbers(get_stored(queue)), get_accounting(queue).problem) == ([2], None)
        nowhere.close_all()

    @needs_open_files_to_move
    @pytest.mark.parametrize("how", ["unlinked", "moved"])
    def test_after_the_file_was_moved_away_a_new_one_is_created(
        self, processes: SQLiteProcesses, how: str
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        for path in list(processes.path.parent.iterdir()):
            path.unlink() if how == "unlinked" else path.rename(f"{path}.old")
        put(queue, 2)
        assert to_numbers(get_stored(queue)) == [2]


class TestFaults:
    def test_a_full_disk_sends_events_to_memory_and_back(self, processes: SQLiteProcesses) -> None:
        queue = processes.start(max_events=10_000)
        put(queue, 0)
        store = queue._store
        assert isinstance(store, SQLiteStore)
        store._session.read(lambda db, _: db.execute("PRAGMA max_page_count = 30"))
        for number in range(1, 2_000):
            put(queue, number)
        assert "almost no space is left on its volume" in (get_accounting(queue).problem or "")
        assert 0 < queue.stored < 2_000
        assert len(queue) == 2_000
        store._session.read(lambda db, _: db.execute("PRAGMA max_page_count = 100000"))
        processes.steady += 1
        put(queue, 2_000)
        assert to_numbers(get_stored(queue)) == list(range(2_001))
        assert get_accounting(queue).problem is None
        assert len(get_accounting(queue).reports) == 1

    @pytest.mark.parametrize(
        ("text", "free", "full"),
        [
            ("database or disk is full", 10, True),
            ("disk I/O error", 0, True),
            ("disk I/O error", 10, False),
            ("database is locked", 0, False),
        ],
    )
    def test_an_io_error_on_a_full_volume_means_that_it_is_full(
        self, text: str, free: int, full: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_file, "get_space", lambda _: (free, 5))
        assert sqlite_file.is_full(sqlite3.OperationalError(text), "events.db") is full

    def test_a_corrupt_file_is_set_aside_and_a_new_one_is_made(
        self, processes: SQLiteProcesses
    ) -> None:
        put(processes.start(), 0)
        processes.close_all()
        with processes.path.open("r+b") as file:
            file.seek(100)  # behind the header, which says that the file is ours
            file.write(b"\xff" * 10_000)
        queue = processes.start()
        put(queue, 1)
        assert "set aside as" in get_accounting(queue).reports[0]
        processes.steady += 1
        put(queue, 2)
        assert to_numbers(get_stored(queue)) == [1, 2]
        aside = [path for path in processes.path.parent.iterdir() if "corrupt" in path.name]
        assert len(aside) == 1
        assert b"\xff" * 10_000 in aside[0].read_bytes()

    def test_a_file_that_breaks_while_it_is_open_is_set_aside(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, *range(50))
        processes.query("PRAGMA wal_checkpoint(TRUNCATE)")
        with processes.path.open("r+b") as file:
            file.seek(4_096)
            file.write(b"\xff" * 8_192)
        for _ in range(50):
            with suppress(NotNow):
                if get_accounting(queue).problem is None:
                    queue.ack(len(queue.claim(10)))
        assert "set aside as" in (get_accounting(queue).problem or "")
        processes.steady += 1
        put(queue, 99)
        processes.steady += 1
        put(queue, 100)
        assert to_numbers(get_stored(queue))[-2:] == [99, 100]
        assert any("corrupt" in path.name for path in processes.path.parent.iterdir())

    def test_a_lock_that_lasts_holds_the_caller_up_for_a_moment_only(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        other = sqlite3.connect(processes.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        put(queue, 2)
        assert "locked" in (get_accounting(queue).problem or "")
        assert len(queue) == 2
        other.execute("COMMIT")
        other.close()
        processes.steady += 1
        put(queue, 3)
        assert to_numbers(get_stored(queue)) == [1, 2, 3]

    def test_what_was_stored_without_saying_so_is_not_stored_twice(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        store = queue._store
        assert isinstance(store, SQLiteStore)
        store._in_doubt = True
        store.append([event(1), event(2)], 0)
        assert to_numbers(get_stored(queue)) == [1, 2]

    def test_a_file_that_was_open_at_a_fork_is_not_opened_in_the_child(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(processes.start(), 1)
        monkeypatch.setattr("whisperr._queue.sqlite.file.get_process", object)
        store = SQLiteStore(str(processes.path), "NORMAL", LEASE, 10, 1_000)
        with pytest.raises(StoreError, match="was open when this process was forked"):
            store.poll()
        monkeypatch.undo()
