"""Accepts events into a leased queue: through the log or memory of this process into the store.

- With a log, `put` only appends to it; `LeasedQueue.claim` moves the log into the store.
- Else, with a storer, its thread moves events into the store within milliseconds.
- Else, and if these do not work, `put` stores the event before it returns.

Events are moved under the lock for adding. If a call's own thread holds that lock already (the call
is in a signal handler), its event stays in transit. An interrupted `put` stores it before it
returns; after any other interrupted call, the next `put`, `claim` or `poll` does.

Threads: any thread may call any method. Waiting for a lock is bounded, and so is every use of the
store. Reports are made without a lock: they run foreign code.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whisperr._contract import DOCTOR
from whisperr._process import forks
from whisperr._process.identity import get_process
from whisperr._process.logger import log

from .access import StoreAccess
from .memory import QUEUE_FULL, CountedQueue
from .transit import Transit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from whisperr.protocols import Accounting

    from .log.adoption import Adoption
    from .log.log import Log
    from .store import Store
    from .storer import Storer

    T = TypeVar("T")

# Seconds after a failure in which calls do not try the store; a claim and an ack still do.
RETRY = 1.0
# The longest wait for another thread before a fork and at shutdown, in seconds.
PATIENCE_AT_THE_END = 2.0
# How often a call moves the events in transit: once, and once for those of a signal handler.
_ROUNDS = 2
# Groups of events that one poll adopts; the next poll follows at once.
_MOST_ADOPTED = 20
# Seconds between two reports of a problem that puts no event at risk.
_LOG_REPORT_INTERVAL = 60.0
REJECTED = "entries of the store are damaged, or were not written by this package; set aside"


class Intake(CountedQueue):
    """The half of a leased queue that accepts events; `LeasedQueue` is the other half."""

    # The store's name in log records.
    name: str = "the store of events"
    # Seconds without use after the first failure in a row; doubled with each, up to the longest.
    first_retry: float = RETRY
    longest_retry: float = RETRY

    def __init__(
        self,
        store: Store,
        max_events: int,
        max_bytes: int,
        accounting: Accounting,
        *,
        clock: Callable[[], float] = time.monotonic,
        log: Log | None = None,
        adoption: Adoption | None = None,
        storer: Storer | None = None,
        concurrent: bool = False,
    ) -> None:
        """`concurrent`: the store has a separate connection for adding."""
        self._store = store
        self._accounting = accounting
        self._clock = clock
        self._access = StoreAccess(self.first_retry, self.longest_retry, concurrent=concurrent)
        self._transit = Transit(max_events, max_bytes, log, clock)
        self.largest = self._transit.memory.largest
        self._log_report_at: dict[str, float] = {}
        self._adoption = adoption
        self._may_adopt = adoption is not None and adoption.is_any_there()
        self._storer = storer
        self._scheduled = False  # whether the storer is going to call `store_pending`
        self._closed = False
        self._process = get_process()
        self._use(self._store.poll, None)  # finds events of earlier processes
        self._use(self._store.close, None)  # so that a fork right after this inherits no connection
        forks.register(self)

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event and store it; return the events dropped to make room."""
        transit = self._transit
        dropped = transit.put(data)
        if dropped and len(data) > self.largest:
            return dropped
        storer = self._storer
        if storer is not None and (self._scheduled or self._schedule(storer)):
            return dropped
        if transit.log is not None and not len(transit.memory):
            return dropped
        return [*dropped, *self._store_transit()]

    def store_pending(self) -> float | None:
        """Move all events in transit into the store; return the seconds until the next attempt.

        Return None when all are moved. The storer calls this.
        """
        self._scheduled = False  # first, so that an event added from here on schedules again
        self._report_dropped(self._store_transit())
        if self._transit.is_idle or self._closed:
            return None
        return max(self._access.retry_at - self._clock(), self.first_retry / 100)

    def tail(self) -> int:
        """Return the number after this process's newest event."""
        return self._transit.tail()

    @property
    def stored(self) -> int:
        """How many waiting events of all processes survive this one, as last seen."""
        return self._store.waiting + self._transit.in_log

    @property
    def unstored(self) -> int:
        """How many events are in the memory of this process only."""
        return self._transit.in_memory

    # -- into the store

    def _schedule(self, storer: Storer) -> bool:
        """Schedule the storer to move the events in transit; return False if it cannot."""
        self._scheduled = True
        if storer.schedule(self):  # it may have called `store_pending` by now
            return True
        self._scheduled = False
        return False

    def _store_transit(self, *, anyway: bool = False, everything: bool = False) -> list[bytes]:
        """Move events in transit into the store; return the events it dropped to make room.

        Moves only part of a long log, so that a claim can follow soon. `everything`: all of memory,
        including events that other threads add meanwhile.
        """
        # At least once, because another thread may be moving the event of this call. A second round
        # is for events that a signal handler added. None: the store cannot be used now.
        transit = self._transit
        rounds = 0
        moved: bool | None = True
        while rounds < 1 or (
            moved is not None and transit.in_memory and (rounds < _ROUNDS or everything)
        ):
            moved = self._use(
                lambda: transit.store_all(self._store), None, anyway=anyway, proves=True, adds=True
            )
            rounds += 1
        self._report_log()
        return transit.take_dropped()

    def _adopt(self) -> bool:
        """Adopt events that ended processes left in logs; return whether there are more."""
        adoption = self._adoption
        if adoption is None:
            return False
        more = True
        for _ in range(_MOST_ADOPTED):
            more = more and self._use(adoption.move_some, otherwise=False, adds=True)
        self._may_adopt = more
        self._report_dropped(adoption.take_dropped())
        problem = adoption.take_problem()
        if problem is not None:
            self._log_once("%s; events that ended processes left in logs there wait; %s", problem)
        rejected = adoption.take_rejected()
        if rejected:
            self._accounting.lost_in_store(0, REJECTED, rejected)
        return more

    def _leave_transit(self) -> Sequence[bytes]:
        if self._adoption is not None:
            self._adoption.close()
        return self._transit.drain(self._store)

    def _report_log(self) -> None:
        """Report that the log cannot be written, which makes calls slower or less durable.

        Not while the store cannot be used either: its own report says more.
        """
        problem = self._transit.take_log_problem()
        if problem is not None and self._access.problem is None:
            self._log_once("%s; events go directly to the store; %s", problem)

    def _report_in_log(self, problem: str | None) -> None:
        """Report that the store cannot be used, while no event is in memory only."""
        if problem is None:
            return
        if self._transit.in_log:
            self._log_once("%s; events wait in the log of this process; %s", problem)
        else:
            self._log_once("%s; %s", problem)

    def _log_once(self, message: str, problem: str) -> None:
        now = self._clock()
        if now >= self._log_report_at.get(message, 0.0):
            self._log_report_at[message] = now + _LOG_REPORT_INTERVAL
            log("warning", message, problem, DOCTOR)

    def _report_dropped(self, dropped: Sequence[bytes]) -> None:
        if dropped:
            self._accounting.lost(dropped, "queue_full", QUEUE_FULL)

    # -- the lock, and what happens when the store fails

    def _use(
        self,
        act: Callable[[], T],
        otherwise: T,
        *,
        anyway: bool = False,
        proves: bool = False,
        adds: bool = False,
    ) -> T:
        """Call `act` on the store as `StoreAccess.use` does, then report what changed.

        `proves`: a result other than None and False shows that the store works, provided that no
        event is left in transit.
        """
        access = self._access
        is_proof = self._is_proof if proves else None
        result = access.use(
            act, otherwise, self._clock(), anyway=anyway, adds=adds, proves=is_proof
        )
        if access.changed and not access.is_mine:
            access.changed = False
            self._accounting.store_problem(access.problem)
            count = self._transit.in_memory
            if self._transit.log is not None and not count:
                self._report_in_log(access.problem)
                return result
            message = access.take_report()
            if message is not None and (count or access.problem is not None):
                self.report_problem(message, count)
        return result

    def _is_proof(self, result: object) -> bool:
        if self._access.full:  # a full store can still be read: only adding shows that it has room
            return result is True
        return result is not None and result is not False and not len(self._transit)

    def report_problem(self, message: str, count: int) -> None:
        """Report that the store cannot be used, while `count` events are in memory only."""
        self._accounting.not_durable(message, count)

    # -- forks

    def before_fork(self) -> bool:
        """Take the locks and close connections, so that a child inherits none.

        Return False if another thread holds a lock for too long.
        """
        if self._transit.in_memory:  # the parent may end at once, for example to become a daemon
            self._report_dropped(self._store_transit())
        # Also False in a signal handler that forks amid a call, which holds the lock already.
        if not self._access.acquire_all(PATIENCE_AT_THE_END):
            return False
        if self._adoption is not None:
            self._adoption.close()
        self._store.close()
        return True

    def after_fork(self) -> None:
        """Release the locks; called in the parent and in the child."""
        self._access.release_all()
        if self._transit.log is not None and self._process != get_process():
            self._transit.log.close_in_child()
