"""Step 3: hold accepted events, in order, until the worker takes them.

Threads: any thread may call any method, also from a signal handler or a `__del__` that interrupts
another call here. Nothing waits: the lock is re-entrant and held for a few instructions. What
interrupts a call can only add at the end (`_busy`), and sums change in single statements.
"""

from __future__ import annotations

from collections import deque
from threading import RLock

from ._wire import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .errors import Reason

# What one event costs beside its bytes: the header of the bytes object and its place in line.
EVENT_OVERHEAD_BYTES = 41


class Foreign(bytes):
    """An event that another process put into a shared buffer: delivered here, counted there."""

    __slots__ = ()


def own_of(events: Sequence[bytes]) -> int:
    """Return how many of these events this process accepted, and so has to count."""
    return sum(type(data) is not Foreign for data in events)


class PutOnly:
    """The part of a buffer that this process only adds to: nothing waits here to be taken."""

    held_bytes = 0

    def __len__(self) -> int:
        return 0

    def take(self, max_events: int) -> Sequence[bytes]:  # noqa: ARG002  # a method of the protocol
        return ()

    def hold(self, seconds: float) -> bool:  # noqa: ARG002  # likewise
        return False

    def done(self, count: int, lost: int = 0, reason: Reason | None = None) -> int:  # noqa: ARG002  # likewise
        return 0

    def put_back(self) -> Sequence[bytes]:
        return ()

    def clear(self) -> Sequence[bytes]:
        return ()

    def end(self) -> int:
        return 0

    def passed(self, position: int) -> bool:  # noqa: ARG002  # likewise
        return True


class MemoryBuffer:
    """The default buffer: in the memory of one process, bounded by count and by bytes.

    Events have positions, counted from the first one ever put. What `take` handed out stays
    owned here until `done` or `put_back`. A batch that was put back stays apart from the line
    behind it, so that it is sent again as the same batch.
    """

    __slots__ = (
        "_busy",
        "_bytes",
        "_front",
        "_front_position",
        "_items",
        "_lock",
        "_max_bytes",
        "_max_events",
        "_next_position",
        "_taken",
        "_taken_position",
    )

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = RLock()
        self._items: deque[bytes] = deque()
        self._next_position = 0
        self._front: deque[bytes] = deque()
        self._front_position = 0
        self._taken: list[bytes] = []
        self._taken_position = 0
        self._bytes = 0
        self._busy = False

    def __len__(self) -> int:
        """Return how many events wait to be taken."""
        return len(self._items) + len(self._front)

    @property
    def held_bytes(self) -> int:
        """Return the memory that waiting events take, in bytes."""
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
        with self._lock:
            self._items.append(data)
            self._next_position += 1
            self._bytes += size
            waiting = len(self._items) + len(self._front)  # `len(self)` is one call more
            if self._bytes <= self._max_bytes and waiting <= self._max_events:
                return ()
            return () if self._busy else self._overflow()

    def take(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch, a run of events or one identify; empty when there is nothing."""
        with self._lock:
            self._busy = True
            try:
                run = Run(max_events)
                line = self._front or self._items
                at = self._front_position if self._front else self._next_position - len(line)
                # Owned before they leave the line: `passed` sees each event all the time.
                self._taken_position, self._taken = at, run.events
                while line and run.add(line[0]):
                    line.popleft()
                self._front_position = at + len(run.events)  # of no meaning unless there is a front
            finally:
                self._busy = False
            # Not in one statement: that would read the sum before the call, and lose what a
            # signal handler adds to it meanwhile.
            size = _size_of(run.events)
            self._bytes -= size
            return tuple(run.events)

    def hold(self, seconds: float) -> bool:  # noqa: ARG002  # nobody else can take it
        """Say whether the taken batch is still owned; here only `clear` ends that."""
        return bool(self._taken)

    def done(self, count: int, lost: int = 0, reason: Reason | None = None) -> int:  # noqa: ARG002
        """Forget the first `count` taken events; return how many of them were still owned.

        How they ended matters to buffers that are shared; here the ledger knows it already.
        """
        with self._lock:
            owned = min(count, len(self._taken))
            del self._taken[:owned]
            self._taken_position += owned
            return owned

    def put_back(self) -> Sequence[bytes]:
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

    def end(self) -> int:
        """Return the position after the newest event: the mark that `flush` waits for."""
        return self._next_position

    def passed(self, position: int) -> bool:
        """Say whether every event before `position` has ended."""
        with self._lock:
            if self._taken:
                return self._taken_position >= position
            if self._front:
                return self._front_position >= position
            return self._next_position - len(self._items) >= position

    def clear(self) -> Sequence[bytes]:
        """Give up everything, also what is taken; return it, oldest first."""
        with self._lock:
            self._busy = True
            try:
                rest = [*self._taken]
                self._taken = []
                for line in (self._front, self._items):
                    while line:
                        rest.append(line.popleft())
                        size = len(rest[-1]) + EVENT_OVERHEAD_BYTES
                        self._bytes -= size
            finally:
                self._busy = False
            return rest

    def _overflow(self) -> Sequence[bytes]:
        """Remove the oldest until the bounds hold; the lock is held."""
        self._busy = True
        dropped = []
        try:
            while len(self) > self._max_events or self._bytes > self._max_bytes:
                oldest = (self._front or self._items).popleft()
                size = len(oldest) + EVENT_OVERHEAD_BYTES
                self._bytes -= size
                self._front_position += 1  # of no meaning unless there is a front
                dropped.append(oldest)
        finally:
            self._busy = False
        return dropped


def _size_of(events: Sequence[bytes]) -> int:
    return sum(map(len, events)) + len(events) * EVENT_OVERHEAD_BYTES
