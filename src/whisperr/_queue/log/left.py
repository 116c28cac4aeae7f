"""Finds, locks and reads the logs whose processes have ended, one file after the other.

Only the oldest file of each log is taken, and it is deleted when all its lines are done. So the
events of one process keep their order although several processes may look for logs at once.

The content of a file may be anything. A line that is not one whole event is skipped and counted. If
a file ends with an incomplete line, its process was killed while it wrote that line. No call had
returned for it, so it is not counted.
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

# How much is read at once. `claim` returns no more, unless a single line is larger.
_CHUNK_BYTES = 1 << 20
# A longer run of bytes without a line end is not an event.
_LONGEST_LINE = 32 << 20
_LONGEST_PATH = 300

# Files that were reported, once per process, because only their names look like ours.
_reported: set[str] = set()


class LeftLogs:
    """The logs of a store whose processes have ended."""

    def __init__(self, directory: str, owner: str) -> None:
        """No I/O. `owner` names the store, as in `Log`."""
        self._directory = directory
        self._owner = owner

    def adopt(self) -> LeftLog | None:
        """Lock and return a file in which events wait and that no process holds; None without one.

        Raises StoreError if the directory cannot be used.
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
        """Return whether there is a log, even one that a process holds. Raises StoreError."""
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
    """A file that an ended process left, for one thread at a time.

    `source` and the indices are those that the process gave its events.
    """

    def __init__(self, file: LogFile, header: Header) -> None:
        """Call `has_waiting` first."""
        self._file = file
        self._reader = Reader(file.descriptors[0], header)
        file.set_first(*self._reader.first)
        self._group: list[bytes] = []

    def __del__(self) -> None:
        """Release the lock of a file that an interrupted call locked but did not return."""
        try:
            self._file.close_in_child()
        except AttributeError:
            return  # interrupted before it had one

    @property
    def source(self) -> int:
        """The number of the log."""
        return self._file.source

    def has_waiting(self) -> bool:
        """Return whether an event waits. Raises StoreError."""
        return bool(self.claim(1)[1])

    def claim(self, max_events: int) -> tuple[int, list[bytes]]:
        """Return the oldest waiting events, whose indices follow each other, and the first index.

        They stay until `ack`, so a second call returns them again. Raises StoreError.
        """
        try:
            self._group = self._reader.read(max_events)
            self._keep_progress()
        except OSError as error:
            raise StoreError(f"{self._file.path}: {error.strerror or error}") from error
        return self._reader.index, self._group.copy()

    def ack(self, count: int) -> None:
        """Forget the first `count` claimed events and record that in the file."""
        left, rest = self._group[:count], self._group[count:]
        self._reader.skip(left)
        self._group = rest
        self._keep_progress()

    def take_rejected(self) -> int:
        """Return how many lines were skipped since the last call of this."""
        count, self._reader.rejected = self._reader.rejected, 0
        return count

    def close(self) -> None:
        """Delete the file if nothing is left in it; otherwise leave it to the next process."""
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
        """In a forked child: close the file without releasing the lock."""
        self._file.close_in_child()

    def is_there(self) -> bool:
        """Return whether a file of this name still exists."""
        return os.path.lexists(self._file.path)

    def _keep_progress(self) -> None:
        reader = self._reader
        try:
            self._file.write_progress(reader.offset, reader.index)
        except OSError:
            return  # after a crash some events arrive twice


class Reader:
    """Reads the lines of a file. `offset` and `index` are those of the oldest waiting line."""

    def __init__(self, file: int, header: Header) -> None:
        """`first` is the source and index of the first line, as far as the header is right."""
        self._file = file
        self.rejected = 0
        self._in_damage = False
        self.offset, self.index = header.offset, header.oldest
        self.first = header.source, header.first
        size = os.fstat(file).st_size - HEADER_BYTES
        if header.offset > size:  # all lines were done, and the file was emptied
            self.offset, self.first = 0, (header.source, header.oldest)
        elif header.offset and self._read_at(header.offset - 1, 1) != b"\n":
            self.offset = self.index = 0
            self.first = get_new_source(), 0

    def read(self, most: int) -> list[bytes]:
        """Return the events from `offset` on, up to the first line that is not an event.

        Skips lines before them that are not events. Raises OSError.
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
        """Continue after these events."""
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
    """Return whether a line is an event; anything else would have its whole batch refused."""
    try:
        value = loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("external_user_id"), str)


def _open(path: str) -> LeftLog | None:
    """Lock and return a file; None if a process holds it or this process must not use it."""
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
        # Its process is about to write the header, or was killed before. In the first case it will
        # notice that the file is gone, and create another one.
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
