"""The SQLite store: a file that the processes of one machine share.

Invariant: a row is an event, in the order of `position`. The process whose token is in `state`
delivers; a batch is acknowledged in the same transaction that checks the token. The outcome of an
event of another process is left for that process in `ending`. Every write is one short transaction.

Threads: one at a time; `LeasedQueue` ensures that. Processes: each opens its own connection, and
none may be open in a process that is made by a fork.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING, NamedTuple

from whisperr.errors import NotNow, StoreError

from . import sqlite_file as file
from .clock import ExpiryClock
from .memory import get_size
from .store import Entry, get_lease_end, get_rest, select_batch, to_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from whisperr.errors import Loss

    T = TypeVar("T")

# Outcomes that the process of their events never asks for are forgotten after a week (seconds).
_FORGET_ENDINGS = 7 * 86_400.0
_TRIMMED_AT_ONCE = 100
# Behind all rows and everything that was released, also when the last row is gone.
_INSERT = (
    "INSERT INTO event SELECT max(front_to, (SELECT coalesce(max(position), 0) FROM event)) + 1, "
    "?, ?, ? FROM state"
)
_OLDEST = (
    "SELECT position, source, data FROM event WHERE position > ? AND position <= ? "
    "ORDER BY position LIMIT ?"
)
_STATE = (
    "SELECT rows, bytes, token, since, until, taken_to, taken_rows, taken_bytes, front_to "
    "FROM state"
)
_LAST = (1 << 63) - 1


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

        A lease that begins in the future was written before the clock was set back. It does not
        count, since its real length is unknown.
        """
        if self.token is None or self.token == mine or not self.since <= now < self.until:
            return 0.0
        return self.until - now


