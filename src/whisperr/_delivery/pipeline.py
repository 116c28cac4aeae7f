"""The parts of one client in one process, put together: encoder, buffer, worker, driver.

A forked child gets a new one: new locks, an empty memory buffer (the parent still owns those
events), a new connection, new message ids, and a new thread when needed.
"""

from __future__ import annotations

import os
import sys
import time

from whisperr._events.event import EventEncoder, Vetoed
from whisperr._events.layout import is_identify
from whisperr._process import exit as _lifecycle
from whisperr._process.imports import first_use
from whisperr._process.logger import logger
from whisperr._process.uwsgi import check_host
from whisperr._queue.memory import MemoryQueue, count_own
from whisperr._version import __version__
from whisperr.errors import InvalidEvent, StoreError

from .accounting import Ledger
from .reporter import Reporter
from .scheduler import NEVER, Scheduler
from .thread import DeliveryThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from whisperr._contract import Answer, Request
    from whisperr._options import Config
    from whisperr.errors import Reason
    from whisperr.protocols import Transport

    from .accounting import State, Stats

# The last part of a shutdown is for telling what could not be delivered.
_SHARE_TO_TELL = 0.05
_MOST_TO_TELL = 0.25  # seconds
_LARGE_EVENT_BYTES = 4096  # ten times a usual one; bytes are not looked at for every event

# Whether bad input raises, whatever the clients say; None: what they say. Set by
# `whisperr.testing` and by nothing else.
strict_for_all: bool | None = None


