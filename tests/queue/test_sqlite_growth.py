"""The cost of the SQLite store does not grow with the waiting rows; events are adopted once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.rig import event
from tests.interrupting import interrupt_everywhere
from tests.queue.store_contract import OLD, to_numbers
from whisperr._queue.memory import Foreign
from whisperr._queue.sqlite import own as sqlite_own
from whisperr._queue.sqlite.own import Run, Runs, count_left, make_runs, skip_ended
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.errors import Loss, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

ROOM = 1 << 40
NOW = 1_780_000_000.0
# The rows of ended processes, one or two each, are deleted then.
ONCE_AN_HOUR = {"SCAN ending", "SCAN source"}


def events(*numbers: int) -> list[bytes]:
    return [event(number) for number in numbers]


class Clock:
    """The wall clock and the monotonic one."""

    now = NOW

    def __call__(self) -> float:
        return self.now


class Stores:
    """The stores of several processes over one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.opened: list[SQLiteStore] = []

    def open(self, max_events: int = 10**9, source: int | None = None) -> SQLiteStore:
        clock = self.clock
        store = SQLiteStore(
            str(self.path), "NORMAL", 15.0, max_events, ROOM, clock, clock, source=source
        )
        self.opened.append(store)
        return store

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            return db.execute(statement).fetchall()

    def fill(self, rows: int) -> None:
        """Add rows of another process."""
        self.query(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
            "INSERT INTO event SELECT (SELECT coalesce(max(position), 0) FROM event) + i, 5, i, "
            f"x'{event(1).hex()}' FROM n"
        )
        size = rows * (len(event(1)) + 41)
        self.query(f"UPDATE state SET rows = rows + {rows}, bytes = bytes + {size}")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path / "events.db")
    yield made
    for store in made.opened:
        store.close()


def deliver(store: SQLiteStore, most: int = 500, loss: Loss | None = None) -> Sequence[bytes]:
    batch, _ = store.claim(most)
    assert store.ack(len(batch), loss) == len(batch)
    return batch


class TestQueries:
    """By EXPLAIN QUERY PLAN: each row is found by its position."""

    def record(self, store: SQLiteStore) -> list[str]:
        """Return a list of the statements that this store runs from now on, with their values."""
        statements: list[str] = []
        store.poll()
        opened = store._session._file
        assert opened is not None
        opened.db.set_trace_callback(statements.append)
        return statements

    def explain(self, stores: Stores, statements: list[str]) -> set[tuple[str, str]]:
        """Return each scan that one of these statements makes."""
        scans = set()
        with closing(sqlite3.connect(stores.path)) as db:
            for statement in statements:
                if statement.split()[0] in {"BEGIN", "COMMIT", "PRAGMA"}:
                    continue
                for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
                    # The state is one row; constant rows are those of VALUES.
                    if "SCAN" in step and not step.endswith((" state", " ROW", " ROWS")):
                        scans.add((step, statement))
        return scans

    def use(self, stores: Stores, a: SQLiteStore, b: SQLiteStore) -> None:
        """Use every method of a store, on all paths but those for damage."""
        a.append(events(*range(30)), 0)
        b.append([OLD, *events(2)], 0)
        view = a._session.view
        a.append(events(*range(30, 600)), 30)
        a._session.view, a._in_doubt = view, True  # as if it had failed, although it did not
        a.append(events(*range(30, 602)), 30)
        a.adopt(events(1, 2, 3), 77, 0)
        a.adopt(events(1, 2, 3, 4), 77, 0)
        for store in (a, b):
            batch, _ = store.claim(10)
            store.extend(60)
            a.settled(5)
            store.release()
            batch, _ = store.claim(10)
            store.ack(5, Loss(2, "rejected"))
            store.ack(len(batch), None)
        a._expiry_clock.trust()
        while deliver(a, 200):
            a.poll()
            b.poll()
        b.append(events(1), 2)
        a.claim(1)
        a.forget()
        a.append(events(1), 602)
        a.poll()
        a.settled(603)

    def test_none_of_ordinary_use_scans_the_rows(self, stores: Stores) -> None:
        a, b = stores.open(), stores.open()
        statements = [self.record(a), self.record(b)]
        self.use(stores, a, b)
        assert len({one.split("(")[0] for one in statements[0] + statements[1]}) > 15
        scans = self.explain(stores, statements[0] + statements[1])
        assert {step for step, _ in scans} == ONCE_AN_HOUR

    def test_a_full_store_finds_the_oldest_by_their_positions(self, stores: Stores) -> None:
        a = stores.open(max_events=2_000)
        a.append(events(*range(2_000)), 0)
        statements = self.record(a)
        for number in range(2_000, 2_010):
            assert to_numbers(a.append(events(number), number)) == [number - 2_000]
        assert any("min(position)" in one for one in statements)
        assert {step for step, _ in self.explain(stores, statements)} == ONCE_AN_HOUR

    def test_what_repairs_a_damaged_file_looks_at_all_rows(self, stores: Stores) -> None:
        a = stores.open()
        a.append(events(1, 2, 3), 0)
        statements = self.record(a)
        stores.query("DELETE FROM event WHERE number = 0")
        assert a.poll() == {"lost_in_store": 1}
        (scanned,) = {
            statement.split(" WHERE")[0] for _, statement in self.explain(stores, statements)
        }
        assert scanned == "SELECT position FROM event"


