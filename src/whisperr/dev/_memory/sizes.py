"""Measures the memory of kept items: parsed JSON takes up to 24 times its text. Pure."""

from __future__ import annotations

from collections import deque
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest

_OBJECT_BYTES = 600  # an arrival or a request itself, with its short fields
_PROBLEM_BYTES = 200

_T = TypeVar("_T")


class Kept(Generic[_T]):
    """The latest items, limited in number and bytes; at least one is kept, whatever its size."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.items: deque[_T] = deque()
        self._sizes: deque[int] = deque()
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0

    def add(self, item: _T, size: int) -> None:
        """Add an item of this many bytes; drop the oldest items beyond the limits."""
        self.items.append(item)
        self._sizes.append(size)
        self._bytes += size
        while len(self.items) > self._most or (
            self._bytes > self._most_bytes and len(self.items) > 1
        ):
            self.items.popleft()
            self._bytes -= self._sizes.popleft()

    def clear(self) -> None:
        """Drop all items."""
        self.items.clear()
        self._sizes.clear()
        self._bytes = 0


def measure_request(request: ReceivedRequest) -> int:
    """Return the bytes that a request takes, with its headers and its body."""
    headers: Mapping[str, str] = request.headers
    text = len(request.path) + len(request.reason or "")
    return _OBJECT_BYTES + len(request.body) + text + measure_json(dict(headers))


def measure_arrival(arrival: Arrival) -> int:
    """Return the bytes that an arrival takes, with its parsed body and its problems."""
    problems = sum(_PROBLEM_BYTES + len(one.pointer) for one in arrival.problems)
    return _OBJECT_BYTES + problems + measure_json(arrival.body)


def measure_json(root: Any) -> int:  # noqa: ANN401  # any JSON value
    """Return the bytes that a parsed JSON value takes."""
    total, left = 0, [root]
    while left:
        value = left.pop()
        total += getsizeof(value)
        if type(value) is dict:
            left.extend(value)
            left.extend(value.values())
        elif type(value) is list:
            left.extend(value)
    return total
