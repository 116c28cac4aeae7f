"""Decides when to deliver. The delivery thread calls `step()`; tests call it with a fake clock.

`step` does what is due, at most one request, and returns the time of its next call.

States, and the events that change them:

    state      event                                          next
    open       leave(): the client object is gone             leaving
    open       close(deadline)                                draining
    leaving    close(deadline)                                draining
    leaving    every own event is settled                     abandoned
    draining   every own event is settled                     abandoned
    draining   the deadline, or a wait that reaches it        abandoned
    draining   a give-up, or a store that cannot be used      abandoned
    any        abandon(): a thread stops waiting for the end  abandoned
    abandoned  the events that are lost were reported         closed

A hold keeps batches from being sent until its end. Several may apply at once, and the stronger ones
stop more:

    hold     set by                                  stops
    pace     a request that was made                 a request for `flush_at` events, not for more
    pause    a give-up, a failing store, our bug     automatic delivery
    retry    a backoff, Retry-After, many halvings   the batch in flight, and a flush
    blocked  a store that is busy or fails, our bug  everything, even a shutdown

Threads: only one thread at a time may be in the methods for the delivery thread; any thread, even
in a signal handler, may call the others.
"""

from __future__ import annotations

import sys
import time
from _thread import RLock

from whisperr._contract import DOCTOR, check_answer
from whisperr._events.batch import to_request
from whisperr._process.exit import EXIT_TIMEOUT
from whisperr._process.interruption import belongs_to_caller
from whisperr._process.logger import log
from whisperr._queue.memory import QUEUE_FULL, CountedQueue, MemoryQueue
from whisperr.errors import NotNow

from .backoff import get_pause
from .delay import Delay
from .description import UNKNOWN
from .holds import BLOCKED, PACE, PAUSE, RETRY, Holds
from .outage import LAST_ATTEMPT, Outage
from .reporter import get_raise_site
from .verdict import InFlight
from .wording import to_fate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whisperr._contract import Answer
    from whisperr.errors import ErrorType
    from whisperr.protocols import Queue, SharedQueue, Transport

    from .accounting import ClientAccounting
    from .backoff import Random
    from .description import Peer
    from .verdict import Verdict

NEVER = float("inf")
# The states, in order: a state never changes to an earlier one.
OPEN, LEAVING, DRAINING, ABANDONED, CLOSED = range(5)
_IDLE_CONNECTION = 30.0
# Seconds for which a busy queue fills after a request: at 2,000 events a second, the next request
# carries 200.
_PACE = 0.1
# Seconds after an internal error or one in a custom part, so that a recurring one does not spin.
AFTER_A_BUG = 1.0
_NO_WAKE = sys.maxsize


