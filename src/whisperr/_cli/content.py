"""The content of an import: a file or standard input, decompressed while it is read.

The first bytes decide what it is, not the name of the file. Memory is bounded by what a caller
reads at once, however large the decompressed content is.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from .command import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

STDIN = "-"
_HINT = "name a file with an event on each line, or - for standard input"
_GZIP = b"\x1f\x8b"
# The first bytes of other kinds of files, and what to do with such a file.
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"BZh": "compressed with bzip2; use: bzip2 -dc FILE | whisperr import -",
    b"\xfd7zXZ": "compressed with xz; use: xz -dc FILE | whisperr import -",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; use: zstd -dc FILE | whisperr import -",
    b"PAR1": "a Parquet file; export it as JSON lines or CSV",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
}
_LONGEST_START = max(map(len, _OTHER_KINDS))


class ContentError(Exception):
    """Raised while reading content that is damaged, cut off, or cannot be read any further."""


class Content:
    """The content as a stream of bytes, and how much of its source has been read."""

    def __init__(self, source: BinaryIO, start: bytes, size: int | None) -> None:
        self._source = source  # behind its first bytes; standard input has no position
        self._size = size
        whole = io.BufferedReader(_Joined(start, source))
        self.stream: BinaryIO = whole
        if start.startswith(_GZIP):
            self.stream = cast("BinaryIO", gzip.GzipFile(fileobj=whole, mode="rb"))

    def get_share(self) -> float | None:
        """Return the share read so far, from 0 to 1; None for standard input."""
        if self._size is None:
            return None
        return min(self._source.tell() / self._size, 1.0) if self._size else 1.0


class _Joined(io.RawIOBase):
    """A stream that begins with bytes that were read before."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, target: Buffer) -> int:
        room = memoryview(target)
        # `read1` returns what a pipe has, and does not wait until there is more.
        data = self._start[: len(room)] or cast("io.BufferedReader", self._rest).read1(len(room))
        self._start = self._start[len(room) :]
        room[: len(data)] = data
        return len(data)


def _read_start(source: BinaryIO) -> bytes:
    """Return enough first bytes to recognise the content; a pipe may have fewer."""
    start = b""
    while len(start) < _LONGEST_START and (more := source.read(_LONGEST_START - len(start))):
        start += more
    return start


@contextmanager
def open_content(path: str) -> Iterator[Content]:
    """Open a file, or standard input for `-`. Raises UsageError for anything else.

    Raises ContentError, while it is read, for content that is damaged or cut off.
    """
    if path == STDIN:
        yield _open(path, _get_stdin(), None)
        return
    with _open_file(path) as file:
        yield _open(path, file, os.fstat(file.fileno()).st_size)


def _open(path: str, source: BinaryIO, size: int | None) -> Content:
    start = _read_start(source)
    for kind, what in _OTHER_KINDS.items():
        if start.startswith(kind):
            raise UsageError(f"{path}: it is {what}")
    return Content(source, start, size)


def _open_file(path: str) -> BinaryIO:
    try:
        # Checked before opening: opening a pipe would wait, and a device has no end.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UsageError(f"{path}: not a regular file; {_HINT}")
        return Path(path).open("rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {_HINT}") from None
    except ValueError as error:  # a null byte in a name
        raise UsageError(f"{path}: {error}; {_HINT}") from None


def _get_stdin() -> BinaryIO:
    binary: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if binary is None:  # closed, or replaced by a stream of text
        text = "" if sys.stdin is None else sys.stdin.read()
        return io.BytesIO(text.encode("utf-8", "surrogateescape"))
    return binary


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise the errors of a stream of content as ContentError, with a readable text."""
    try:
        yield
    except EOFError:  # of gzip
        raise ContentError("the gzip data end early: the file is cut off") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise ContentError(f"the gzip data are damaged: {error}") from None
    except OSError as error:
        raise ContentError(f"it cannot be read any further: {error.strerror or error}") from None
