"""Step 3, in a file: what processes that share it see of each other, and what can go wrong."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.rig import event, identify, number_of
from tests.queue.places import Heard, stored_in
from whisperr._queue import sqlite_file as _sqlite_file
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.memory import Foreign
from whisperr._queue.sqlite import SQLiteStore
from whisperr._queue.sqlite_file import SCHEMA_VERSION
from whisperr.errors import NotNow, StoreError
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEASE = 15.0


class Processes:
    """Buffers on one file, as several processes have them, under one clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = FakeClock().wall()
        self.steady = 0.0
        self._made: list[LeasedQueue] = []

    def start(self, max_events: int = 100, max_bytes: int = 1_000_000) -> LeasedQueue:
        store = SQLiteStore(
            str(self.path), "NORMAL", LEASE, max_events, max_bytes, lambda: self.now
        )
        one = LeasedQueue(store, max_events, max_bytes, lambda: self.steady)
        one.attach(Heard())
        self._made.append(one)
        return one

    def end(self) -> None:
        for one in self._made:
            one.drain()

    def sql(self, text: str) -> list[tuple[object, ...]]:
        """Do something to the file from outside."""
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            return db.execute(text).fetchall()
        finally:
            db.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "events.db")
    yield made
    made.end()


def put(one: LeasedQueue, *numbers: int) -> None:
    for number in numbers:
        assert list(one.put(event(number))) == []


def numbers(events: object) -> list[int]:
    assert isinstance(events, (list, tuple))
    return [number_of(data) for data in events]


def heard_by(one: LeasedQueue) -> Heard:
    heard = one._listener
    assert isinstance(heard, Heard)
    return heard


def may_not_take(one: LeasedQueue) -> float:
    with pytest.raises(NotNow) as caught:
        one.claim(10)
    assert caught.value.problem is None
    return caught.value.seconds


