"""Logs whose processes have ended: found, locked, and read to their ends, one file after the other.

Of each log only the oldest file is taken, and it is deleted when all of it has left. So the events
of one process stay in their order, although several processes may look for logs at once.

What is read comes from a disk and may be anything. A line that is not one whole event is skipped
and counted. The end of a file that is no whole line was being written when its process was killed:
no call had returned for it, and it is not counted.
"""

from __future__ import annotations

import os
import stat
from json import loads
from typing import TYPE_CHECKING

from whisperr._foreign import printable
from whisperr._platform import get_user_id
from whisperr._process.logger import log
from whisperr.errors import StoreError

from .file import (
    HEADER_BYTES,
    Header,
    LogFile,
    Name,
    check_directory,
    get_new_source,
    parse_header,
    parse_name,
)
from .lock import try_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

# What is read at once, and so the most that `claim` returns, unless one line alone is larger.
_CHUNK_BYTES = 1 << 20
# What is longer than this without the end of a line is no event.
_LONGEST_LINE = 32 << 20
_LONGEST_PATH = 300

# Files that look like ours by their names only: reported once a process.
_reported: set[str] = set()


class LeftLogs:
    """The logs of a store whose processes have ended."""

    def __init__(self, directory: str, owner: str) -> None:
        """No I/O. `owner` names the store, as in `Log`."""
        self._directory = directory
        self._owner = owner

    def adopt(self) -> LeftLog | None:
        """Return a file of a log that no process holds, locked by this one; None without any.

        Something waits in it. Raises StoreError when the directory cannot be used.
        """
        tried = set[int]()
        for name in self._list():
            if name.source in tried:
                continue
            tried.add(name.source)
            path = os.path.join(self._directory, str(name))  # noqa: PTH118  # as in `file`
            left = _open(path)
            if left is None:
                continue
            if left.has_waiting():
                return left
            left.close()
            if not left.is_there():
                tried.discard(name.source)  # the next file is the oldest now
        return None

    def is_any_there(self) -> bool:
        """Return whether there is a log, also one that a process holds. Raises StoreError."""
        return bool(self._list())

    def _list(self) -> Sequence[Name]:
        """Return the names of the logs of this store, the oldest files first."""
        try:
            check_directory(self._directory)
            entries = os.listdir(self._directory)  # noqa: PTH208  # as in `file`
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"{self._directory}: {error.strerror}") from error
        names = [parse_name(one) for one in entries]
        ours = [one for one in names if one is not None and one.owner == self._owner]
        return sorted(ours, key=lambda one: (one.number, one.source))


class LeftLog:
    """One file that was left. For one thread at a time.

    `source` and the indices are those that its process gave the events.
    """

    def __init__(self, file: LogFile, header: Header) -> None:
        """Use `has_waiting` first."""
        self._file = file
        self._reader = Reader(file.descriptors[0], header)
        file.set_first(*self._reader.first)
        self._group: list[bytes] = []

    def __del__(self) -> None:
        """Release the lock of a file that an interrupted call has adopted for no caller."""
        try:
            self._file.close_in_child()
        except AttributeError:
            return  # interrupted before it had one

    @property
    def source(self) -> int:
        """The number of the log."""
        return self._file.source

    def has_waiting(self) -> bool:
        """Return whether there is an event that has not left. Raises StoreError."""
        return bool(self.claim(1)[1])

    def claim(self, max_events: int) -> tuple[int, list[bytes]]:
        """Return the index of the first, and the oldest events that wait: a run of indices.

        They stay until `ack`: a second call returns them again. Raises StoreError.
        """
        try:
            self._group = self._reader.read(max_events)
            self._keep_progress()
        except OSError as error:
            raise StoreError(f"{self._file.path}: {error.strerror or error}") from error
        return self._reader.index, self._group.copy()

    def ack(self, count: int) -> None:
        """Forget the first `count` claimed events, and record that in the file."""
        left, rest = self._group[:count], self._group[count:]
        self._reader.skip(left)
        self._group = rest
        self._keep_progress()

    def take_rejected(self) -> int:
        """Return how many lines were skipped since the last call."""
        count, self._reader.rejected = self._reader.rejected, 0
        return count

    def close(self) -> None:
        """Delete the file when nothing is left in it, else let the next process have it."""
        if not self._file.descriptors:
            return
        try:
            ended = not self._reader.read(1)
        except OSError:
            ended = False
        if ended:
            self._file.delete()
        else:
            self._file.close()

    def close_in_child(self) -> None:
        """In a forked child: close the descriptor only."""
        self._file.close_in_child()

    def is_there(self) -> bool:
        """Return whether there is still a file of this name."""
        return os.path.lexists(self._file.path)

    def _keep_progress(self) -> None:
        reader = self._reader
        try:
            self._file.write_progress(reader.offset, reader.index)
        except OSError:
            return  # after a crash some events arrive twice