class Scheduler:
    """Decides when to deliver the events of the queue, and sends them one request at a time."""

    # The events of an answer until they are counted, and the position after the last of them.
    _uncounted: tuple[list[bytes], int] | None = None

    def __init__(
        self,
        queue: Queue,
        transport: Transport,
        accounting: ClientAccounting,
        *,
        flush_at: int,
        flush_interval: float,
        max_batch_size: int,
        max_retries: int,
        request_timeout: float,
        clock: Callable[[], float],
        random: Random,
        wall_clock: Callable[[], float] = time.time,
        full_at: int | None = None,
        shared: SharedQueue | None = None,
        outage: Outage | None = None,
        peer: Peer = UNKNOWN,
    ) -> None:
        """`shared`: `queue` again if other processes use it too, else None.

        `peer`: names the server of `transport` in reports.
        """
        self._peer = peer
        self._delay = Delay()
        self._outage = Outage() if outage is None else outage
        self._queue = queue
        self._shared = shared
        self._transport = transport
        self._accounting = accounting
        self._reporter = accounting.reporter
        self._flush_at = flush_at
        self._flush_interval = flush_interval
        self._max_batch_size = max_batch_size
        # This many waiting events end the pace: a full request, or half of a bound of the queue.
        self._full_at = max(flush_at, max_batch_size if full_at is None else full_at)
        self._max_retries = max_retries
        self._request_timeout = request_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._random = random
        # The states reached so far; the last of them is the state. Adding one is a single step in
        # C, so no thread or signal handler can restore an earlier state.
        self._reached = {OPEN}
        self.closing = False  # whether no more events are accepted; every `track()` reads it
        self._deadline = NEVER  # of the state DRAINING
        self._once = False  # whether one failed attempt ends a shutdown
        self._holds = Holds()
        self._in_flight: InFlight | None = None
        self._oldest_since: float | None = None
        self._idle_at: float | None = None  # when to close the idle connection
        self._poll_at: float | None = None
        self._flush_to = 0
        # How many events, also of other processes, the current sweep of a shared queue still sends.
        self._sweep = 0
        self._asking = RLock()
        # `put` wakes the thread at this many waiting events: 1 when idle, `flush_at` if some
        # wait, `full_at` during the pace, never while waking would change nothing.
        self.wake_at = 1
        # True from an answer until its events are counted and reported; `flush` waits for that.
        self.applying = False
        self.give_ups = 0
        self.problem: str | None = None

    # -- for any thread

    def ask(self, position: int) -> None:
        """Request delivery of all events before `position`; ends a pause, but not a retry hold."""
        with self._asking:
            self._flush_to = max(self._flush_to, position)

    def close(self, deadline: float) -> None:
        """Request delivery by `deadline` (monotonic), then the end; ends all holds but BLOCKED."""
        if self.state < DRAINING:
            now = self._clock()
            # A caller who sets a longer timeout than that of the exit wants all of it.
            self._once = deadline - now <= EXIT_TIMEOUT and self._outage.is_known(now)
            self._deadline = deadline
            self._holds.end_below(BLOCKED)
            self._reached.add(DRAINING)
            self.closing = True

    def leave(self) -> None:
        """Request the end once no event is left: the client object is gone, but not its events."""
        self._reached.add(LEAVING)

    def abandon(self) -> None:
        """End now: drop the events in memory with reason "shutdown", and report them."""
        self._reached.add(ABANDONED)
        self.closing = True
        self.wake_at = 0  # so that a later `put` calls `wake`, which drops its event
        lost = self._queue.drain()
        if not isinstance(lost, list):
            lost = [*lost]
        self._accounting.lost_at_end(lost, durable=self._shared is not None)
        self._reporter.emit(self._clock(), everything=True)
        self._reached.add(CLOSED)
        self._reporter.emit(self._clock(), everything=True)  # reports added meanwhile

    @property
    def state(self) -> int:
        """One of the states in the table above."""
        return max([*self._reached])  # a copy, because another thread may add a state

    @property
    def abandoned(self) -> bool:
        """Whether delivery has ended."""
        return self.state >= ABANDONED

    @property
    def ended(self) -> bool:
        """Whether delivery has ended and the last report was emitted."""
        return self.state == CLOSED

    @property
    def holds_events(self) -> bool:
        """Whether events of this process wait or are being sent."""
        return self._in_flight is not None or not self._queue.settled(self._queue.tail())

    @property
    def paused(self) -> bool:
        """Whether automatic delivery pauses after giving up."""
        return self._holds.until(PAUSE) > self._clock()

    # -- for the delivery thread

    def step(
        self, longest: float = NEVER, about_to_block: Callable[[float], object] = bool
    ) -> float:
        """Do what is due now. Return the time (monotonic) of the next call; NEVER: at a wake-up.

        Return a time in the past if there is more to do at once. A request takes at most `longest`
        seconds, because a thread that delivers while it waits may have less than request_timeout.
        `about_to_block` is called before an action that may take long, with its limit in seconds.
        """
        now = self._clock()
        reports_at = self._reporter.due()
        if reports_at is not None and reports_at <= now:
            about_to_block(NEVER)
            self._reporter.emit(now)
        if self.abandoned:
            self._in_flight = None
            return NEVER
        if self._idle_at is not None and now >= self._idle_at:
            about_to_block(0.0)
            self.disconnect()  # before a request: after a frozen process it may be long dead
        if self._shared is not None and now >= (self._poll_at or now):
            about_to_block(NEVER)
            self._poll_at = now + self._shared.poll()
        if self._in_flight is None and self._is_due(now):
            if self._shared is not None:
                about_to_block(NEVER)
            self._start(now)
        if self._in_flight is not None and now >= self._holds.until(RETRY):
            about_to_block(min(longest, self._request_timeout))
            self._attempt(self._in_flight, now, longest)
            return now
        if self._may_end(now):
            about_to_block(NEVER)  # `abandon` reports
            self.abandon()
            self.disconnect()
            return NEVER
        return self._get_next_step(now)

    def set_wake_at(self) -> None:
        """Set how many waiting events wake the thread; call it after `step`, before sleeping."""
        busy = self._in_flight is not None or self.state == DRAINING
        now = self._clock()
        if self.abandoned:
            self.wake_at = 0
        elif busy or (self._holds.until_from(PAUSE) > now and self._oldest_since is not None):
            self.wake_at = _NO_WAKE
        elif now < self._holds.until(PACE):
            # Further events wake no thread, so their age counts from now.
            self._oldest_since = self._oldest_since or now
            self.wake_at = self._full_at
        else:
            self.wake_at = 1 if self._oldest_since is None else self._flush_at

    @property
    def must_wake(self) -> bool:
        """Whether to step again, because a `put` may have seen the former `wake_at`."""
        return len(self._queue) >= self.wake_at

    def resume(self) -> None:
        """Reset after a step that an interruption ended, so that the batch is sent again."""
        self._in_flight = None
        self.applying = False
        self._count_rest()
        self._release()
        self.set_wake_at()

    def recover(self, error: BaseException) -> None:
        """Recover from a step that failed: give up, report it once, keep the events, and wait."""
        now = self._clock()
        left = 0 if self._in_flight is None else self._in_flight.left
        self._in_flight = None
        self.applying = False
        self._holds.set(BLOCKED, now + AFTER_A_BUG)
        if self._poll_at is not None:
            self._poll_at = max(self._poll_at, now + AFTER_A_BUG)
        pause = get_pause("retry_exhausted", self._random)
        self._reschedule(now + pause)
        problem = f"internal error in the delivery thread: {get_raise_site(error)}"
        self.problem = self._reporter.cause = problem
        self._reporter.cause_host = None
        remedy = self._reporter.remedy = "report this line to the maintainers"
        fate = to_fate(pause, remedy, stored=False)
        self._delay.note_failure(1, now)
        self._delay.note_report(now)
        try:
            left += len(self._queue)
        except Exception as another:  # of the same broken queue
            if belongs_to_caller(another):
                raise
            log("debug", "the queue cannot be counted: %s", get_raise_site(another))
        self._accounting.failing("retry_exhausted", problem, None, left, fate)
        self.set_wake_at()
        try:
            self._release()
        except Exception as another:  # noqa: BLE001  # of the same broken queue
            log("debug", "the queue cannot release: %s", get_raise_site(another))

    # -- decisions

    def _is_due(self, now: float) -> bool:
        if not len(self._queue):
            self._oldest_since = None
            return False
        if self.state == DRAINING:
            own = not self._queue.settled(self._queue.tail())
            return own and self._holds.until(BLOCKED) <= now < self._deadline
        if self._oldest_since is None:
            self._oldest_since = now
        if now < self._holds.until_from(RETRY):
            return False
        if self._sweep:
            return True
        if self._queue.settled(self._flush_to) and now >= self._holds.until(PAUSE):
            aged = now >= self._oldest_since + self._flush_interval
            enough = self._flush_at if now >= self._holds.until(PACE) else self._full_at
            if aged or len(self._queue) >= enough or self.state == LEAVING:
                self.ask(self._queue.tail())  # all of it, however many requests that takes
                self._sweep = len(self._queue) if self._shared is not None else 0
        return self._sweep > 0 or not self._queue.settled(self._flush_to)

    def _may_end(self, now: float) -> bool:
        if self.state == OPEN:
            return False
        return not self.holds_events or (self.state == DRAINING and now >= self._deadline)

    def _get_next_step(self, now: float) -> float:
        holds = self._holds
        times = [self._reporter.due(), self._idle_at, self._poll_at, self._deadline]
        if now < holds.until(PACE) and self.state != DRAINING:
            times.append(holds.until(PACE))
        if self._in_flight is not None:
            times.append(holds.until(RETRY))
        elif len(self._queue):
            flushed = self._queue.settled(self._flush_to)
            start = holds.until_from(PAUSE if flushed else RETRY)
            if self._oldest_since is not None and start <= now:
                start = self._oldest_since + self._flush_interval
            times.append(start)
        return min(moment for moment in times if moment is not None)

    # -- actions

    def _start(self, now: float) -> None:
        # A flush waits until the expired events that the claim removes are reported.
        self.applying = True
        try:
            batch = self._queue.claim(self._max_batch_size)
            self._reporter.emit(now)
        except NotNow as later:
            self._holds.set(BLOCKED, now + later.seconds)
            if later.problem is not None:
                self.problem = self._reporter.cause = later.problem
                self._reporter.cause_host, self._reporter.remedy = None, ""
                self._reschedule(now + later.seconds)
                if self.state == DRAINING:
                    self._deadline = now  # stored events stay in the store
            return
        finally:
            self.applying = False
        self._oldest_since = None
        self._sweep = max(self._sweep - len(batch), 0) if batch else 0
        if batch:
            self._in_flight = InFlight(batch, self._max_retries, self._random, self._peer)
            self._holds.set(RETRY, 0.0)

    def _attempt(self, in_flight: InFlight, now: float, longest: float) -> None:
        if self._once:
            longest = min(longest, LAST_ATTEMPT)
        timeout = min(longest, self._request_timeout, self._deadline - now)
        if timeout <= 0 or self.abandoned:  # abandoned by a handler that interrupted the claim
            self.abandon()
            return
        if self._shared is not None and not self._shared.extend(timeout):
            self._in_flight = None  # another process has taken over
            return
        answer: Answer | None = None
        failure: Exception | None = None
        self._accounting.requested(again=in_flight.failures > 0)
        part = in_flight.part
        try:
            answer = check_answer(self._transport.send(to_request(part), timeout))
        except Exception as error:  # any exception of a transport means that no answer came
            if belongs_to_caller(error):
                raise
            failure = error.with_traceback(None)  # else a reference cycle with this frame
        now = self._clock()
        self._idle_at = now + _IDLE_CONNECTION
        self._holds.set(PACE, now + _PACE)
        verdict = in_flight.take_answer(answer, failure, self._wall_clock())
        self._outage.note(None if answer is None else answer.status, now)
        self.applying = True
        try:
            self._apply(in_flight, part, verdict, now)
            self._reporter.emit(now)
        finally:
            self.applying = False
        self._log_attempt(len(part), verdict, now)

    def _log_attempt(self, sent: int, verdict: Verdict, now: float) -> None:
        """Log the answer with the `debug` option; without it, only what `on_error` does not get."""
        status, host = verdict.status, verdict.host
        seconds = None if verdict.failed else self._delay.note_success(now)
        if seconds is not None:
            self._accounting.recovered(self._peer.peer, seconds, host)
        if verdict.unclear:
            self._accounting.unclear(verdict.message, sent, status, host)
        wait = verdict.wait if self._in_flight else None
        again = f"; next attempt in {wait:.1f} s" if wait else ""
        values = sent, "event" if sent == 1 else "events", verdict.message, again
        text = "request with %d %s: %s%s"
        self._reporter.debug(text, *values, count=sent, status=status, host=host)

    def _apply(
        self, in_flight: InFlight, part: Sequence[bytes], verdict: Verdict, now: float
    ) -> None:
        self.problem = verdict.message if verdict.is_doubtful else None
        self._reporter.cause = verdict.message if verdict.failed else None
        self._reporter.cause_host = verdict.host if verdict.failed else None
        # A hint of only DOCTOR says less than the next step for the kind of loss.
        self._reporter.remedy = "" if verdict.hint == DOCTOR else verdict.hint
        if not verdict.failed:
            self._holds.set(PAUSE, 0.0)
            self._once = False
        if verdict.settled:
            self._settle(part, verdict)
        give_up = verdict.give_up
        if verdict.wait is not None and (verdict.asked or give_up is None):
            self._holds.set(RETRY, now + verdict.wait)
            # Compared after the hold was set, because a `close` from now on ends the hold.
            if self._once or now + verdict.wait >= self._deadline:
                give_up = give_up or "retry_exhausted"
        elif verdict.pace and self.state < DRAINING:
            self._holds.set(RETRY, now + verdict.pace)
        if give_up is not None:
            self._give_up(in_flight, give_up, verdict, now)
        elif not in_flight.part:
            self._in_flight = None
        elif verdict.wait is not None:
            self._keep_trying(in_flight, verdict, verdict.wait, now)

    def _settle(self, part: Sequence[bytes], verdict: Verdict) -> None:
        """Have the queue forget the events of an answer, and count them."""
        self._count_rest()  # if `resume` was interrupted, too
        queue, events = self._queue, [*part]
        if isinstance(queue, MemoryQueue):
            self._uncounted = events, queue.claimed_position + verdict.settled
        # Not if a shutdown has already given these events up.
        if queue.ack(verdict.settled, verdict.loss) == verdict.settled:
            kept = queue.kept if isinstance(queue, CountedQueue) else None
            self._accounting.settled(events, verdict.loss, verdict.hint, kept)
        self._uncounted = None

    def _count_rest(self) -> None:
        """Count, after an interruption, the events that the queue in memory has forgotten."""
        if self._uncounted is not None and isinstance(self._queue, MemoryQueue):
            events, position = self._uncounted
            if self._queue.claimed_position == position:
                self._accounting.settled(events, None)
            self._uncounted = None

    def _keep_trying(self, in_flight: InFlight, verdict: Verdict, wait: float, now: float) -> None:
        """Keep the batch for the next attempt; report the failure if that is due."""
        if self._shared is not None:
            self._shared.extend(wait)
        if self._delay.note_failure(verdict.patience, now):
            self._report("delayed", in_flight.left, verdict, wait, now)

    def _give_up(self, in_flight: InFlight, type_: ErrorType, verdict: Verdict, now: float) -> None:
        self._in_flight = None
        self._delay.note_failure(verdict.patience, now)
        pause = get_pause("auth" if verdict.is_lasting else type_, self._random)
        wait: float | None = max(pause, verdict.wait or 0.0)
        if self.state == DRAINING:
            self._deadline = now  # no attempt can follow; events left in memory are lost
            wait = None
        self._report(type_, in_flight.left, verdict, wait, now)
        self._reschedule(now + pause)
        self._release()

    def _report(
        self, type_: ErrorType, left: int, verdict: Verdict, wait: float | None, now: float
    ) -> None:
        """Report a failure; `left` events of the batch wait, besides those of the queue."""
        self._delay.note_report(now)
        count = left + len(self._queue)
        kept = count if wait is not None else count - self._get_lost_with_process(count)
        fate = to_fate(wait, verdict.hint, stored=kept > 0 and self._shared is not None)
        # The report of the events that are dropped next names the failure too.
        quiet = wait is None and not kept
        failure = verdict.message, verdict.status, kept or count
        self._accounting.failing(type_, *failure, fate, host=verdict.host, quiet=quiet)

    def _get_lost_with_process(self, count: int) -> int:
        """Return how many of `count` waiting events are lost if this process ends now."""
        if isinstance(self._queue, MemoryQueue):
            return count
        if self._shared is None or self._accounting.failing_store is None:
            return 0  # those on their way to a store that works are stored at the end
        return min(self._shared.unstored, count)

    def _release(self) -> None:
        self._accounting.lost(self._queue.release(), "queue_full", QUEUE_FULL)

    def _reschedule(self, paused_until: float) -> None:
        self._holds.set(PAUSE, paused_until)
        self._flush_to = self._sweep = 0
        self.give_ups += 1

    def disconnect(self) -> None:
        """Close the connection until the next request."""
        self._idle_at = None
        try:
            self._transport.close()
        except Exception as error:  # from a custom transport
            if belongs_to_caller(error):
                raise
            log("debug", "the transport cannot be closed: %s", get_raise_site(error))
