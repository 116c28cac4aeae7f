"""Step 3, durable: events go through a line in memory into a store that outlives the process.

The law: an event is in the line, in the batch `ahead`, or in the store; each move is made under
the lock, and whoever finds the lock taken by itself (a signal handler that interrupts a call)
leaves its event in the line: the interrupted call stores it before it returns. While the store
cannot be used, events wait in the line and are delivered from it.

Threads: any. Waiting for the lock has a bound, and so has every use of the store.
"""

from __future__ import annotations

import time
from threading import RLock

from whisperr._process import forks
from whisperr._process.logger import logger
from whisperr.errors import NotNow, StoreError

from .memory import EVENT_OVERHEAD_BYTES, MemoryQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from whisperr.errors import Loss
    from whisperr.protocols import Accounting

    from .store import Store

    T = TypeVar("T")

# The longest that a caller of `track()` waits for another thread of its process.
PATIENCE = 0.25
# After a failure the store is left alone for so long: no caller pays for trying again and again.
RETRY = 1.0
# How often a lasting failure is reported, and how often an idle process looks at the store.
_REPORT_EVERY = 60.0
POLL_INTERVAL = 5.0
_ROUND = 500
# What must be in the store is tried again, on a machine so busy that somebody always locks it.
_TRIES = 20
_LONGEST_TRY = 5.0
_FORK_PATIENCE = 2.0
_NO_EVENTS: Sequence[bytes] = ()
_NO_NEWS: Mapping[str, int] = {}
FULL = "the queue was full; the oldest events were dropped"
EXPIRED = "older than the 30 days that the server accepts"


