"""A worker without threads, sockets or real time, driven the way a driver would."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from whisperr._contract import Answer, Request
from whisperr._delivery.accounting import Ledger
from whisperr._delivery.reporter import Reporter
from whisperr._delivery.scheduler import NEVER, Scheduler
from whisperr._events.layout import is_identify
from whisperr._queue.memory import MemoryQueue
from whisperr.testing import FakeClock, MemoryTransport, Reply, SentRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whisperr.errors import WhisperrError

# Far more than any story needs; a worker that never rests is a busy loop.
_MAX_ROUNDS = 5_000


class ScriptedTransport(MemoryTransport):
    """Answers take their time on the clock of the story; what a reply asserts is kept."""

    def __init__(self, clock: FakeClock, script: Iterable[Reply]) -> None:
        super().__init__(*script, otherwise=ok(), clock=clock)
        self._fake_clock = clock
        self.takes = 0.0  # seconds that each answer takes
        self.failures: list[AssertionError] = []
        self.close_error: Exception | None = None

    def reply(self, chosen: Reply, request: Request) -> Any:
        """Ask a scripted server; what it asserts must not pass for a failed connection."""
        self._fake_clock.advance(min(self.takes, self.sent[-1].timeout))
        try:
            return super().reply(chosen, request)
        except AssertionError as failure:
            self.failures.append(failure)
            raise

    def close(self) -> None:
        super().close()
        if self.close_error is not None:
            raise self.close_error


class Rig:
    """Worker, memory buffer, ledger and reporter; `advance` is the only thing that takes time."""

    def __init__(self, *script: Reply, random: float = 1.0, **options: Any) -> None:
        self.clock = FakeClock()
        self.transport = ScriptedTransport(self.clock, script)
        self.errors: list[WhisperrError] = []
        self.told: list[float] = []
        self.forgives = False  # whether a mistake is survived, as the driver's thread does it
        self.mistakes: list[Exception] = []
        self.ledger = Ledger()
        self.reporter = Reporter(self._told)
        self.buffer = MemoryQueue(
            options.pop("max_queue_size", 10_000), options.pop("max_queue_bytes", 1 << 26)
        )
        self.put_count = 0
        self._awake = False
        self._next_step = NEVER
        settings = {
            "flush_at": 20,
            "flush_interval": 10.0,
            "max_batch_size": 500,
            "max_retries": 6,
            "request_timeout": 10.0,
        } | options
        self.worker = Scheduler(
            self.buffer,
            self.transport,
            self.ledger,
            self.reporter,
            clock=self.clock,
            random=lambda: random,
            wall_clock=self.clock.wall,
            **settings,
        )

    # -- what callers do

    def track(self, *numbers: int) -> None:
        """Put one event for each number."""
        for number in numbers:
            self.put(event(number))

    def put(self, data: bytes) -> None:
        """Do what the pipeline does with an encoded event."""
        self.put_count += 1
        self.ledger.accept()
        dropped = self.buffer.put(data)
        if dropped:
            self.ledger.drop("queue_full", len(dropped))
        if len(self.buffer) >= self.worker.wake_at:
            self.wake()

    def wake(self) -> None:
        """Do what the driver does when something may be due."""
        if self.worker.closed:
            self.worker.abandon()
            return
        self.worker.wake_at = sys.maxsize
        self._awake = True

    def flush(self) -> None:
        """Ask for everything that is held now."""
        self.worker.ask(self.buffer.tail())
        self.wake()

    def close(self, within: float) -> None:
        """Ask to end within so many seconds."""
        self.worker.close(self.clock.now + within)
        self.wake()

    # -- what the driver does

    def advance(self, seconds: float = 0.0) -> None:
        """Let time pass: step whenever the worker asked to be called, or was woken."""
        end = self.clock.now + seconds
        for _ in range(_MAX_ROUNDS):
            if self._awake or self._next_step <= self.clock.now:
                self._round()
                self.check()
            elif self._next_step <= end:
                self.clock.now = self._next_step
            else:
                self.clock.now = max(end, self.clock.now)
                return
        raise AssertionError("the worker does not come to rest")

    def _round(self) -> None:
        self._awake = False
        if self.worker.closed:
            self._next_step = NEVER
            return
        try:
            next_step = self.worker.step()
            self.worker.settle()
        except Exception as error:
            if not self.forgives:
                raise
            self.mistakes.append(error)
            self.worker.recover()
            self._next_step = self.clock.now
            return
        if self.worker.closed:
            self._next_step = NEVER
        else:
            self._next_step = self.clock.now if self.worker.has_news else next_step

    # -- what a test looks at

    @property
    def sent(self) -> list[SentRequest]:
        return self.transport.sent

    @property
    def batches(self) -> list[list[int]]:
        """The numbers of the events of each request, in the order of the requests."""
        return [[number_of(data) for data in events_of(sent.path, sent.body)] for sent in self.sent]

    @property
    def accepted(self) -> list[int]:
        """The numbers of the events that the server took, in its order."""
        return [
            number_of(data)
            for sent in self.transport.taken
            for data in events_of(sent.path, sent.body)
        ]

    @property
    def times(self) -> list[float]:
        """When each request was made, in seconds since the start."""
        return [sent.at - self.clock.start for sent in self.sent]

    @property
    def held(self) -> int:
        return len(self.buffer) + len(self.buffer._claimed)

    @property
    def dropped(self) -> dict[str, int]:
        return {str(reason): count for reason, count in self.ledger.dropped.items() if count}

    @property
    def reports(self) -> list[tuple[str, str | None, int]]:
        return [(error.type, error.reason, error.count) for error in self.errors]

    def check(self) -> None:
        """The law of the ledger; it holds after every step of the worker."""
        ledger = self.ledger
        assert self.transport.failures == []
        assert ledger.accepted == self.put_count
        assert ledger.accepted == ledger.delivered + sum(self.dropped.values()) + self.held

    def _told(self, error: WhisperrError) -> None:
        self.errors.append(error)
        self.told.append(self.clock.now - self.clock.start)


def event(number: int) -> bytes:
    return b'{"event_type":"e","external_user_id":"u","number":%d}' % number


def identify(number: int) -> bytes:
    return b'{"external_user_id":"u","number":%d}' % number


def number_of(data: bytes) -> int:
    number: int = json.loads(data)["number"]
    return number


def events_of(path: str, body: bytes) -> list[bytes]:
    """Take a request apart again; what the parts were joined from must come out."""
    if path == "/v1/identify":
        assert is_identify(body)
        return [body]
    assert path == "/v1/events/batch"
    parts = [json.dumps(one, separators=(",", ":")).encode() for one in json.loads(body)["events"]]
    assert body == b'{"events":[' + b",".join(parts) + b"]}"
    return parts


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """An answer; `retry_after="5"` becomes the header `retry-after`."""
    return Answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


def ok(rejected: int = 0) -> Answer:
    return answer(202, b'{"accepted":0,"rejected":%d}' % rejected)


def refuses(*bad: int, status: int = 400) -> Callable[[Request], Answer]:
    """A server that fails a whole batch for one of the `bad` events in it."""

    def reply(request: Request) -> Answer:
        numbers = {number_of(data) for data in events_of(request.path, request.body)}
        return answer(status) if numbers & set(bad) else ok()

    return reply


def takes_at_most(size: int) -> Callable[[Request], Answer]:
    """A server with a limit on the bytes of a body."""
    return lambda request: answer(413) if len(request.body) > size else ok()
