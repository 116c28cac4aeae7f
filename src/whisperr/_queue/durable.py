"""The leased queue: events pass through memory into a store that outlives the process.

Invariant: an event is in memory (`_transit`) or in the store. Moves into the store and out of it
are made under the lock of `_access`. A call that finds the lock taken by its own thread (a signal
handler that interrupts another call) leaves its event in memory: an interrupted `put` stores it
before it returns, after any other call the next `put`, `claim` or `poll` does. While the store
cannot be used, events wait in memory and are delivered from there.

Threads: any thread may call any method. Waiting for the lock has a bound, and so has every use of
the store. Reports are made without the lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whisperr._process import forks
from whisperr._process.logger import log
from whisperr.errors import NotNow, StoreError

from .access import StoreAccess
from .dead_letters import NOT_KEPT
from .memory import QUEUE_FULL, CountedQueue, count_own
from .store import LOST_IN_STORE
from .transit import Transit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from whisperr.errors import Loss
    from whisperr.protocols import Accounting

    from .store import Store

    T = TypeVar("T")

# After a failure, calls do not try the store for this many seconds; a claim and an ack still do.
RETRY = 1.0
# Seconds between two looks of an idle process at the store.
POLL_INTERVAL = 5.0
# Limits for calls that must reach the store: attempts, and seconds in total. On a busy machine
# another process may hold its lock at every single attempt.
_TRIES = 20
_MOST_CLAIMS_LOST = 3
_LONGEST_TRY = 5.0
# The longest wait for another thread before a fork, and at the end (seconds).
_PATIENCE_AT_THE_END = 2.0
_NO_EVENTS: Sequence[bytes] = ()
EXPIRED = "older than the 30 days that the server accepts"
_LOST = "gone from the store, or damaged there, by something else than this package"
_REJECTED = "not written by this package, or damaged in the store; set aside"


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
        self._access = StoreAccess(self.first_retry, self.longest_retry)
        self._transit = Transit(max_events, max_bytes)
        self._memory = self._transit.memory
        # The batch that was claimed from the store, as far as it is not acknowledged.
        self._from_store = False
        self._stored_batch: list[bytes] = []
        self._expired: list[bytes] = []  # not reported yet
        # A store that loses every claim at once is asked again after a while only.
        self._claims_lost = 0  # in a row
        self._claim_at = 0.0
        # What the server has, and the store does not know: see `_record`.
        self._unrecorded: tuple[int, Loss | None] | None = None
        self._settled_to = 0
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
        try:
            return self._claim(max_events)
        except NotNow:
            raise
        except BaseException:  # whatever was claimed waits again
            self._from_store = self._transit.batch_claimed = False
            self._store.forget()
            raise

    def extend(self, seconds: float) -> bool:
        """Keep the claim for this many seconds; False when another process has taken over."""
        if not self._from_store:
            return self._transit.batch_claimed
        # When the store cannot answer, a second copy is better than none.
        self._from_store = self._use_with_retries(lambda: self._store.extend(seconds)) is not False
        if not self._from_store:
            self._claims_lost += 1
            self._claim_at = self._clock() + RETRY
        return self._from_store

    def ack(self, count: int, loss: Loss | None = None) -> int:
        """Forget the first `count` claimed events; return how many were still owned.

        When the store cannot record it now, 0: they are counted when it is recorded (`_record`).
        """
        if self._from_store:
            owned = self._use_with_retries(lambda: self._store.ack(count, loss))
            self.kept = self._store.kept
            if owned is None:
                self._unrecorded, self._from_store = (count, loss), False
            elif owned == 0 < count:
                self._from_store = False
                self._store.forget()
            else:
                self._claims_lost = 0
                del self._stored_batch[:owned]
            return owned or 0
        self.kept = None if self._store.kept is None else NOT_KEPT  # it cannot be used
        return self._transit.ack(count)

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front; return the events dropped for it."""
        self._transit.batch_claimed = False
        if not self._from_store:
            return ()
        dropped = self._release_stored()
        self._from_store = False  # not before: an interrupted release is repeated by `drain`
        return dropped

    def drain(self) -> Sequence[bytes]:
        """Store what can be stored, for other processes to deliver; give up and return the rest."""
        self._record()
        self._report_dropped(self._store_memory())
        # Also when the store cannot be used; another thread may be moving events.
        lost: Sequence[bytes] = self._access.mutex.run(
            lambda: self._transit.drain(self._store), _NO_EVENTS, _PATIENCE_AT_THE_END
        )
        if self._from_store:
            self._report_dropped(self.release())
        self.poll()  # the last time that this process can learn what others did
        self.settled(self.tail())  # asked while the store is open, and remembered
        self._use(self._store.close, None, anyway=True)
        self._closed = True
        return lost

    def tail(self) -> int:
        """Return the number after that of the newest event of this process."""
        return self._memory.tail()

    def settled(self, position: int) -> bool:
        """Return whether every event of this process before `position` has ended, anywhere."""
        if position <= self._settled_to:
            return True
        if not self._transit.settled(position):
            return False
        settled = self._settled_to >= self._transit.stored_to or (
            not self._closed and self._use(lambda: self._store.settled(position), otherwise=False)
        )
        if settled:
            self._settled_to = max(self._settled_to, position)
        return settled

    def poll(self) -> float:
        """Learn what other processes did; return the seconds until the next poll."""
        self._record()
        if not self._transit.is_idle:  # what an interrupted call left
            self._report_dropped(self._store_memory())
        changes = self._use(self._store.poll, None, proves=True) or {}
        for outcome, count in changes.items():
            if outcome == LOST_IN_STORE:
                self._accounting.lost_in_store(count, _LOST)
            else:
                self._accounting.settled_elsewhere(outcome, count)
        return self._poll_interval

    def __len__(self) -> int:
        """Return how many events of all processes wait, as far as this one knows."""
        return len(self._transit) + self._store.waiting

    @property
    def stored(self) -> int:
        """How many events of all processes wait in the store, as last seen."""
        return self._store.waiting

    @property
    def held_bytes(self) -> int:
        """What waiting events take, in memory and in the store, in bytes."""
        return self._transit.held_bytes + self._store.waiting_bytes

    # -- out of the store

    def _claim(self, max_events: int) -> Sequence[bytes]:
        access, transit = self._access, self._transit
        self._from_store = False
        failures = access.failures
        self._record()
        if not transit.is_idle:
            # Unlike `put`, this always tries the store first: what is in there is older.
            self._report_dropped(self._store_memory(anyway=True))
        stored = _NO_EVENTS
        if not transit.batch:
            left = self._claim_at - self._clock()
            if self._claims_lost >= _MOST_CLAIMS_LOST and left > 0:
                raise NotNow(left)
            if self._unrecorded is None:
                # A store that is only full can be emptied.
                stored = self._use(
                    lambda: self._claim_stored(max_events), stored, anyway=access.full, proves=True
                )
            if not stored and self._may_overtake():
                self._use(lambda: transit.claim(max_events, self._store), None, anyway=True)
        self._report_after_claim()
        if transit.batch:
            transit.batch_claimed = True
            return tuple(transit.batch)
        if not stored and len(self):
            # Only a failure of this call is a problem: soon after one the store is not even tried.
            failed = access.failures != failures and not len(self._memory)
            problem = access.problem if failed else None
            raise NotNow(max(access.retry_at - self._clock(), self.first_retry / 10), problem)
        return stored

    def _report_after_claim(self) -> None:
        """Log and report without the lock: a handler of the log is foreign code."""
        if self._access.recovered:
            self._access.recovered = False
            log("warning", "%s can be used again", self.name)
        expired, self._expired = self._expired, []
        if expired:
            self._accounting.lost(expired, "expired", EXPIRED, kept=self._store.kept)
        rejected = self._store.take_rejected()
        if rejected:
            self._accounting.lost_in_store(0, _REJECTED, rejected)

    def _claim_stored(self, max_events: int) -> Sequence[bytes]:
        try:
            batch, expired = self._store.claim(max_events)
        except BaseException:  # it may have claimed something all the same
            self._store.forget()
            raise
        self._stored_batch = [*batch]
        self._from_store = bool(batch)
        self._expired += expired
        return batch

    def _release_stored(self) -> Sequence[bytes]:
        try:
            return self._use(self._store.release, _NO_EVENTS, anyway=True)
        finally:
            self._store.forget()

    def _record(self) -> None:
        """Record what was delivered, where that failed: it must not be sent again and again.

        The lease may run out meanwhile. Then another process may send it again, once.
        """
        if self._unrecorded is None:
            return
        recorded = self._use(self._record_now, None)
        if recorded is None:
            return
        part, loss = recorded
        if part:
            lost = 0 if loss is None else min(loss.count, len(part))
            self._accounting.settled_elsewhere("delivered", count_own(part[lost:]))
            if loss is not None:
                why = loss.reason, loss.message, loss.status
                self._accounting.lost(part[:lost], *why, kept=self._store.kept)
        if part and self._stored_batch:
            self._report_dropped(self._release_stored())
        else:  # nothing is left of the batch, or another process has taken over
            self._store.forget()

    def _record_now(self) -> tuple[list[bytes], Loss | None] | None:
        """Return what was recorded; the lock is held."""
        if self._unrecorded is None:  # another thread was faster
            return None
        # Forgotten first: if this is interrupted, the same events may be sent again. The other way
        # round, `ack` might be called for events that were never sent.
        (count, loss), self._unrecorded = self._unrecorded, None
        try:
            owned = self._store.ack(count, loss)
        except StoreError:
            self._unrecorded = (count, loss)
            raise
        part, self._stored_batch = self._stored_batch[:owned], self._stored_batch[owned:]
        return part, loss

    # -- into the store

    def _store_memory(self, *, anyway: bool = False) -> list[bytes]:
        """Move everything from memory into the store; return the events it dropped for that."""
        # At least once, because another thread may be storing the event of this call; again for
        # what a signal handler added meanwhile. None: the store cannot be used now.
        usable = True
        while usable:
            moved: bool | None = self._use(
                lambda: self._transit.store_all(self._store), None, anyway=anyway, proves=True
            )
            usable = moved is not None and len(self._memory) > 0
        return self._transit.take_dropped()

    def _may_overtake(self) -> bool:
        """Return whether to deliver from memory: the store does not work.

        While own events may be in the store, it must have failed for a while: a store that is
        only busy is waited for, since the events in it are older.
        """
        access = self._access
        alone = self._settled_to >= self._transit.stored_to
        return access.problem is not None and (alone or self._clock() >= access.failed_at + RETRY)

    def _report_dropped(self, dropped: Sequence[bytes]) -> None:
        if dropped:
            self._accounting.lost(dropped, "queue_full", QUEUE_FULL)

    # -- the lock, and what happens when the store fails

    def _use(
        self, act: Callable[[], T], otherwise: T, *, anyway: bool = False, proves: bool = False
    ) -> T:
        """Call `act` on the store under the lock; return `otherwise` if one of the two is not free.

        Soon after a failure it is not even tried, unless `anyway`. `proves`: a result other than
        None and False shows that the store works, if nothing is left in memory.
        """
        now, access = self._clock(), self._access
        if not anyway and now < access.retry_at:
            return otherwise
        result = access.use(act, otherwise, now, self._is_proof if proves else None)
        if access.changed and not access.mutex.is_mine:
            access.changed = False
            self._accounting.store_problem(access.problem)
            message = access.take_report()
            count = len(self._transit)
            if message is not None and (count or access.problem is not None):
                self.report_problem(message, count)
        return result

    def _is_proof(self, result: object) -> bool:
        if self._access.full:  # it can be emptied all the time: only adding shows that it has room
            return result is True
        return result is not None and result is not False and not len(self._transit)

    def _use_with_retries(self, act: Callable[[], T]) -> T | None:
        """Call `act` on the store again for some seconds; None if every attempt failed."""
        end = self._clock() + _LONGEST_TRY
        for _ in range(_TRIES):
            result = self._use(act, None, anyway=True)
            if result is not None or self._clock() >= end:
                return result
        return None

    def report_problem(self, message: str, count: int) -> None:
        """Report that the store cannot be used, while so many events are in memory."""
        self._accounting.not_durable(message, count)

    # -- forks

    def before_fork(self) -> bool:
        """Take the lock and close connections, so that a child inherits none.

        Returns False when another thread holds the lock for too long.
        """
        # False also in a signal handler that forks amid a call: that one has the lock already.
        if not self._access.mutex.acquire(_PATIENCE_AT_THE_END):
            return False
        self._store.close()
        return True

    def after_fork(self) -> None:
        """Let other threads use the store again; called in the parent and in the child."""
        self._access.mutex.release()
