"""The dead letters of the SQLite store: a table beside the events, in the same file.

Invariant: one transaction removes an event from the queue and adds the dead letter; one transaction
deletes the dead letter and adds the event again. If a dead letter cannot be added, as on a full
disk, the event is removed all the same.

The table is created when needed. The store uses `DeadLetterTable`; the command line uses
`SQLiteDeadLetters`, without a lease, while other processes use the file.
"""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whisperr._platform import get_user_id
from whisperr._process.interruption import is_interruption
from whisperr._queue.dead_letters import (
    KEPT,
    KEPT_FOR_OLDEST,
    LONGEST_AGE,
    MOST,
    MOST_BYTES,
    NOT_KEPT,
    SOURCE,
    DeadLetter,
    Moved,
    explain,
)
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr._queue.store import EXPIRED, StoreFullError
from whisperr.errors import Loss, StoreError

from . import file
from .rows import append, fetch_all, read_state, repair_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeVar

    from whisperr._queue.clock import ExpiryClock
    from whisperr._queue.store import Entry

    from .rows import State
    from .session import Session, View

    T = TypeVar("T")

# AUTOINCREMENT, so that an id that a person has read never means another dead letter later.
# `total`: a running sum of bytes, including deleted rows.
_TABLE = """CREATE TABLE IF NOT EXISTS dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, reason TEXT NOT NULL, status INTEGER,
    message TEXT NOT NULL, total INTEGER NOT NULL, data BLOB NOT NULL)"""
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'dead_letter'"
_INSERT = (
    "INSERT INTO dead_letter (at, reason, status, message, total, data) VALUES (?, ?, ?, ?, ?, ?)"
)
_LAST = "SELECT id, total FROM dead_letter ORDER BY id DESC LIMIT 1"
_DELETE = "DELETE FROM dead_letter WHERE id = ?"
_DELETE_OLD = "DELETE FROM dead_letter WHERE at < ?"
# Data that is longer than the bound of all dead letters is not read.
_COLUMNS = "id, at, reason, status, message, CASE WHEN length(data) <= ? THEN data END"
_NEWEST = f"SELECT {_COLUMNS} FROM dead_letter WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608  # of a constant
_ONE = f"SELECT {_COLUMNS} FROM dead_letter WHERE id = ?"  # noqa: S608  # of a constant
_SIZES = "SELECT id, length(data) FROM dead_letter ORDER BY id DESC"
_LAST_ID = (1 << 63) - 1
_MOST_TOTAL = 1 << 62
_MOST_DIGITS = 18
_READ_AT_ONCE = 100
# Share of a bound to which the rows are trimmed, so that they need not be counted again soon.
_KEPT_SHARE = 15 / 16
_MOVED_AT_ONCE = 500
_PRUNE_INTERVAL = 3_600.0  # seconds
# Longer than for a request: a person waits for the command.
_BUSY_TIMEOUT = 5_000  # milliseconds


class _Sums(NamedTuple):
    """The count and the bytes of the rows when `id` was the last one, and its `total`."""

    id: int
    total: int
    rows: int
    bytes: int

    def may_hold(self, last: int, total: int) -> bool:
        """Return whether the bounds hold for certain, given the last row's id and total now."""
        rows, size = last - self.id, total - self.total
        return 0 <= rows <= MOST - self.rows and 0 <= size <= MOST_BYTES - self.bytes


