"""The leased queue: events pass through memory into a store that outlives the process.

Invariant: an event is in memory (`_memory`), in the batch `_batch` that was claimed from there, or
in the store. Moves into the store and out of it are made under the lock. A call that finds the lock
taken by its own thread (a signal handler that interrupts another call) leaves its event in memory:
an interrupted `put` stores it before it returns, after any other call the next `put` or `claim`
does. While the store cannot be used, events wait in memory and are delivered from there.

Threads: any thread may call any method. Waiting for the lock has a bound, and so has every use of
the store.
"""

from __future__ import annotations

import time
from threading import RLock
from typing import TYPE_CHECKING

from whisperr._process import forks
from whisperr._process.logger import logger
from whisperr.errors import NotNow, StoreError

from .memory import QUEUE_FULL, CountedQueue, MemoryQueue, get_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from whisperr.errors import Loss
    from whisperr.protocols import Accounting

    from .store import Store

    T = TypeVar("T")

# The longest that a call of `track()` waits for another thread of its process, in seconds.
PATIENCE = 0.25
# After a failure, calls do not try the store for this many seconds; a claim and an ack still do.
RETRY = 1.0
# Seconds between two looks of an idle process at the store.
POLL_INTERVAL = 5.0
# A lasting failure is reported once in this many seconds.
_REPORT_INTERVAL = 60.0
_MOST_DOUBLINGS = 10
_MOST_STORED_AT_ONCE = 500
# Limits for calls that must reach the store: attempts, and seconds in total. On a busy machine
# another process may hold its lock at every single attempt.
_TRIES = 20
_LONGEST_TRY = 5.0
_FORK_PATIENCE = 2.0
_NO_EVENTS: Sequence[bytes] = ()
_UNUSED = "unused"
EXPIRED = "older than the 30 days that the server accepts"


