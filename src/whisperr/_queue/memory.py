"""Step 3: hold accepted events, in order, until the worker takes them.

Threads: any thread may call any method, also from a signal handler or a `__del__` that interrupts
another call here. Nothing waits: the lock is re-entrant and held for a few instructions. What
interrupts a call can only add at the end (`_busy`), and sums change in single statements.

Adding takes no lock while there is room (`_room`): `deque.append` is atomic. Everything else takes
it, so that events leave the line under the lock only. A bound may be exceeded for a moment, by the
events that other threads are just adding: each of them sees to it before its call returns.
"""

from __future__ import annotations

from _thread import RLock
from itertools import islice

from whisperr._events.batch import take_batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Sequence

    from whisperr.errors import Loss, Reason
else:
    from _collections import deque  # by itself: all of `collections` is a tenth of the import time

QUEUE_FULL = "the queue was full; the oldest events were dropped"
# What one event costs beside its bytes: the header of the bytes object and its slot in the queue.
EVENT_OVERHEAD_BYTES = 41
# What is no larger than this, overhead included, may be added without being counted at once.
_SMALL_BYTES = 4096


class Foreign(bytes):
    """An event that another process put into a shared buffer: delivered here, counted there."""

    __slots__ = ()


def count_own(events: Sequence[bytes]) -> int:
    """Return how many of these events this process accepted, and so has to count."""
    return len(events) - [*map(type, events)].count(Foreign)


class PutOnly:
    """The part of a buffer that this process only adds to: nothing waits here to be taken."""

    held_bytes = 0

    def __len__(self) -> int:
        return 0

    def claim(self, max_events: int) -> Sequence[bytes]:  # noqa: ARG002  # a method of the protocol
        return ()

    def extend(self, seconds: float) -> bool:  # noqa: ARG002  # likewise
        return False

    def ack(self, count: int, lost: int = 0, reason: Reason | None = None) -> int:  # noqa: ARG002  # likewise
        return 0

    def release(self) -> Sequence[bytes]:
        return ()

    def drain(self) -> Sequence[bytes]:
        return ()

    def tail(self) -> int:
        return 0

    def settled(self, position: int) -> bool:  # noqa: ARG002  # likewise
        return True


