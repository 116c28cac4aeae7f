"""The leased queue: events pass through the log or memory into a store that outlives the process.

Invariant: an event is in `_transit` or in the store. It moves into the store and out of it under a
lock of `_access`. `Intake` accepts events and moves them into the store; this half claims them from
it. While the store cannot be used, events wait in transit and are delivered from there.

Threads: any thread may call any method. Waiting for a lock is bounded, and so is every use of the
store. Reports are made without the lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whisperr._process.logger import log
from whisperr.errors import NotNow, StoreError

from .dead_letters import NOT_KEPT
from .intake import PATIENCE_AT_THE_END, REJECTED, RETRY, Intake
from .memory import count_own
from .store import EXPIRED, LOST_IN_STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from whisperr.errors import Loss
    from whisperr.protocols import Accounting

    from .log.adoption import Adoption
    from .log.log import Log
    from .store import Store
    from .storer import Storer

    T = TypeVar("T")

# Seconds between two polls of the store by an idle process.
POLL_INTERVAL = 5.0
# Limits for calls that must reach the store: attempts, and seconds in total. On a busy machine,
# another process may hold the store's lock at every single attempt.
_TRIES = 20
_LONGEST_TRY = 5.0
_MOST_CLAIMS_LOST = 3
_NO_EVENTS: Sequence[bytes] = ()
_LOST = "another program deleted or damaged events in the store"


class LeasedQueue(Intake):
    """A queue over a store; falls back on the process's log or memory if the store fails."""

    def __init__(
        self,
        store: Store,
        max_events: int,
        max_bytes: int,
        accounting: Accounting,
        *,
        poll_interval: float = POLL_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        log: Log | None = None,
        adoption: Adoption | None = None,
        storer: Storer | None = None,
        concurrent: bool = False,
    ) -> None:
        """`poll_interval`: seconds between two polls while idle; the others as in `Intake`."""
        self._poll_interval = poll_interval
        # Whether the claimed batch is from the store, and its events that are not acknowledged yet.
        self._from_store = False
        self._stored_batch: list[bytes] = []
        self._expired: list[bytes] = []  # not reported yet
        # After several claims were lost in a row, the next claim waits until `_claim_at`.
        self._claims_lost = 0  # in a row
        self._claim_at = 0.0
        # An `ack` that the store could not record yet: see `_record`.
        self._unrecorded: tuple[int, Loss | None] | None = None
        self._settled_to = 0
        super().__init__(
            store,
            max_events,
            max_bytes,
            accounting,
            clock=clock,
            log=log,
            adoption=adoption,
            storer=storer,
            concurrent=concurrent,
        )

    # -- the methods of a shared queue

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch, from the store, or from memory while the store cannot be used."""
        try:
            return self._claim(max_events)
        except NotNow:
            raise
        except BaseException:  # events that were claimed wait again
            self._from_store = self._transit.batch_claimed = False
            self._store.forget()
            raise

    def extend(self, seconds: float) -> bool:
        """Extend the claim by `seconds`; return False if another process has taken over."""
        if not self._from_store:
            return self._transit.batch_claimed
        # If the store cannot answer, sending twice is better than not sending.
        self._from_store = self._use_with_retries(lambda: self._store.extend(seconds)) is not False
        if not self._from_store:
            self._claims_lost += 1
            self._claim_at = self._clock() + RETRY
        return self._from_store

    def ack(self, count: int, loss: Loss | None = None) -> int:
        """Forget the first `count` claimed events; return how many were still owned.

        Return 0 if the store cannot record it now: `_record` counts them once it can.
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
        self.kept = None if self._store.kept is None else NOT_KEPT  # the store cannot be used
        return self._transit.ack(count)

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front; return events dropped to make room."""
        self._transit.batch_claimed = False
        if not self._from_store:
            return ()
        dropped = self._release_stored()
        self._from_store = False  # not before: an interrupted release is repeated by `drain`
        return dropped

    def drain(self) -> Sequence[bytes]:
        """Store all that the store accepts, for other processes; give up and return the rest."""
        self._record()
        self._report_dropped(self._store_transit(everything=True))
        # Under the lock, because another thread may be moving events.
        lost: Sequence[bytes] = self._access.adding.run(
            self._leave_transit, _NO_EVENTS, PATIENCE_AT_THE_END
        )
        if self._storer is not None:
            self._storer.leave(self)
        if self._from_store:
            self._report_dropped(self.release())
        self.poll()  # the last chance to learn what other processes delivered
        self.settled(self.tail())  # reads the store while it is open, and remembers the answer
        self._use(self._store.close, None, anyway=True)
        self._closed = True
        return lost

    def settled(self, position: int) -> bool:
        """Return whether every own event before `position` was delivered or dropped, anywhere."""
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
        """Count what other processes delivered; return the seconds until the next poll."""
        self._record()
        more = self._adopt()
        if not (more or self._transit.is_idle):  # a log has events, or a call was interrupted
            self._scheduled = False
            self._report_dropped(self._store_transit())
        changes = self._use(self._store.poll, None, proves=True) or {}
        for outcome, count in changes.items():
            if outcome == LOST_IN_STORE:
                self._accounting.lost_in_store(count, _LOST)
            else:
                self._accounting.settled_elsewhere(outcome, count)
        return 0.0 if more else self._poll_interval

    def __len__(self) -> int:
        """Return how many events of all processes wait, as last seen by this one."""
        return len(self._transit) + self._store.waiting + self._may_adopt

    @property
    def held_bytes(self) -> int:
        """The size of the waiting events, in memory and in the store, in bytes."""
        return self._transit.held_bytes + self._store.waiting_bytes

    @property
    def stored(self) -> int:
        """How many events of all processes survive this one, as last seen."""
        return super().stored + (len(self._stored_batch) if self._from_store else 0)

    # -- out of the store

    def _claim(self, max_events: int) -> Sequence[bytes]:
        access, transit = self._access, self._transit
        self._from_store = False
        failures = access.failures
        self._record()
        if self._may_adopt:
            self._adopt()  # older than what this process tracks
        if not (transit.is_idle or self._scheduled):
            # Unlike `put`, always try the store: its events are older.
            self._report_dropped(self._store_transit(anyway=True))
        stored = _NO_EVENTS
        if not transit.batch:
            left = self._claim_at - self._clock()
            if self._claims_lost >= _MOST_CLAIMS_LOST and left > 0:
                raise NotNow(left)
            if self._unrecorded is None:
                stored = self._claim_from_store(max_events)
                if not stored and self._scheduled and access.failures == failures:
                    # A flush may wait for events that the storer has not moved yet.
                    self._report_dropped(self._store_transit(anyway=True))
                    stored = self._claim_from_store(max_events)
            if not stored and self._may_overtake():
                self._use(
                    lambda: transit.claim(max_events, self._store), None, anyway=True, adds=True
                )
        self._report_after_claim()
        if transit.batch:
            transit.batch_claimed = True
            return tuple(transit.batch)
        if not stored and len(self):
            # Only a failure in this call is a problem: soon after one, the store is not tried.
            failed = access.failures != failures and not len(transit)
            problem = access.problem if failed else None
            raise NotNow(max(access.retry_at - self._clock(), self.first_retry / 10), problem)
        return stored

    def _report_after_claim(self) -> None:
        """Log and report, without the lock: log handlers are foreign code."""
        if self._access.recovered:
            self._access.recovered = False
            log("warning", "%s can be used again", self.name)
        expired, self._expired = self._expired, []
        if expired:
            self._accounting.lost(expired, "expired", EXPIRED, kept=self._store.kept)
        rejected = self._store.take_rejected()
        if rejected:
            self._accounting.lost_in_store(0, REJECTED, rejected)

    def _claim_from_store(self, max_events: int) -> Sequence[bytes]:
        # Claiming from a store that is only full makes room.
        return self._use(
            lambda: self._claim_stored(max_events),
            _NO_EVENTS,
            anyway=self._access.full,
            proves=True,
        )

    def _claim_stored(self, max_events: int) -> Sequence[bytes]:
        try:
            batch, expired = self._store.claim(max_events)
        except BaseException:  # it may have claimed events all the same
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
        """Retry an `ack` that the store could not record, so that its events are not sent again.

        If the lease runs out before that, another process may send them a second time.
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
                kept = self._store.kept
                self._accounting.lost(part[:lost], *why, kept=kept, host=loss.host)
        if part and self._stored_batch:
            self._report_dropped(self._release_stored())
        else:  # the batch is complete, or another process has taken over
            self._store.forget()

    def _record_now(self) -> tuple[list[bytes], Loss | None] | None:
        """Record the `ack`, and return its events and loss; the lock is held."""
        if self._unrecorded is None:  # another thread was faster
            return None
        # Cleared first: if this is interrupted, the same events may be sent again. Cleared last,
        # `ack` might be called for events that were never sent.
        (count, loss), self._unrecorded = self._unrecorded, None
        try:
            owned = self._store.ack(count, loss)
        except StoreError:
            self._unrecorded = (count, loss)
            raise
        part, self._stored_batch = self._stored_batch[:owned], self._stored_batch[owned:]
        return part, loss

    def _may_overtake(self) -> bool:
        """Return whether to deliver from memory because the store does not work.

        If own events may be in the store, it must have failed for a while. Those events are older,
        so a store that is only busy is waited for.
        """
        access = self._access
        alone = self._settled_to >= self._transit.stored_to
        return access.problem is not None and (alone or self._clock() >= access.failed_at + RETRY)

    def _use_with_retries(self, act: Callable[[], T]) -> T | None:
        """Call `act` on the store until it succeeds, for some seconds; None if it never does."""
        end = self._clock() + _LONGEST_TRY
        for _ in range(_TRIES):
            result = self._use(act, None, anyway=True)
            if result is not None or self._clock() >= end:
                return result
        return None