class LeasedQueue(CountedQueue):
    """A queue over a store, with the memory of the process to fall back on."""

    # What the log calls the store.
    name: str = "the store of events"
    # Seconds without use after the first failure in a row; doubled with each up to the longest.
    first_retry: float = RETRY
    longest_retry: float = RETRY

    def __init__(
        self,
        store: Store,
        max_events: int,
        max_bytes: int,
        accounting: Accounting,
        *,
        poll_interval: float = POLL_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._accounting = accounting
        self._poll_interval = poll_interval
        self._clock = clock
        self._memory = MemoryQueue(max_events, max_bytes)
        # A batch from memory: claimed to be delivered from there, or released. It is older than
        # what is in `_memory`; `_batch_number` is the number of its first event.
        self._batch: list[bytes] = []
        self._batch_number = 0
        self._batch_claimed = False
        self._from_store = False
        self._lock = RLock()
        self._busy = False
        self._problem: str | None = None
        self._failures = 0  # in a row
        self._failed_at = 0.0
        self._retry_at = 0.0
        self._report_at = 0.0
        self._settled_to = 0
        self._stored_to = 0
        self._next_number = 0
        self._recovered = False
        self._closed = False
        self._use(self._store.poll, None)  # what an earlier process left
        self._use(self._store.close, None)  # so that a fork right after construction inherits none
        forks.register(self)

    # -- the methods of a shared queue

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event and store it; return the events that had to be dropped for it."""
        dropped = self._memory.put(data)
        if dropped and dropped[-1] is data:
            return dropped
        return [*dropped, *self._store_memory()]

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch: from the store, or from memory while that cannot be used."""
        self._from_store = False
        failures = self._failures
        if self._batch or len(self._memory):
            # Unlike `put`, this always tries the store first: what is in there is older.
            self._report_dropped(self._store_memory(anyway=True))
        stored = _NO_EVENTS
        if not self._batch:
            stored = self._use(lambda: self._claim_stored(max_events), _NO_EVENTS)
            if not stored and self._may_overtake():
                self._use(lambda: self._claim_from_memory(max_events), None, anyway=True)
        if self._recovered:  # logged here, without the lock: a handler of the log is foreign code
            self._recovered = False
            logger().warning("%s can be used again", self.name)
        if self._batch:
            self._batch_claimed = True
            return tuple(self._batch)
        if not stored and len(self):
            # Only a failure of this call is a problem: soon after one the store is not even tried.
            failed = self._failures != failures and not len(self._memory)
            problem = self._problem if failed else None
            raise NotNow(max(self._retry_at - self._clock(), self.first_retry / 10), problem)
        return stored

    def extend(self, seconds: float) -> bool:
        """Keep the claim for this many seconds; False when another process has taken over."""
        if not self._from_store:
            return self._batch_claimed
        # When the store cannot answer, a second copy is better than none.
        self._from_store = self._use_with_retries(lambda: self._store.extend(seconds)) is not False
        return self._from_store

    def ack(self, count: int, loss: Loss | None = None) -> int:
        """Forget the first `count` claimed events; return how many were still owned."""
        if self._from_store:
            # When the store cannot record it, they are sent again.
            owned = self._use_with_retries(lambda: self._store.ack(count, loss))
            if owned is None or owned == 0 < count:
                self._from_store = False
                self._store.forget()
            return owned or 0
        if not self._batch_claimed:
            return 0
        owned = min(count, len(self._batch))
        del self._batch[:owned]
        self._batch_number += owned
        self._batch_claimed = bool(self._batch)
        return owned

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front; return the events dropped for it."""
        self._batch_claimed = False
        if not self._from_store:
            return ()
        self._from_store = False
        dropped = self._use(self._store.release, _NO_EVENTS, anyway=True)
        self._store.forget()
        return dropped

    def drain(self) -> Sequence[bytes]:
        """Store what can be stored, for other processes to deliver; give up and return the rest."""
        self._report_dropped(self._store_memory())
        lost = [*self._batch, *self._memory.drain()]
        self._batch = []
        if self._batch_claimed or self._from_store:
            self._report_dropped(self.release())
        self.settled(self.tail())  # asked while the store is open, and remembered
        self._use(self._store.close, None)
        self._closed = True
        return lost

    def tail(self) -> int:
        """Return the number after that of the newest event of this process."""
        return self._memory.tail()

    def settled(self, position: int) -> bool:
        """Return whether every event of this process before `position` has ended, anywhere."""
        if position <= self._settled_to:
            return True
        if not self._memory.settled(position) or (self._batch and self._batch_number < position):
            return False
        settled = self._settled_to >= self._stored_to or (
            not self._closed and self._use(lambda: self._store.settled(position), otherwise=False)
        )
        if settled:
            self._settled_to = max(self._settled_to, position)
        return settled

    def poll(self) -> float:
        """Learn what other processes did; return the seconds until the next poll."""
        changes = self._use(self._store.poll, None) or {}
        for outcome, count in changes.items():
            self._accounting.settled_elsewhere(outcome, count)
        return self._poll_interval

    def __len__(self) -> int:
        """Return how many events of all processes wait, as far as this one knows."""
        batch = 0 if self._batch_claimed else len(self._batch)
        return batch + len(self._memory) + self._store.waiting

    @property
    def stored(self) -> int:
        """How many events of all processes wait in the store, as last seen."""
        return self._store.waiting

    @property
    def held_bytes(self) -> int:
        """What waiting events take, in memory and in the store, in bytes."""
        size = get_size(() if self._batch_claimed else self._batch)
        return size + self._memory.held_bytes + self._store.waiting_bytes

    # -- into the store and out of it

    def _store_memory(self, *, anyway: bool = False) -> list[bytes]:
        """Move everything from memory into the store; return the events it dropped for that."""
        dropped: list[bytes] = []
        # At least once, because another thread may be storing the event of this call; again for
        # what a signal handler added meanwhile. None: the store cannot be used now.
        while self._use(lambda: self._move(dropped), None, anyway=anyway) and len(self._memory):
            pass
        return dropped

    def _move(self, dropped: list[bytes]) -> str:
        """Return whether something was moved: `_UNUSED` when there was nothing."""
        moved = _UNUSED
        if self._batch and not self._batch_claimed:
            dropped += self._store.append(self._batch, self._batch_number)
            self._stored_to = self._batch_number + len(self._batch)
            self._batch = []
            moved = "moved"
        while batch := self._memory.claim(_MOST_STORED_AT_ONCE):
            number = self._number_claimed()
            try:
                dropped += self._store.append(batch, number)
            except BaseException:
                dropped += self._memory.release()
                raise
            self._next_number = number + len(batch)
            self._stored_to = self._next_number
            self._memory.ack(len(batch))
            moved = "moved"
        return moved

    def _number_claimed(self) -> int:
        """Return the number of the first event claimed from memory; none is given twice.

        The position alone would do, were it not read while this call interrupts a put that is
        half done: then it is one too low.
        """
        return max(self._next_number, self._memory.claimed_position)

    def _claim_stored(self, max_events: int) -> Sequence[bytes]:
        try:
            batch, expired = self._store.claim(max_events)
        except BaseException:  # it may have claimed something all the same
            self._store.forget()
            raise
        self._from_store = bool(batch)
        if expired:
            self._accounting.lost(expired, "expired", EXPIRED)
        return batch

    def _may_overtake(self) -> bool:
        """Return whether to deliver from memory: the store does not work.

        While own events may be in the store, it must have failed for a while: a store that is
        only busy is waited for, since the events in it are older.
        """
        alone = self._settled_to >= self._stored_to
        return self._problem is not None and (alone or self._clock() >= self._failed_at + RETRY)

    def _claim_from_memory(self, max_events: int) -> None:
        batch = self._memory.claim(max_events)
        self._batch_number = self._number_claimed()
        self._next_number = self._batch_number + len(batch)
        self._batch = list(batch)
        self._memory.ack(len(batch))

    def _report_dropped(self, dropped: Sequence[bytes]) -> None:
        if dropped:
            self._accounting.lost(dropped, "queue_full", QUEUE_FULL)

    # -- the lock, and what happens when the store fails

    def _use(self, act: Callable[[], T], otherwise: T, *, anyway: bool = False) -> T:
        """Call `act` on the store under the lock; return `otherwise` if one of the two is not free.

        Soon after a failure it is not even tried, unless `anyway`. An `act` that returns None or
        `_UNUSED` proves nothing about the store.
        """
        if not anyway and self._clock() < self._retry_at:
            return otherwise
        if not self._lock.acquire(timeout=PATIENCE):
            if len(self._memory):
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
            if result is not None and result is not _UNUSED and self._failures:
                self._failures = 0
                self._problem = None
                self._recovered = True
                self._accounting.store_problem(None)
            return result
        finally:
            self._lock.release()

    def _use_with_retries(self, act: Callable[[], T]) -> T | None:
        """Call `act` on the store again for some seconds; None if every attempt failed."""
        end = self._clock() + _LONGEST_TRY
        for _ in range(_TRIES):
            result = self._use(act, None, anyway=True)
            if result is not None or self._clock() >= end:
                return result
        return None

    def _fail(self, message: str) -> None:
        now, first = self._clock(), not self._failures
        doublings = min(self._failures, _MOST_DOUBLINGS)
        self._retry_at = now + min(self.first_retry * 2.0**doublings, self.longest_retry)
        self._failures += 1
        self._problem = message
        self._accounting.store_problem(message)
        if first:
            self._failed_at = now
            self._report_at = now
        self._report(message)

    def _report(self, message: str) -> None:
        now = self._clock()
        if now >= self._report_at:
            self._report_at = now + _REPORT_INTERVAL
            self.report_problem(message, len(self._memory) + len(self._batch))

    def report_problem(self, message: str, count: int) -> None:
        """Report that the store cannot be used, while so many events are in memory."""
        self._accounting.not_durable(f"{message}; events are kept in memory", count)

    # -- forks

    def before_fork(self) -> bool:
        """Take the lock and close connections, so that a child inherits none.

        Returns False when another thread holds the lock for too long.
        """
        if not self._lock.acquire(timeout=_FORK_PATIENCE):
            return False
        if not self._busy:
            self._store.close()
        return True

    def after_fork(self) -> None:
        """Let other threads use the store again; called in the parent and in the child."""
        self._lock.release()
