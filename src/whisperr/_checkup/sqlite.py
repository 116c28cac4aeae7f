"""Checks the file of the SQLite store without changing it, also while applications use it.

Invariant: nothing is written, created, renamed, or locked for longer than a read. A file that no
process has open is read as immutable, so that SQLite creates no files beside it. A file in use is
read in a transaction of a read-only connection, for which no writer waits. Only SQLite opens the
file: closing another descriptor of it would release the locks of this process.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr._platform import get_user_id
from whisperr._process.interruption import is_interruption
from whisperr._queue.sqlite import file
from whisperr._queue.sqlite.dead_letters import count_dead_letters
from whisperr._queue.sqlite.rows import LAST, count, fetch_all, get_known, read_state

from .backlog import NOTHING, Backlog, add_logs, get_age, inspect_backlog, inspect_dead_letters
from .findings import Finding, find, get_user, to_count, to_size
from .log import inspect_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr._options import Config
    from whisperr.buffers import SQLiteBuffer

    from .backlog import LogContent

    Content = tuple[Backlog, int, dict[str, int] | None]

_BUSY_TIMEOUT = 1.0
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_IN_HEADER = (60, 68)  # where its version and its application id stand
_FOR_OTHERS = 0o077
# How many of the oldest events are searched for a time, since an identify has none.
_LOOKED_AT = 100
_HEAD_BYTES = 2_000  # of each; its time stands behind its type and its user
_OLDEST = "SELECT substr(data, 1, ?) FROM event WHERE position > 0 ORDER BY position LIMIT ?"
_NO_TOKEN = -1  # of no process
_STORE = "the file"


def inspect_sqlite(buffer: SQLiteBuffer, config: Config) -> Iterator[Finding]:
    """Yield the findings about the file of a buffer."""
    real = Path(os.path.realpath(buffer.path))  # beside which SQLite keeps its other files
    try:
        place = _inspect_directory(buffer.path, real) or _inspect_file(buffer.path, real)
        exists = real.exists()
    except OSError as error:  # such as a directory that may not be entered
        if is_interruption(error):
            raise
        place = find("file_unusable", f"{buffer.path}: {error.strerror}")
    yield place
    if place.state == "wrong":
        return
    yield _inspect_space(real.parent)
    # Before the file: events that move meanwhile are seen in both, and `_read` counts them once.
    log, logs = inspect_log(buffer.log, buffer.log_owner, config.max_queue_bytes)
    yield log
    if exists:
        yield from _inspect_content(real, buffer, config, logs)
    elif logs:
        yield inspect_backlog(add_logs(NOTHING, _STORE, logs), config)


def _inspect_directory(path: str, real: Path) -> Finding | None:
    folder = real.parent
    values = {"folder": folder, "user": get_user()}
    if not folder.is_dir():
        return find("folder_missing", f"{path}: there is no directory {folder}", **values)
    if not os.access(folder, os.W_OK | os.X_OK):
        return find("folder_closed", f"{path}: this user cannot write to {folder}", **values)
    return None


def _inspect_file(path: str, real: Path) -> Finding:
    try:
        status = real.stat()
    except FileNotFoundError:
        return Finding(
            "buffer", "ok", f"the file {path} does not exist yet; the first event creates it"
        )
    if not stat.S_ISREG(status.st_mode):
        return find("file_foreign", f"{path} is not a regular file")
    access = _inspect_access(real)
    if access is not None and access.state == "wrong":
        return access
    try:
        trouble = _identify(path, real) if status.st_size else None
    except sqlite3.Error as error:
        return _to_trouble(path, error)
    return trouble or access or Finding("buffer", "ok", f"the file {path}{_get_mode(status)}")


def _inspect_access(real: Path) -> Finding | None:
    """Return the problem with the owner or mode of the file or those beside it; None if fine."""
    as_root = None
    beside = [real, *(Path(f"{real}{end}") for end in ("-wal", "-shm"))]
    user = get_user_id()
    for one in [one for one in beside if one.exists()] if user is not None else ():
        status = one.stat()
        if status.st_mode & _FOR_OTHERS:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            return find("file_mode", f"{one}: other users can access it (mode {mode})", file=one)
        if status.st_uid != user:
            text = f"{one} belongs to the user with id {status.st_uid}; this is {get_user()}"
            if user:
                return find("file_of_others", text, file=one, user=get_user())
            as_root = find("file_of_root", text, owner=status.st_uid)
    if not os.access(real, os.R_OK | os.W_OK):
        return find("file_mode", f"{real}: this user cannot read and write it", file=real)
    return as_root


def _get_mode(status: os.stat_result) -> str:
    return f", mode {stat.S_IMODE(status.st_mode):04o}" if get_user_id() is not None else ""


def _identify(path: str, real: Path) -> Finding | None:
    """Return the finding about a file that is not ours; None if it is. Reads no WAL of SQLite.

    The header of a database tells. SQLite itself would report damage while an application copies
    the WAL into the file.
    """
    with real.open("rb") as opened:
        header = opened.read(_HEADER_BYTES)
    version, application = (int.from_bytes(header[at : at + 4], "big") for at in _IN_HEADER)
    if not header.startswith(_MAGIC):
        _has_any_table(real)  # raises: SQLite reports that it is not a database
    elif application != file.APPLICATION_ID:
        # Without an id it is ours if it has no tables: both are in the WAL then.
        if application or _has_any_table(real):
            return find("file_foreign", f"{path} is the database of another program")
    elif version > file.SCHEMA_VERSION:
        known = f"schema {version}, this one knows {file.SCHEMA_VERSION}"
        return find("file_newer", f"{path}: written by a newer whisperr ({known})")
    return None


def _has_any_table(real: Path) -> bool:
    """Return whether the file has tables. Raises sqlite3.Error if it is not a database."""
    with closing(_connect(real, immutable=True)) as db:
        return bool(fetch_all(db, "SELECT 1 FROM sqlite_master LIMIT 1"))


def _connect(real: Path, *, immutable: bool) -> sqlite3.Connection:
    uri = f"{real.as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    db = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None)
    db.text_factory = bytes  # text is not decoded: it may be damaged
    return db


def _inspect_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    _, reserve = file.get_space(str(folder))
    text = f"{to_size(free)} free on the volume of {folder}"
    if free < reserve:
        return find(
            "disk_full", f"{text}; the buffer leaves {to_size(reserve)} free", folder=folder
        )
    return Finding("space", "ok", text)


def _inspect_content(
    real: Path, buffer: SQLiteBuffer, config: Config, logs: Sequence[LogContent]
) -> Iterator[Finding]:
    try:
        backlog, rejected, dead = _read(real, logs)
    except sqlite3.Error as error:
        yield _to_trouble(str(real), error)._replace(name="backlog")
        return
    yield inspect_backlog(backlog, config)
    yield from _inspect_set_aside(real, rejected)
    if dead is not None or buffer.dead_letters:
        yield inspect_dead_letters(sum((dead or {}).values()), dead)


def _read(real: Path, logs: Sequence[LogContent]) -> Content:
    """Return the waiting events, the number of rows set aside, and the dead letters by reason."""
    log = Path(f"{real}-wal")  # which is there while a process has the file open
    if not log.exists():
        try:
            return _read_through(_connect(real, immutable=True), logs)
        except sqlite3.Error:
            if not log.exists():
                raise
    return _read_through(_connect(real, immutable=False), logs)


def _read_through(db: sqlite3.Connection, logs: Sequence[LogContent]) -> Content:
    with closing(db):
        db.execute("BEGIN")  # all is read as it is at one moment
        backlog = add_logs(_read_backlog(db), _STORE, [_drop_known(db, one) for one in logs])
        return backlog, _count_rejected(db), count_dead_letters(db)


def _read_backlog(db: sqlite3.Connection) -> Backlog:
    if not _has_tables(db, b"event", b"state"):  # the next use makes them
        return NOTHING
    now, state = time.time(), read_state(db)
    events, size = count(db, 0, LAST) if state is None else (state.rows, state.bytes)
    is_claimed = state is not None and state.seconds_left(_NO_TOKEN, now) > 0
    rows = fetch_all(db, _OLDEST, (_HEAD_BYTES, _LOOKED_AT))
    age = next((age for (data,) in rows if (age := get_age(data, now)) is not None), None)
    return Backlog(events, size, age, "happened", is_claimed=is_claimed)


def _drop_known(db: sqlite3.Connection, log: LogContent) -> LogContent:
    """Return the log without events that the file has too, since a process was moving them."""
    if not _has_tables(db, b"source"):
        return log
    known, _ = get_known(db, log.source, log.first, len(log.sizes))
    return log._replace(sizes=log.sizes[known:])


def _has_tables(db: sqlite3.Connection, *names: bytes) -> bool:
    return {*names} <= {name for (name,) in fetch_all(db, "SELECT name FROM sqlite_master")}


def _count_rejected(db: sqlite3.Connection) -> int:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'rejected'"
    if not fetch_all(db, query):
        return 0
    ((rows,),) = fetch_all(db, "SELECT count(*) FROM rejected")
    return int(rows)


def _inspect_set_aside(real: Path, rejected: int) -> Iterator[Finding]:
    aside = sorted(
        one for one in real.parent.glob("*.corrupt-*") if one.name.startswith(f"{real.name}.corr")
    )
    aside = [one for one in aside if not one.name.endswith(("-wal", "-shm"))]
    if rejected:
        command = f"sqlite3 -readonly {real} .dump rejected"
        text = f"{to_count(rejected, 'row')} in the table rejected"
        yield find("set_aside", text, store=real, command=command)
    if aside:
        text = f"{to_count(len(aside), 'damaged file')} beside it, the newest {aside[-1].name}"
        yield find("file_set_aside", text, file=aside[-1])
    if not rejected and not aside:
        yield Finding("set aside", "ok", "nothing")


def _to_trouble(path: str, error: sqlite3.Error) -> Finding:
    if file.is_corrupt(error):
        if "not a database" in str(error):
            return find("file_foreign", f"{path} is not an SQLite database")
        return find("file_damaged", f"{path}: {error}")
    if "locked" in str(error) or "busy" in str(error):
        return find("file_busy", f"{path}: {error}")
    return find("file_unusable", f"{path}: {error}")