@pytest.mark.parametrize("rows", [0, 20_000])
def test_a_store_behind_many_rows_of_others_works_as_without(stores: Stores, rows: int) -> None:
    """Counted in steps of SQLite's virtual machine; a scan of the rows would take 100,000."""
    a, b = stores.open(), stores.open()
    b.append(events(1), 0)
    stores.fill(rows)
    a.append(events(*range(500)), 0)
    a.poll()
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    opened = a._session._file
    assert opened is not None
    opened.db.set_progress_handler(count, 100)
    assert not a.settled(500)
    assert a.settled(0)
    assert a.poll() == {}
    assert a.waiting == 501 + rows
    assert steps < 1_000
    a.append(events(*range(500, 600)), 500)
    batch, _ = a.claim(20)
    assert a.ack(len(batch), None) == 20
    assert steps < 20_000
    opened.db.set_progress_handler(None, 0)


class TestAdoption:
    """Events of a process that has ended, from its log."""

    def test_they_are_those_of_another_process(self, stores: Stores) -> None:
        a = stores.open()
        a.append(events(1), 0)
        assert list(a.adopt(events(2, 3), 77, 5)) == []
        assert (a.waiting, a.appended_to) == (3, 1)
        batch = deliver(a)
        assert [type(one) for one in batch] == [bytes, Foreign, Foreign]
        assert stores.query("SELECT source, outcome, events FROM ending") == [(77, "delivered", 2)]
        assert a.settled(1)
        assert a.poll() == {}

    def test_each_is_added_once(self, stores: Stores) -> None:
        a, b = stores.open(), stores.open()
        a.adopt(events(1, 2), 77, 0)
        a.adopt(events(1, 2, 3), 77, 0)
        b.adopt(events(2, 3), 77, 1)
        b.adopt([], 77, 9)
        assert stores.query("SELECT source, number FROM event") == [(77, 0), (77, 1), (77, 2)]
        assert to_numbers(deliver(a)) == [1, 2, 3]

    def test_an_adopted_event_that_has_ended_is_not_added_again(self, stores: Stores) -> None:
        a = stores.open()
        a.adopt(events(1, 2), 77, 0)
        deliver(a)
        b = stores.open()
        b.adopt(events(1), 77, 0)
        b.adopt(events(2, 3), 77, 1)
        assert to_numbers(deliver(b)) == [3]

    def test_what_the_process_had_stored_itself_is_not_added_again(self, stores: Stores) -> None:
        a, b = stores.open(source=77), stores.open()
        a.append(events(1, 2), 0)
        a.close()
        assert to_numbers(deliver(b, 1)) == [1]
        b.adopt(events(1, 2, 3), 77, 0)
        assert to_numbers(deliver(b)) == [2, 3]

    def test_others_are_dropped_for_them_when_the_store_is_full(self, stores: Stores) -> None:
        a = stores.open(max_events=3)
        a.append(events(1, 2), 0)
        dropped = a.adopt(events(3, 4, 5, 6), 77, 0)
        assert to_numbers(dropped) == [1, 2, 3]
        assert [type(one) for one in dropped] == [bytes, bytes, Foreign]
        assert a.settled(2)

    def test_a_source_is_forgotten_after_a_week(self, stores: Stores) -> None:
        a = stores.open()
        a.adopt(events(1), 77, 0)
        a.adopt(events(2), 78, 0)
        deliver(a)
        a._expiry_clock.trust()
        stores.clock.now += 8 * 86_400
        a.adopt(events(3), 78, 1)
        deliver(a)
        assert stores.query("SELECT source FROM source") == [(78,)]

    def test_a_kill_in_the_middle_adds_all_or_none(self, tmp_path: Path) -> None:
        def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
            numbers.append(0)
            stores = Stores(tmp_path / f"{len(numbers)}.db")
            a = stores.open()
            a.poll()
            interrupt(lambda: a.adopt(events(1, 2, 3), 77, 0))
            b = stores.open()
            b.adopt(events(1, 2, 3), 77, 0)
            assert to_numbers(deliver(b)) == [1, 2, 3]
            a.close()
            b.close()

        numbers: list[int] = []
        assert interrupt_everywhere(story, every=3) > 10

    def test_a_full_volume_is_a_failure_and_nothing_is_recorded(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a = stores.open()
        monkeypatch.setattr("whisperr._queue.sqlite.file.get_space", lambda _: (0, 1 << 30))
        with pytest.raises(StoreError, match="almost no space"):
            a.adopt(events(1), 77, 0)
        monkeypatch.undo()
        a.adopt(events(1), 77, 0)
        assert to_numbers(deliver(a)) == [1]


def test_the_source_of_own_events_is_the_one_that_was_given(stores: Stores) -> None:
    a = stores.open(source=77)
    a.append(events(1), 0)
    assert stores.query("SELECT source FROM event") == [(77,)]
    b = stores.open(source=77)  # of the same log: the lease is that of one store all the same
    a.claim(1)
    b.poll()
    assert b.waiting == 1
    assert a.ack(1, None) == 1


@pytest.mark.parametrize("size", [1, 9, 10, 60, 249, 250, 251, 777, 5_000])
def test_groups_of_any_size_are_stored_in_order(stores: Stores, size: int) -> None:
    a = stores.open()
    a.append(events(*range(size)), 0)
    a.append(events(size), size)
    rows = stores.query("SELECT position, number, data FROM event")
    assert rows == [(number + 1, number, event(number)) for number in range(size + 1)]
    assert stores.query("SELECT rows, bytes FROM state") == [(size + 1, a.waiting_bytes)]
    assert len(deliver(a, size)) == size
    assert (a.waiting, a.settled(size), a.settled(size + 1)) == (1, True, False)


def test_events_that_are_gone_from_the_middle_are_noticed_when_those_before_are_gone(
    stores: Stores,
) -> None:
    a = stores.open()
    a.append(events(*range(10)), 0)
    stores.query("DELETE FROM event WHERE number IN (4, 5)")
    assert a.poll() == {}
    assert to_numbers(deliver(a, 4)) == [0, 1, 2, 3]
    assert a.poll() == {"lost_in_store": 2}
    assert (a.settled(6), a.settled(7)) == (True, False)
    assert to_numbers(deliver(a)) == [6, 7, 8, 9]
    assert (a.poll(), a.settled(10)) == ({}, True)


# -- runs, compared with plain sets of positions

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5)),
        st.tuples(st.just("others add"), st.integers(1, 3)),
        st.tuples(st.just("oldest leave"), st.integers(1, 6)),
        st.tuples(st.just("one is gone"), st.integers(0, 30)),
        st.tuples(st.just("newest are gone"), st.integers(1, 4)),
        st.tuples(st.just("rolled back"), st.integers(1, 5)),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 4))
