"""One process's transactions on the SQLite file, and its view of the file.

Invariant: the `View` is replaced in one step with the commit, so that a signal handler that raises
leaves either the view before a transaction or the one after it. No transaction stays open, and
every failure is a StoreError to the caller.
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
    """Return a random number that identifies a process, within SQLite's range of integers."""
    return int.from_bytes(os.urandom(8), "big") >> 1


class View:
    """One process's view of the file.

    - `own`: how many own events are in the file. `runs`: their positions.
    - `claimed`: the batch that this process has claimed.
    - `outcomes`: outcomes of own events that `poll` has not returned yet.
    - `kept`: see `Store.kept`.
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
        """Return a shallow copy for one transaction, which replaces values and changes none."""
        new = View.__new__(View)
        new.__dict__.update(self.__dict__)
        return new


class _DamagedError(Exception):
    """Raised when the state cannot be right and must be repaired in a writing transaction."""


class Session:
    """Runs transactions, each on the file that the path leads to at that time."""

    def __init__(self, path: str, synchronous: str, token: int, now: Callable[[], float]) -> None:
        self.view = View()
        self._path = path
        self._synchronous = synchronous
        self._token = token
        self._now = now
        self._file: file.OpenFile | None = None

    def read(self, act: Callable[[sqlite3.Connection, View], T]) -> T:
        """Call `act` without a transaction, with the current view."""

        def read() -> T:
            db = self._connect()
            try:
                return act(db, self.view)
            except _DamagedError:
                self._write_now(db, self.see)
                return act(db, self.view)

        return self._use(read)

    def write(self, act: Callable[[sqlite3.Connection, View], T]) -> T:
        """Call `act` in a transaction, with a copy of the view that replaces it on commit."""

        def write() -> T:
            db = self._connect()
            try:
                return self._write_now(db, act)
            except sqlite3.IntegrityError:  # a row's position leaves no room after it
                self._write_now(db, lambda db, _: repair_state(db, self._now()))
            except sqlite3.OperationalError as error:
                if not file.is_full(error, self._path):
                    raise
                file.make_room(db)
            return self._write_now(db, act)

        return self._use(write)

    def see(self, db: sqlite3.Connection, view: View) -> State:
        """Return the state; update `waiting`, which excludes the rows that are claimed here."""
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
        """Call `act` in a transaction, and replace the view with the commit.

        A signal handler raises between two calls of SQLite, never within one. So after an
        interrupted COMMIT, no open transaction means that it was committed.
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
        """Call `act`; raise every failure as StoreError, and set a corrupt file aside."""
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
            elif "no such table" in str(error):  # the next use creates it again
                self.close()
            if file.is_full(error, self._path):
                raise StoreFullError(f"{self._path}: {file.NO_SPACE}") from error
            raise StoreError(f"{self._path}: {error}{aside}") from error
        except (StoreError, NotNow):
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            raise StoreError(f"{self._path}: damaged content: {type(error).__name__}") from error
