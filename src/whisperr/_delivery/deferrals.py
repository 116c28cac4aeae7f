"""Events that wait outside of the queue: for their user, or for a commit.

They are accepted and held like those of the queue, and share its bounds: one more is dropped when
the queue and these together reach them. So they do not overflow the queue when their wait ends.
A tenth of the bounds is theirs alone: while the service is away and the queue is full, the newest
events still replace the oldest.

Threads: any, also from a signal handler or a `__del__`. The lock is re-entrant and held for a few
instructions; no call happens between the reading and the writing of a count, so that no
interruption can leave an event counted that is not, or the other way round.
"""

from __future__ import annotations

from _thread import RLock

from whisperr._process.identity import get_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Deferred(Protocol):
        """An event that waits; only `Deferrals` writes its `counted_bytes`, 0 at first."""

        counted_bytes: int


_OWN_SHARE = 10


class Deferrals:
    """Counts the waiting events of one client in one process.

    - `count`, `bytes`: of those that wait.
    - `lost`: how many were dropped while they waited.

    `when_empty` is called when the last one's wait has ended.
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
        """How many events were accepted, less those that have got into the queue since."""
        with self._lock:
            return self.count + self.lost

    def admit(self, event: Deferred, size: int, queued: int, queued_bytes: int) -> bool:
        """Count an event of `size` bytes, unless that exceeds the bounds; then it is lost."""
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
        """End the wait of an event; False when it has ended: it was released, or given up."""
        # In the copy of a forked child the lock may be taken for ever.
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
        """Lose all that waits, and admit nothing more; return how many events that were."""
        with self._lock:
            given_up = self.count
            self._is_over = True
            self.lost += given_up
            self.count = 0
            self.bytes = 0
            return given_up
