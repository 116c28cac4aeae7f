"""The tables of the SQLite store: what is in them, read with suspicion, and put right.

Other programs and hands may have changed any row. Sums that cannot be right are made anew from the
rows; rows that are no events are moved to the table `rejected`. All functions run in a transaction
of the caller.
"""

from __future__ import annotations

import math
from contextlib import closing
from json import loads
from typing import TYPE_CHECKING, NamedTuple

from .memory import EVENT_OVERHEAD_BYTES
from .store import LONGEST_CLAIM, Entry, select_batch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Sequence
    from typing import Any

# Made in this order. `source` of an event is the process that put it, `number` its count there.
# `state` has one row: the sums over `event`, the lease, and what its holder has claimed (`taken_`).
# `front_to`: the last position of a batch that was released, to be sent again as it was.
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
    b"ending": """CREATE TABLE IF NOT EXISTS ending (
        source INTEGER NOT NULL, outcome TEXT NOT NULL, events INTEGER NOT NULL,
        at REAL NOT NULL, PRIMARY KEY (source, outcome)) WITHOUT ROWID""",
}
# Made when it is needed: a file that holds nothing odd does not have it.
_REJECTED = """CREATE TABLE IF NOT EXISTS rejected (
    id INTEGER PRIMARY KEY, data, reason TEXT NOT NULL, at REAL NOT NULL)"""
_MOST_REJECTED = 1_000
_LONGEST_REJECTED = 100_000

_STATE = (
    "SELECT rows, bytes, token, since, until, taken_to, taken_rows, taken_bytes, front_to, "
    "EXISTS (SELECT 1 FROM event) FROM state"
)
# What is longer than the bound is not read.
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
# Positions count from 1; those that were not given by us would leave no room behind them.
LAST = 1 << 62
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
        """Return for how long the process with token `mine` may not claim; 0 when it may.

        A lease that begins in the future was written before the clock was set back, and one that is
        longer than any can be is damaged. They do not count, since their real length is unknown.
        """
        if self.token is None or self.token == mine or not self.since <= now < self.until:
            return 0.0
        return self.until - now if self.until - self.since <= LONGEST_CLAIM else 0.0

    @property
    def has_valid_lease(self) -> bool:
        """Whether the values of the lease are of the kind that is written here."""
        numbers = (self.taken_to, self.front_to)
        times = (self.since, self.until)
        return (
            all(type(one) is int and 0 <= one < LAST for one in numbers)
            and all(type(one) is float and math.isfinite(one) for one in times)
            and (self.token is None or type(self.token) is int)
        )

    def is_valid(self, any_rows: int) -> bool:
        """Return whether all values can be right, given whether there are any rows."""
        numbers = (self.rows, self.bytes, self.taken_rows, self.taken_bytes)
        return (
            self.has_valid_lease
            and all(type(one) is int and 0 <= one < LAST for one in numbers)
            and (self.rows > 0) == bool(any_rows)
            and self.bytes >= self.rows * EVENT_OVERHEAD_BYTES
            and (self.rows > 0 or self.bytes == 0)
            and self.taken_rows <= self.rows
            and self.taken_bytes <= self.bytes
        )


def fetch_all(
    db: sqlite3.Connection, query: str, values: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Run a query and return all its rows: on PyPy an unfinished one allows no commit."""
    return db.execute(query, values).fetchall()


def read_state(db: sqlite3.Connection) -> State | None:
    """Return the state; None when it is missing or cannot be right."""
    for row in fetch_all(db, _STATE):
        state = State._make(row[:-1])
        if state.is_valid(row[-1]):
            return state
    return None


def repair_state(db: sqlite3.Connection, now: float) -> None:
    """Make the state anew from the rows; the lease is kept if it can be right."""
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


def count(db: sqlite3.Connection, after: int, to: int) -> tuple[int, int]:
    """Return how many events there are between two positions, and what they take in bytes."""
    query = (
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM event "
        "WHERE position > ? AND position <= ?"
    )
    ((rows, size),) = fetch_all(db, query, (after, to))
    return rows, size + rows * EVENT_OVERHEAD_BYTES


class Oldest:
    """Reads the oldest events, one after the other, and notes which rows are none.

    `rejected`: their positions. `rows`: how many were read; `ended`: there were no more.
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
        """Return the batch that the events up to a position begin with, and the too old ones."""
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

    def _is_event(self, source: object, data: object) -> bool:
        """Return whether a row can be sent: anything else would spoil the batch that it is in.

        What this process put is not decoded. If it was changed in the file, the server refuses it.
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
    """Move rows that are no events to the table `rejected`, which keeps the newest of them."""
    if not positions:
        return
    db.execute(_REJECTED)
    for position in positions:
        db.execute(_REJECT, (_LONGEST_REJECTED, _NO_EVENT, now, position))
        db.execute("DELETE FROM event WHERE position = ?", (position,))
    newest = "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?"
    db.execute(newest, (_MOST_REJECTED,))


def find(db: sqlite3.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Return those of these entries, which are in the order of their positions, that are there."""
    if not entries:
        return []
    query = "SELECT position, number, source FROM event WHERE position BETWEEN ? AND ?"
    there = set(fetch_all(db, query, (entries[0].key[0], entries[-1].key[0])))
    return [one for one in entries if (*one.key, one.source) in there]


def read_endings(db: sqlite3.Connection, source: int) -> dict[str, int]:
    """Return how many events of a process other processes settled, by outcome."""
    endings: dict[str, int] = {}
    query = "SELECT outcome, events FROM ending WHERE source = ?"
    for outcome, events in fetch_all(db, query, (source,)):
        name = outcome.decode("ascii", "replace") if type(outcome) is bytes else ""
        if type(events) is int and events > 0:
            endings[name] = endings.get(name, 0) + events
    return endings
