"""The queue in memory: holds accepted events, in order, until the delivery thread claims them.

Threads: any thread may call any method, even in a signal handler or a `__del__` that interrupts
another call here. No call waits: the lock is re-entrant and held for a few instructions. A call
that interrupts another one can only add at the end (`_busy`).

Invariant: every event that was put has left, or is in exactly one of `_items`, `_front`,
`_claimed`, `_dropped` and `_drained`, and the sums agree with that, even if a signal handler raises
in the middle of a call. So an event moves, and the sums change, in one run of statements without a
call or a loop: CPython runs signal handlers only after calls, at the start of functions and at the
end of loops. A list display moves any number of events in one such run (`_popping`).

Adding takes no lock while there is room (`_room`), because `deque.append` is atomic. All else takes
it, so events leave the queue only under the lock. Events that other threads are just adding may
exceed a bound for a moment: each of these calls restores it before it returns.
"""

from __future__ import annotations

from _thread import RLock
from itertools import islice

from whisperr._events.batch import take_batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator, Sequence

    from whisperr.errors import Loss
else:
    from _collections import deque  # by itself: all of `collections` is a tenth of the import time

# What one event costs besides its bytes: the header of the bytes object and its slot in the queue.
EVENT_OVERHEAD_BYTES = 41
QUEUE_FULL = "the queue was full, so the oldest events were dropped"
# An event up to this size, with overhead, may be added without being counted at once.
_SMALL_BYTES = 4096
# How many of the oldest events are examined at a time when the bytes exceed their bound.
_LOOK_AHEAD = 8


class Foreign(bytes):
    """An event that another process put into a shared store: delivered here, but counted there."""

    __slots__ = ()


def count_own(events: Sequence[bytes]) -> int:
    """Return how many of these events this process accepted, and so counts."""
    return len(events) - [*map(type, events)].count(Foreign)


class CountedQueue:
    """A queue whose positions count its events: `tail()` is how many were ever put.

    - `kept`: `Store.kept` of the events that the latest `ack` lost.
    - `largest`: the size of the largest event that it accepts, in bytes. `put` returns a larger one
      by itself, and does not count it.
    """

    __slots__ = ()
    kept: str | None = None
    largest: int


