"""Reads, writes and repairs the tables of the SQLite store, in a transaction of the caller.

Other programs may have changed any row, so nothing that is read is trusted. Sums that cannot be
right are computed again from the rows; rows that are no events are moved to the table `rejected`.
"""

from __future__ import annotations

import math
from contextlib import closing
from json import loads
from typing import TYPE_CHECKING, NamedTuple

from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, get_size
from whisperr._queue.store import LONGEST_CLAIM, Entry, select_batch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Sequence
    from typing import Any

# Created in this order.
# - `event`: `source` is the process that put the event, `number` its number there.
# - `state`: one row with the sums over `event`, the lease, and the rows that its holder has claimed
#   (`taken_`). `front_to`: the last position of a released batch, to be sent again as it was.
# - `source`: number and position after the last row of a process, added by itself or by another one
#   from its log. All earlier events are or were in the file.
# - `ending`: the outcomes of events, for the process that put them.
TABLES = {
    b"event": """CREATE TABLE IF NOT EXISTS event (
        position INTEGER PRIMARY KEY, source INTEGER NOT NULL, number INTEGER NOT NULL,
        data BLOB NOT NULL)""",
    b"state": """CREATE TABLE IF NOT EXISTS state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
        token INTEGER, since REAL NOT NULL, until REAL NOT NULL,
        taken_to INTEGER NOT NULL, taken_rows INTEGER NOT NULL, taken_bytes INTEGER NOT NULL,
        front_to INTEGER NOT NULL)""",
    b"source": """CREATE TABLE IF NOT EXISTS source (
        source INTEGER PRIMARY KEY, number INTEGER NOT NULL, position INTEGER NOT NULL,
        at REAL NOT NULL)""",
    b"ending": """CREATE TABLE IF NOT EXISTS ending (
        source INTEGER NOT NULL, outcome TEXT NOT NULL, events INTEGER NOT NULL,
        at REAL NOT NULL, PRIMARY KEY (source, outcome)) WITHOUT ROWID""",
}
# Created when needed: most files never have a rejected row.
_REJECTED = """CREATE TABLE IF NOT EXISTS rejected (
    id INTEGER PRIMARY KEY, data, reason TEXT NOT NULL, at REAL NOT NULL)"""
_MOST_REJECTED = 1_000
_LONGEST_REJECTED = 100_000

_STATE = (
    "SELECT rows, bytes, token, since, until, taken_to, taken_rows, taken_bytes, front_to, "
    "EXISTS (SELECT 1 FROM event WHERE position >= -9223372036854775808) FROM state"
)
_LAST_POSITION = "SELECT max(position) FROM event"
# Rows are added in groups of these sizes: one statement for many takes a quarter of the time, and
# the interpreter lock is released once per statement, not once per row.
_INSERTS = {
    size: "INSERT INTO event VALUES "  # noqa: S608  # of our numbers only
    + ",".join(f"(?1 + {at}, ?2, ?3 + {at}, ?{at + 4})" for at in range(size))
    for size in (250, 50, 10, 1)
}
_DELETE = "DELETE FROM event WHERE position >= ? AND position <= ?"
_SOURCE = "SELECT number, position FROM source WHERE source = ?"
_SET_SOURCE = "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)"
# Data that is longer than the bound is not read.
_OLDEST = (
    "SELECT position, source, number, CASE WHEN length(data) <= ? THEN data END FROM event "
    "WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
)
_ODD = (
    "SELECT position FROM event WHERE position <= 0 OR position >= ? "
    "OR typeof(data) NOT IN ('blob', 'text')"
)
_REJECT = (
    "INSERT INTO rejected (data, reason, at) "
    "SELECT CASE WHEN length(data) <= ? THEN data END, ?, ? FROM event WHERE position = ?"
)
# Positions count from 1. A row from here on was added by another program, and leaves no room after
# it.
LAST = 1 << 62
_TRIMMED_AT_ONCE = 500
_NO_EVENT = "no event of this package"


class State(NamedTuple):
    """The sums over all events, the lease, and what its holder has claimed (`taken_`)."""

    rows: int
    bytes: int
    token: int | None
    since: float
    until: float
    taken_to: int
    taken_rows: int
    taken_bytes: int
    front_to: int

    def seconds_left(self, mine: int, now: float) -> float:
        """Return the seconds until the process with token `mine` may claim; 0 if it may now.

        A lease that begins in the future was written before the clock was set back, and one longer
        than the longest lease is damaged. Neither counts, because its real end is unknown.
        """
        if self.token is None or self.token == mine or not self.since <= now < self.until:
            return 0.0
        return self.until - now if self.until - self.since <= LONGEST_CLAIM else 0.0

    @property
    def has_valid_lease(self) -> bool:
        """Whether the lease has values that this package may have written."""
        return (
            (self.token is None or type(self.token) is int)
            and type(self.since) is type(self.until) is float
            and math.isfinite(self.until - self.since)
            and type(self.taken_to) is type(self.front_to) is int
            and 0 <= self.taken_to < LAST
            and 0 <= self.front_to < LAST
        )

    def is_valid(self, any_rows: int) -> bool:
        """Return whether all values can be right, given whether there are any rows."""
        return (
            type(self.rows) is type(self.bytes) is int
            and type(self.taken_rows) is type(self.taken_bytes) is int
            and (self.rows > 0) == bool(any_rows)
            and self.rows * EVENT_OVERHEAD_BYTES <= self.bytes < LAST
            and (self.rows > 0 or self.bytes == 0)
            and 0 <= self.taken_rows <= self.rows
            and 0 <= self.taken_bytes <= self.bytes
            and self.has_valid_lease
        )

    def exceeds(self, max_events: int, max_bytes: int) -> bool:
        """Return whether the unclaimed rows exceed one of the bounds."""
        waiting, size = self.rows - self.taken_rows, self.bytes - self.taken_bytes
        return waiting > max_events or size > max_bytes