class TestTwoProcesses:
    def test_what_both_put_is_one_line(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2)
        put(a, 3)
        assert numbers(stored_in(a)) == [1, 2, 3]
        b.poll()
        assert (len(a), len(b)) == (3, 3)

    def test_events_of_another_process_come_out_as_foreign(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2)
        assert [type(data) for data in a.claim(10)] == [bytes, Foreign]

    def test_only_one_at_a_time_delivers(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2)
        assert numbers(a.claim(1)) == [1]
        assert [may_not_take(b) for _ in range(6)] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5]
        assert a.ack(1) == 1
        assert numbers(b.claim(10)) == [2]
        may_not_take(a)

    def test_all_may_add_meanwhile(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        put(b, 2)
        put(a, 3)
        assert a.ack(1) == 1
        assert numbers(a.claim(10)) == [2, 3]

    def test_a_lease_that_ran_out_goes_to_another(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        processes.now += LEASE - 1
        assert may_not_take(b) <= 0.5
        processes.now += 1
        assert numbers(b.claim(10)) == [1]
        assert not a.extend(5)
        assert a.ack(1) == 0
        assert b.ack(1) == 1

    def test_a_lease_that_ran_out_unnoticed_is_still_owned(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        a.claim(10)
        processes.now += 10 * LEASE
        assert a.extend(5)
        assert a.ack(1) == 1

    def test_a_long_request_prolongs_the_lease(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        assert a.extend(60)
        processes.now += 64
        may_not_take(b)
        processes.now += 1
        assert numbers(b.claim(10)) == [1]

    def test_a_clock_that_was_set_back_locks_nobody_out(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        a.claim(10)
        processes.now -= 3_600
        assert numbers(b.claim(10)) == [1]

    def test_what_is_put_back_is_free_for_others_as_the_same_batch(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2)
        a.claim(10)
        put(a, 3)
        a.release()
        assert numbers(b.claim(10)) == [1, 2]
        assert b.ack(2) == 2
        assert numbers(b.claim(10)) == [3]

    def test_a_barrier_is_for_the_events_of_ones_own_process(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2)
        mark_a, mark_b = a.tail(), b.tail()
        put(a, 3)
        b.claim(10)
        b.ack(1)
        assert [a.settled(mark_a), b.settled(mark_b), a.settled(a.tail())] == [True, False, False]


class TestEndings:
    def test_the_process_that_put_an_event_learns_how_it_ended(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2, 3)
        b.claim(10)
        b.ack(3, 1, "refused_in_batch")
        assert a.poll() > 0
        assert heard_by(a).endings == {"refused_in_batch": 1, "delivered": 2}
        a.poll()
        assert sum(heard_by(a).endings.values()) == 3
        b.poll()
        assert heard_by(b).endings == {}

    def test_own_events_are_not_told(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        a.claim(10)
        a.ack(1)
        a.poll()
        assert heard_by(a).endings == {}

    def test_what_has_no_room_is_told_to_its_process_too(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start(max_events=2)
        put(a, 1, 2)
        gone = b.put(event(3))
        assert [(type(data), number_of(data)) for data in gone] == [(Foreign, 1)]
        a.poll()
        assert heard_by(a).endings == {"queue_full": 1}

    def test_endings_that_nobody_asks_for_are_forgotten_after_a_week(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        b.claim(10)
        b.ack(1)
        processes.now += 8 * 86_400
        c = processes.start()
        put(c, 2)
        b.claim(10)
        b.ack(1)
        a.poll()
        assert heard_by(a).endings == {}


class TestExpiry:
    def test_what_is_too_old_is_dropped_when_it_is_taken(self, processes: Processes) -> None:
        def stamped(number: int, stamp: bytes) -> bytes:
            return event(number)[:-1] + b',"occurred_at":"%b"}' % stamp

        a, b = processes.start(), processes.start()
        old, young = (
            stamped(1, b"2026-05-10T10:13:19.999Z"),
            stamped(2, b"2026-06-01T00:00:00.000Z"),
        )
        a.put(old)
        a.put(young)
        a.put(identify(3))
        assert list(b.claim(10)) == [young]
        assert heard_by(b).losses == [("expired", [old])]
        a.poll()
        assert heard_by(a).endings == {"expired": 1}
        assert stored_in(b) == [young, identify(3)]

    def test_when_all_are_too_old_nothing_is_taken(self, processes: Processes) -> None:
        a = processes.start()
        a.put(event(1)[:-1] + b',"occurred_at":"2020-01-01T00:00:00.000Z"}')
        assert list(a.claim(10)) == []
        assert (len(a), a.held_bytes, a.settled(1)) == (0, 0, True)
        b = processes.start()
        put(b, 2)
        assert numbers(b.claim(10)) == [2]


class TestFile:
    def test_only_its_owner_can_read_it(self, processes: Processes) -> None:
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
        self, processes: Processes, synchronous: str, level: int
    ) -> None:
        store = SQLiteStore(str(processes.path), synchronous, LEASE, 10, 1_000)
        asked: Callable[[sqlite3.Connection], list[object]] = lambda db: [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode", "user_version")
        ]
        assert store._read(asked) == [level, "wal", SCHEMA_VERSION]
        store.close()

    def test_what_is_in_it_is_there_for_the_next_process(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1, 2)
        a.drain()
        b = processes.start()
        assert (len(b), b.stored) == (2, 2)
        assert numbers(b.claim(10)) == [1, 2]

    def test_one_of_a_newer_version_is_left_alone(self, processes: Processes) -> None:
        put(processes.start(), 1)
        processes.end()
        processes.sql("PRAGMA user_version = 7")
        b = processes.start()
        put(b, 2)
        assert f"newer whisperr (schema 7, this one knows {SCHEMA_VERSION})" in (b.problem or "")
        assert processes.sql("SELECT count(*) FROM event") == [(1,)]
        assert list(b.drain()) == [event(2)]

    @pytest.mark.parametrize("at", range(4))  # then this one makes it
    def test_one_that_another_process_makes_meanwhile_is_no_other_one(
        self, processes: Processes, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        read, queries = _sqlite_file.fetch_all, []

        def fetch_all(*given: Any) -> list[tuple[Any, ...]]:
            rows = read(*given)
            queries.append(given[1])
            if len(queries) == at + 1:
                put(processes.start(), 1)
            return rows

        monkeypatch.setattr(_sqlite_file, "fetch_all", fetch_all)
        b = processes.start()
        put(b, 2)
        assert b.problem is None
        assert processes.sql("SELECT count(*) FROM event") == [(2,)]

    def test_a_database_of_something_else_is_left_alone(self, processes: Processes) -> None:
        processes.sql("CREATE TABLE users (id)")
        b = processes.start()
        put(b, 1)
        assert "a database of something else" in (b.problem or "")
        assert processes.sql("SELECT name FROM sqlite_master") == [("users",)]
        assert list(b.drain()) == [event(1)]

    def test_a_directory_that_is_not_there_is_a_problem_and_no_error(self, tmp_path: Path) -> None:
        nowhere = Processes(tmp_path / "nowhere" / "events.db")
        one = nowhere.start()
        put(one, 1)
        assert "No such file or directory" in (one.problem or "")
        assert numbers(one.claim(10)) == [1]
        assert one.ack(1) == 1
        (tmp_path / "nowhere").mkdir()
        nowhere.steady += 1
        put(one, 2)
        assert (numbers(stored_in(one)), one.problem) == ([2], None)
        nowhere.end()

    @pytest.mark.parametrize("how", ["unlinked", "moved"])
    def test_when_the_file_is_taken_away_a_new_one_is_made(
        self, processes: Processes, how: str
    ) -> None:
        one = processes.start()
        put(one, 1)
        for path in list(processes.path.parent.iterdir()):
            path.unlink() if how == "unlinked" else path.rename(f"{path}.old")
        put(one, 2)
        assert numbers(stored_in(one)) == [2]


class TestFaults:
    def test_a_full_disk_sends_events_to_memory_and_back(self, processes: Processes) -> None:
        one = processes.start(max_events=10_000)
        put(one, 0)
        store = one._store
        assert isinstance(store, SQLiteStore)
        store._read(lambda db: db.execute("PRAGMA max_page_count = 30"))
        for number in range(1, 2_000):
            put(one, number)
        assert "full" in (one.problem or "")
        assert 0 < one.stored < 2_000
        assert len(one) == 2_000
        store._read(lambda db: db.execute("PRAGMA max_page_count = 100000"))
        processes.steady += 1
        put(one, 2_000)
        assert numbers(stored_in(one)) == list(range(2_001))
        assert one.problem is None
        assert [text.split(";")[1:] for text in heard_by(one).problems] == [
            [" events are kept in memory"]
        ]

    def test_a_corrupt_file_is_set_aside_and_a_new_one_is_made(self, processes: Processes) -> None:
        processes.path.write_bytes(b"This is not a database, but it was somebody's data." * 200)
        one = processes.start()
        put(one, 1)
        assert "set aside as" in heard_by(one).problems[0]
        processes.steady += 1
        put(one, 2)
        assert numbers(stored_in(one)) == [1, 2]
        aside = [path for path in processes.path.parent.iterdir() if "corrupt" in path.name]
        assert len(aside) == 1
        assert aside[0].read_bytes().startswith(b"This is not a database")

    def test_a_file_that_breaks_while_it_is_open_is_set_aside(self, processes: Processes) -> None:
        one = processes.start()
        put(one, *range(50))
        processes.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        with processes.path.open("r+b") as file:
            file.seek(4_096)
            file.write(b"\xff" * 8_192)
        for _ in range(50):
            with suppress(NotNow):
                if one.problem is None:
                    one.ack(len(one.claim(10)))
        assert "set aside as" in (one.problem or "")
        processes.steady += 1
        put(one, 99)
        processes.steady += 1
        put(one, 100)
        assert numbers(stored_in(one))[-2:] == [99, 100]
        assert any("corrupt" in path.name for path in processes.path.parent.iterdir())

    def test_a_lock_that_lasts_holds_the_caller_up_for_a_moment_only(
        self, processes: Processes
    ) -> None:
        one = processes.start()
        put(one, 1)
        other = sqlite3.connect(processes.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        put(one, 2)
        assert "locked" in (one.problem or "")
        assert len(one) == 2
        other.execute("COMMIT")
        other.close()
        processes.steady += 1
        put(one, 3)
        assert numbers(stored_in(one)) == [1, 2, 3]

    def test_what_was_stored_without_saying_so_is_not_stored_twice(
        self, processes: Processes
    ) -> None:
        one = processes.start()
        put(one, 1)
        store = one._store
        assert isinstance(store, SQLiteStore)
        store._doubt = True
        store.append([event(1), event(2)], 0)
        assert numbers(stored_in(one)) == [1, 2]

    def test_a_file_that_was_open_at_a_fork_is_not_opened_in_the_child(
        self, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(processes.start(), 1)
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        store = SQLiteStore(str(processes.path), "NORMAL", LEASE, 10, 1_000)
        with pytest.raises(StoreError, match="was open when this process was forked"):
            store.poll()
        monkeypatch.undo()
