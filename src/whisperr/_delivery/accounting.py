"""Counts the fate of every event; the call that counts a loss also reports it.

Invariant: accepted = delivered + dropped + held, at every moment.

Threads: any, even in a signal handler. The lock, which is the reporter's, is re-entrant and held
for a few instructions; no call happens between reading and writing a count. The queue itself counts
the events that `track()` puts, so that no interruption can separate the two.
"""

from __future__ import annotations

from whisperr._contract import DOCTOR
from whisperr._frozen import Frozen
from whisperr._process.counter import Counter
from whisperr._process.logger import log
from whisperr._queue.memory import QUEUE_FULL, count_own

from .reporter import INTERVAL, Tally, get_call_site
from .wording import NOT_DELIVERED, NOT_STORED, REPAIR_STORE, describe_kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from whisperr.errors import ErrorType, Loss, Reason

    from .deferrals import Deferrals
    from .reporter import Reporter

    State = Literal["running", "paused", "closed", "disabled"]

NEVER_ACCEPTED: tuple[Reason, ...] = ("invalid", "vetoed", "closed", "not_stored")
DROPPED: tuple[Reason, ...] = (
    "queue_full",
    "rejected",
    "refused_in_batch",
    "too_large",
    "expired",
    "shutdown",
    "lost_in_store",
)
_REASONS: tuple[Reason, ...] = (*NEVER_ACCEPTED, *DROPPED)
# Outcomes that only a newer version knows are counted under their names, up to this many reasons.
_MOST_REASONS = 30
_LONGEST_REASON = 40
# Accepted events that are larger than the whole queue, which never held or counted them.
_LARGER_THAN_QUEUE = "larger_than_queue"
_END_FIRST = "end requests and transactions before you shut the client down"


class Stats(Frozen):
    """What one client did in this process so far: accepted = delivered + dropped + held.

    It is made from counters, without any I/O. Events and identifies count alike. With an outbox a
    relay delivers, so that what was accepted stays `held` here.

    Attributes:
        accepted: Events that the client took. Those that wait for their user or for a commit are
            accepted and held; without a user or a commit they leave both again.
        delivered: Events that the server has.
        dropped: Accepted events that are lost, by reason: `"queue_full"`, `"rejected"`,
            `"refused_in_batch"`, `"too_large"`, `"expired"`, `"shutdown"` or `"lost_in_store"`. A
            store that a newer version also uses may add reasons of that version.
        held: Events that wait or are being sent.
        held_bytes: Bytes that waiting events take; with a shared buffer those of all processes.
        not_accepted: Calls that became no event, by reason: `"invalid"`, `"vetoed"`, `"closed"` or
            `"not_stored"`.
        problem: Why the last attempt failed, in one line, or what could not be read of a success;
            None after a success.
        requests: Requests that were made.
        retries: Those requests that repeated a failed one.
        state: `"running"`; `"paused"` after giving up, until a flush or until the pause is over;
            `"closed"`; or `"disabled"`.
        stored: Events in a durable buffer and its log, of all processes, as last seen; 0 for a
            buffer in memory, and for an outbox, whose commands count its table.
        unstored: Events of a durable buffer that only the memory of this process has: on their way
            to a Redis without a log, or because neither store nor log can be used.

    .. versionadded:: 1.0
    """

    __slots__ = (
        "accepted",
        "delivered",
        "dropped",
        "held",
        "held_bytes",
        "not_accepted",
        "problem",
        "requests",
        "retries",
        "state",
        "stored",
        "unstored",
    )

    accepted: int
    delivered: int
    dropped: Mapping[str, int]
    held: int
    held_bytes: int
    not_accepted: Mapping[str, int]
    problem: str | None
    requests: int
    retries: int
    state: State
    stored: int
    unstored: int

    def __init__(
        self,
        accepted: int = 0,
        delivered: int = 0,
        dropped: Mapping[str, int] | None = None,
        held: int = 0,
        held_bytes: int = 0,
        not_accepted: Mapping[str, int] | None = None,
        problem: str | None = None,
        requests: int = 0,
        retries: int = 0,
        state: State = "running",
        stored: int = 0,
        unstored: int = 0,
    ) -> None:
        self._set(accepted=accepted, delivered=delivered, held=held, held_bytes=held_bytes)
        self._set(dropped=dict(dropped or {}), not_accepted=dict(not_accepted or {}))
        self._set(problem=problem, requests=requests, retries=retries, state=state)
        self._set(stored=stored, unstored=unstored)