class LeasedQueue:
    """A buffer over a store, with the memory of the process to fall back on."""

    def __init__(
        self,
        store: Store,
        max_events: int,
        max_bytes: int,
        accounting: Accounting,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._line = MemoryQueue(max_events, max_bytes)
        # A batch from the line: taken to be delivered from memory, or put back. Older than the
        # line, and its first event has the number `_ahead_number`.
        self._ahead: list[bytes] = []
        self._ahead_number = 0
        self._ahead_taken = False
        self._from_store = False
        self._lock = RLock()
        self._busy = False
        self._accounting = accounting
        self._failed_at = self._retry_at = self._report_at = 0.0
        self._passed_to = self._stored_to = self._number = 0
        self._recovered = False
        self._closed = False
        self.problem: str | None = None
        self._use(self._store.poll, _NO_NEWS)  # what a former process left
        self._use(self._store.close, None)  # so that a fork right after construction inherits none
        forks.register(self)

    # -- what the pipeline and the worker call

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event and store it; return what had to go for it."""
        gone = self._line.put(data)
        if gone and gone[-1] is data:
            return gone
        return [*gone, *self._store_line()]

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch: from the store, or from memory while that cannot be used."""
        self._from_store = False
        # Unlike a caller, the worker always tries the store first: what is in there is older.
        self._tell_full(self._store_line(anyway=True))
        if not self._ahead:
            batch = self._use(lambda: self._take_stored(max_events), _NO_EVENTS)
            if batch:
                return batch
            if self._may_overtake():
                self._next_ahead(max_events)
        if self._recovered:
            self._recovered = False
            logger().warning("the store of events can be used again")
        if self._ahead:
            self._ahead_taken = True
            return tuple(self._ahead)
        if len(self):
            problem = None if len(self._line) else self.problem
            raise NotNow(max(self._retry_at - self._clock(), RETRY / 10), problem)
        return ()

    def extend(self, seconds: float) -> bool:
        """Keep the taken batch for so long; False when another process has taken over."""
        if not self._from_store:
            return self._ahead_taken
        # When the store cannot answer, a second copy is better than none.
        self._from_store = self._insist(lambda: self._store.extend(seconds)) is not False
        return self._from_store

    def ack(self, count: int, loss: Loss | None = None) -> int:
        """Forget the first `count` taken events; return how many were still owned."""
        if self._from_store:
            # In vain, they are sent again.
            lost, reason = (0, None) if loss is None else (loss.count, loss.reason)
            owned = self._insist(lambda: self._store.ack(count, lost, reason))
            if owned is None or owned == 0 < count:
                self._from_store = False
                self._store.forget()
            return owned or 0
        if not self._ahead_taken:
            return 0
        owned = min(count, len(self._ahead))
        del self._ahead[:owned]
        self._ahead_number += owned
        self._ahead_taken = bool(self._ahead)
        return owned

    def release(self) -> Sequence[bytes]:
        """Return what is left of the taken batch to the front; return what had to go for it."""
        self._ahead_taken = False
        if not self._from_store:
            return ()
        self._from_store = False
        dropped = self._use(self._store.release, _NO_EVENTS, anyway=True)
        self._store.forget()
        return dropped

    def drain(self) -> Sequence[bytes]:
        """Store what can be stored, give up and return the rest; let others deliver it."""
        self._tell_full(self._store_line())
        lost = [*self._ahead, *self._line.drain()]
        self._ahead = []
        if self._ahead_taken or self._from_store:
            self._tell_full(self.release())
        self.settled(self.tail())
        self._use(self._store.close, None)
        self._closed = True
        return lost

    def tail(self) -> int:
        """Return the number after that of the newest event of this process."""
        return self._line.tail()

    def settled(self, position: int) -> bool:
        """Say whether all events of this process before `position` have ended, wherever."""
        if position <= self._passed_to:
            return True
        if not self._line.settled(position) or (self._ahead and self._ahead_number < position):
            return False
        passed = self._passed_to >= self._stored_to or (
            not self._closed and self._use(lambda: self._store.settled(position), otherwise=False)
        )
        if passed:
            self._passed_to = max(self._passed_to, position)
        return passed

    def poll(self) -> float:
        """Learn what other processes did meanwhile; return after how long to look again."""
        for outcome, count in self._use(self._store.poll, _NO_NEWS).items():
            self._accounting.settled_elsewhere(outcome, count)
        return POLL_INTERVAL

    def __len__(self) -> int:
        """Return how many events wait, as far as this process knows; those of all processes."""
        ahead = 0 if self._ahead_taken else len(self._ahead)
        return ahead + len(self._line) + self._store.waiting

    @property
    def stored(self) -> int:
        """Return how many events wait in the store, those of all processes."""
        return self._store.waiting

    @property
    def held_bytes(self) -> int:
        """Return what waiting events take, in memory and in the store, in bytes."""
        ahead = () if self._ahead_taken else self._ahead
        size = sum(map(len, ahead)) + len(ahead) * EVENT_OVERHEAD_BYTES
        return size + self._line.held_bytes + self._store.waiting_bytes

    # -- into the store and out of it

    def _store_line(self, *, anyway: bool = False) -> list[bytes]:
        """Move everything from memory into the store; return what the store had to drop for it."""
        dropped: list[bytes] = []
        # Once at least: another thread may hold the last event in its hands. And again, for what
        # a signal handler put while this thread was at it.
        while self._use(lambda: self._spill(dropped), otherwise=False, anyway=anyway):
            if not len(self._line):
                break
        return dropped

    def _spill(self, dropped: list[bytes]) -> bool:
        if self._ahead and not self._ahead_taken:
            dropped += self._store.append(self._ahead, self._ahead_number)
            self._stored_to = self._ahead_number + len(self._ahead)
            self._ahead = []
        while batch := self._line.claim(_ROUND):
            number = self._number_taken()
            try:
                dropped += self._store.append(batch, number)
            except BaseException:
                dropped += self._line.release()
                raise
            self._number = self._stored_to = number + len(batch)
            self._line.ack(len(batch))
        return True

    def _number_taken(self) -> int:
        """Return the number of the first event taken from the line; none is given out twice.

        The position alone would do, were it not read while a put is only half done that this
        call interrupts: then it is one too low.
        """
        return max(self._number, self._line.taken_position)

    def _take_stored(self, max_events: int) -> Sequence[bytes]:
        batch, expired = self._store.claim(max_events)
        self._from_store = bool(batch)
        self._accounting.lost(expired, "expired", EXPIRED)
        return batch

    def _may_overtake(self) -> bool:
        """Say whether to deliver from memory: the store does not work.

        While own events may be in there, it must have failed twice: one that is only busy is
        waited for, since what is in it is older.
        """
        alone = self._passed_to >= self._stored_to
        return self.problem is not None and (alone or self._clock() >= self._failed_at + RETRY)

    def _next_ahead(self, max_events: int) -> None:
        """Take the next batch out of the line, to be delivered from memory."""
        if not self._lock.acquire(timeout=PATIENCE):
            return
        try:
            if not self._busy:
                batch = self._line.claim(max_events)
                self._ahead_number = self._number_taken()
                self._number = self._ahead_number + len(batch)
                self._ahead = list(batch)
                self._line.ack(len(batch))
        finally:
            self._lock.release()

    def _tell_full(self, dropped: Sequence[bytes]) -> None:
        self._accounting.lost(dropped, "queue_full", FULL)

    # -- the lock, and what happens when the store fails

    def _use(self, act: Callable[[], T], otherwise: T, *, anyway: bool = False) -> T:
        """Let `act` use the store, alone; return `otherwise` when it cannot be used now.

        Soon after a failure it is not even tried, unless `anyway`.
        """
        if not anyway and self._clock() < self._retry_at:
            return otherwise
        if not self._lock.acquire(timeout=PATIENCE):
            if len(self._line) and self._clock() >= self._report_at:
                self._report(f"the store was busy for longer than {PATIENCE:g} s")
            return otherwise
        try:
            if self._busy:  # this call interrupts another one of the same thread
                return otherwise
            self._busy = True
            try:
                result = act()
            except StoreError as error:
                self._fail(str(error))
                return otherwise
            finally:
                self._busy = False
            self._works()
            return result
        finally:
            self._lock.release()

    def _insist(self, act: Callable[[], T]) -> T | None:
        """Let `act` use the store, trying again for some seconds; None when that was in vain."""
        tries, end = 1, self._clock() + _LONGEST_TRY
        result = self._use(act, None, anyway=True)
        while result is None and tries < _TRIES and self._clock() < end:
            tries += 1
            result = self._use(act, None, anyway=True)
        return result

    def _fail(self, message: str) -> None:
        first = self.problem is None
        self.problem = message
        self._accounting.store_problem(message)
        now = self._clock()
        self._retry_at = now + RETRY
        if first:
            self._failed_at = now
        if first or now >= self._report_at:
            self._report(message)

    def _works(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._accounting.store_problem(None)
            self._recovered = True  # said later: logging is foreign code

    def _report(self, message: str) -> None:
        self._report_at = self._clock() + _REPORT_EVERY
        count = len(self._line) + len(self._ahead)
        self._accounting.not_durable(f"{message}; events are kept in memory", count)

    # -- forks

    def close_in_child(self) -> None:
        """In a child: never let go of what was inherited, since letting go would close it."""
        forks.keep(self)

    def before_fork(self) -> bool:
        """Take the lock and let go of connections, so that a child inherits none;."""
        if not self._lock.acquire(timeout=_FORK_PATIENCE):
            return False
        if not self._busy:
            self._store.close()
        return True

    def after_fork(self) -> None:
        """In the parent: let others use the store again."""
        self._lock.release()