def fetch_all(
    db: sqlite3.Connection, query: str, values: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Run a query and return all rows: on PyPy an unfinished query prevents a commit."""
    return db.execute(query, values).fetchall()


def read_state(db: sqlite3.Connection) -> State | None:
    """Return the state; None if it is missing or cannot be right."""
    found = db.execute(_STATE).fetchall()
    if not found:
        return None
    state = State._make(found[0][:-1])
    return state if state.is_valid(found[0][-1]) else None


def repair_state(db: sqlite3.Connection, now: float) -> None:
    """Compute the state again from the rows; keep the lease if it can be right."""
    reject(db, [position for (position,) in fetch_all(db, _ODD, (LAST,))], now)
    old = [State._make(row[:-1]) for row in fetch_all(db, _STATE)]
    if old and old[0].has_valid_lease:
        lease = old[0][2:6] if old[0].token is not None else (None, 0.0, 0.0, 0)
        front_to = old[0].front_to
    else:
        lease, front_to = (None, 0.0, 0.0, 0), 0
    sums = count(db, 0, LAST)
    taken = count(db, 0, int(lease[3] or 0))
    db.execute("DELETE FROM state")
    values = (1, *sums, *lease, *taken, front_to)
    db.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def append(
    db: sqlite3.Connection, events: Sequence[bytes], source: int, number: int, now: float
) -> int:
    """Add events after all rows, even after a released batch; return the first position.

    The first event has this number. The sums of the state are updated.
    """
    if not events:  # the number that is recorded for the source may be higher
        return 0
    state = read_state(db)
    ((last,),) = fetch_all(db, _LAST_POSITION)
    if state is None or (last or 0) >= LAST - len(events):
        # Another program added a row at a position that leaves no room after it.
        repair_state(db, now)
        state = read_state(db)
        ((last,),) = fetch_all(db, _LAST_POSITION)
    front_to = 0 if state is None else state.front_to
    first = max(front_to, last or 0) + 1
    at = 0
    for size, statement in _INSERTS.items():
        while len(events) - at >= size:
            group = events[at : at + size]
            db.execute(statement, (first + at, source, number + at, *group))
            at += size
    update = "UPDATE state SET rows = rows + ?, bytes = bytes + ?"
    db.execute(update, (len(events), get_size(events)))
    db.execute(_SET_SOURCE, (source, number + len(events), first + len(events), now))
    return first


def get_known(db: sqlite3.Connection, source: int, number: int, count: int) -> tuple[int, int]:
    """Return how many of `count` events from this number on were added before.

    Also return the position of the first of them.
    """
    found = fetch_all(db, _SOURCE, (source,))
    if not found or any(type(one) is not int for one in found[0]):
        return 0, 0
    next_number, next_position = found[0]
    return min(max(next_number - number, 0), count), next_position - (next_number - number)


def delete(db: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Remove the rows with these ordered positions, with one statement for each run of them."""
    first = 0
    for at in range(1, len(positions) + 1):
        if at == len(positions) or positions[at] != positions[at - 1] + 1:
            db.execute(_DELETE, (positions[first], positions[at - 1]))
            first = at


def remove(db: sqlite3.Connection, entries: Sequence[Entry], *, claimed: bool) -> None:
    """Remove events, given in order, and update the sums of the state."""
    delete(db, [one.key[0] for one in entries])
    count, size = len(entries), get_size([one.data for one in entries])
    of_claim = (count, size) if claimed else (0, 0)
    db.execute(
        "UPDATE state SET rows = rows - ?, bytes = bytes - ?, "
        "taken_rows = taken_rows - ?, taken_bytes = taken_bytes - ?",
        (count, size, *of_claim),
    )


def add_outcome(
    db: sqlite3.Connection, outcome: str, entries: Sequence[Entry], me: int, now: float
) -> None:
    """Record the outcome of events for the other processes that put them."""
    others: dict[Any, int] = {}
    for entry in entries:
        if entry.source != me:
            others[entry.source] = others.get(entry.source, 0) + 1
    for source, events in others.items():
        db.execute(
            "INSERT INTO ending VALUES (?, ?, ?, ?) ON CONFLICT (source, outcome) "
            "DO UPDATE SET events = events + excluded.events, at = excluded.at",
            (source, outcome, events, now),
        )


def forget(db: sqlite3.Connection, before: float) -> None:
    """Remove outcomes and sources that were recorded before this time."""
    db.execute("DELETE FROM ending WHERE at < ?", (before,))
    db.execute("DELETE FROM source WHERE at < ?", (before,))


def end_lease(db: sqlite3.Connection) -> None:
    """End the lease, so that any process may claim."""
    db.execute("UPDATE state SET token = NULL, taken_to = 0, taken_rows = 0, taken_bytes = 0")


def can_be_right(db: sqlite3.Connection, state: State) -> bool:
    """Return whether the state's number of rows can be right, given the range of positions."""
    query = "SELECT (SELECT min(position) FROM event), (SELECT max(position) FROM event)"
    ((first, last),) = fetch_all(db, query)
    return first is not None and state.rows <= last - first + 1


def count(db: sqlite3.Connection, after: int, to: int) -> tuple[int, int]:
    """Return how many events are between two positions, and their size in bytes."""
    query = (
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM event "
        "WHERE position > ? AND position <= ?"
    )
    ((rows, size),) = fetch_all(db, query, (after, to))
    return rows, size + rows * EVENT_OVERHEAD_BYTES


class Oldest:
    """Reads the oldest events, one after the other.

    - `rejected`: the positions of rows that are no events.
    - `rows`: how many rows were read. `ended`: whether there were no more.
    """

    def __init__(self, me: int, longest: int) -> None:
        self._me = me
        self._longest = longest
        self.rejected: list[int] = []
        self.rows = 0
        self.ended = False

    def select(
        self, db: sqlite3.Connection, to: int, max_events: int, now: float
    ) -> tuple[list[Entry], list[Entry]]:
        """Return the next batch up to a position, and the events that are too old to send."""
        with closing(self.read(db, 0, to, max_events)) as entries:
            return select_batch(entries, max_events, now)

    def read(
        self, db: sqlite3.Connection, after: int, to: int, most: int
    ) -> Generator[Entry, None, None]:
        """Yield up to `most` events between two positions; the key is position and number."""
        cursor = db.execute(_OLDEST, (self._longest, after, to, most))
        try:
            for position, source, number, data in cursor:
                self.rows += 1
                if self._is_event(source, data):
                    yield Entry((position, number), source, data)
                else:
                    self.rejected.append(position)
            self.ended = self.rows < most
        finally:
            cursor.close()

    def select_excess(
        self, db: sqlite3.Connection, state: State, max_events: int, max_bytes: int
    ) -> list[Entry]:
        """Return the oldest unclaimed events that exceed the bounds; only the first if many."""
        excess: list[Entry] = []
        with closing(self.read(db, state.taken_to, LAST, _TRIMMED_AT_ONCE)) as entries:
            for entry in entries:
                excess.append(entry)
                state = state._replace(rows=state.rows - 1, bytes=state.bytes - entry.size)
                if not state.exceeds(max_events, max_bytes):
                    break
        return excess

    def _is_event(self, source: object, data: object) -> bool:
        """Return whether a row is an event; any other row would make the server refuse its batch.

        Own events are not decoded. If one was changed in the file, the server refuses it.
        """
        if type(data) is not bytes:
            return False
        if source == self._me:
            return True
        try:
            value = loads(data)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and isinstance(value.get("external_user_id"), str)


def reject(db: sqlite3.Connection, positions: Sequence[int], now: float) -> None:
    """Move rows that are no events to the table `rejected`, which keeps the newest ones."""
    if not positions:
        return
    db.execute(_REJECTED)
    for position in positions:
        db.execute(_REJECT, (_LONGEST_REJECTED, _NO_EVENT, now, position))
        db.execute("DELETE FROM event WHERE position = ?", (position,))
    newest = "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?"
    db.execute(newest, (_MOST_REJECTED,))


def find(db: sqlite3.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Return those of these entries that exist; both are ordered by position."""
    if not entries:
        return []
    query = "SELECT position, number, source FROM event WHERE position BETWEEN ? AND ?"
    there = set(fetch_all(db, query, (entries[0].key[0], entries[-1].key[0])))
    return [one for one in entries if (*one.key, one.source) in there]


def read_endings(db: sqlite3.Connection, source: int) -> dict[str, int]:
    """Return by outcome how many events of a process other processes settled."""
    endings: dict[str, int] = {}
    query = "SELECT outcome, events FROM ending WHERE source = ?"
    for outcome, events in fetch_all(db, query, (source,)):
        name = outcome.decode("ascii", "replace") if type(outcome) is bytes else ""
        if type(events) is int and events > 0:
            endings[name] = endings.get(name, 0) + events
    return endings