class ClientAccounting:
    """The counts of one client in one process, and the only place where losses are reported.

    - `reporter`: emits the reports.
    - `failing_store`: what is wrong with the store of the buffer; None if nothing is.
    """

    __slots__ = (
        "_counter",
        "_is_unclear",
        "_lock",
        "accept",
        "delivered",
        "dropped",
        "failing_store",
        "reporter",
        "requests",
        "retries",
    )

    def __init__(self, reporter: Reporter) -> None:
        self._lock = reporter.lock
        self.reporter = reporter
        self.failing_store: str | None = None
        self._is_unclear = False
        self._counter = Counter()
        # Counts an event accepted by a sink or by a queue that does not count.
        self.accept = self._counter.next
        self.delivered = 0
        self.dropped: dict[str, int] = dict.fromkeys((*_REASONS, _LARGER_THAN_QUEUE), 0)
        self.requests = 0
        self.retries = 0

    def get_accepted(self, queued: int) -> int:
        """Return how many events were accepted, `queued` of them counted by the queue."""
        return queued + self._counter.value + self.dropped[_LARGER_THAN_QUEUE]

    # -- called by the client and the scheduler

    def not_accepted(self, reason: Reason, message: str, interval: float = INTERVAL) -> None:
        """Count and report a call that did not become an event; `interval` as in `Reporter.add`."""
        tally = Tally(self.dropped, reason, 1)
        self.reporter.add("dropped", message, reason, tally=tally, interval=interval)

    def vetoed(self) -> None:
        """Count an event that `before_send` rejected, which is not reported as a loss."""
        self._count_dropped("vetoed", 1)

    def incomplete(self, problem: str) -> None:
        """Report that `track()` now accepts an event without some default or scoped properties."""
        self.reporter.add("incomplete", f"track: {problem}{get_call_site()}")

    def too_large(self, data: bytes, message: str) -> None:
        """Count and report an accepted event that is larger than the whole queue."""
        tally = Tally(self.dropped, _LARGER_THAN_QUEUE, 1)
        self.reporter.add("dropped", message, "too_large", None, 1, (data,), tally)

    def requested(self, *, again: bool) -> None:
        """Count a request, and whether it repeats a failed one."""
        with self._lock:
            self.requests += 1
            self.retries += again

    def settled(
        self,
        leaving: list[bytes],
        loss: Loss | None,
        hint: str = "",
        kept: str | None = None,
    ) -> None:
        """Count the events of a request: the first `loss.count` as lost, the others as delivered.

        They are removed from the list in the same steps, so that none counts twice.

        `hint`: what to do about the loss; "" if its reason says that. `kept`: as in `lost`.
        """
        lost = 0 if loss is None else loss.count
        events = leaving[:]
        delivered = count_own(events[lost:])
        with self._lock:
            # No call from here on.
            del leaving[lost:]
            self.delivered += delivered
        if loss is not None:
            # A 202 does not say which events were refused, unless all were.
            known = events if lost == len(events) else ()
            tally = Tally(self.dropped, loss.reason, count_own(events[:lost]), leaving)
            message, then = describe_kept(loss.message, hint, kept)
            self.reporter.add(
                "dropped",
                message,
                loss.reason,
                loss.status,
                lost,
                known,
                tally,
                then=then,
                host=loss.host,
            )

    def failing(
        self,
        type_: ErrorType,
        message: str,
        status: int | None,
        count: int,
        then: str = "",
        *,
        host: str | None = None,
        quiet: bool = False,
    ) -> None:
        """Report that delivery fails or pauses; `then`: the fate of the `count` waiting events."""
        self.reporter.add(type_, message, None, status, count, then=then, host=host, quiet=quiet)

    def recovered(self, peer: str, seconds: float, host: str | None) -> None:
        """Log that delivery works again, after a report that it did not."""
        log("info", "delivering to %s again after %.0f s", peer, seconds, host=host)

    def unclear(self, message: str, count: int, status: int | None, host: str | None) -> None:
        """Log, once, that the server may have refused more of `count` events than were counted."""
        if not self._is_unclear:
            self._is_unclear = True
            log("warning", "%s; %s", message, DOCTOR, count=count, status=status, host=host)

    # -- called by queues: `protocols.Accounting`

    def lost(
        self,
        events: Sequence[bytes],
        reason: Reason,
        message: str,
        status: int | None = None,
        *,
        kept: str | None = None,
        host: str | None = None,
    ) -> None:
        """Report lost events; count those that this process accepted."""
        if events:
            tally = Tally(self.dropped, reason, count_own(events))
            message, then = describe_kept(message, "", kept)
            self.reporter.add(
                "dropped", message, reason, status, len(events), events, tally, then=then, host=host
            )

    def lost_from(
        self,
        leaving: list[bytes],
        reason: Reason,
        message: str,
        then: str = "",
        host: str | None = None,
    ) -> None:
        """Do what `lost` does, and empty the list in the same step, so that none counts twice.

        `then`: what to do about it; "" if the reason says that.
        """
        events = leaving[:]
        if events:
            tally = Tally(self.dropped, reason, count_own(events), leaving)
            self.reporter.add(
                "dropped", message, reason, None, len(events), events, tally, then=then, host=host
            )

    def lost_at_end(self, leaving: list[bytes], *, durable: bool) -> None:
        """Count and report the events that are lost with the memory of this process.

        `durable`: whether there is a store, which could not take them.
        """
        message, cause = NOT_DELIVERED, self.reporter.cause
        if not durable:  # `Reporter` adds the cause, and what to do about it
            self.lost_from(leaving, "shutdown", message)
            return
        store = f"not stored: {self.failing_store}" if self.failing_store else NOT_STORED
        message = "; ".join(text for text in (message, cause, store) if text)
        self.lost_from(leaving, "shutdown", message, REPAIR_STORE, self.reporter.cause_host)

    def overflowed(self, events: list[bytes]) -> None:
        """Count and report the oldest events, which a full queue in memory has dropped."""
        self.lost_from(events, "queue_full", QUEUE_FULL)

    def lost_deferred(self, count: int, reason: Reason, message: str) -> None:
        """Count and report deferred events, which were lost while they waited outside the queue."""
        tally = Tally(self.dropped, reason, count)
        then = _END_FIRST if reason == "shutdown" else ""
        self.reporter.add("dropped", message, reason, count=count, tally=tally, then=then)

    def settled_elsewhere(self, outcome: str, count: int) -> None:
        """Count own events that another process delivered, or dropped and reported."""
        if outcome == "delivered":
            self._deliver(count)
        else:
            self._count_dropped(self._to_reason(outcome), count)

    def lost_in_store(self, own: int, message: str, others: int = 0) -> None:
        """Count `own` events that disappeared or were damaged in a store; report `others` too."""
        tally = Tally(self.dropped, "lost_in_store", own)
        self.reporter.add("dropped", message, "lost_in_store", count=own + others, tally=tally)

    def not_durable(self, message: str, count: int) -> None:
        """Report that `count` events are kept in memory only."""
        self.reporter.add("not_durable", message, count=count)

    def store_problem(self, problem: str | None) -> None:
        """Set what is wrong with the store, for `stats`; None if it works again."""
        self.failing_store = problem

    def stats(
        self,
        held_bytes: int,
        state: State,
        problem: str | None,
        stored: tuple[int, int] = (0, 0),
        count_queued: Callable[[], int] = int,
        deferrals: Deferrals | None = None,
    ) -> Stats:
        """Return the counts of one moment, deferred events included.

        `stored`: how many events are in a store, and how many in memory on their way to it.
        `count_queued`: returns how many events the queue counted.
        """
        with self._lock:
            delivered, counts = self.delivered, dict(self.dropped)
            requests, retries = self.requests, self.retries
            # Read last: it may grow meanwhile, and must not be less than what has ended.
            accepted = self.get_accepted(count_queued())
            counts["too_large"] += counts.pop(_LARGER_THAN_QUEUE)
            if deferrals is not None:
                accepted += deferrals.accepted
                held_bytes += deferrals.bytes
        refused = {str(why): n for why, n in counts.items() if n and why in NEVER_ACCEPTED}
        dropped = {str(why): n for why, n in counts.items() if n and why not in NEVER_ACCEPTED}
        return Stats(
            accepted=accepted,
            delivered=delivered,
            dropped=dropped,
            held=max(accepted - delivered - sum(dropped.values()), 0),
            held_bytes=held_bytes,
            not_accepted=refused,
            problem=problem or self.failing_store,
            requests=requests,
            retries=retries,
            state=state,
            stored=stored[0],
            unstored=stored[1],
        )

    def _to_reason(self, outcome: str) -> str:
        """Return the reason to count for an outcome in a store; "lost_in_store" if invalid."""
        known = outcome in DROPPED
        if not known and outcome not in NEVER_ACCEPTED and len(outcome) <= _LONGEST_REASON:
            known = outcome.isidentifier() and outcome.islower()
        if known and (outcome in self.dropped or len(self.dropped) < _MOST_REASONS):
            return outcome
        return "lost_in_store"

    def _deliver(self, count: int) -> None:
        with self._lock:
            self.delivered += count

    def _count_dropped(self, reason: str, count: int) -> None:
        self.dropped.setdefault(reason, 0)  # a newer version may have stored a new reason
        with self._lock:
            self.dropped[reason] += count