class Pipeline:
    """Take encoded events, deliver them, and say what happened. Belongs to one process."""

    def __init__(self, config: Config) -> None:
        self.pid = os.getpid()
        self._transport: Transport = config.transport or _LazyTransport(config)
        self.ledger = Ledger()
        self.reporter = Reporter(config.on_error, debug=config.debug)
        self._store_problem: str | None = None
        opened = self._open(config)
        self.buffer: Any = opened if hasattr(opened, "claim") else MemoryQueue(1, 1)
        self._put = opened.put
        self._waiting = self.buffer.__len__  # for every event: `len()` takes twice the time
        # Who delivers when it is not this process: it only adds to the buffer.
        self.delivered_by: str | None = getattr(opened, "delivered_by", None)
        self.sink = opened
        self._flush_told = False
        self.encoder = EventEncoder(
            __version__,
            app_version=config.app_version,
            test_mode=config.test_mode,
            before_send=config.before_send,
        )
        self.worker = Scheduler(
            self.buffer,
            self._transport,
            self.ledger,
            self.reporter,
            flush_at=config.flush_at,
            flush_interval=config.flush_interval,
            max_batch_size=config.max_batch_size,
            max_retries=config.max_retries,
            request_timeout=config.request_timeout,
            clock=time.monotonic,
            random=_roll,
            full_at=get_full_at(config),
        )
        self.driver = DeliveryThread(self.worker)
        self.closing = False
        self._strict = config.strict
        _lifecycle.watch(self)
        check_host()
        if len(self.buffer):  # what a former process left
            self.driver.wake()

    def put(self, data: bytes, place: str | None = None) -> bool:
        """Accept one encoded event; False when it could not be kept. `place` as in `refuse`."""
        if self.delivered_by is not None:
            return self._store(data, place)
        self.ledger.accept()
        dropped = self._put(data)
        if self._waiting() >= self.worker.wake_at:
            self.driver.wake()
        if not dropped:
            return True
        self._overflow(data, dropped)
        return dropped[-1] is not data

    def _store(self, data: bytes, place: str | None) -> bool:
        """Put one event where another process takes it from; it is accepted when it is there."""
        try:
            dropped = self._put(data)
        except StoreError as error:
            call = "identify" if is_identify(data) else "track"
            self._lose("not_stored", f"{call}: {error}", place)
            return False
        self.ledger.accept()
        if dropped:
            self._overflow(data, dropped)
        return not dropped

    def refuse(self, error: Exception, call: str, place: str | None = None) -> None:
        """Count and report a call that became no event; a veto is counted and not reported.

        In strict mode an InvalidEvent is raised instead. `place` is where the call stands when
        that is not on the stack any more.
        """
        strict = self._strict if strict_for_all is None else strict_for_all
        if strict and isinstance(error, InvalidEvent):
            raise error
        if isinstance(error, Vetoed):
            self.ledger.drop("vetoed", 1)
            return
        text = str(error) if isinstance(error, InvalidEvent) else type(error).__name__
        self._lose("invalid", f"{call}: {text}", place)

    def refuse_closed(self, call: str, place: str | None = None) -> None:
        """Count and report a call after shutdown."""
        self._lose("closed", f"{call}: the client is shut down", place)

    def flush(self, timeout: float | None) -> bool:
        """Deliver all that was accepted before; see `Whisperr.flush`."""
        deadline = NEVER if timeout is None else time.monotonic() + timeout
        position, worker = self.buffer.tail(), self.worker

        def passed() -> bool:
            return self.buffer.settled(position) and not worker.applying

        given_up = worker.give_ups
        done = passed()
        if not done:
            worker.ask(position)
            self.driver.wake()
            done = self.driver.wait_until(
                passed,
                lambda: (worker.ended or worker.give_ups != given_up) and not worker.applying,
                deadline,
            )
        self.reporter.emit(time.monotonic())
        if self.delivered_by is not None and not self._flush_told:
            self._flush_told = True
            logger().info("flush() has nothing to wait for: %s delivers", self.delivered_by)
        return done

    def begin_shutdown(self, deadline: float) -> None:
        """Accept nothing more and deliver what is held until `deadline` (monotonic, seconds)."""
        self.closing = True
        left = max(deadline - time.monotonic(), 0.0)
        self.worker.close(deadline - min(left * _SHARE_TO_TELL, _MOST_TO_TELL))
        if not self.driver.started and not len(self.buffer):
            self.worker.abandon()
        elif not self.worker.closed:
            self.driver.wake()

    def finish_shutdown(self, deadline: float) -> bool:
        """Wait for the end; what is not delivered then is dropped and reported."""
        worker = self.worker
        ended = self.driver.wait_until(lambda: worker.ended, lambda: False, deadline)
        if not ended and not self.driver.is_mine:
            worker.abandon()
        empty = self.buffer.settled(self.buffer.tail())
        return ended and empty and not self.ledger.dropped["shutdown"]

    def leave(self) -> None:
        """Deliver what is held, then let the thread end: the client object is gone."""
        self.worker.leave()
        if self.driver.started or len(self.buffer):
            _lifecycle.keep(self)
            self.driver.wake()

    def close_in_child(self) -> None:
        """In a forked child: close the inherited socket; everything else is the parent's."""
        from whisperr._process import forks

        forks.keep(self.buffer)
        close_in_child = getattr(self._transport, "close_in_child", None)
        if close_in_child is not None:
            close_in_child()

    def stats(self) -> Stats:
        """Return the counts of this moment."""
        closed = self.worker.closed or self.closing
        state: State = "closed" if closed else "paused" if self.worker.paused else "running"
        buffer = self.buffer
        problem = self.worker.problem or self._store_problem
        stored = buffer.stored if hasattr(buffer, "extend") else 0
        return self.ledger.stats(buffer.held_bytes, state, problem, stored)

    # -- what a shared buffer tells

    def store_problem(self, problem: str | None) -> None:
        self._store_problem = problem

    def settled_elsewhere(self, outcome: str, count: int) -> None:
        """Count events of this process that another one delivered or dropped, and reported."""
        if outcome == "delivered":
            self.ledger.deliver(count)
        else:
            self.ledger.drop(outcome, count)  # type: ignore[arg-type]  # a reason, as it was sent

    def lost(
        self, events: Sequence[bytes], reason: Reason, message: str, status: int | None = None
    ) -> None:
        """Count and report events that the buffer had to give up."""
        self.ledger.drop(reason, count_own(events))
        self._tell(
            self.reporter.add(
                "dropped", message, reason=reason, status=status, count=len(events), events=events
            )
        )

    def not_durable(self, message: str, count: int) -> None:
        """Report that events are kept in memory only."""
        self._tell(self.reporter.add("not_durable", message, count=count))

    def _open(self, config: Config) -> Any:  # noqa: ANN401  # of any kind
        given: Any = config.buffer
        if given is None:
            return MemoryQueue(config.max_queue_size, config.max_queue_bytes)
        if not hasattr(given, "open"):
            return given
        return given.open(config.max_queue_size, config.max_queue_bytes, self)

    def _overflow(self, data: bytes, events: Sequence[bytes]) -> None:
        reason: Reason = "too_large" if events[-1] is data else "queue_full"
        message = {
            "too_large": "one event is larger than max_queue_bytes",
            "queue_full": "the queue was full; the oldest events were dropped",
        }[reason]
        self.lost(events, reason, message)

    def _lose(self, reason: Reason, message: str, place: str | None) -> None:
        self.ledger.drop(reason, 1)
        where = get_call_site() if place is None else place
        self._tell(self.reporter.add("dropped", f"{message}{where}", reason=reason))

    def _tell(self, news: bool) -> None:  # noqa: FBT001  # what `add` says
        """See to it that a new report is told: by the thread, or here when that has ended."""
        if not hasattr(self, "driver"):  # while the buffer is opened
            return
        if self.worker.closed:
            self.reporter.emit(time.monotonic())
        elif news:
            self.driver.wake()


def _roll() -> float:
    """Return a number from 0 to 1; `random` would be a tenth of the time of our import."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def get_full_at(config: Config) -> int:
    """Return how many waiting events end the pace: at half of a bound nothing may wait for it."""
    return min(
        config.max_batch_size,
        config.max_queue_size // 2,
        config.max_queue_bytes // (2 * _LARGE_EVENT_BYTES),
    )


def get_call_site() -> str:
    """Say where in the caller's code the refused call stands."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # what `inspect` and `warnings` do
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "whisperr":
        frame = frame.f_back
    return f" (at {frame.f_code.co_filename}:{frame.f_lineno})" if frame else ""


class _LazyTransport:
    """The HTTP transport, made with its first request: its imports cost more than all of ours."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._http: Transport | None = None

    def send(self, request: Request, timeout: float) -> Answer:
        if self._http is None:
            with first_use():
                from whisperr._http.transport import HttpTransport

            config = self._config
            self._http = HttpTransport(config.base_url, config.key, ssl_context=config.ssl_context)
        return self._http.send(request, timeout)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def close_in_child(self) -> None:
        close_in_child = getattr(self._http, "forsake", None)
        if close_in_child is not None:
            close_in_child()
