"""Checks, creates, opens and migrates the file of the SQLite store, and sets it aside if corrupt.

Invariant: a file is ours only if it begins like a SQLite database and has our application id. Any
other file is refused, and never moved, renamed or written. So is a file that users other than its
owner can access, that belongs to another user, or that a newer version wrote. A corrupt file of
ours is renamed, never deleted.

Processes: a connection that is open during a fork must not be used or closed in the child, and even
its presence makes the child's locks unsafe. So `LeasedQueue.before_fork` closes connections, and
the child of a fork that bypassed it does not open the file at all (`_connections`).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from whisperr._platform import get_disk_space, get_user_id
from whisperr._process.identity import get_process
from whisperr._process.mutex import Mutex
from whisperr._queue.store import NO_DIRECTORY
from whisperr.errors import StoreError

from .rows import TABLES, fetch_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# Seconds that SQLite waits at most for another process's lock, also within `track()`.
_BUSY_TIMEOUT = 0.25
APPLICATION_ID = 0x77687370  # "whsp"
_OWNER_ONLY = 0o600
_FOR_OTHERS = 0o077
# The header of a database: its first bytes, and the offset of the application id.
_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_ID_AT = 68
SCHEMA_VERSION = 1
NO_SPACE = "almost no space is left on its volume"
_FOREIGN = "a SQLite database of another program; name another file"
# Space that is kept free on the volume so that events can be removed: SQLite's write-ahead log
# (4 MiB), as much for the growth of the file when the log is copied, and as much again.
_RESERVE_BYTES = 12 << 20
_RESERVE_SHARE = 8  # but at most an eighth of a small volume
_PAGE_BYTES = 4096
_LOG_PAGES = 1_000
_FEWEST_LOG_PAGES = 16
_MOST_FREE_PAGES = 256  # in a file without events

# Open connections by file, including those inherited from parent processes.
_connections: dict[tuple[int, int], WeakSet[OpenFile]] = {}
# Closing any descriptor of a file ends all locks that the process holds on it. So a file is opened
# for checking only while this process has no connection to it.
_opening = Mutex()


class OpenFile:
    """One open connection, and the file that it belongs to."""

    def __init__(self, path: str, db: sqlite3.Connection, identity: tuple[int, int]) -> None:
        self.db = db
        self.process = get_process()
        self._path = path
        self._identity = identity
        _connections.setdefault(identity, WeakSet()).add(self)

    def is_current(self) -> bool:
        """Return whether the path still leads to this file, which may be moved or deleted."""
        return _get_identity(self._path) == self._identity

    def close(self) -> None:
        self.db.close()
        _connections[self._identity].discard(self)


def open_file(path: str, synchronous: str) -> OpenFile:
    """Open the file; create or migrate it if needed. Raise StoreError or sqlite3.Error."""
    opened = _opening.run(lambda: _open(path, synchronous), None, _BUSY_TIMEOUT)
    if opened is None:
        raise StoreError(f"{path}: another call is opening a file")
    return opened


def _open(path: str, synchronous: str) -> OpenFile:
    real = os.path.realpath(path)  # SQLite keeps its other files beside it
    _make(path, real)
    found = _check_kind(path, real)
    identity = found.st_dev, found.st_ino
    known = _connections.get(identity, ())
    if any(one.process != get_process() for one in known):
        raise StoreError(
            f"{path}: it was open when this process was forked, without Python's fork hooks; "
            "create the client, or track the first event, after the fork"
        )
    if found.st_size and not known:
        _check_content(path, real)
    for end in ("", "-wal", "-shm"):
        _check_owner(path + end, real + end)
    db = sqlite3.connect(real, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        db.text_factory = bytes  # text is not decoded: it may be damaged
        _prepare(path, real, db, synchronous)
        return OpenFile(path, db, identity)
    except BaseException:
        db.close()
        raise


def _make(path: str, real: str) -> None:
    """Create a missing file with its mode before SQLite does: -wal and -shm inherit the mode."""
    try:
        os.close(os.open(real, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))
    except FileExistsError:
        return
    except FileNotFoundError as error:
        raise StoreError(f"{path}: {NO_DIRECTORY}") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _check_kind(path: str, real: str) -> os.stat_result:
    """Return the status of the path; raise StoreError unless it is a regular file."""
    try:
        found = os.stat(real)  # noqa: PTH116  # as below
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path}: not a file; name another one")
    return found


def _check_owner(path: str, real: str) -> None:
    """Raise StoreError unless this process's user owns the file, and no one else can access it.

    Not on Windows, which has no such modes.
    """
    user = get_user_id()
    if user is None:
        return
    try:
        found = os.stat(real)  # noqa: PTH116  # as below
    except OSError:  # the file beside it need not exist
        return
    if found.st_uid != user:
        raise StoreError(
            f"{path}: it belongs to the user with id {found.st_uid}, and this process runs as "
            f"{user}; change its owner (chown {user}), or create the client after the process has "
            "changed its user"
        )
    if found.st_mode & _FOR_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise StoreError(
            f"{path}: users other than its owner can access it (mode {mode:04o}); run chmod 600"
        )


def _check_content(path: str, real: str) -> None:
    """Raise StoreError unless a non-empty file is ours; only read it."""
    try:
        descriptor = os.open(real, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            header = os.read(descriptor, _HEADER_BYTES)
        finally:
            os.close(descriptor)
    except PermissionError:
        _check_owner(path, real)  # its error says more
        raise StoreError(f"{path}: it cannot be read; run chmod 600") from None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise StoreError(
            f"{path}: not a SQLite database, so not written by this package, and left unchanged; "
            "name another file, or move this one away if it is damaged"
        )
    application = int.from_bytes(header[_ID_AT : _ID_AT + 4], "big")
    # Without an id it may still be ours: a former version wrote the id into SQLite's log (-wal)
    # first.
    if application != APPLICATION_ID and (application or not _is_ours_or_empty(real)):
        raise StoreError(f"{path}: {_FOREIGN}")


def _is_ours_or_empty(real: str) -> bool:
    db = sqlite3.connect(f"{Path(real).as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)
    try:
        ours: bool = fetch_all(db, "PRAGMA application_id")[0][0] == APPLICATION_ID
        return ours or not fetch_all(db, "SELECT 1 FROM sqlite_master LIMIT 1")
    finally:
        db.close()


def _prepare(path: str, real: str, db: sqlite3.Connection, synchronous: str) -> None:
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA fullfsync = ON")  # on macOS, so that the cache of the drive is written, too
    version: int = fetch_all(db, "PRAGMA user_version")[0][0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written by a newer whisperr (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade this process, or name another file"
        )
    # In this order, because another process may write the id and the tables in between.
    tables = {name for (name,) in fetch_all(db, "SELECT name FROM sqlite_master")}
    application: int = fetch_all(db, "PRAGMA application_id")[0][0]
    if application != APPLICATION_ID and tables:
        raise StoreError(f"{path}: {_FOREIGN}")
    if version < SCHEMA_VERSION:
        if application != APPLICATION_ID:  # written to the file itself, before there is a log
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        fetch_all(db, "PRAGMA journal_mode = WAL")
    if version < SCHEMA_VERSION or not TABLES.keys() <= tables:  # another program may drop some
        write(db, _make_tables)
    pages = _get_log_pages(real)
    fetch_all(db, f"PRAGMA wal_autocheckpoint = {pages}")
    # Some builds of SQLite overwrite deleted content with zeros, which doubles the log and needs
    # room on a full volume. FAST does so only if that causes no further writes.
    db.execute("PRAGMA secure_delete = FAST")
    fetch_all(db, f"PRAGMA journal_size_limit = {pages * _PAGE_BYTES}")


def _make_tables(db: sqlite3.Connection) -> None:
    for statement in TABLES.values():
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def write(db: sqlite3.Connection, act: Callable[[sqlite3.Connection], T]) -> T:
    """Call `act` in a transaction, which is rolled back if it fails."""
    try:
        db.execute("BEGIN IMMEDIATE")
        result = act(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def has_room(path: str, db: sqlite3.Connection) -> bool:
    """Return whether there is room for more events, and for removing them again."""
    free, reserve = get_space(path)
    return free >= reserve or free + _get_free_pages(db) * _PAGE_BYTES >= 2 * reserve


def shrink(db: sqlite3.Connection) -> None:
    """Shrink a file that was large and is empty now, unless another process uses it."""
    try:
        if _get_free_pages(db) > _MOST_FREE_PAGES:
            db.execute("VACUUM")
            make_room(db)
    except sqlite3.Error:  # another process uses the file
        return


def _get_free_pages(db: sqlite3.Connection) -> int:
    pages: int = fetch_all(db, "PRAGMA freelist_count")[0][0]
    return pages


def _get_log_pages(path: str) -> int:
    """Return after how many pages SQLite's log is copied into the file; fewer on a small volume."""
    _, reserve = get_space(path)
    return min(max(reserve // 3 // _PAGE_BYTES, _FEWEST_LOG_PAGES), _LOG_PAGES)


def get_space(path: str) -> tuple[int, int]:
    """Return how many bytes of the volume are free, and how many are reserved."""
    try:
        total, free = get_disk_space(path)
    except OSError:
        return _RESERVE_BYTES, _RESERVE_BYTES
    if not total:  # some file systems report 0
        return _RESERVE_BYTES, _RESERVE_BYTES
    return free, min(_RESERVE_BYTES, total // _RESERVE_SHARE)


def make_room(db: sqlite3.Connection) -> None:
    """Copy SQLite's log into the file and truncate it, unless another process prevents that."""
    try:
        fetch_all(db, "PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        return


def is_full(error: sqlite3.Error, path: str) -> bool:
    """Return whether the error means that the volume is full.

    On a full volume, SQLite also fails to enlarge the index of its log, which it maps into memory.
    It calls that an I/O error.
    """
    text = str(error)
    if "disk I/O error" in text:
        free, reserve = get_space(path)
        return free < reserve
    return "is full" in text


def is_corrupt(error: sqlite3.Error) -> bool:
    """Return whether the error means a corrupt file, by its text: Python 3.10 has no codes.

    Tables with other columns than ours are as useless as a corrupt file.
    """
    text = str(error)
    broken = ("malformed", "not a database", "no such column", "has no column", "were supplied")
    return any(part in text for part in broken)


def set_aside(path: str, current: OpenFile | None) -> str:
    """Rename a corrupt file, unless another process has done so; return the end of a report."""
    if current is not None and not current.is_current():
        return ""
    real = os.path.realpath(path)
    target = f"{real}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    try:
        for end in ("", "-wal", "-shm"):
            if Path(real + end).exists():
                Path(real + end).rename(target + end)
    except OSError as error:
        return f"; it could not be set aside: {error.strerror}"
    return f"; set aside as {target}"


def _get_identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # called for every event: `Path` would cost more
    except OSError:
        return None
    return found.st_dev, found.st_ino