class Reader:
    """Reads the lines of a file. `offset` and `index`: of the oldest that waits."""

    def __init__(self, file: int, header: Header) -> None:
        """`first`: source and index of the first line, as far as the header can be trusted."""
        self._file = file
        self.rejected = 0
        self._in_damage = False
        self.offset, self.index = header.offset, header.oldest
        self.first = header.source, header.first
        size = os.fstat(file).st_size - HEADER_BYTES
        if header.offset > size:  # all that there was has left, and the file was emptied
            self.offset, self.first = 0, (header.source, header.oldest)
        elif header.offset and self._read_at(header.offset - 1, 1) != b"\n":
            self.offset = self.index = 0
            self.first = get_new_source(), 0

    def read(self, most: int) -> list[bytes]:
        """Return the events from `offset` on, up to the first line that is none.

        Lines before them that are none are passed over. Raises OSError.
        """
        events: list[bytes] = []
        size = _CHUNK_BYTES
        while not events:
            data = self._read_at(self.offset, size)
            end = data.rfind(b"\n")
            if end >= 0:
                size = _CHUNK_BYTES
                events = self._select(data[:end].split(b"\n"), most)
            elif len(data) < size:
                break  # no whole line is left
            elif size < _LONGEST_LINE:
                size *= 2
            else:
                self.offset += len(data)
                self._in_damage = True
        return events

    def skip(self, events: Sequence[bytes]) -> None:
        """Go on behind these."""
        self.offset += sum(map(len, events)) + len(events)
        self.index += len(events)

    def _select(self, lines: Sequence[bytes], most: int) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if len(events) >= most:
                break
            if not self._in_damage and _is_event(line):
                events.append(line)
            elif events:
                break
            else:
                self.skip((line,))
                self.rejected += 1
                self._in_damage = False
        return events

    def _read_at(self, offset: int, size: int) -> bytes:
        os.lseek(self._file, HEADER_BYTES + offset, os.SEEK_SET)
        parts = []
        while size > 0 and (part := os.read(self._file, size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _is_event(line: bytes) -> bool:
    """Return whether a line can be sent: anything else would spoil the batch that it is in."""
    try:
        value = loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("external_user_id"), str)


def _open(path: str) -> LeftLog | None:
    """Return the file, locked; None when a process has it, or when it is not for this one."""
    file = LogFile(path, 0, 0, 0)
    left = None
    try:
        left = _lock_and_read(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        _report(path, error.strerror or str(error))
    finally:
        if left is None:
            file.close_in_child()
    return left


def _lock_and_read(file: LogFile) -> LeftLog | None:
    descriptor = file.open()
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        _report(file.path, "not a regular file")
        return None
    if get_user_id() not in {None, found.st_uid}:
        _report(file.path, f"it belongs to the user with id {found.st_uid}")
        return None
    if not try_lock(descriptor) or not file.is_there():
        return None
    header = os.read(descriptor, HEADER_BYTES)
    if not header:
        # Its process is about to write the header, or was killed before that. In the first case it
        # notices that the file is gone, and makes another one.
        file.delete()
        return None
    parsed = parse_header(header)
    if parsed is None:
        _report(file.path, "not written by this package, or by another version of it")
        return None
    return LeftLog(file, parsed)


def _report(path: str, reason: str) -> None:
    if path in _reported:
        return
    _reported.add(path)
    log(
        "warning",
        "%s is left as it is, with all events in it: %s; look at it, and move it away",
        printable(path, _LONGEST_PATH),
        printable(reason, _LONGEST_PATH),
    )
