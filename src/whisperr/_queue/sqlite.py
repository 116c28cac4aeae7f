"""Step 3, in a file: the store that the processes of one machine share.

The law: a row is an event, in the order of `position`. Whoever's token is in `state` delivers; a
batch ends in the same transaction that checks the token. How an event of another process ended
is left for that process in `ending`. Every write is one short transaction.

Threads: one at a time; `LeasedQueue` sees to that. Processes: each opens its own connection,
and none may be open in a process that is made by a fork.
"""

from __future__ import annotations

import os
import sqlite3
import time

from whisperr._events.batch import BatchBuilder
from whisperr._events.layout import get_oldest_time, is_expired
from whisperr.errors import NotNow, StoreError

from . import sqlite_file as file
from .lease import Lease, get_lease_end, get_rest
from .memory import EVENT_OVERHEAD_BYTES, Foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from whisperr.errors import Reason

    T = TypeVar("T")
    Row = tuple[int, int, bytes]

# Endings of events whose process never asks for them again are forgotten after a week.
_FORGET_ENDINGS = 7 * 86_400.0
_SOME = 100
# Behind all that is there and all that was put back, also when the last row is gone.
_INSERT = (
    "INSERT INTO event SELECT max(front_to, (SELECT coalesce(max(position), 0) FROM event)) + 1, "
    "?, ?, ? FROM state"
)
_FRONT = (
    "SELECT position, source, data FROM event WHERE position > ? AND position <= ? "
    "ORDER BY position LIMIT ?"
)
_LAST = (1 << 63) - 1