class SQLiteStore:
    """The file, as one process uses it."""

    def __init__(
        self,
        path: str,
        synchronous: str,
        lease: float,
        max_events: int,
        max_bytes: int,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._lease = lease
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._now = wall_clock
        self._expiry_clock = ExpiryClock(wall_clock, monotonic)
        # The source of own events, and the token of the lease: this store, in this process.
        self._me = int.from_bytes(os.urandom(8), "big") >> 1
        self._file: file.OpenFile | None = None
        self._claimed: list[Entry] = []
        self._misses = 0
        self._in_doubt = False
        self.appended_to = 0
        self.waiting = 0
        self.waiting_bytes = 0

    # -- the methods of a store

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add own events; return the events dropped for them, oldest first."""

        def act(db: sqlite3.Connection) -> list[bytes]:
            rows = [(self._me, number + n, data) for n, data in enumerate(events)]
            if in_doubt:  # the last attempt may have succeeded all the same
                last = "SELECT coalesce(max(number), -1) FROM event WHERE source = ?"
                stored: int = file.fetch_all(db, last, (self._me,))[0][0]
                rows = [row for row in rows if row[1] > stored]
            db.executemany(_INSERT, rows)
            size = get_size([row[2] for row in rows])
            db.execute("UPDATE state SET rows = rows + ?, bytes = bytes + ?", (len(rows), size))
            return self._trim(db)

        in_doubt, self._in_doubt = self._in_doubt, True
        dropped = self._write(act)
        self._in_doubt = False
        self.appended_to = number + len(events)
        return dropped

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Take the lease; return the next batch, and the events that were too old to send.

        Raises NotNow while another process holds the lease.
        """
        self._read(self._check_turn)
        if not self.waiting:
            return (), ()
        expired = self._write(lambda db: self._claim(db, max_events))
        self._misses = 0
        return to_events(self._claimed, self._me), to_events(expired, self._me)

    def take_rejected(self) -> int:
        """Return how many rows were set aside since the last call."""
        return 0

    def extend(self, seconds: float) -> bool:
        """Make the lease outlast so many seconds; False when another process has taken it."""
        state = self._read(self._see)
        if state.token != self._me or not self._claimed:
            self._claimed = []
            return False
        now = self._now()
        until = get_lease_end(now, seconds, self._lease)
        if state.until >= until and state.since <= now:
            return True
        update = "UPDATE state SET since = ?, until = ? WHERE token = ?"
        values = (now, until, self._me)
        return self._write(lambda db: db.execute(update, values).rowcount == 1)

    def ack(self, count: int, loss: Loss | None) -> int:
        """Remove the first claimed events; return how many of them were still owned."""
        entries = self._claimed[:count]
        if not entries:
            return 0
        lost, reason = (0, "") if loss is None else (loss.count, loss.reason)

        def act(db: sqlite3.Connection) -> int:
            if self._see(db).token != self._me:
                return 0
            self._remove(db, entries[:lost], reason, claimed=True)
            self._remove(db, entries[lost:], "delivered", claimed=True)
            if len(entries) == len(self._claimed):
                self._end_lease(db)
            return len(entries)

        owned = self._write(act)
        self._claimed = self._claimed[owned:] if owned else []
        return owned

    def forget(self) -> None:
        """Count the claimed batch as waiting again, whatever the file says."""
        self._claimed = []

    def release(self) -> Sequence[bytes]:
        """Give up the claim and the lease; return the events dropped for it."""
        last = self._claimed[-1].key if self._claimed else 0

        def act(db: sqlite3.Connection) -> list[bytes]:
            if self._see(db).token == self._me:
                self._end_lease(db)
                db.execute("UPDATE state SET front_to = max(front_to, ?)", (last,))
            return self._trim(db)

        self._claimed = []
        return self._write(act)

    def settled(self, number: int) -> bool:
        """Return whether no own event before this number is in the file."""
        own = "SELECT 1 FROM event WHERE source = ? AND number < ? LIMIT 1"
        return not self._read(lambda db: file.fetch_all(db, own, (self._me, number)))

    def poll(self) -> Mapping[str, int]:
        """Learn what waits; return how many own events other processes settled, by outcome."""

        def read(db: sqlite3.Connection) -> dict[str, int]:
            self._see(db)
            own = "SELECT outcome, events FROM ending WHERE source = ?"
            return dict(file.fetch_all(db, own, (self._me,)))

        def remove(db: sqlite3.Connection) -> dict[str, int]:
            endings = read(db)
            db.execute("DELETE FROM ending WHERE source = ?", (self._me,))
            return endings

        return self._read(read) and self._write(remove)

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        current, self._file = self._file, None
        if current is not None:
            current.close()

    # -- inside a transaction

    def _check_turn(self, db: sqlite3.Connection) -> State:
        state = self._see(db)
        left = state.seconds_left(self._me, self._now())
        if left and self.waiting:
            self._misses += 1
            raise NotNow(get_rest(self._misses - 1, left))
        return state

    def _claim(self, db: sqlite3.Connection, max_events: int) -> list[Entry]:
        """Take the lease and the oldest events; a released batch is claimed alone, as it was.

        Return the events that are too old; they are removed.
        """
        front_to = self._check_turn(db).front_to
        entries = _get_oldest(db, 0, front_to, max_events)
        if not entries:
            front_to = 0
            entries = _get_oldest(db, 0, _LAST, max_events)
        now = self._now()
        batch, expired = select_batch(entries, max_events, self._expiry_clock.get_now())
        self._remove(db, expired, "expired", claimed=False)
        token, last = (self._me, batch[-1].key) if batch else (None, 0)
        size = sum(one.size for one in batch)
        db.execute(
            "UPDATE state SET token = ?, since = ?, until = ?, taken_to = ?, taken_rows = ?, "
            "taken_bytes = ?, front_to = ?",
            (token, now, now + self._lease, last, len(batch), size, front_to),
        )
        self._claimed = batch
        self._see(db)
        return expired

    def _trim(self, db: sqlite3.Connection) -> list[bytes]:
        """Remove the oldest events that no process has claimed until the bounds hold."""
        dropped: list[Entry] = []
        state = self._see(db)
        rows, size = state.rows - state.taken_rows, state.bytes - state.taken_bytes
        while rows > self._max_events or size > self._max_bytes:
            oldest = _get_oldest(db, state.taken_to, _LAST, _TRIMMED_AT_ONCE)
            over: list[Entry] = []
            while oldest and (rows > self._max_events or size > self._max_bytes):
                over.append(oldest.pop(0))
                rows, size = rows - 1, size - over[-1].size
            if not over:
                break
            self._remove(db, over, "queue_full", claimed=False)
            dropped += over
        return to_events(dropped, self._me)

    def _remove(
        self, db: sqlite3.Connection, entries: Sequence[Entry], outcome: str, *, claimed: bool
    ) -> None:
        """Remove events; leave their outcome for the other processes that put them."""
        if not entries:
            return
        db.executemany("DELETE FROM event WHERE position = ?", [(one.key,) for one in entries])
        count, size = len(entries), sum(one.size for one in entries)
        of_claim = (count, size) if claimed else (0, 0)
        db.execute(
            "UPDATE state SET rows = rows - ?, bytes = bytes - ?, "
            "taken_rows = taken_rows - ?, taken_bytes = taken_bytes - ?",
            (count, size, *of_claim),
        )
        self._see(db)
        others = [one.source for one in entries if one.source != self._me]
        now = self._now()
        for source in set(others):
            db.execute(
                "INSERT INTO ending VALUES (?, ?, ?, ?) ON CONFLICT (source, outcome) "
                "DO UPDATE SET events = events + excluded.events, at = excluded.at",
                (source, outcome, others.count(source), now),
            )
            forgotten = self._expiry_clock.get_now() - _FORGET_ENDINGS
            db.execute("DELETE FROM ending WHERE at < ?", (forgotten,))

    def _end_lease(self, db: sqlite3.Connection) -> None:
        db.execute("UPDATE state SET token = NULL, taken_to = 0, taken_rows = 0, taken_bytes = 0")

    def _see(self, db: sqlite3.Connection) -> State:
        """Return the state; keep how much waits: all rows but those that are claimed here."""
        state = State._make(file.fetch_all(db, _STATE)[0])
        mine = state.token == self._me and self._claimed
        self.waiting = state.rows - (state.taken_rows if mine else 0)
        self.waiting_bytes = state.bytes - (state.taken_bytes if mine else 0)
        return state

    # -- transactions

    def _read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return act(self._connect())
        except sqlite3.Error as error:
            raise self._to_store_error(error) from error

    def _write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return self._read(lambda db: file.write(db, act))

    def _connect(self) -> sqlite3.Connection:
        if self._file is not None and not self._file.is_current():
            self.close()
        if self._file is None:
            self._file = file.open_file(self._path, self._synchronous)
        return self._file.db

    def _to_store_error(self, error: sqlite3.Error) -> StoreError:
        """Return what went wrong, for people; set a corrupt file aside."""
        aside = ""
        if file.is_corrupt(error):
            aside = file.set_aside(self._path, self._file)
            self.close()
        return StoreError(f"{self._path}: {error}{aside}")


def _get_oldest(db: sqlite3.Connection, after: int, to: int, count: int) -> list[Entry]:
    """Return the oldest events behind one position, up to another one."""
    return [*map(Entry._make, file.fetch_all(db, _OLDEST, (after, to, count)))]