def test_runs_know_what_is_left_whatever_happens_to_the_rows(steps: Any, many: int) -> None:
    before, sqlite_own._MANY = sqlite_own._MANY, many
    runs, number = make_runs(), 0
    numbers: dict[int, int] = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE event (position INTEGER PRIMARY KEY, source INTEGER)")

        def insert(source: int, count: int) -> int:
            ((last,),) = db.execute("SELECT coalesce(max(position), 0) FROM event")
            rows = [(last + 1 + at, source) for at in range(count)]
            db.executemany("INSERT INTO event VALUES (?, ?)", rows)
            return int(last) + 1

        for kind, size in steps:
            if kind == "add":
                first = insert(1, size)
                runs = runs.add(first, size, number)
                numbers.update({first + at: number + at for at in range(size)})
                number += size
            elif kind == "others add":
                insert(2, size)
            elif kind == "rolled back":
                runs.add(10_000, size, number)
            elif kind == "newest are gone":
                db.execute(
                    "DELETE FROM event WHERE position > (SELECT max(position) FROM event) - ?",
                    (size,),
                )
            else:
                order = "LIMIT ?" if kind == "oldest leave" else "LIMIT 1 OFFSET ?"
                db.execute(
                    "DELETE FROM event WHERE position IN "
                    f"(SELECT position FROM event ORDER BY position {order})",
                    (size,),
                )
            own = [one for (one,) in db.execute("SELECT position FROM event WHERE source = 1")]
            runs, first_number = skip_ended(db, 1, runs)
            assert first_number == (numbers[own[0]] if own else None)
            for after in (0, *own[:3]):
                left = [one for one in own if one > after]
                assert count_left(db, 1, runs, after) >= len(left)
                assert (count_left(db, 1, runs, after) > 0) == bool(left)
        assert runs.rows >= len(own) if steps else runs == make_runs()
    sqlite_own._MANY = before


def test_a_run_goes_on_as_long_as_no_other_process_adds() -> None:
    runs: Runs = make_runs().add(1, 5, 0).add(6, 5, 5).add(20, 1, 10)
    assert [runs.get(index) for index in range(3)] == [Run(1, 10, 0), Run(20, 20, 10), None]
    assert runs.rows == 11
