"""One file of a log: a header, then one event per line. The process that writes it has it locked.

The header has the source of the log and the progress: up to where its lines have been delivered or
stored. It has a checksum and is overwritten in place by one call. A damaged header loses no event:
all lines are then read under a new source, so some may arrive twice.

Interruptions: a descriptor is opened into a list, and closed out of it, within one call of C code.
So an exception of a signal handler can neither leak a descriptor nor have it closed twice.
"""

from __future__ import annotations

import os
import stat
from binascii import crc32
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from whisperr._platform import WINDOWS, get_user_id
from whisperr.errors import StoreError

from .lock import lock, unlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAGIC = b"whsplog\x01"
# Magic bytes and version, source, index of the first line, offset and index of the oldest waiting
# line. A checksum of these follows.
_FIELDS = Struct("<8sQQQQ")
_CHECKSUM = Struct("<I")
HEADER_BYTES = 64
_NAME_END = ".log"
_HEX = frozenset("0123456789abcdef")
_HEX_DIGITS = 16
_NUMBER_BITS = 63
_OTHERS_WRITE = 0o022
# Flags that not every system has: follow no link, do not wait for the other end of a pipe, and let
# programs that this one starts inherit nothing.
_NAMES = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
_FLAGS = sum(getattr(os, name, 0) for name in _NAMES)


class Name(NamedTuple):
    """The parts of a file's name: the store, the source of the log, and the number of the file."""

    owner: str
    source: int
    number: int

    def __str__(self) -> str:
        return f"{self.owner}-{self.source:016x}-{self.number:016x}{_NAME_END}"


def parse_name(text: str) -> Name | None:
    """Return the parts of a file's name; None if it is not the name of a log file."""
    owner, *numbers = text.removesuffix(_NAME_END).rsplit("-", 2)
    if not text.endswith(_NAME_END) or not owner or len(numbers) != 2:  # noqa: PLR2004  # as above
        return None
    if any(len(one) != _HEX_DIGITS or not _HEX.issuperset(one) for one in numbers):
        return None
    source, number = (int(one, 16) for one in numbers)
    return Name(owner, source, number)


def get_new_source() -> int:
    """Return a random number for a new log, which fits into 64 signed bits of a database."""
    return int.from_bytes(os.urandom(8), "big") >> (64 - _NUMBER_BITS)


def make_directory(path: str) -> None:
    """Create the directory of a log for its owner only, or check an existing one.

    Creates only the last part of the path. Raises StoreError, with a sentence, and OSError.
    """
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102  # `pathlib` is slow to import
    except FileExistsError:
        check_directory(path)


