"""A SQLite file that other programs change while it is used: no call fails, counts stay right.

`WHISPERR_DAMAGE=2000` runs that many rounds of random damage, `WHISPERR_DAMAGE_SEED` others.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.facilities import needs_open_files_to_move
from tests.queue.processes import SQLiteProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import claim_all, put
from whisperr._queue.memory import count_own
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from whisperr._queue.durable import LeasedQueue

ROUNDS = int(os.environ.get("WHISPERR_DAMAGE", "60"))
SEED = int(os.environ.get("WHISPERR_DAMAGE_SEED", "1"))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[SQLiteProcesses]:
    made = SQLiteProcesses(tmp_path / "events.db")
    yield made
    made.close_all()


def use(queue: LeasedQueue) -> None:
    """Call every method that a client calls; only NotNow may be raised."""
    queue.poll()
    assert len(queue) >= 0
    assert queue.held_bytes >= 0
    assert queue.stored >= 0
    queue.settled(queue.tail())
    try:
        batch = queue.claim(10)
    except NotNow:
        pass
    else:
        assert len(batch) <= 10
        queue.extend(5)
        assert queue.ack(0) == 0
        queue.release()


class TestState:
    @pytest.mark.parametrize(
        "damage",
        [
            "DELETE FROM state",
            "UPDATE state SET rows = 'abc'",
            "UPDATE state SET bytes = -5",
            "UPDATE state SET rows = 9e300, bytes = x'00'",
            "UPDATE state SET rows = 0, bytes = 0",
            "UPDATE state SET rows = 1000000, bytes = 100000000",
            "UPDATE state SET taken_rows = 50, taken_to = 'x'",
            "UPDATE state SET since = 'now', until = x'ff'",
            "UPDATE state SET token = 'me', since = 0, until = 9e99",
            "UPDATE state SET token = 5, since = 0, until = 9e18",
            "UPDATE state SET front_to = 9223372036854775807",
            "UPDATE state SET front_to = -1",
            "DROP TABLE state",
            "DROP TABLE ending",
        ],
    )
    def test_a_damaged_state_is_rebuilt_and_every_event_is_delivered(
        self, processes: SQLiteProcesses, damage: str
    ) -> None:
        queue = processes.start()
        put(queue, 1, 2, 3)
        processes.query(damage)
        use(queue)
        processes.pass_retry()
        put(queue, 4)
        assert len(queue) == 4
        assert claim_all(queue) == [1, 2, 3, 4]
        assert (len(queue), queue.held_bytes, queue.settled(queue.tail())) == (0, 0, True)
        queue.poll()
        assert get_accounting(queue).problem is None
        assert get_accounting(queue).lost_own == 0

    def test_a_process_that_starts_with_a_damaged_state_repairs_it(
        self, processes: SQLiteProcesses
    ) -> None:
        put(processes.start(), 1, 2)
        processes.query("UPDATE state SET rows = 'abc', token = 'x'")
        queue = processes.start()
        assert len(queue) == 2
        assert claim_all(queue) == [1, 2]

    def test_no_event_is_dropped_for_a_sum_that_is_wrong(self, processes: SQLiteProcesses) -> None:
        queue = processes.start(max_events=10)
        put(queue, 1, 2, 3)
        processes.query("UPDATE state SET rows = 10, bytes = 1000")
        put(queue, 4)
        assert claim_all(queue) == [1, 2, 3, 4]

    def test_a_batch_in_flight_survives_the_loss_of_the_state(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1, 2, 3)
        assert len(queue.claim(2)) == 2
        processes.query("DELETE FROM state")
        assert queue.ack(2) == 2
        assert claim_all(queue) == [3]

    def test_a_state_that_cannot_be_changed_is_a_failure(self, processes: SQLiteProcesses) -> None:
        queue = processes.start()
        put(queue, 1)
        ignore = "BEGIN SELECT RAISE(IGNORE); END"
        processes.query(f"CREATE TRIGGER odd BEFORE UPDATE ON state {ignore}")
        with pytest.raises(NotNow) as caught:
            queue.claim(10)
        assert "its state cannot be changed" in (caught.value.problem or "")
        processes.query("DROP TRIGGER odd")
        processes.pass_retry()
        assert claim_all(queue) == [1]


class TestRows:
    @pytest.mark.parametrize(
        "row",
        ["'text'", "5", "1.5", "x''", "x'00ff'", "'[1]'", "'{}'", "x'7b'", "zeroblob(70000000)"],
    )
    def test_a_row_that_is_no_event_is_set_aside_and_stops_no_other(
        self, processes: SQLiteProcesses, row: str
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        processes.query(f"INSERT INTO event VALUES (2, 77, 0, {row})")
        put(queue, 3)
        processes.query("UPDATE state SET rows = rows + 1, bytes = bytes + 50")
        assert claim_all(queue) == [1, 3]
        assert (get_accounting(queue).lost_own, get_accounting(queue).lost_others) == (0, 1)
        ((reason,),) = processes.query("SELECT reason FROM rejected")
        assert reason == "no event of this package"
        assert (len(queue), queue.held_bytes) == (0, 0)

    def test_an_own_row_that_was_damaged_is_a_loss(self, processes: SQLiteProcesses) -> None:
        queue = processes.start()
        put(queue, 1, 2, 3)
        processes.query("UPDATE event SET data = 5 WHERE number = 1")
        assert claim_all(queue) == [1, 3]
        queue.poll()
        assert get_accounting(queue).lost_own == 1
        assert queue.settled(queue.tail())

    def test_an_event_that_was_stored_as_text_is_delivered(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        text = event(2).decode()
        processes.query(f"INSERT INTO event VALUES (9, 77, 0, '{text}')")
        processes.query("UPDATE state SET rows = rows + 1, bytes = bytes + 99")
        assert claim_all(queue) == [1, 2]

    @pytest.mark.parametrize("position", [-5, 0, 9223372036854775807])
    def test_a_position_that_is_none_of_ours_stops_nothing(
        self, processes: SQLiteProcesses, position: int
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        data = event(2).decode()
        processes.query(f"INSERT INTO event VALUES ({position}, 77, 0, '{data}')")
        put(queue, 3)
        processes.query("DELETE FROM state")
        put(queue, 4)
        assert claim_all(queue) == [1, 3, 4]

    def test_the_rows_that_are_set_aside_are_bounded(self, processes: SQLiteProcesses) -> None:
        queue = processes.start()
        put(queue, 1)
        processes.query(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) "
            "INSERT INTO event SELECT i, 77, i, 'none' FROM n"
        )
        for _ in range(40):
            with suppress(NotNow):
                queue.ack(len(queue.claim(100)))
        ((count,),) = processes.query("SELECT count(*) FROM rejected")
        assert count == 1_000
        assert get_accounting(queue).lost_others == 1_499


class TestVanished:
    """Events that disappear without an outcome are counted and reported as lost."""

    def test_rows_that_were_deleted(self, processes: SQLiteProcesses) -> None:
        queue = processes.start()
        put(queue, 1, 2, 3)
        processes.query("DELETE FROM event WHERE number < 2")
        queue.poll()
        queue.poll()
        accounting = get_accounting(queue)
        assert (accounting.lost_own, len(accounting.loss_messages)) == (2, 1)
        assert (len(queue), claim_all(queue)) == (1, [3])

    @needs_open_files_to_move
    @pytest.mark.parametrize("how", ["deleted", "replaced", "moved"])
    def test_the_file(self, processes: SQLiteProcesses, how: str, tmp_path: Path) -> None:
        queue = processes.start()
        put(queue, 1, 2, 3)
        for path in list(tmp_path.iterdir()):
            path.rename(f"{path}.old") if how == "moved" else path.unlink()
        if how == "replaced":
            put(processes.start(), 9)
        queue.poll()
        assert get_accounting(queue).lost_own == 3
        assert queue.settled(queue.tail())
        put(queue, 4)
        assert claim_all(queue)[-1] == 4
        queue.poll()
        assert get_accounting(queue).lost_own == 3

    def test_a_corrupt_file_that_is_set_aside(self, processes: SQLiteProcesses) -> None:
        queue = processes.start()
        put(queue, 1, 2, 3)
        queue._store.close()
        with processes.path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 20_000)
        for _ in range(3):
            queue.poll()
            processes.pass_retry()
        assert get_accounting(queue).lost_own == 3
        assert any("set aside" in text for text in get_accounting(queue).reports)

    def test_what_another_process_delivered_is_none(self, processes: SQLiteProcesses) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2, 3)
        b.poll()
        b.ack(len(b.claim(2)))
        processes.query("DELETE FROM event")
        a.poll()
        assert get_accounting(a).settled == {"delivered": 2}
        assert (get_accounting(a).lost_own, get_accounting(b).lost_own) == (1, 0)

    def test_what_was_in_flight_and_is_delivered_is_none(self, processes: SQLiteProcesses) -> None:
        queue = processes.start()
        put(queue, 1, 2)
        queue.claim(2)
        processes.query("DELETE FROM event")
        queue.poll()
        assert queue.ack(2) == 2
        queue.poll()
        assert get_accounting(queue).lost_own == 0

    @needs_open_files_to_move
    def test_what_was_in_flight_when_the_file_was_deleted_is_none(
        self, processes: SQLiteProcesses, tmp_path: Path
    ) -> None:
        queue = processes.start()
        put(queue, 1, 2)
        queue.claim(2)
        for path in list(tmp_path.iterdir()):
            path.unlink()
        assert queue.ack(2) == 2
        queue.poll()
        assert get_accounting(queue).lost_own == 0

    def test_a_position_that_was_used_again_is_not_acknowledged(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        queue.claim(1)
        processes.query("DELETE FROM event")
        put(queue, 2)
        assert queue.ack(1) == 1
        assert claim_all(queue) == [2]

    def test_events_that_a_copy_brings_back_are_not_counted_twice(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        processes.query("CREATE TABLE copy AS SELECT * FROM event")
        assert claim_all(queue) == [1]
        processes.query("INSERT INTO event SELECT * FROM copy")
        queue.poll()
        batch = queue.claim(10)
        assert (len(batch), count_own(batch)) == (1, 0)

    @pytest.mark.parametrize("events", ["1000000", "-7", "'many'", "1e300", "x'00'"])
    def test_an_outcome_that_cannot_be_right_ends_nothing(
        self, processes: SQLiteProcesses, events: str
    ) -> None:
        queue = processes.start()
        put(queue, 1, 2)
        store = queue._store
        assert isinstance(store, SQLiteStore)
        processes.query(f"INSERT INTO ending VALUES ({store._me}, x'ff', {events}, 0)")
        queue.poll()
        assert sum(get_accounting(queue).settled.values()) <= 2
        use(queue)


# -- random damage

COLUMNS = {
    "event": ("position", "source", "number", "data"),
    "state": ("rows", "bytes", "token", "since", "until", "taken_to", "taken_rows", "front_to"),
    "ending": ("source", "outcome", "events", "at"),
}
VALUES = (
    *("'text'", "x'ff00'", "''", "0", "-1", "7", "1e300", "9223372036854775807", "NULL"),
    *("-9223372036854775808", "abs(random() % 100)", "'{}'", "zeroblob(100)", "1.5"),
)


def damage_content(random: Random, path: Path) -> str:
    """Change something at random with SQL; return what."""
    table = random.choice([*COLUMNS])
    column, value = random.choice(COLUMNS[table]), random.choice(VALUES)
    n, any_column = random.randint(1, 4), random.choice(COLUMNS["event"])
    statement = random.choice(
        [
            f"DELETE FROM {table}",
            f"DELETE FROM {table} WHERE rowid % {n} = 0" if table == "event" else "SELECT 1",
            f"UPDATE OR IGNORE {table} SET {column} = {value}",
            f"UPDATE OR IGNORE event SET {any_column} = {value} WHERE rowid % {n} = 0",
            f"INSERT OR IGNORE INTO event VALUES (NULL, {random.randint(1, 9)}, 0, {value})",
            "INSERT OR IGNORE INTO event SELECT position + 9999, source, number, data FROM event",
            f"INSERT OR IGNORE INTO ending SELECT source, 'odd', {value}, 0 FROM event",
            f"DROP TABLE {table}" if random.random() < 0.2 else "SELECT 1",
            "VACUUM",
        ]
    )
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute(statement)
    except sqlite3.Error as error:  # of a file that is damaged already
        return f"{statement}: {error}"
    finally:
        db.close()
    return statement


def damage_bytes(random: Random, path: Path) -> str:
    """Overwrite some bytes of the file, but not the application id; return where."""
    size = path.stat().st_size if path.exists() else 0
    if size < 200:
        return "nothing"
    at = random.randrange(100, size)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(random.randbytes(random.choice([1, 10, 1_000])))
    return f"bytes at {at} of {size}"


class Damaged:
    """Two processes of one file, with the outcomes of the events that they put."""

    def __init__(self, path: Path) -> None:
        self.processes = SQLiteProcesses(path)
        self.queues = [self.processes.start(max_events=1_000) for _ in range(2)]
        self.put = [0, 0]
        self.ended = [0, 0]
        self.number = 0

    def act(self, random: Random) -> None:
        at = random.randrange(2)
        queue = self.queues[at]
        self.processes.pass_time(random.choice([0, 1, 20]))
        for _ in range(random.randrange(4)):
            self.number += 1
            self.put[at] += 1
            self.ended[at] += count_own(queue.put(event(self.number)))
        if random.random() < 0.3:
            queue.poll()
        if random.random() < 0.7:
            self.deliver(at, random.choice([1, 10]))
        assert len(queue) >= 0
        assert queue.held_bytes >= 0

    def deliver(self, at: int, most: int) -> None:
        queue = self.queues[at]
        try:
            batch = queue.claim(most)
        except NotNow:
            return
        if batch and queue.extend(5) and queue.ack(len(batch)) == len(batch):
            self.ended[at] += count_own(batch)

    def get_held(self, at: int) -> int:
        accounting = get_accounting(self.queues[at])
        elsewhere = sum(accounting.settled.values())
        lost = sum(count_own(events) for _, events in accounting.losses)
        return self.put[at] - self.ended[at] - elsewhere - lost - accounting.lost_own

    def finish(self) -> None:
        """Deliver all that is left."""
        for _ in range(300):
            self.processes.pass_time(60)
            for at in range(2):
                self.deliver(at, 500)
                self.queues[at].poll()
            if all(queue.settled(queue.tail()) and not len(queue) for queue in self.queues):
                break
        for queue in self.queues:
            queue.poll()
            assert len(queue) == 0
            assert queue.settled(queue.tail())


@pytest.mark.parametrize("kind", ["content", "bytes"])
def test_after_random_damage_every_event_is_delivered_or_counted_as_lost(
    kind: str, tmp_path: Path
) -> None:
    for seed in range(SEED, SEED + ROUNDS):
        random, path = Random(seed), tmp_path / f"{seed}.db"
        done: list[str] = []
        scene = Damaged(path)
        try:
            for _ in range(12):
                scene.act(random)
                if random.random() < 0.4:
                    damage = damage_content if kind == "content" else damage_bytes
                    done.append(damage(random, path))
            scene.finish()
            assert [scene.get_held(at) for at in range(2)] == [0, 0]
        except Exception as error:
            raise AssertionError(f"WHISPERR_DAMAGE_SEED={seed}: {done}: {error!r}") from error
        finally:
            for queue in scene.queues:
                queue.drain()
