"""What one process knows of the file of the SQLite store, and its transactions on it.

Invariant: what is known (`View`) changes with the commit, in one step: an exception of a signal
handler finds either what was known before a transaction or what is known after it. No transaction
stays open, and every failure is a StoreError to the caller.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from whisperr._platform import WINDOWS
from whisperr._process.interruption import is_interruption
from whisperr._queue.store import StoreFullError
from whisperr.errors import NotNow, StoreError

from . import file
from .own import make_runs
from .rows import read_state, repair_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from whisperr._queue.store import Entry

    from .own import Runs
    from .rows import State

    T = TypeVar("T")


def make_id() -> int:
    """Return a number that no other process has, as SQLite can keep it."""
    return int.from_bytes(os.urandom(8), "big") >> 1


class View:
    """What one process knows of the file.

    - `own`: how many own events are in the file, and `runs` where; `claimed`: the batch that is
      claimed here.
    - `outcomes`: what became of own events, which `poll` has not returned yet.
    - `kept`: what became of events that were lost last, as `Store.kept` has it.
    """

    def __init__(self) -> None:
        self.own = 0
        self.runs: Runs = make_runs()
        self.claimed: list[Entry] = []
        self.appended_to = 0
        self.waiting = 0
        self.waiting_bytes = 0
        self.rejected = 0
        self.outcomes: dict[str, int] = {}
        self.kept: str | None = None

    def copy(self) -> View:
        """Return a copy for one transaction; what is in it is replaced, never changed."""
        new = View.__new__(View)
        new.__dict__.update(self.__dict__)
        return new


class _DamagedError(Exception):
    """The state cannot be right, and must be repaired in a transaction that writes."""


class Session:
    """Runs transactions, each with the connection that the path leads to at that time."""

    def __init__(self, path: str, synchronous: str, token: int, now: Callable[[], float]) -> None:
        self.view = View()
        self._path = path
        self._synchronous = synchronous
        self._token = token
        self._now = now
        self._file: file.OpenFile | None = None

    def read(self, act: Callable[[sqlite3.Connection, View], T]) -> T:
        """Call `act` without a transaction, with the view as it is."""

        def read() -> T:
            db = self._connect()
            try:
                return act(db, self.view)
            except _DamagedError:
                self._write_now(db, self.see)
                return act(db, self.view)

        return self._use(read)

    def write(self, act: Callable[[sqlite3.Connection, View], T]) -> T:
        """Call `act` in a transaction, with a copy of the view that counts when it is committed."""

        def write() -> T:
            db = self._connect()
            try:
                return self._write_now(db, act)
            except sqlite3.IntegrityError:  # a position that leaves no room behind it
                self._write_now(db, lambda db, _: repair_state(db, self._now()))
            except sqlite3.OperationalError as error:
                if not file.is_full(error):
                    raise
                file.make_room(db)
            return self._write_now(db, act)

        return self._use(write)

    def see(self, db: sqlite3.Connection, view: View) -> State:
        """Return the state; keep how much waits: all rows but those that are claimed here."""
        state = read_state(db)
        if state is None:
            if not db.in_transaction:
                raise _DamagedError
            repair_state(db, self._now())
            state = read_state(db)
            if state is None:
                raise StoreError(f"{self._path}: its state cannot be repaired")
        mine = state.token == self._token and view.claimed
        view.waiting = state.rows - (state.taken_rows if mine else 0)
        view.waiting_bytes = state.bytes - (state.taken_bytes if mine else 0)
        return state

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        current, self._file = self._file, None
        if current is not None:
            current.close()

    def _write_now(self, db: sqlite3.Connection, act: Callable[[sqlite3.Connection, View], T]) -> T:
        """Call `act` in a transaction of its own; what is known changes with the commit.

        A call of SQLite that a signal handler interrupts has been completed: only between two
        calls exceptions are raised.
        """
        view = self.view.copy()
        committing = False
        try:
            db.execute("BEGIN IMMEDIATE")
            result = act(db, view)
            committing = True
            db.execute("COMMIT")
            self.view = view
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            elif committing:
                self.view = view
            raise
        return result

    def _connect(self) -> sqlite3.Connection:
        if self._file is not None and not self._file.is_current():
            self.close()
        if self._file is None:
            self._file = file.open_file(self._path, self._synchronous)
        return self._file.db

    def _use(self, act: Callable[[], T]) -> T:
        """Call `act`; raise what goes wrong as StoreError, for people. Set a corrupt file aside."""
        try:
            return act()
        except sqlite3.Error as error:
            aside = ""
            if file.is_corrupt(error):
                current = self._file
                if WINDOWS:  # where a file cannot be renamed while it is open
                    self.close()
                aside = file.set_aside(self._path, current)
                self.close()
            elif "no such table" in str(error):  # the next use makes it again
                self.close()
            kind = StoreFullError if file.is_full(error) else StoreError
            raise kind(f"{self._path}: {error}{aside}") from error
        except (StoreError, NotNow):
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            raise StoreError(f"{self._path}: damaged content: {type(error).__name__}") from error
