"""The queue in memory: holds accepted events, in order, until the delivery thread claims them.

Threads: any thread may call any method, also from a signal handler or a `__del__` that interrupts
another call here. No call waits: the lock is re-entrant and held for a few instructions. What
interrupts a call can only add at the end (`_busy`), and sums change in single statements.

Adding takes no lock while there is room (`_room`): `deque.append` is atomic. Everything else takes
it, so that events leave the queue under the lock only. A bound may be exceeded for a moment, by the
events that other threads are just adding: each of these calls restores it before it returns.
"""

from __future__ import annotations

from _thread import RLock
from itertools import islice

from whisperr._events.batch import take_batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence

    from whisperr.errors import Loss
else:
    from _collections import deque  # by itself: all of `collections` is a tenth of the import time

# What one event costs besides its bytes: the header of the bytes object and its slot in the queue.
EVENT_OVERHEAD_BYTES = 41
QUEUE_FULL = "the queue was full; the oldest events were dropped"
# What is no larger than this, overhead included, may be added without being counted at once.
_SMALL_BYTES = 4096


class Foreign(bytes):
    """An event that another process put into a shared store: delivered here, counted there."""

    __slots__ = ()


def count_own(events: Sequence[bytes]) -> int:
    """Return how many of these events this process accepted, and so counts."""
    return len(events) - [*map(type, events)].count(Foreign)


class MemoryQueue:
    """The default queue: in the memory of one process, bounded by count and by bytes.

    Events have positions, counted from the first one ever put. What `claim` returned stays owned
    here until `ack` or `release`. A batch that was released stays apart from the events behind it,
    so that it is sent again as the same batch.
    """

    __slots__ = (
        "_busy",
        "_bytes",
        "_claimed",
        "_counted",
        "_front",
        "_front_position",
        "_items",
        "_left",
        "_lock",
        "_max_bytes",
        "_max_events",
        "_room",
        "claimed_position",
    )

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = RLock()
        self._items: deque[bytes] = deque()
        self._left = 0  # how many events have left `_items`: the position of its first one
        self._front: deque[bytes] = deque()
        self._front_position = 0
        self._claimed: list[bytes] = []
        self.claimed_position = 0  # of the first claimed event
        # The bytes of `_front` and of the first `_counted` of `_items`; `_room`: up to which
        # length of `_items` small events can be added, uncounted, with no bound in reach.
        self._bytes = 0
        self._counted = 0
        self._room = 0
        self._busy = False

    def __len__(self) -> int:
        """Return how many events wait to be claimed."""
        return len(self._items) + len(self._front)

    @property
    def held_bytes(self) -> int:
        """The memory that waiting events take, in bytes."""
        with self._lock:
            if not self._busy:
                self._busy = True
                try:
                    self._count()
                finally:
                    self._busy = False
            return self._bytes

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event at the end; return the events dropped for it: the oldest, or itself."""
        size = len(data) + EVENT_OVERHEAD_BYTES
        if size > self._max_bytes:
            return (data,)
        items = self._items
        items.append(data)
        if len(items) <= self._room and size <= _SMALL_BYTES:
            return ()
        with self._lock:
            return () if self._busy else self._overflow()

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch, a run of events or one identify; empty when there is nothing."""
        with self._lock:
            self._busy = True
            try:
                events = self._front or self._items
                batch = take_batch(_slice(events, max_events))
                # Owned before they leave the queue: `settled` sees each event all the time.
                self.claimed_position = self._front_position if self._front else self._left
                self._claimed = batch
                self._remove(events, batch)
                self._make_room()
            finally:
                self._busy = False
            return tuple(batch)

    def ack(self, count: int, loss: Loss | None = None) -> int:  # noqa: ARG002  # of the protocol
        """Forget the first `count` claimed events; return how many of them were still owned.

        What became of them matters to shared queues only.
        """
        with self._lock:
            owned = min(count, len(self._claimed))
            del self._claimed[:owned]
            self.claimed_position += owned
            return owned

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front; return the events dropped for it."""
        with self._lock:
            self._busy = True
            try:
                size = get_size(self._claimed)
                self._front.extendleft(reversed(self._claimed))
                self._front_position = self.claimed_position
                self._claimed = []
                self._bytes += size
            finally:
                self._busy = False
            return self._overflow()

    def tail(self) -> int:
        """Return the position after the newest event: the mark that `flush` waits for."""
        with self._lock:
            return self._left + len(self._items)

    def settled(self, position: int) -> bool:
        """Return whether every event before `position` was delivered or dropped."""
        with self._lock:
            if self._claimed:
                return self.claimed_position >= position
            if self._front:
                return self._front_position >= position
            # A signal handler that flushes amid a `_remove` may hold a mark beyond the end.
            return self._left >= position or not self._items

    def drain(self) -> Sequence[bytes]:
        """Give up everything, also what is claimed; return it, oldest first."""
        with self._lock:
            if self._busy:  # in a signal handler: the interrupted call wakes, which drains again
                return []
            self._busy = True
            try:
                rest = [*self._claimed]
                self._claimed = []
                for events in (self._front, self._items):
                    while events:
                        part = _slice(events, len(events))
                        rest += part
                        self._remove(events, part)
                self._make_room()
            finally:
                self._busy = False
            return rest

    def _overflow(self) -> Sequence[bytes]:
        """Remove the oldest until the bounds hold; the lock is held."""
        self._busy = True
        dropped: list[bytes] = []
        try:
            self._room = 0  # a call that adds from here on enforces the bounds after this one
            self._count()
            while len(self) > self._max_events or self._bytes > self._max_bytes:
                events = self._front or self._items
                dropped += _slice(events, 1)
                self._remove(events, dropped[-1:])
            self._make_room()
        finally:
            self._busy = False
        return dropped

    # -- the sums; the lock is held, and what interrupts only adds to `_items`

    def _count(self) -> None:
        fresh = _slice(self._items, len(self._items), self._counted)
        size = get_size(fresh)
        self._bytes += size
        self._counted += len(fresh)

    def _remove(self, events: deque[bytes], part: list[bytes]) -> None:
        """Remove `part`, which are the first of `events`."""
        counted = part
        if events is self._items:
            self._room -= len(part)
            counted = part[: self._counted]
            self._counted -= len(counted)
            self._left += len(part)
        else:
            self._front_position += len(part)
        size = get_size(counted)
        self._bytes -= size
        for _ in part:
            events.popleft()

    def _make_room(self) -> None:
        uncounted = max(self._max_bytes - self._bytes, 0) // _SMALL_BYTES
        self._room = min(self._max_events - len(self._front), self._counted + uncounted)


def get_size(events: Sequence[bytes]) -> int:
    """Return the memory that these events take, in bytes."""
    return sum(map(len, events)) + len(events) * EVENT_OVERHEAD_BYTES


def _slice(events: deque[bytes], end: int, start: int = 0) -> list[bytes]:
    try:
        return [*islice(events, start, end)]
    except RuntimeError:  # another thread added meanwhile; by index that does not matter
        return [*map(events.__getitem__, range(start, min(end, len(events))))]