class MemoryQueue(CountedQueue):
    """The default queue: in the memory of one process, bounded by count and by bytes.

    An event's position counts from the first one ever put. A claimed event stays owned by the queue
    until `ack` or `release`. A released batch stays separate from the events behind it, so that it
    is sent again as the same batch.
    """

    __slots__ = (
        "_busy",
        "_bytes",
        "_claimed",
        "_counted",
        "_drained",
        "_dropped",
        "_front",
        "_front_position",
        "_items",
        "_left",
        "_lock",
        "_lost",
        "_max_bytes",
        "_max_events",
        "_room",
        "claimed_position",
        "largest",
    )

    def __init__(
        self, max_events: int, max_bytes: int, lost: Callable[[list[bytes]], object] | None = None
    ) -> None:
        """`lost` is called with dropped events; it counts them and empties the list in one step.

        So no interruption can come between the two. Without `lost`, the methods return the dropped
        events and the queue forgets them.
        """
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.largest = max_bytes - EVENT_OVERHEAD_BYTES
        self._lost = lost
        self._lock = RLock()
        self._items: deque[bytes] = deque()
        self._left = 0  # how many events have left `_items`: the position of its first one
        self._front: deque[bytes] = deque()
        self._front_position = 0
        self._claimed: list[bytes] = []
        self.claimed_position = 0  # of the first claimed event
        # Events that were dropped or drained, until they are counted as such.
        self._dropped: list[bytes] = []
        self._drained: list[bytes] = []
        # `_bytes`: the size of `_front` and of the first `_counted` of `_items`. `_room`: up to
        # this length of `_items`, small events can be added uncounted without exceeding a bound.
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

    @property
    def held(self) -> int:
        """How many events have been put and have not left."""
        with self._lock:
            given_up = len(self._dropped) + len(self._drained)
            return len(self._claimed) + given_up + len(self._front) + len(self._items)

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event at the end; return events dropped to make room: the oldest, or itself."""
        size = len(data) + EVENT_OVERHEAD_BYTES
        if size > self._max_bytes:
            return (data,)
        items = self._items
        items.append(data)
        if len(items) <= self._room and size <= _SMALL_BYTES:
            return ()
        with self._lock:
            if not self._busy:
                self._overflow()
        return self._report_dropped()

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch, a run of events or one identify; empty if there is none."""
        with self._lock:
            self._busy = True
            try:
                from_front = bool(self._front)
                events = self._front or self._items
                batch = take_batch(_slice(events, max_events))
                count = len(batch)
                popping = _popping(events, count)
                counted = min(count, self._counted)
                size = get_size(batch if from_front else batch[:counted])
                # No call from here on.
                self._claimed = [*popping]
                self._bytes -= size
                if from_front:
                    self.claimed_position = self._front_position
                    self._front_position += count
                else:
                    self.claimed_position = self._left
                    self._left += count
                    self._counted -= counted
                    self._room -= count
                self._make_room()
            finally:
                self._busy = False
            return tuple(batch)

    def ack(self, count: int, loss: Loss | None = None) -> int:  # noqa: ARG002  # of the protocol
        """Forget the first `count` claimed events; return how many of them were still owned.

        Only shared queues use `loss`.
        """
        with self._lock:
            owned = min(count, len(self._claimed))
            # No call from here on.
            del self._claimed[:owned]
            self.claimed_position += owned
            return owned

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front; return events dropped to make room."""
        with self._lock:
            self._busy = True
            try:
                size = get_size(self._claimed)
                front = deque(self._claimed)
                front.extend(self._front)
                # No call from here on.
                self._front = front
                self._front_position = self.claimed_position
                self._claimed = []
                self._bytes += size
            finally:
                self._busy = False
            self._overflow()
        return self._report_dropped()

    def tail(self) -> int:
        """Return the position after the newest event, which `flush` waits for."""
        with self._lock:
            return self._left + len(self._items)

    def settled(self, position: int) -> bool:
        """Return whether every event before `position` was delivered or dropped."""
        if self._lost is not None:  # events that an interrupted call left uncounted
            self._report_dropped()
        with self._lock:
            if self._claimed:
                return self.claimed_position >= position
            if self._front:
                return self._front_position >= position
            # A signal handler that flushes amid a claim may hold a position beyond the end.
            return self._left >= position or not self._items

    def drain(self) -> list[bytes]:
        """Give up all events, even claimed ones; return them, oldest first.

        With `lost`, events that are still in the list at the next call are returned again.
        """
        with self._lock:
            if self._busy:  # in a signal handler; the interrupted call wakes, which drains again
                return []
            self._busy = True
            try:
                while self._claimed or self._front or self._items:
                    self._drain_once()
                self._make_room()
            finally:
                self._busy = False
            if self._lost is not None:
                return self._drained
            drained, self._drained = self._drained, []
            return drained

    def _drain_once(self) -> None:
        """Give up all present events; a signal handler or another thread may add more meanwhile."""
        total, front = len(self._items), deque[bytes]()
        popping = _popping(self._items, total)
        # No call from here on.
        self._drained += [*self._claimed, *self._front, *popping]
        self._claimed = []
        self._front = front
        self._bytes = 0
        self._left += total
        self._counted = 0
        self._room = 0

    def _overflow(self) -> None:
        """Drop the oldest events until the bounds hold; the lock is held."""
        self._busy = True
        try:
            self._room = 0  # a call that adds from here on enforces the bounds itself
            self._count()
            while len(self) > self._max_events or self._bytes > self._max_bytes:
                events = self._front or self._items
                count, size = self._get_excess(events)
                of_items = 0 if events is self._front else count
                popping = _popping(events, count)
                # No call from here on.
                self._dropped += [*popping]
                self._bytes -= size
                self._left += of_items
                self._counted -= of_items
                self._front_position += count - of_items
            self._make_room()
        finally:
            self._busy = False

    def _get_excess(self, events: deque[bytes]) -> tuple[int, int]:
        """Return how many of the oldest `events` exceed the bounds, and their size in bytes."""
        over = len(self) - self._max_events
        count = size = 0
        for data in _slice(events, max(over, 0) + _LOOK_AHEAD):
            if count >= over and self._bytes - size <= self._max_bytes:
                break
            count += 1
            size += len(data) + EVENT_OVERHEAD_BYTES
        return count, size

    def _report_dropped(self) -> Sequence[bytes]:
        """Have dropped events counted by `lost`, or return them."""
        if not self._dropped:
            return ()
        if self._lost is not None:
            self._lost(self._dropped)
            return ()
        with self._lock:
            dropped, self._dropped = self._dropped, []
            return dropped

    # -- the sums; the lock is held, and a call that interrupts only adds to `_items`

    def _count(self) -> None:
        """Count the new events, from the end: the cost does not depend on how many wait before."""
        fresh = _get_last(self._items, self._counted)
        size, count = get_size(fresh), len(fresh)
        # No call from here on.
        self._bytes += size
        self._counted += count

    def _make_room(self) -> None:
        """Compute `_room`; it stays 0 if this is interrupted, or while dropped events wait."""
        uncounted = max(self._max_bytes - self._bytes, 0) // _SMALL_BYTES
        room = min(self._max_events - len(self._front), self._counted + uncounted)
        self._room = 0 if self._dropped and self._lost is not None else room


def get_size(events: Sequence[bytes]) -> int:
    """Return the memory that these events take, in bytes."""
    return sum(map(len, events)) + len(events) * EVENT_OVERHEAD_BYTES


def _popping(events: deque[bytes], count: int) -> Iterator[bytes]:
    """Return an iterator that removes the first `count` events, to be run by a list display.

    It removes none before it runs. It runs in C, so nothing can interrupt between two events.
    """
    return islice(iter(events.popleft, None), count)


def _slice(events: deque[bytes], end: int) -> list[bytes]:
    """Return the first events up to `end`."""
    try:
        return [*islice(events, end)]
    except RuntimeError:  # another thread added meanwhile, which does not affect indexing
        return [*map(events.__getitem__, range(min(end, len(events))))]


def _get_last(events: deque[bytes], start: int) -> list[bytes]:
    """Return the events from `start` on, newest first, without iterating over those before."""
    try:
        # The iterator first: if an event is added after it, the iterator raises.
        backwards = reversed(events)
        return [*islice(backwards, len(events) - start)]
    except RuntimeError:  # another thread added meanwhile
        return [*map(events.__getitem__, range(start, len(events)))]
