"""Runs of lines of a log: their size, their beginning, and how they are moved.

A signal handler may add lines at the end while one of these functions runs.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator

# What one claim returns at most, unless the first line alone is larger.
_MOST_GROUP_BYTES = 1 << 20


def get_line_bytes(lines: Iterable[bytes]) -> int:
    """Return how many bytes these lines take in a file."""
    sizes = [*map(len, lines)]
    return sum(sizes) + len(sizes)


def take_group(lines: list[bytes]) -> list[bytes]:
    """Return those of these lines that are one group: at least one, if there is any."""
    size = 0
    for count, data in enumerate(lines):
        size += len(data) + 1
        if count and size > _MOST_GROUP_BYTES:
            return lines[:count]
    return lines


def slice_lines(lines: deque[bytes] | list[bytes], end: int) -> list[bytes]:
    """Return the first lines; a signal handler may add some at the end meanwhile."""
    try:
        return [*islice(lines, end)]
    except RuntimeError:  # by index that does not matter
        return [*map(lines.__getitem__, range(min(end, len(lines))))]


def popping_lines(lines: deque[bytes], count: int) -> Iterator[bytes]:
    """Return an iterator that removes the first `count` lines; a list display runs it in C."""
    return islice(iter(lines.popleft, None), count)
