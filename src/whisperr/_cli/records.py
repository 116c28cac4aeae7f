"""The records of an import: lines of JSON, items of a JSON array, rows of CSV; pure.

Each reader takes a stream of bytes and yields records in order, with at most MAX_RECORD_BYTES of
one in memory. A record that is too long or invalid is yielded with its problem, and does not affect
the others.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from .content import ContentError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RECORD_BYTES = 1024 * 1024
_BLOCK_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_TOO_LONG = f"longer than {MAX_RECORD_BYTES} bytes"
_LINE_TOO_LONG = f"{_TOO_LONG}; is every event on a line of its own?"
_MAX_ROW_LINES = 10_000
_UNCLOSED = "a quotation mark is not closed"
_ENDED = ("unexpected end of data", "newline inside string")  # of CPython, of PyPy
_SEPARATORS = ",;\t"
_QUOTED = re.compile('"[^"]*"')
_SPACE = re.compile(rb"[ \t\r\n]*")
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'["\\]')  # of a string


class Record(NamedTuple):
    """One record: its number, its bytes, and the cells if it is a row.

    The number counts from 1: of the first line of the record, or of the item of an array.
    """

    number: int
    data: bytes
    problem: str | None = None
    cells: tuple[str, ...] | None = None


def read_lines(stream: BinaryIO, first: bytes | None = None, number: int = 0) -> Iterator[Record]:
    """Yield each line; `first` was read before, after `number` other lines."""
    data = stream.readline(MAX_RECORD_BYTES + 1) if first is None else first
    while data:
        number += 1
        problem = _LINE_TOO_LONG if len(data) > MAX_RECORD_BYTES else None
        rest = data
        while problem and rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_RECORD_BYTES)
        yield Record(number, data, problem)
        data = stream.readline(MAX_RECORD_BYTES + 1)


def is_array(stream: BinaryIO) -> tuple[bool, bytes, int]:
    """Return whether JSON is an array, its first line that is not blank, and the lines before."""
    number = 0
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        text = line.removeprefix(_BOM).strip() if number == 0 else line.strip()
        if text or not line.endswith(b"\n"):
            return text.startswith(b"["), line, number
        number += 1
    return False, b"", number


class ArrayReader:
    """Yields the items of JSON arrays, one array after the other.

    It finds the end of an item by counting brackets outside strings. The caller finds out whether
    the item is JSON.
    """

    def __init__(self) -> None:
        self._number = 0
        self._item = bytearray()
        self._depth = 0  # 1: between the items of the array
        self._in_string = False
        self._is_escaped = False  # the next byte follows a backslash

    def read(self, stream: BinaryIO, first: bytes) -> Iterator[Record]:
        """Yield each item; raises ContentError if anything but an array follows."""
        block = first.removeprefix(_BOM)
        while block:
            yield from self._scan(block)
            block = stream.read(_BLOCK_BYTES)
        if self._depth:
            raise ContentError("the array is not closed: the file is cut off")

    def _scan(self, block: bytes) -> Iterator[Record]:
        at = start = 0
        while at < len(block):
            if self._depth == 0:
                at = start = self._open_array(block, at)
                continue
            if self._is_escaped:
                self._is_escaped, at = False, at + 1
            found = (_INSIDE if self._in_string else _OUTSIDE).search(block, at)
            if found is None:
                break
            at = found.end()
            if self._is_end(found[0]):
                self._keep(block[start : at - 1])
                start = at
                if self._item.strip():
                    yield self._take()
        self._keep(block[start:])

    def _open_array(self, block: bytes, at: int) -> int:
        """Return where the first item of the next array begins, or the end of the block."""
        space = _SPACE.match(block, at)
        at = space.end() if space else at
        if at < len(block):
            if block[at : at + 1] != b"[":
                raise ContentError("after an array comes something other than an array")
            self._depth, at = 1, at + 1
        return at

    def _is_end(self, char: bytes) -> bool:
        """Return whether an item ends before this character."""
        if self._in_string:
            self._in_string = char != b'"'
            self._is_escaped = char == b"\\"
            return False
        if char == b'"':
            self._in_string = True
        elif char in b"[{":
            self._depth += 1
        elif char in b"]}":
            self._depth -= 1
            return self._depth == 0
        return char == b"," and self._depth == 1

    def _keep(self, piece: bytes) -> None:
        if self._depth or piece:
            self._item += piece[: MAX_RECORD_BYTES + 1 - len(self._item)]

    def _take(self) -> Record:
        self._number += 1
        data = bytes(self._item)
        self._item.clear()
        return Record(self._number, data, _TOO_LONG if len(data) > MAX_RECORD_BYTES else None)


class _WrongLineError(Exception):
    """Raised for a line that cannot be part of a row."""


class _Feed:
    """Gives lines to `csv`, and keeps the lines of the current row."""

    def __init__(self, lines: Iterator[Record]) -> None:
        self._lines = lines
        self._again: deque[Record] = deque()
        self._size = 0  # of the row, in bytes
        self.row: list[Record] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        self._size += len(line.data)
        if line.problem:
            raise _WrongLineError(line.problem)
        if self._size > MAX_RECORD_BYTES or len(self.row) > _MAX_ROW_LINES:
            raise _WrongLineError(_UNCLOSED)
        try:
            return line.data.decode("utf-8-sig" if line.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _WrongLineError(f"not UTF-8 at byte {error.start}") from None

    def begin_row(self) -> None:
        """Forget the lines of the previous row."""
        self.row.clear()
        self._size = 0

    def read_again(self, first: int) -> None:
        """Give the lines of this row again, from the one with this index."""
        self._again.extendleft(reversed(self.row[first:]))
        del self.row[first:]

    def find_separator(self) -> str:
        """Return the separator of the header, which is read again after that."""
        while not (header := next(self)).strip():
            self.begin_row()
        self.read_again(0)
        self.begin_row()
        bare = _QUOTED.sub("", header)
        return max(_SEPARATORS, key=bare.count)


def read_rows(stream: BinaryIO) -> Iterator[Record]:
    """Yield the rows of CSV, beginning with the header, without blank lines.

    The separator is the most frequent of comma, semicolon and tab in the header. Of an invalid row
    only the first line is refused: its other lines are read as further rows.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)
    feed = _Feed(read_lines(stream))
    separator = ""
    while True:
        feed.begin_row()
        cells: list[str] = []
        problem = None
        try:
            separator = separator or feed.find_separator()
            cells = next(csv.reader(feed, delimiter=separator, strict=True))
        except StopIteration:
            return
        except (csv.Error, _WrongLineError) as error:
            feed.read_again(1)
            problem = str(error)
            if isinstance(error, csv.Error):
                problem = _UNCLOSED if problem in _ENDED else f"not CSV: {problem}"
        if cells or problem:
            data = b"".join(one.data for one in feed.row)
            yield Record(feed.row[0].number, data, problem, tuple(cells))


def looks_like_csv(header: bytes) -> bool:
    """Return whether a line that is not JSON may be the header of CSV."""
    text = header.decode("utf-8-sig", "replace").strip()
    return text.isprintable() and "{" not in text and any(one in text for one in _SEPARATORS)