class MemoryQueue:
    """The default buffer: in the memory of one process, bounded by count and by bytes.

    Events have positions, counted from the first one ever put. What `claim` handed out stays
    owned here until `ack` or `release`. A batch that was put back stays apart from the line
    behind it, so that it is sent again as the same batch.
    """

    __slots__ = (
        "_busy",
        "_bytes",
        "_counted",
        "_front",
        "_front_position",
        "_items",
        "_left",
        "_lock",
        "_max_bytes",
        "_max_events",
        "_room",
        "_taken",
        "_taken_position",
    )

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = RLock()
        self._items: deque[bytes] = deque()
        self._left = 0  # how many have left `_items`: the position of its first one
        self._front: deque[bytes] = deque()
        self._front_position = 0
        self._taken: list[bytes] = []
        self._taken_position = 0
        # The bytes of `_front` and of the first `_counted` of `_items`; `_room`: up to which
        # length of `_items` small events can be added, uncounted, with no bound in reach.
        self._bytes = 0
        self._counted = 0
        self._room = 0
        self._busy = False

    def __len__(self) -> int:
        """Return how many events wait to be taken."""
        return len(self._items) + len(self._front)

    @property
    def held_bytes(self) -> int:
        """Return the memory that waiting events take, in bytes."""
        with self._lock:
            if not self._busy:
                self._busy = True
                try:
                    self._count()
                finally:
                    self._busy = False
            return self._bytes

    @property
    def taken_position(self) -> int:
        """Return the position of the first taken event."""
        return self._taken_position

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event at the end. Return what had to go for it: the oldest, or itself."""
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
                line = self._front or self._items
                run = take_batch(_first(line, max_events))
                # Owned before they leave the line: `settled` sees each event all the time.
                self._taken_position = self._front_position if self._front else self._left
                self._taken = run
                self._remove(line, run)
                self._make_room()
            finally:
                self._busy = False
            return tuple(run)

    def extend(self, seconds: float) -> bool:  # noqa: ARG002  # nobody else can take it
        """Say whether the taken batch is still owned; here only `drain` ends that."""
        return bool(self._taken)

    def ack(self, count: int, loss: Loss | None = None) -> int:  # noqa: ARG002
        """Forget the first `count` taken events; return how many of them were still owned.

        How they ended matters to buffers that are shared; here the ledger knows it already.
        """
        with self._lock:
            owned = min(count, len(self._taken))
            del self._taken[:owned]
            self._taken_position += owned
            return owned

    def release(self) -> Sequence[bytes]:
        """Return what is left of the taken batch to the front. Return what had to go for it."""
        with self._lock:
            self._busy = True
            try:
                size = _size_of(self._taken)
                self._front.extendleft(reversed(self._taken))
                self._front_position = self._taken_position
                self._taken = []
                self._bytes += size
            finally:
                self._busy = False
            return self._overflow()

    def tail(self) -> int:
        """Return the position after the newest event: the mark that `flush` waits for."""
        with self._lock:
            return self._left + len(self._items)

    def settled(self, position: int) -> bool:
        """Say whether every event before `position` has ended."""
        with self._lock:
            if self._taken:
                return self._taken_position >= position
            if self._front:
                return self._front_position >= position
            # A signal handler that flushes amid a `_remove` may hold a mark beyond the end.
            return self._left >= position or not self._items

    def drain(self) -> Sequence[bytes]:
        """Give up everything, also what is taken; return it, oldest first."""
        with self._lock:
            self._busy = True
            try:
                rest = [*self._taken]
                self._taken = []
                for line in (self._front, self._items):
                    while line:
                        events = _first(line, len(line))
                        rest += events
                        self._remove(line, events)
                self._make_room()
            finally:
                self._busy = False
            return rest

    def _overflow(self) -> Sequence[bytes]:
        """Remove the oldest until the bounds hold; the lock is held."""
        self._busy = True
        dropped: list[bytes] = []
        try:
            self._room = 0  # who adds from here on sees to the bounds after this
            self._count()
            while len(self) > self._max_events or self._bytes > self._max_bytes:
                line = self._front or self._items
                dropped += _first(line, 1)
                self._remove(line, dropped[-1:])
            self._make_room()
        finally:
            self._busy = False
        return dropped

    # -- the sums; the lock is held, and what interrupts only adds to `_items`

    def _count(self) -> None:
        fresh = _first(self._items, len(self._items), self._counted)
        size = _size_of(fresh)
        self._bytes += size
        self._counted += len(fresh)

    def _remove(self, line: deque[bytes], events: list[bytes]) -> None:
        """Take `events`, which are the first of `line`, out of it."""
        known = events
        if line is self._items:
            self._room -= len(events)
            known = events[: self._counted]
            self._counted -= len(known)
            self._left += len(events)
        else:
            self._front_position += len(events)
        size = _size_of(known)
        self._bytes -= size
        for _ in events:
            line.popleft()

    def _make_room(self) -> None:
        uncounted = max(self._max_bytes - self._bytes, 0) // _SMALL_BYTES
        self._room = min(self._max_events - len(self._front), self._counted + uncounted)


def _first(line: deque[bytes], end: int, start: int = 0) -> list[bytes]:
    """Return a part of a line."""
    try:
        return [*islice(line, start, end)]
    except RuntimeError:  # another thread added meanwhile; by index that does not matter
        return [*map(line.__getitem__, range(start, min(end, len(line))))]


def _size_of(events: Sequence[bytes]) -> int:
    return sum(map(len, events)) + len(events) * EVENT_OVERHEAD_BYTES
