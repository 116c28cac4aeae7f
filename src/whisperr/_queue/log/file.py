"""One file of a log: a header, then one event a line. The process that writes it holds it locked.

The header says whose log it is and how far its lines have left (the progress). It is written with
one call in place, and has a checksum. A header that cannot be right never loses an event: the lines
are then read from the first one on, under a new source, so that some may arrive twice.

Interruptions: a descriptor is opened into a list and closed out of it within one call of C code, so
that an exception of a signal handler can neither leak nor close it twice.
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
# Magic and version, source, index of the first line, offset and index of the oldest line that
# waits; a checksum of these.
_FIELDS = Struct("<8sQQQQ")
_CHECKSUM = Struct("<I")
HEADER_BYTES = 64
_NAME_END = ".log"
_HEX = frozenset("0123456789abcdef")
_HEX_DIGITS = 16
_NUMBER_BITS = 63
_OTHERS_WRITE = 0o022
# Flags that not every system has. No link is followed, opening a pipe does not wait, and programs
# that this one starts inherit nothing.
_NAMES = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
_FLAGS = sum(getattr(os, name, 0) for name in _NAMES)


class Name(NamedTuple):
    """What the name of a file says: the store, the log, and which of its files this is."""

    owner: str
    source: int
    number: int

    def __str__(self) -> str:
        return f"{self.owner}-{self.source:016x}-{self.number:016x}{_NAME_END}"


def parse_name(text: str) -> Name | None:
    """Return what the name of a file says; None when it is not that of a log."""
    owner, *numbers = text.removesuffix(_NAME_END).rsplit("-", 2)
    if not text.endswith(_NAME_END) or not owner or len(numbers) != 2:  # noqa: PLR2004  # as above
        return None
    if any(len(one) != _HEX_DIGITS or not _HEX.issuperset(one) for one in numbers):
        return None
    source, number = (int(one, 16) for one in numbers)
    return Name(owner, source, number)


def get_new_source() -> int:
    """Return the random number of a new log; databases have signed numbers of 64 bits."""
    return int.from_bytes(os.urandom(8), "big") >> (64 - _NUMBER_BITS)


def make_directory(path: str) -> None:
    """Make the directory of a log for its owner only, or check the one that is there.

    Raises StoreError, with a sentence, and OSError. Only the last part of the path is made.
    """
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102  # `pathlib` is slow to import
    except FileExistsError:
        check_directory(path)


def check_directory(path: str) -> None:
    """Raise StoreError unless others than its owner, this user, cannot write a directory."""
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
        raise StoreError(f"{path}: others than its owner can write it (mode {mode:04o}); chmod 700")


class LogFile:
    """One file that this process holds locked, or is about to make."""

    __slots__ = ("_progress", "descriptors", "index", "path", "position", "size", "source")

    def __init__(self, path: str, source: int, index: int, position: int) -> None:
        """`index`: of its first line. `position`: how many bytes of lines came before it."""
        self.path = path
        self.index = index
        self.position = position
        self.size = 0  # of its lines, in bytes
        self.descriptors: list[int] = []  # one while it is open
        self.source = source
        self._progress = (-1, -1)

    def create(self) -> bool:
        """Make the file, lock it and write its header; False when it was deleted meanwhile.

        Raises OSError. Another process that looks for logs may get the lock of a file that is still
        empty, and deletes it: the process that made it may have been killed.
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
        """Open a file that is there; return its descriptor. Raises OSError."""
        self.descriptors.extend(map(os.open, (self.path,), (mode | _FLAGS,)))
        return self.descriptors[0]

    def set_first(self, source: int, index: int) -> None:
        """Take over what the header of a file that was opened says of its first line."""
        self.source, self.index = source, index

    def _open_again(self) -> None:
        """Open a second descriptor where a header cannot be written without moving the offset."""
        if not hasattr(os, "pwrite"):
            self.descriptors.extend(map(os.open, (self.path,), (os.O_RDWR | _FLAGS,)))

    def write_progress(self, offset: int, index: int) -> None:
        """Record that the lines before this offset (among the lines) have left. Raises OSError."""
        if self._progress == (offset, index):
            return
        fields = _FIELDS.pack(_MAGIC, self.source, self.index, HEADER_BYTES + offset, index)
        header = (fields + _CHECKSUM.pack(crc32(fields))).ljust(HEADER_BYTES, b"\0")
        written = _write_at_start(self.descriptors[-1], header)
        if written != HEADER_BYTES:
            raise OSError(f"{written} of {HEADER_BYTES} bytes were written")
        self._progress = (offset, index)

    def cut(self) -> None:
        """Remove what a failed write left behind the last line. Raises OSError."""
        file = self.descriptors[0]
        os.ftruncate(file, HEADER_BYTES + self.size)
        os.lseek(file, HEADER_BYTES + self.size, os.SEEK_SET)

    def empty(self, index: int, position: int) -> None:
        """Remove all lines, which have left; the next one has this index. Raises OSError.

        The file is shorter than its progress until the header is written. That is read as: all that
        it had before has left.
        """
        file = self.descriptors[0]
        os.ftruncate(file, HEADER_BYTES)
        os.lseek(file, HEADER_BYTES, os.SEEK_SET)
        self.index, self.position, self.size = index, position, 0
        self.write_progress(0, index)

    def is_there(self) -> bool:
        """Return whether the path leads to this file: it may be deleted, or moved away."""
        try:
            there, mine = os.lstat(self.path), os.fstat(self.descriptors[0])
        except (OSError, IndexError):
            return False
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def close(self) -> None:
        """Release the lock, and close the descriptor."""
        for file in self.descriptors[:1]:
            unlock(file)
        self.close_in_child()

    def close_in_child(self) -> None:
        """Close the descriptor only: the lock stays with the parent of this process."""
        try:
            [*map(os.close, _pop_all(self.descriptors))]
        except OSError:
            return  # a failing device; the descriptor is closed all the same

    def delete(self) -> None:
        """Delete the file, in which nothing waits, and close it."""
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
        """Leave an empty file where it cannot be deleted, so that no process reads it again."""
        try:
            for file in self.descriptors[:1]:
                os.ftruncate(file, 0)
        except OSError:
            return  # then some events arrive twice


def _pop_all(descriptors: list[int]) -> Iterator[int]:
    return islice(iter(descriptors.pop, None), len(descriptors))


def _write_at_start(file: int, data: bytes) -> int:
    write: Callable[[int, bytes, int], int] | None = getattr(os, "pwrite", None)
    if write is not None:
        return write(file, data, 0)
    os.lseek(file, 0, os.SEEK_SET)
    return os.write(file, data)


class Header(NamedTuple):
    """What the header of a file says: whose lines, and from where on they wait."""

    source: int
    first: int  # the index of the first line
    offset: int  # of the oldest line that waits, among the lines
    oldest: int  # the index of that line


def parse_header(header: bytes) -> Header | None:
    """Return what a header says; a new source where it is damaged; None when it is not ours."""
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