class SQLiteStore:
    """One process's way into the file."""

    def __init__(
        self,
        path: str,
        synchronous: str,
        lease: float,
        max_events: int,
        max_bytes: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._lease = lease
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._now = wall_clock
        # Who put an event, and who holds the lease: this store, in this process.
        self._me = int.from_bytes(os.urandom(8), "big") >> 1
        self._file: file.Opened | None = None
        self._taken: list[Row] = []
        self._misses = 0
        self._doubt = False
        self._untaken = (0, 0)
        self.waiting = 0
        self.waiting_bytes = 0

    # -- what the buffer asks for

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add own events; return those that had to go for them, oldest first."""

        def act(db: sqlite3.Connection) -> list[bytes]:
            rows = [(self._me, number + n, data) for n, data in enumerate(events)]
            if self._doubt:  # did the last attempt succeed without saying so?
                last = "SELECT coalesce(max(number), -1) FROM event WHERE source = ?"
                stored: int = file.fetch_all(db, last, (self._me,))[0][0]
                rows = [row for row in rows if row[1] > stored]
            db.executemany(_INSERT, rows)
            size = sum(len(row[2]) for row in rows) + len(rows) * EVENT_OVERHEAD_BYTES
            db.execute("UPDATE state SET rows = rows + ?, bytes = bytes + ?", (len(rows), size))
            return self._trim(db)

        dropped = self._write(act)
        self._doubt = False
        return dropped

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Take the lease and the next batch; return that, and what was too old to be sent.

        Raises NotNow while another process holds the lease.
        """
        self._read(self._check_turn)
        if not self.waiting:
            return (), ()
        expired = self._write(lambda db: self._claim(db, max_events))
        self._misses = 0
        return [self._event(row) for row in self._taken], [self._event(row) for row in expired]

    def extend(self, seconds: float) -> bool:
        """Make the lease last; False when another process has taken it."""
        lease = self._read(_lease_in)
        if lease.token != self._me or not self._taken:
            self._taken = []
            return False
        now = self._now()
        until = get_lease_end(now, seconds, self._lease)
        if lease.until >= until and lease.since <= now:
            return True
        prolong = "UPDATE state SET since = ?, until = ? WHERE token = ?"
        values = (now, until, self._me)
        return self._write(lambda db: db.execute(prolong, values).rowcount == 1)

    def ack(self, count: int, lost: int, reason: Reason | None) -> int:
        """Forget the first taken events; return how many of them were still owned."""
        rows = self._taken[:count]
        if not rows:
            return 0

        def act(db: sqlite3.Connection) -> int:
            if _lease_in(db).token != self._me:
                return 0
            self._remove(db, rows, taken=True)
            self._tell(db, rows[:lost], reason or "delivered")
            self._tell(db, rows[lost:], "delivered")
            if len(rows) == len(self._taken):
                self._release(db)
            return len(rows)

        owned = self._write(act)
        self._taken = self._taken[owned:] if owned else []
        return owned

    def forget(self) -> None:
        """Take the taken batch for one that waits, whatever the file says."""
        self._taken = []

    def release(self) -> Sequence[bytes]:
        """Give the taken batch and the lease back; return what had to go for it."""
        last = self._taken[-1][0] if self._taken else 0

        def act(db: sqlite3.Connection) -> list[bytes]:
            if _lease_in(db).token == self._me:
                self._release(db)
                db.execute("UPDATE state SET front_to = max(front_to, ?)", (last,))
            return self._trim(db)

        self._taken = []
        return self._write(act)

    def settled(self, number: int) -> bool:
        """Say whether no own event before `number` is in the file."""
        mine = "SELECT 1 FROM event WHERE source = ? AND number < ? LIMIT 1"
        return not self._read(lambda db: file.fetch_all(db, mine, (self._me, number)))

    def poll(self) -> Mapping[str, int]:
        """Learn how much is in the file, and how own events ended elsewhere since the last look."""

        def read(db: sqlite3.Connection) -> bool:
            self._count(db)
            mine = "SELECT 1 FROM ending WHERE source = ? LIMIT 1"
            return bool(file.fetch_all(db, mine, (self._me,)))

        def act(db: sqlite3.Connection) -> dict[str, int]:
            mine = "SELECT outcome, events FROM ending WHERE source = ?"
            endings = dict(file.fetch_all(db, mine, (self._me,)))
            db.execute("DELETE FROM ending WHERE source = ?", (self._me,))
            return endings

        return self._write(act) if self._read(read) else {}

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        opened, self._file = self._file, None
        if opened is not None:
            opened.close()

    # -- inside a transaction

    def _check_turn(self, db: sqlite3.Connection) -> None:
        self._count(db)
        left = _lease_in(db).seconds_left(self._me, self._now())
        if left and self.waiting:
            self._misses += 1
            raise NotNow(get_rest(self._misses - 1, left))

    def _claim(self, db: sqlite3.Connection, max_events: int) -> list[Row]:
        """Take the lease and the oldest events: those that were put back alone, as they were.

        Return those that are too old; they are gone.
        """
        self._check_turn(db)
        front_to: int = file.fetch_all(db, "SELECT front_to FROM state")[0][0]
        rows = file.fetch_all(db, _FRONT, (0, front_to, max_events))
        if not rows:
            front_to = 0
            rows = file.fetch_all(db, _FRONT, (0, _LAST, max_events))
        oldest, run = get_oldest_time(self._now()), BatchBuilder(max_events)
        batch: list[Row] = []
        expired: list[Row] = []
        for row in rows:
            if is_expired(row[2], oldest):
                expired.append(row)
            elif run.add(row[2]):
                batch.append(row)
            else:
                break
        if expired:
            self._remove(db, expired, taken=False)
            self._tell(db, expired, "expired")
        now = self._now()
        db.execute(
            "UPDATE state SET token = ?, since = ?, until = ?, taken_to = ?, taken_rows = ?, "
            "taken_bytes = ?, front_to = ?",
            (
                self._me if batch else None,
                now,
                now + self._lease,
                batch[-1][0] if batch else 0,
                len(batch),
                _size_of(batch),
                front_to,
            ),
        )
        self._taken = batch
        self._count(db)
        return expired

    def _trim(self, db: sqlite3.Connection) -> list[bytes]:
        """Remove the oldest that nobody has taken until the bounds hold."""
        dropped: list[Row] = []
        taken_to = self._count(db)
        rows, size = self._untaken
        while rows > self._max_events or size > self._max_bytes:
            oldest = file.fetch_all(db, _FRONT, (taken_to, _LAST, _SOME))
            over: list[Row] = []
            while oldest and (rows > self._max_events or size > self._max_bytes):
                over.append(oldest.pop(0))
                rows, size = rows - 1, size - _size_of(over[-1:])
            if not over:
                break
            self._remove(db, over, taken=False)
            self._tell(db, over, "queue_full")
            dropped += over
        return [self._event(row) for row in dropped]

    def _remove(self, db: sqlite3.Connection, rows: Sequence[Row], *, taken: bool) -> None:
        db.executemany("DELETE FROM event WHERE position = ?", [(row[0],) for row in rows])
        count, size = len(rows), _size_of(rows)
        out = (count, size) if taken else (0, 0)
        db.execute(
            "UPDATE state SET rows = rows - ?, bytes = bytes - ?, "
            "taken_rows = taken_rows - ?, taken_bytes = taken_bytes - ?",
            (count, size, *out),
        )
        self._count(db)

    def _tell(self, db: sqlite3.Connection, rows: Sequence[Row], outcome: str) -> None:
        """Leave word of how events ended for the processes that put them."""
        others = [row[1] for row in rows if row[1] != self._me]
        now = self._now()
        for source in set(others):
            db.execute(
                "INSERT INTO ending VALUES (?, ?, ?, ?) ON CONFLICT (source, outcome) "
                "DO UPDATE SET events = events + excluded.events, at = excluded.at",
                (source, outcome, others.count(source), now),
            )
            db.execute("DELETE FROM ending WHERE at < ?", (now - _FORGET_ENDINGS,))

    def _release(self, db: sqlite3.Connection) -> None:
        db.execute("UPDATE state SET token = NULL, taken_to = 0, taken_rows = 0, taken_bytes = 0")

    def _count(self, db: sqlite3.Connection) -> int:
        """Learn what waits: all rows but those that this process has taken itself.

        Return up to which position events are taken by whoever it is.
        """
        rows, size, token, taken_to, taken_rows, taken_bytes = file.fetch_all(
            db, "SELECT rows, bytes, token, taken_to, taken_rows, taken_bytes FROM state"
        )[0]
        self._untaken = (rows - taken_rows, size - taken_bytes)
        mine = token == self._me and self._taken
        self.waiting, self.waiting_bytes = self._untaken if mine else (rows, size)
        return int(taken_to)

    def _event(self, row: Row) -> bytes:
        return row[2] if row[1] == self._me else Foreign(row[2])

    # -- transactions

    def _read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._opened()
        try:
            return act(opened.db)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._opened()
        db = opened.db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = act(db)
                db.execute("COMMIT")
            except BaseException:
                self._doubt = True
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return result

    def _opened(self) -> file.Opened:
        if self._file is not None and not self._file.is_current():
            self.close()
        if self._file is None:
            try:
                self._file = file.opened(self._path, self._synchronous)
            except sqlite3.Error as error:
                raise self._failed(error) from error
        return self._file

    def _failed(self, error: sqlite3.Error) -> StoreError:
        """Say what went wrong, for people; set a corrupt file aside."""
        aside = ""
        if file.is_corrupt(error):
            aside = file.set_aside(self._path, self._file)
            self.close()
        return StoreError(f"{self._path}: {error}{aside}")


def _lease_in(db: sqlite3.Connection) -> Lease:
    return Lease(*file.fetch_all(db, "SELECT token, since, until FROM state")[0])


def _size_of(rows: Sequence[Row]) -> int:
    return sum(len(row[2]) for row in rows) + len(rows) * EVENT_OVERHEAD_BYTES
