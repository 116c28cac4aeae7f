"""Step 4: when to deliver.

A machine of decisions that somebody else drives: `step` does what is due, at most one request,
and says when it wants to be called again. Clock, random and the way to send are arguments, so a
test can drive it without threads, sockets or time.

Threads: one caller at a time may be in `step`; everything else may be called from any thread,
also from a signal handler.
"""

from __future__ import annotations

import sys
import time
from _thread import RLock

from whisperr._events.batch import to_request
from whisperr._queue.memory import count_own
from whisperr.errors import Loss, NotNow

from .backoff import get_pause
from .verdict import Delivery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from whisperr._contract import Answer
    from whisperr.errors import Reason
    from whisperr.protocols import Transport

    from .accounting import Ledger
    from .backoff import Random
    from .reporter import Reporter
    from .verdict import Verdict

NEVER = float("inf")
_IDLE_CONNECTION = 30.0
# How long a busy queue may fill after a request: at 2,000 events a second one takes 200 of them.
_PACE = 0.1
_NO_WAKE = sys.maxsize


class Scheduler:
    """Decide when to deliver what the buffer holds, and do it one request at a time."""

    def __init__(
        self,
        buffer: Any,  # noqa: ANN401  # a queue, shared or not
        transport: Transport,
        ledger: Ledger,
        reporter: Reporter,
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
    ) -> None:
        self._buffer = buffer
        self._transport = transport
        self._ledger = ledger
        self._reporter = reporter
        self._flush_at = flush_at
        self._flush_interval = flush_interval
        self._max_batch_size = max_batch_size
        # So many waiting events end the pace: a whole request, or what could fill the queue.
        self._full_at = max(flush_at, max_batch_size if full_at is None else full_at)
        self._max_retries = max_retries
        self._request_timeout = request_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._dice = random
        self._delivery: Delivery | None = None
        self._oldest_since: float | None = None
        self._not_before = self._asked_until = 0.0
        self._paused_until = self._paced_until = 0.0
        self._connected_until: float | None = None
        self._flush_to = 0
        self._asking = RLock()
        # Only a shared buffer has `poll`: others change it, so it has to be looked at.
        self._look: Callable[[], float] | None = getattr(buffer, "poll", None)
        self._shared: Any = hasattr(buffer, "extend")
        self._look_at: float | None = None
        self._rest_until = 0.0
        self._sweep = 0  # events to send because all are due, also those of other processes
        self._close_by: float | None = None
        self._leaving = False
        # So many waiting events make `put` wake the driver: 1 to learn that there is something,
        # then `flush_at`, `full_at` soon after a request; none while waking could change nothing.
        self.wake_at = 1
        # True from the end of events until they are counted and told: `flush` waits for that too.
        self.applying = False
        self.give_ups = 0
        self.problem: str | None = None
        self.closed = False
        self.ended = False

    # -- for any thread

    def ask(self, position: int) -> None:
        """Ask to deliver all before `position` now; ends a pause, but no Retry-After."""
        with self._asking:
            self._flush_to = max(self._flush_to, position)

    def close(self, deadline: float) -> None:
        """Ask to deliver everything by `deadline` (monotonic) and to end; cuts every wait."""
        if self._close_by is None:
            self._close_by = deadline
            self._not_before = self._asked_until = self._paused_until = 0.0

    def leave(self) -> None:
        """Ask to end as soon as nothing is left: the client is gone, its events are not."""
        self._leaving = True

    def abandon(self) -> None:
        """End now: what is still held is dropped for `shutdown` and reported."""
        self.closed = True
        self.wake_at = 0  # every later put wakes, and waking a closed client abandons again
        self._drop(self._buffer.drain(), "shutdown", "not delivered before shutdown ended")
        self._reporter.emit(self._clock(), all_of_it=True)
        self.ended = True

    @property
    def paused(self) -> bool:
        """Whether automatic delivery pauses after giving up."""
        return self._paused_until > self._clock()

    # -- for the driver

    def step(self) -> float:
        """Do what is due now. Return the time (monotonic) of the next call, NEVER for "on waking".

        Returns a time in the past when there is more to do at once.
        """
        now = self._clock()
        self._reporter.emit(now)
        if self.closed:
            self._delivery = None
            return NEVER
        if self._look is not None and now >= (self._look_at or now):
            self._look_at = now + self._look()
        if self._delivery is None and self._is_due(now):
            self._start(now)
        if self._delivery is not None and now >= self._not_before:
            self._attempt(self._delivery, now)
            return now
        if self._may_end(now):
            self.abandon()
            self.disconnect()
            return NEVER
        if self._connected_until is not None and now >= self._connected_until:
            self.disconnect()
        return self._next_step(now)

    def settle(self) -> None:
        """Set the number of waiting events that wakes the driver; call it before sleeping."""
        busy = self._delivery is not None or self._close_by is not None
        if self.closed:
            self.wake_at = 0
        elif busy or (self._must_rest and self._oldest_since is not None):
            self.wake_at = _NO_WAKE
        elif (now := self._clock()) < self._paced_until:
            # What comes meanwhile wakes nobody, so its age counts from here.
            self._oldest_since = self._oldest_since or now
            self.wake_at = self._full_at
        else:
            self.wake_at = 1 if self._oldest_since is None else self._flush_at

    @property
    def has_news(self) -> bool:
        """Whether enough came since `settle` to be awake: what `put` may have seen too early."""
        return len(self._buffer) >= self.wake_at

    def recover(self) -> None:
        """After a mistake of ours or of a plugged-in part: keep the events and pause."""
        self._delivery = None
        self._reschedule(self._clock() + get_pause("retry_exhausted", self._dice))
        self._put_back()
        self.settle()

    # -- decisions

    @property
    def _must_rest(self) -> bool:
        return max(self._asked_until, self._paused_until, self._rest_until) > self._clock()

    def _is_due(self, now: float) -> bool:
        if not len(self._buffer):
            self._oldest_since = None
            return False
        if self._close_by is not None:
            mine = not self._buffer.settled(self._buffer.tail())
            return mine and self._rest_until <= now < self._close_by
        if self._oldest_since is None:
            self._oldest_since = now
        if now < max(self._asked_until, self._rest_until):
            return False
        if not self._sweep and self._buffer.settled(self._flush_to) and now >= self._paused_until:
            aged = now >= self._oldest_since + self._flush_interval
            enough = self._flush_at if now >= self._paced_until else self._full_at
            if aged or len(self._buffer) >= enough or self._leaving:
                self.ask(self._buffer.tail())  # all of it, however many requests that takes
                self._sweep = len(self._buffer) if self._look is not None else 0
        return self._sweep > 0 or not self._buffer.settled(self._flush_to)

    def _may_end(self, now: float) -> bool:
        if self._close_by is None and not self._leaving:
            return False
        empty = self._delivery is None and self._buffer.settled(self._buffer.tail())
        return empty or (self._close_by is not None and now >= self._close_by)

    def _next_step(self, now: float) -> float:
        times = [self._reporter.due(), self._connected_until, self._look_at]
        if now < self._paced_until and self._close_by is None:
            times.append(self._paced_until)
        if self._delivery is not None:
            times += [self._not_before, self._close_by]
        elif len(self._buffer):
            start = max(self._asked_until, self._rest_until)
            if self._buffer.settled(self._flush_to):
                start = max(start, self._paused_until)
            if self._oldest_since is not None and start <= now:
                start = self._oldest_since + self._flush_interval
            times += [start, self._close_by]
        return min((time for time in times if time is not None), default=NEVER)

    # -- actions

    def _start(self, now: float) -> None:
        try:
            batch = self._buffer.claim(self._max_batch_size)
        except NotNow as later:
            self._rest_until = now + later.seconds
            if later.problem is not None:
                self.problem = later.problem
                self._reschedule(self._rest_until)
                if self._close_by is not None:
                    self._close_by = now  # what is stored stays there
            return
        self._oldest_since = None
        self._sweep = max(self._sweep - len(batch), 0) if batch else 0
        if batch:
            self._delivery = Delivery(batch, self._max_retries, self._dice)
            self._not_before = 0.0

    def _attempt(self, delivery: Delivery, now: float) -> None:
        timeout = self._request_timeout
        if self._close_by is not None:
            timeout = min(timeout, self._close_by - now)
            if timeout <= 0:
                self.abandon()
                return
        if self._shared and not self._buffer.extend(timeout):  # another process has it now
            self._delivery = None
            return
        answer: Answer | None = None
        problem = ""
        self._ledger.request(again=delivery.failures > 0)
        try:
            answer = self._transport.send(to_request(delivery.part), timeout)
        except Exception as error:  # noqa: BLE001  # whatever a transport raises means: no answer
            problem = f"{type(error).__name__}: {error}"
        now = self._clock()
        self._connected_until = now + _IDLE_CONNECTION
        self._paced_until = now + _PACE
        part = delivery.part
        verdict = delivery.judge(answer, problem, self._wall_clock())
        self.applying = True
        try:
            self._apply(delivery, part, verdict, now)
            self._reporter.emit(now)
        finally:
            self.applying = False
        again = f"; again in {verdict.wait:.1f} s" if verdict.wait and self._delivery else ""
        self._reporter.detail("sent %d: %s%s", len(part), verdict.message, again)

    def _apply(
        self, delivery: Delivery, part: Sequence[bytes], verdict: Verdict, now: float
    ) -> None:
        failed = verdict.wait is not None or verdict.give_up is not None
        self.problem = verdict.message if failed or verdict.reason else None
        if not failed:
            self._paused_until = 0.0
        if verdict.ended:
            self._end(part, verdict)
        if verdict.wait is not None:
            self._not_before = now + verdict.wait
            if verdict.asked:
                self._asked_until = self._not_before
            if self._close_by is not None and self._not_before >= self._close_by:
                verdict.give_up = verdict.give_up or "retry_exhausted"
        if verdict.give_up is not None:
            self._give_up(verdict, now)
        elif not delivery.part:
            self._delivery = None
        elif verdict.wait is not None and self._shared:
            self._buffer.extend(verdict.wait)

    def _end(self, part: Sequence[bytes], verdict: Verdict) -> None:
        """Settle a part that has ended, unless shutdown has already given it up."""
        lost = verdict.ended - verdict.delivered
        loss = None
        if lost and verdict.reason:
            loss = Loss(lost, verdict.reason, verdict.message, verdict.status)
        if self._buffer.ack(verdict.ended, loss) < verdict.ended:
            return
        # Which ones a 202 refused is not told, unless it is all of them: the first ones count.
        self._ledger.deliver(count_own(part[lost:]))
        if lost and verdict.reason:
            self._ledger.drop(verdict.reason, count_own(part[:lost]))
            known = part if lost == len(part) else ()
            self._report(known, verdict.reason, verdict.message, verdict.status, lost)

    def _give_up(self, verdict: Verdict, now: float) -> None:
        error_type = verdict.give_up
        if error_type is None or self._delivery is None:
            return
        count = self._delivery.left
        self._delivery = None
        self._reporter.add(error_type, verdict.message, status=verdict.status, count=count)
        if self._close_by is not None:
            self._close_by = now  # no attempt can follow: the rest ends as `shutdown`
        self._reschedule(now + get_pause(error_type, self._dice))
        self._put_back()

    def _put_back(self) -> None:
        self._drop(
            self._buffer.release(),
            "queue_full",
            "the queue was full; the oldest events were dropped",
        )

    def _reschedule(self, paused_until: float) -> None:
        self._paused_until = paused_until
        self._flush_to = self._sweep = 0
        self.give_ups += 1

    def _drop(self, events: Sequence[bytes], reason: Reason, message: str) -> None:
        if events:
            self._ledger.drop(reason, count_own(events))
            self._report(events, reason, message, None, len(events))

    def _report(
        self, events: Sequence[bytes], reason: Reason, message: str, status: int | None, count: int
    ) -> None:
        self._reporter.add(
            "dropped", message, reason=reason, status=status, count=count, events=events
        )

    def disconnect(self) -> None:
        """Close the connection until the next request."""
        self._connected_until = None
        self._transport.close()
