"""Counts deferred events: those that wait outside the queue for their user or for a commit.

They are accepted and held like the events of the queue, and share its bounds: a new one is dropped
if the queue and the deferred events together reach a bound. So they do not overflow the queue when
their wait ends. A tenth of the bounds is reserved for them. While the service is unreachable and
the queue is full, the newest events thus still replace the oldest.

Threads: any, even in a signal handler or a `__del__`. The lock is re-entrant and held for a few
instructions. No call happens between reading and writing a count, so an interruption cannot make
the counts wrong.
"""

from __future__ import annotations

from _thread import RLock

from whisperr._process.identity import get_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Deferred(Protocol):
        """A deferred event. `counted_bytes` is 0 at first, and only `Deferrals` writes it."""

        counted_bytes: int


_OWN_SHARE = 10


class Deferrals:
    """Counts the deferred events of one client in one process.

    - `count`, `bytes`: of those that wait.
    - `lost`: how many were dropped while they waited.

    `when_empty` is called when no event waits any more.
    """

    __slots__ = (
        "_is_over",
        "_lock",
        "_max_bytes",
        "_max_events",
        "_process",
        "_when_empty",
        "bytes",
        "count",
        "lost",
    )

    def __init__(self, max_events: int, max_bytes: int, when_empty: Callable[[], object]) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._when_empty = when_empty
        self._process = get_process()
        self._lock = RLock()
        self._is_over = False
        self.count = 0
        self.bytes = 0
        self.lost = 0

    @property
    def accepted(self) -> int:
        """How many events were accepted and have not entered the queue since."""
        with self._lock:
            return self.count + self.lost

    def admit(self, event: Deferred, size: int, queued: int, queued_bytes: int) -> bool:
        """Count an event of `size` bytes; count it as lost and return False if there is no room."""
        with self._lock:
            events, size_in_all = self.count + 1, self.bytes + size
            fits = (
                events + queued <= self._max_events
                and size_in_all + queued_bytes <= self._max_bytes
            ) or (
                events <= self._max_events // _OWN_SHARE
                and size_in_all <= self._max_bytes // _OWN_SHARE
            )
            if self._is_over or not fits:
                self.lost += 1
                return False
            event.counted_bytes = size
            self.count += 1
            self.bytes += size
            return True

    def release(self, event: Deferred) -> bool:
        """End the wait of an event; return False if it ended before, by `release` or `give_up`."""
        # In a forked child the lock may be taken forever.
        if self._process != get_process():
            return True
        with self._lock:
            size = event.counted_bytes
            event.counted_bytes = 0
            if not size or self._is_over:
                return False
            self.count -= 1
            self.bytes -= size
            is_empty = not self.count
        if is_empty:
            self._when_empty()
        return True

    def give_up(self) -> int:
        """Count all waiting events as lost, and admit no more; return how many were lost."""
        with self._lock:
            given_up = self.count
            self._is_over = True
            self.lost += given_up
            self.count = 0
            self.bytes = 0
            return given_up