class DeadLetterTable:
    """Keeps the lost events of one store, if that is `wanted`."""

    def __init__(
        self,
        path: str,
        session: Session,
        now: Callable[[], float],
        expiry_clock: ExpiryClock,
        *,
        wanted: bool,
    ) -> None:
        self._path = path
        self._session = session
        self._now = now
        self._expiry_clock = expiry_clock
        self._has_room = True
        self._prune_at = 0.0
        self._sums = _Sums(0, 0, MOST, MOST_BYTES)  # at the bounds, so that the first use counts
        self._wanted = wanted
        session.view.kept = NOT_KEPT if wanted else None

    def write(self, act: Callable[[sqlite3.Connection, View], T]) -> T:
        """Run a transaction that may keep events; on a full disk, run it again without keeping."""
        try:
            return self._session.write(act)
        except StoreFullError:
            if not self._wanted:
                raise
            self._has_room = False
            return self._session.write(act)
        finally:
            self._has_room = True

    def keep(
        self, db: sqlite3.Connection, view: View, entries: Sequence[Entry], loss: Loss | None
    ) -> None:
        """Keep the lost events of one request, and set `view.kept`."""
        if not self._wanted or loss is None or not entries:
            return
        view.kept = NOT_KEPT
        if not self._has_room or not file.has_room(self._path, db):
            return
        db.execute("SAVEPOINT dead_letters")
        try:
            view.kept = self._insert(db, entries, loss)
            db.execute("RELEASE dead_letters")
        except sqlite3.Error:
            # For example, the table has other columns. A full disk may have ended the transaction.
            if not db.in_transaction:
                raise
            db.execute("ROLLBACK TO dead_letters")
            db.execute("RELEASE dead_letters")

    def keep_expired(self, db: sqlite3.Connection, view: View, entries: Sequence[Entry]) -> None:
        """Keep events that are too old to be sent."""
        self.keep(db, view, entries, Loss(len(entries), "expired", EXPIRED))

    def prune(self) -> None:
        """Delete expired dead letters, once an hour."""
        now = self._now()
        if not self._wanted or 0 <= self._prune_at - now <= _PRUNE_INTERVAL:
            return
        self._prune_at = now + _PRUNE_INTERVAL
        oldest = self._expiry_clock.get_now() - LONGEST_AGE

        def is_any_old(db: sqlite3.Connection, _: View) -> bool:
            first = "SELECT 1 FROM dead_letter WHERE at < ? LIMIT 1"
            return bool(fetch_all(db, _IS_THERE) and fetch_all(db, first, (oldest,)))

        if oldest > 0 and self._session.read(is_any_old):
            self._session.write(lambda db, _: db.execute(_DELETE_OLD, (oldest,)))

    def _insert(self, db: sqlite3.Connection, entries: Sequence[Entry], loss: Loss) -> str:
        """Insert rows, and delete the oldest beyond the bounds; return the text for `kept`."""
        db.execute(_TABLE)
        common = self._now(), loss.reason, loss.status, explain(loss, len(entries))
        totals = accumulate((one.size for one in entries), initial=_read_last(db)[1])
        next(totals)
        values = [
            (*common, *one) for one in zip(totals, (one.data for one in entries), strict=True)
        ]
        db.executemany(_INSERT, values)
        if self._sums.may_hold(*_read_last(db)):
            return KEPT
        return self._trim(db)

    def _trim(self, db: sqlite3.Connection) -> str:
        """Count the rows and, if a bound is exceeded, delete the oldest, down to `_KEPT_SHARE`."""
        db.execute(_DELETE_OLD, (self._expiry_clock.get_now() - LONGEST_AGE,))
        sizes = [(id_, length + EVENT_OVERHEAD_BYTES) for id_, length in fetch_all(db, _SIZES)]
        size = sum(one for _, one in sizes)
        is_over = len(sizes) > MOST or size > MOST_BYTES
        share = _KEPT_SHARE if is_over else 1.0
        while len(sizes) > 1 and (len(sizes) > MOST * share or size > MOST_BYTES * share):
            id_, one = sizes.pop()
            db.execute(_DELETE, (id_,))
            size -= one
        self._sums = _Sums(*_read_last(db), len(sizes), size)
        return KEPT_FOR_OLDEST if is_over else KEPT


