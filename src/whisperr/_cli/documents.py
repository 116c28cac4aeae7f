"""The JSON values of a content: lines, arrays and indented documents, one after the other; pure.

Memory is bounded by the largest value, which may have MAX_CHARS.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from .content import ContentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

MAX_CHARS = 16 * 1024 * 1024  # a page of 200 events has about one million
_BLOCK_BYTES = 64 * 1024
_BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_SEPARATORS = "[],"


class Document(NamedTuple):
    """One value, and the line where it begins; or the problem of a line that is not JSON."""

    line: int
    value: Any
    problem: str | None = None


class _Text:
    """The text of a stream from a position on, which grows when a value needs more of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        self._lines = 0  # before the counted position
        self._counted = 0
        self._ended = False
        self._read_value = json.JSONDecoder().raw_decode
        self.peek()
        if self._text.startswith(_BOM):
            self._at = 1

    @property
    def line(self) -> int:
        """The number of the current line."""
        self._lines += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._lines + 1

    def peek(self) -> str:
        """Return the next character that is not a space, and move to it; "" at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or not self._read_more():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Move behind the current character."""
        self._at += 1

    def read(self) -> Any:  # noqa: ANN401  # JSON
        """Return the value at the position, and move behind it.

        Raises ValueError for a line that is not JSON, and moves behind it. Raises ContentError if
        the value has several lines.
        """
        while True:
            value, end = self._try_read()
            if (end < 0 or end == len(self._text)) and self._read_more():
                continue  # the value may go on
            if end < 0:
                self._skip_line(value)
            self._at = end
            return value

    def _try_read(self) -> tuple[Any, int]:
        """Return the value at the position and its end; or the error and -1."""
        try:
            return self._read_value(self._text, self._at)
        except (ValueError, RecursionError) as error:
            return error, -1

    def _skip_line(self, error: Exception) -> NoReturn:
        """Move to the end of the line, and raise ValueError.

        Raises ContentError if the value is not this line alone: what follows is a part of it.
        """
        line, end = self.line, self._text.find("\n", self._at)
        at, reason = self._at, "it cannot be read"
        if isinstance(error, json.JSONDecodeError):
            at, reason = error.pos, error.msg
        is_too_long = len(self._text) - self._at > MAX_CHARS
        if is_too_long and (end < 0 or at >= end):
            raise ContentError(f"line {line}: a value with more than {MAX_CHARS:,} characters")
        if 0 <= end < at - 1:  # behind the beginning of the next line, where a line may be cut off
            line += self._text.count("\n", self._at, at)
            raise ContentError(f"line {line}: not JSON: {reason}; is the file cut off?")
        self._at = len(self._text) if end < 0 else end
        raise ValueError(f"line {line}: not JSON: {reason}")

    def _read_more(self) -> bool:
        """Read at least as much again; return False at the end, or if a value is too long."""
        left = len(self._text) - self._at
        if self._ended or left > MAX_CHARS:
            return False
        line = self.line
        data = self._stream.read(max(_BLOCK_BYTES, left))
        self._ended = not data
        try:
            more = self._decode(data, self._ended)
        except UnicodeDecodeError:
            raise ContentError(f"not UTF-8 after line {line}; convert it with iconv") from None
        self._text = self._text[self._at :] + more
        self._at = self._counted = 0
        return not self._ended


def read_documents(stream: BinaryIO) -> Iterator[Document]:
    """Yield each value of a content; arrays at its top give their items.

    Raises ContentError for an indented value that is not JSON, and for one that is cut off.
    """
    text = _Text(stream)
    depth = 0
    while char := text.peek():
        if char in _SEPARATORS:
            depth += {"[": 1, "]": -1}.get(char, 0)
            text.skip()
            continue
        line = text.line
        try:
            yield Document(line, text.read())
        except ValueError as error:
            yield Document(line, None, str(error))
    if depth > 0:
        raise ContentError("the array is not closed: the file is cut off")
