"""Counts calls: any thread may count, also in a signal handler, and no two get the same number.

`itertools.count` does that in one step in C where the interpreter has a lock. Without that lock the
language promises nothing of it, so there a lock of our own is taken. (CPython 3.13.15 counts in one
step there, too.)
"""

from __future__ import annotations

import sys
from _thread import RLock
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_has_gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)  # from Python 3.13 on


class Counter:
    """Counts from 0. `next()` returns the number of this call."""

    __slots__ = ("_lock", "_number", "_source", "next")

    def __init__(self, *, has_gil: bool | None = None) -> None:
        """`has_gil`: whether threads take turns; None: as in this interpreter."""
        self._source = count()
        self._lock = RLock()
        self._number = 0
        self.next: Callable[[], int] = self._source.__next__
        if not (_has_gil() if has_gil is None else has_gil):
            self.next = self._count_alone

    @property
    def value(self) -> int:
        """How often `next` was called."""
        # Only the text of the counter, `count(7)`, can be read.
        return self._number + int(repr(self._source)[len("count(") : -1])

    def _count_alone(self) -> int:
        with self._lock:
            # No call from here on, so that no signal handler can count in between.
            number = self._number
            self._number = number + 1
            return number