class SQLiteDeadLetters:
    """The dead letters of an existing file; methods raise StoreError if it cannot be used.

    Repairing a damaged file is left to the processes that use it.
    """

    def __init__(self, path: str, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._open: file.OpenFile | None = None

    def read(self) -> Iterator[DeadLetter]:
        """Yield the dead letters, newest first."""
        before = _LAST_ID
        while rows := self._use(partial(_read_some, before=before)):
            yield from map(_to_dead_letter, rows)
            before = rows[-1][0]

    def find(self, ids: Sequence[str]) -> Sequence[DeadLetter]:
        return self._use(lambda db: [_to_dead_letter(row) for row in _find(db, ids)])

    def replay(self, ids: Sequence[str], max_events: int, max_bytes: int) -> Moved:
        """Move these to the end of the queue, in several transactions, as far as they fit."""
        replayed = left = 0
        for some in _split(ids):
            act = partial(self._replay, ids=some, max_events=max_events, max_bytes=max_bytes)
            moved = self._write(act)
            replayed, left = replayed + moved.replayed, left + moved.left
        return Moved(replayed, left)

    def drop(self, ids: Sequence[str]) -> int:
        """Delete these, in several transactions; return how many existed."""
        return sum(self._write(partial(_drop, ids=some)) for some in _split(ids))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _replay(
        self, db: sqlite3.Connection, ids: Sequence[str], max_events: int, max_bytes: int
    ) -> Moved:
        found = [row for row in _find(db, [*dict.fromkeys(ids)]) if type(row[5]) is bytes]
        if not found:
            return Moved(0, 0)
        state = self._read_state(db)
        events: list[bytes] = []
        size = state.bytes
        for *_, data in found:
            size += len(data) + EVENT_OVERHEAD_BYTES
            if state.rows + len(events) >= max_events or size > max_bytes:
                break
            events.append(data)
        if events:
            append(db, events, SOURCE, 0, self._now())
            db.executemany(_DELETE, [(id_,) for id_, *_ in found[: len(events)]])
        return Moved(len(events), len(found) - len(events))

    def _read_state(self, db: sqlite3.Connection) -> State:
        state = read_state(db)
        if state is None:
            repair_state(db, self._now())
            state = read_state(db)
        if state is None:
            raise StoreError(f"{self._path}: its state cannot be repaired")
        return state

    def _write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return self._use(lambda db: file.write(db, act))

    def _use(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Call `act`; raise every failure as StoreError."""
        try:
            if self._open is None:
                self._check()
                self._open = file.open_file(self._path, "NORMAL")
                self._open.db.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT}")
            return act(self._open.db)
        except StoreError:
            raise
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
        except Exception as error:
            if is_interruption(error):
                raise
            raise StoreError(f"{self._path}: damaged content: {type(error).__name__}") from error

    def _check(self) -> None:
        """Raise StoreError unless the file exists, is not empty, and belongs to this user."""
        try:
            found = Path(self._path).stat()
        except OSError as error:
            raise StoreError(f"{self._path}: {(error.strerror or str(error)).lower()}") from None
        if get_user_id() not in {None, found.st_uid}:
            raise StoreError(
                f"{self._path}: it belongs to the user with id {found.st_uid}; run the command as "
                f"that user, so that no file beside it becomes yours"
            )
        if not found.st_size:
            raise StoreError(f"{self._path}: it is empty, so no client has used it yet")


def count_dead_letters(db: sqlite3.Connection) -> dict[str, int] | None:
    """Return how many there are by reason; None if there never was one."""
    if not fetch_all(db, _IS_THERE):
        return None
    counts = fetch_all(db, "SELECT reason, count(*) FROM dead_letter GROUP BY reason")
    return {_to_text(reason): count for reason, count in counts}


def _read_last(db: sqlite3.Connection) -> tuple[int, int]:
    for id_, total in fetch_all(db, _LAST):
        return id_, total if type(total) is int and 0 <= total <= _MOST_TOTAL else 0
    return 0, 0


def _split(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + _MOVED_AT_ONCE] for at in range(0, len(ids), _MOVED_AT_ONCE))


def _read_some(db: sqlite3.Connection, before: int) -> list[tuple[Any, ...]]:
    if not fetch_all(db, _IS_THERE):
        return []
    return fetch_all(db, _NEWEST, (MOST_BYTES, before, _READ_AT_ONCE))


def _find(db: sqlite3.Connection, ids: Sequence[str]) -> list[tuple[Any, ...]]:
    if not fetch_all(db, _IS_THERE):
        return []
    numbers = [int(one) for one in ids if _is_id(one)]
    return [row for one in numbers for row in fetch_all(db, _ONE, (MOST_BYTES, one))]


def _drop(db: sqlite3.Connection, ids: Sequence[str]) -> int:
    if not fetch_all(db, _IS_THERE):
        return 0
    numbers = [(int(one),) for one in ids if _is_id(one)]
    return max(db.executemany(_DELETE, numbers).rowcount, 0)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def _to_dead_letter(row: Sequence[Any]) -> DeadLetter:
    """Return the dead letter in a row, which any program may have written."""
    id_, at, reason, status, message, data = row
    return DeadLetter(
        str(id_),
        float(at) if type(at) in (int, float) else None,
        _to_text(reason),
        status if type(status) is int else None,
        _to_text(message),
        data if type(data) is bytes else b"",
    )


def _to_text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
