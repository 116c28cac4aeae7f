"""Checks the logs of a store, also while processes write to them.

Invariant: files are only read; nothing is created, deleted, moved or kept locked. To find out
whether a process holds a file, its lock is tried for an instant, and only after the header is
written: a process that has just created the file never waits for the check. A process that looks
for logs to adopt in that instant finds the file locked, and adopts it the next time.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr._platform import get_user_id
from whisperr._process.interruption import is_interruption
from whisperr._queue.log.file import HEADER_BYTES, LogFile, Name, parse_header, parse_name
from whisperr._queue.log.left import Reader
from whisperr._queue.log.lock import is_locked
from whisperr._queue.memory import get_size

from .backlog import LogContent, get_age
from .findings import Finding, find, get_user, to_count, to_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FOR_OWNER = 0o700
_OTHERS_WRITE = 0o022
_OWNER_ONLY = 0o600
# How many of the oldest events are searched for a time, since an identify has none.
_LOOKED_AT = 100
# A header is read until two reads agree, because its process may be writing it.
_TRIES = 5
_MOST_EVENTS = 1 << 20  # more than there are in what a reader reads at once


def inspect_log(path: str, owner: str, most_bytes: int) -> tuple[Finding, Sequence[LogContent]]:
    """Return the finding about a directory of logs, and the waiting events of one store in it.

    `owner` is the name of the store, `most_bytes` the limit of the log of one process.
    """
    folder = Path(path)
    try:
        place = _inspect_directory(folder)
        if place.hint and place.state == "wrong":
            return place, _read_anyway(folder, owner)
        room = _inspect_room(folder, most_bytes)
        troubles: list[Finding] = []
        logs = list(_read_all(folder, owner, troubles))
    except OSError as error:
        if is_interruption(error):
            raise
        text = f"{path}: {error.strerror}"
        return find("log_closed", text, folder=folder.parent, user=get_user()), ()
    troubles.sort(key=lambda one: one.state != "wrong")  # what is wrong before what is doubtful
    return [*troubles, room or place, place][0], logs


def _inspect_directory(folder: Path) -> Finding:
    """Return the finding about a directory, by the rules of `_queue.log.file.check_directory`."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return _inspect_parent(folder)
    if not stat.S_ISDIR(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "not a directory"
        return find("log_foreign", f"{folder}: {kind}")
    user = get_user_id()
    if user is None:
        return Finding("log", "ok", f"the directory {folder}")
    return _inspect_access(folder, status, user)


def _inspect_access(folder: Path, status: os.stat_result, user: int) -> Finding:
    values = {"folder": folder, "user": get_user()}
    mode, is_own = stat.S_IMODE(status.st_mode), status.st_uid == user
    owner = f"{folder} belongs to the user with id {status.st_uid}; this is {get_user()}"
    if not is_own and user:
        return find("log_of_others", owner, **values)
    if mode & _OTHERS_WRITE:
        return find(
            "log_mode", f"{folder}: other users can write to it (mode {mode:04o})", **values
        )
    if mode & _FOR_OWNER != _FOR_OWNER:
        text = f"{folder}: its owner cannot use it (mode {mode:04o})"
        return find("log_mode", text, **values)
    if not is_own:
        return find("log_of_root", owner, owner=status.st_uid)
    return Finding("log", "ok", f"the directory {folder}, mode {mode:04o}")


def _inspect_parent(folder: Path) -> Finding:
    values = {"folder": folder.parent, "user": get_user()}
    if not folder.parent.is_dir():
        return find("log_no_parent", f"{folder}: there is no directory {folder.parent}", **values)
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        return find("log_closed", f"{folder}: this user cannot write to {folder.parent}", **values)
    return Finding(
        "log", "ok", f"the directory {folder} does not exist yet; the first event creates it"
    )


def _inspect_room(folder: Path, most_bytes: int) -> Finding | None:
    parent = folder if folder.exists() else folder.parent
    free = shutil.disk_usage(parent).free
    if free >= most_bytes:
        return None
    text = f"{to_size(free)} free for {folder}; a log may use {to_size(most_bytes)}"
    return find("log_no_room", text, folder=parent)


def _read_anyway(folder: Path, owner: str) -> Sequence[LogContent]:
    """Return the waiting events of a directory that processes refuse to use, if it is readable."""
    try:
        return list(_read_all(folder, owner, [])) if not folder.is_symlink() else ()
    except OSError as error:
        if is_interruption(error):
            raise
        return ()


def _read_all(folder: Path, owner: str, troubles: list[Finding]) -> Iterator[LogContent]:
    """Yield the waiting events of each log of a store; add problems with files to `troubles`."""
    try:
        paths = sorted(folder.iterdir())
        expected = folder.stat().st_uid
    except FileNotFoundError:
        return
    for path in paths:
        name = parse_name(path.name)
        if name is None or name.owner != owner:
            continue
        try:
            found = _read(path, name, expected)
        except FileNotFoundError:
            continue  # its process has deleted it, with nothing left in it
        except OSError as error:
            if is_interruption(error):
                raise
            found = _find_closed(path, error.strerror or "cannot be read")
        if isinstance(found, Finding):
            troubles.append(found)
        elif found is not None:
            content, rejected = found
            if rejected:
                lines = f"{to_count(rejected, 'line')} of {path}"
                no_events = "are not events" if rejected > 1 else "is not an event"
                troubles.append(find("log_damaged", f"{lines} {no_events}", file=path))
            yield content


def _find_closed(path: Path, reason: str) -> Finding:
    return find("log_file_closed", f"{path}: {reason}", file=path, user=get_user())


def _read(path: Path, name: Name, expected: int) -> Finding | tuple[LogContent, int] | None:
    """Return the waiting events of a file and the number of other lines; None without a header.

    A process is about to write the header, or was killed before that. Raises OSError.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        return find("log_file_foreign", f"{path} is not a regular file", file=path)
    file = LogFile(str(path), 0, 0, 0)
    try:
        descriptor = file.open(os.O_RDONLY)
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        user = get_user_id()
        if user is not None and status.st_uid != expected:
            return _find_closed(path, f"belongs to the user with id {status.st_uid}")
        if user is not None and mode & _OWNER_ONLY != _OWNER_ONLY:
            return _find_closed(path, f"its owner cannot read and write it (mode {mode:04o})")
        header = _read_header(descriptor)
        parsed = parse_header(header)
        if parsed is None:
            text = f"{path}: not written by this package, or by another version of it"
            return find("log_file_foreign", text, file=path)
        if len(header) < HEADER_BYTES:
            return None
        is_running = is_locked(descriptor)
        return _read_lines(Reader(descriptor, parsed), name.source, is_running=is_running)
    finally:
        file.close()


def _read_header(file: int) -> bytes:
    header, again = b"", None
    for _ in range(_TRIES):
        os.lseek(file, 0, os.SEEK_SET)
        header, again = os.read(file, HEADER_BYTES), header
        if header == again:
            break
    return header


def _read_lines(reader: Reader, log: int, *, is_running: bool) -> tuple[LogContent, int]:
    # The source in the header is that of the first line, unless the header is damaged.
    source, first = reader.first[0], None
    sizes: list[int] = []
    age, now, looked_at = None, time.time(), 0
    while events := reader.read(_MOST_EVENTS):
        if first is None:
            first = reader.index
        for data in events[: max(_LOOKED_AT - looked_at, 0)]:
            age = get_age(data, now) if age is None else age
        looked_at += len(events)
        sizes += [get_size((data,)) for data in events]
        reader.skip(events)
    return LogContent(log, is_running, source, first or 0, sizes, age), reader.rejected
