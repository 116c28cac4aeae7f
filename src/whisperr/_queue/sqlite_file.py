"""The file of the SQLite store: made, opened, migrated, set aside.

Invariant: only their owner can read the file and those that SQLite puts beside it. A file that is
not ours, or that a newer version wrote, is refused. A corrupt one is renamed, never deleted.

Processes: a connection that is open during a fork must never be used or closed in the child, and
even its presence makes locks of the child unsafe. So the child of such a fork does not open the
file at all (`_connections`); `LeasedQueue.before_fork` closes connections before a fork.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr._process.identity import get_process
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

# The longest that SQLite waits for the lock of another process, in a caller's thread too.
_BUSY_TIMEOUT = 0.25
_APPLICATION_ID = 0x77687370  # "whsp"
_OWNER_ONLY = 0o600

# What leads from each schema version to the next. A released step never changes: a change of the
# schema is a new step.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `source` is the process that put the event, `number` its count there.
        """CREATE TABLE event (
            position INTEGER PRIMARY KEY, source INTEGER NOT NULL, number INTEGER NOT NULL,
            data BLOB NOT NULL)""",
        # One row: the sums over `event`, the lease, and what its holder has claimed (`taken_`).
        # `front_to`: the last position of a batch that was released, to be sent again as it was.
        """CREATE TABLE state (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
            token INTEGER, since REAL NOT NULL, until REAL NOT NULL,
            taken_to INTEGER NOT NULL, taken_rows INTEGER NOT NULL, taken_bytes INTEGER NOT NULL,
            front_to INTEGER NOT NULL)""",
        "INSERT INTO state VALUES (1, 0, 0, NULL, 0, 0, 0, 0, 0, 0)",
        """CREATE TABLE ending (
            source INTEGER NOT NULL, outcome TEXT NOT NULL, events INTEGER NOT NULL,
            at REAL NOT NULL, PRIMARY KEY (source, outcome)) WITHOUT ROWID""",
        f"PRAGMA application_id = {_APPLICATION_ID}",
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)

# Open connections by file, with the process that opened them.
_connections: dict[tuple[int, int], set[tuple[object, int]]] = {}


class OpenFile:
    """One open connection, and the file that it belongs to."""

    def __init__(self, path: str, db: sqlite3.Connection, identity: tuple[int, int]) -> None:
        self.db = db
        self._path = path
        self._identity = identity
        _connections.setdefault(identity, set()).add((get_process(), id(self)))

    def is_current(self) -> bool:
        """Return whether the path still leads to this file: it may be moved away or deleted."""
        return _get_identity(self._path) == self._identity

    def close(self) -> None:
        """Close the connection."""
        self.db.close()
        _connections[self._identity].discard((get_process(), id(self)))


def open_file(path: str, synchronous: str) -> OpenFile:
    """Open the file; make or migrate it if needed. Raises StoreError and sqlite3.Error."""
    _make(path)
    identity = _get_identity(path)
    if identity is None:
        raise StoreError(f"{path}: it vanished while it was opened")
    if any(process != get_process() for process, _ in _connections.get(identity, ())):
        raise StoreError(
            f"{path}: it was open when this process was forked, without Python's fork hooks; "
            "make the client, or track the first event, after the fork"
        )
    db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        _prepare(path, db, synchronous)
    except BaseException:
        db.close()
        raise
    return OpenFile(path, db, identity)


def _make(path: str) -> None:
    """Make the file with its mode before SQLite opens it: -wal and -shm get the same mode.

    It is opened here only if it is new: closing any descriptor of a file ends all locks that the
    process holds on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _prepare(path: str, db: sqlite3.Connection, synchronous: str) -> None:
    db.execute(f"PRAGMA synchronous = {synchronous}")
    version = _get_version(db)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written by a newer whisperr (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade this process, or name another file"
        )
    # In this order: another process may make the tables, and with them the id, in between.
    tables: int = fetch_all(db, "SELECT count(*) FROM sqlite_master")[0][0]
    application: int = fetch_all(db, "PRAGMA application_id")[0][0]
    if application != _APPLICATION_ID and tables:
        raise StoreError(f"{path}: a database of something else; name another file")
    if version < SCHEMA_VERSION:
        fetch_all(db, "PRAGMA journal_mode = WAL")
        write(db, _migrate)


def _migrate(db: sqlite3.Connection) -> None:
    for steps in _MIGRATIONS[_get_version(db) :]:  # another process may have been first
        for step in steps:
            db.execute(step)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def write(db: sqlite3.Connection, act: Callable[[sqlite3.Connection], T]) -> T:
    """Call `act` in a transaction of its own, which is rolled back when that fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = act(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def _get_version(db: sqlite3.Connection) -> int:
    version: int = fetch_all(db, "PRAGMA user_version")[0][0]
    return version


def fetch_all(
    db: sqlite3.Connection, query: str, values: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Run a query and return all its rows: on PyPy an unfinished one allows no commit."""
    return db.execute(query, values).fetchall()


def is_corrupt(error: sqlite3.Error) -> bool:
    """Return whether the error means a broken file; by its text, since codes came with 3.11."""
    return "malformed" in str(error) or "not a database" in str(error)


def set_aside(path: str, current: OpenFile | None) -> str:
    """Rename a corrupt file, unless another process has done that; return the end of a report."""
    if current is not None and not current.is_current():
        return ""
    target = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    try:
        for end in ("", "-wal", "-shm"):
            if Path(path + end).exists():
                Path(path + end).rename(target + end)
    except OSError as error:
        return f"; it could not be set aside: {error.strerror}"
    return f"; set aside as {target}"


def _get_identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # called for every event: `Path` would cost more
    except OSError:
        return None
    return found.st_dev, found.st_ino
