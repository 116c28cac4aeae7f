"""Functions for the lines of a log: their size, a group of them, and their removal.

A signal handler may append lines while one of these functions runs.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator

# The most that one claim returns, unless a single line is larger.
_MOST_GROUP_BYTES = 1 << 20


def get_line_bytes(lines: Iterable[bytes]) -> int:
    """Return the number of bytes that these lines take in a file."""
    sizes = [*map(len, lines)]
    return sum(sizes) + len(sizes)


def take_group(lines: list[bytes]) -> list[bytes]:
    """Return the first of these lines, up to the size of one group; at least one, if any."""
    size = 0
    for count, data in enumerate(lines):
        size += len(data) + 1
        if count and size > _MOST_GROUP_BYTES:
            return lines[:count]
    return lines


def slice_lines(lines: deque[bytes] | list[bytes], end: int) -> list[bytes]:
    """Return the lines before `end`, even if a signal handler appends some meanwhile."""
    try:
        return [*islice(lines, end)]
    except RuntimeError:  # lines were appended, which does not matter by index
        return [*map(lines.__getitem__, range(min(end, len(lines))))]


def popping_lines(lines: deque[bytes], count: int) -> Iterator[bytes]:
    """Return an iterator that removes the first `count` lines; a list display runs it in C code."""
    return islice(iter(lines.popleft, None), count)