def check_directory(path: str) -> None:
    """Raise StoreError unless this user owns the directory and no other user can write to it."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(f"{path}: a link; name the directory itself")
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path}: not a directory; name another one for the log")
    user = get_user_id()
    if user is None:
        return
    if found.st_uid != user:
        raise StoreError(
            f"{path}: it belongs to the user with id {found.st_uid}, and this process runs as "
            f"{user}; change its owner, or name another directory for the log"
        )
    if found.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        raise StoreError(f"{path}: other users can write to it (mode {mode:04o}); chmod 700")


class LogFile:
    """A file that this process has locked or is about to create."""

    __slots__ = ("_progress", "descriptors", "index", "path", "position", "size", "source")

    def __init__(self, path: str, source: int, index: int, position: int) -> None:
        """`index`: of its first line. `position`: the number of bytes in the lines before it."""
        self.path = path
        self.index = index
        self.position = position
        self.size = 0  # of its lines, in bytes
        self.descriptors: list[int] = []  # one while it is open
        self.source = source
        self._progress = (-1, -1)

    def create(self) -> bool:
        """Create the file, lock it and write its header; return False if it was deleted meanwhile.

        Another process that looks for logs may lock a file that is still empty, and delete it,
        because the process that created it may have been killed. Raises OSError.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS
        self.descriptors.extend(map(os.open, (self.path,), (flags,), (0o600,)))
        (file,) = self.descriptors
        lock(file)
        if not os.fstat(file).st_nlink:
            return False
        self._open_again()
        self.write_progress(0, self.index)
        os.lseek(file, HEADER_BYTES, os.SEEK_SET)
        return True

    def open(self, mode: int = os.O_RDWR) -> int:
        """Open an existing file and return its descriptor. Raises OSError."""
        self.descriptors.extend(map(os.open, (self.path,), (mode | _FLAGS,)))
        return self.descriptors[0]

    def set_first(self, source: int, index: int) -> None:
        """Set the source and the index of the first line from the header of an opened file."""
        self.source, self.index = source, index

    def _open_again(self) -> None:
        """Open a second descriptor where a header cannot be written without moving the offset."""
        if not hasattr(os, "pwrite"):
            self.descriptors.extend(map(os.open, (self.path,), (os.O_RDWR | _FLAGS,)))

    def write_progress(self, offset: int, index: int) -> None:
        """Record that the lines before this offset among the lines are done. Raises OSError."""
        if self._progress == (offset, index):
            return
        fields = _FIELDS.pack(_MAGIC, self.source, self.index, HEADER_BYTES + offset, index)
        header = (fields + _CHECKSUM.pack(crc32(fields))).ljust(HEADER_BYTES, b"\0")
        written = _write_at_start(self.descriptors[-1], header)
        if written != HEADER_BYTES:
            raise OSError(f"{written} of {HEADER_BYTES} bytes were written")
        self._progress = (offset, index)

    def cut(self) -> None:
        """Remove what a failed write left after the last line. Raises OSError."""
        file = self.descriptors[0]
        os.ftruncate(file, HEADER_BYTES + self.size)
        os.lseek(file, HEADER_BYTES + self.size, os.SEEK_SET)

    def empty(self, index: int, position: int) -> None:
        """Remove all lines, which are done; `index` is that of the next line. Raises OSError.

        Until the header is written, the file is shorter than its progress. A reader takes that to
        mean that all its lines are done.
        """
        file = self.descriptors[0]
        os.ftruncate(file, HEADER_BYTES)
        os.lseek(file, HEADER_BYTES, os.SEEK_SET)
        self.index, self.position, self.size = index, position, 0
        self.write_progress(0, index)

    def is_there(self) -> bool:
        """Return whether the path still leads to this file, which may be deleted or moved."""
        try:
            there, mine = os.lstat(self.path), os.fstat(self.descriptors[0])
        except (OSError, IndexError):
            return False
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def close(self) -> None:
        """Release the lock and close the file."""
        for file in self.descriptors[:1]:
            unlock(file)
        self.close_in_child()

    def close_in_child(self) -> None:
        """Close the file without releasing the lock, which belongs to the parent process."""
        try:
            [*map(os.close, _pop_all(self.descriptors))]
        except OSError:
            return  # the device failed, but the descriptor is closed

    def delete(self) -> None:
        """Close and delete the file, in which nothing waits."""
        if WINDOWS:
            # No open file can be deleted there. If another process has it open at this moment, it
            # stays, and its content must not be delivered again.
            self._remove_content()
            self.close()
        try:
            os.unlink(self.path)  # noqa: PTH108  # `pathlib` is slow to import
        except FileNotFoundError:
            pass
        except OSError:
            self._remove_content()
        self.close()

    def _remove_content(self) -> None:
        """Empty a file that cannot be deleted, so that no process delivers its lines again."""
        try:
            for file in self.descriptors[:1]:
                os.ftruncate(file, 0)
        except OSError:
            return  # some events will arrive twice


def _pop_all(descriptors: list[int]) -> Iterator[int]:
    return islice(iter(descriptors.pop, None), len(descriptors))


def _write_at_start(file: int, data: bytes) -> int:
    write: Callable[[int, bytes, int], int] | None = getattr(os, "pwrite", None)
    if write is not None:
        return write(file, data, 0)
    os.lseek(file, 0, os.SEEK_SET)
    return os.write(file, data)


class Header(NamedTuple):
    """The content of a header: the source of the lines, and where the waiting ones begin."""

    source: int
    first: int  # the index of the first line
    offset: int  # of the oldest line that waits, among the lines
    oldest: int  # the index of that line


def parse_header(header: bytes) -> Header | None:
    """Return the content of a header, with a new source if it is damaged; None if not ours."""
    if not header.startswith(_MAGIC) and any(header):
        return None
    fields = header[: _FIELDS.size]
    (checksum,) = _CHECKSUM.unpack_from(header.ljust(HEADER_BYTES, b"\0"), _FIELDS.size)
    damaged = Header(get_new_source(), 0, 0, 0)
    if len(header) < HEADER_BYTES or crc32(fields) != checksum:
        return damaged
    _, source, first, offset, index = _FIELDS.unpack(fields)
    if (source | index) >> _NUMBER_BITS or offset < HEADER_BYTES:
        return damaged
    return Header(source, first, offset - HEADER_BYTES, index)
