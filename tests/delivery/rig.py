"""A scheduler without threads, sockets or real time, called as the delivery thread calls it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from whisperr._contract import Answer, Request
from whisperr._delivery.accounting import ClientAccounting
from whisperr._delivery.reporter import Reporter
from whisperr._delivery.scheduler import NEVER, Scheduler
from whisperr._events.layout import is_identify
from whisperr._queue.memory import MemoryQueue
from whisperr.testing import FakeClock, MemoryTransport, Reply, SentRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whisperr.errors import WhisperrError

# Steps, far more than any story needs; a scheduler that exceeds them is in a busy loop.
_MAX_ROUNDS = 5_000


class FakeTransport(MemoryTransport):
    """Answers take time on the story's clock; failed assertions of a reply are kept."""

    def __init__(self, clock: FakeClock, replies: Iterable[Reply]) -> None:
        super().__init__(*replies, otherwise=ok(), clock=clock)
        self._fake_clock = clock
        self.takes = 0.0  # seconds that each answer takes
        self.failures: list[AssertionError] = []
        self.close_error: Exception | None = None

    def _reply(self, chosen: Reply, request: Request) -> Any:
        """Call the fake server; keep its failed assertions, which are no failed connections."""
        self._fake_clock.advance(min(self.takes, self.sent[-1].timeout))
        try:
            return super()._reply(chosen, request)
        except AssertionError as failure:
            self.failures.append(failure)
            raise

    def close(self) -> None:
        super().close()
        if self.close_error is not None:
            raise self.close_error


class BrokenHeaders(dict[str, str]):
    """The headers in an answer of a broken custom transport."""

    def get(self, *_: object) -> NoReturn:
        raise RuntimeError("headers that cannot be read")


class Rig:
    """Scheduler, memory queue and accounting; only `advance` takes time."""

    def __init__(self, *replies: Reply, random: float = 1.0, **options: Any) -> None:
        self.clock = FakeClock()
        self.transport = FakeTransport(self.clock, replies)
        self.errors: list[WhisperrError] = []
        self.reported_at: list[float] = []
        self.on_report: Callable[[], object] = lambda: None
        self.survives = False  # whether a bug is survived, as the delivery thread does it
        self.bugs: list[Exception] = []
        self.accounting = ClientAccounting(Reporter(self._on_error))
        self.queue = MemoryQueue(
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
        self.scheduler = Scheduler(
            self.queue,
            self.transport,
            self.accounting,
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
        """Put an encoded event as the pipeline does."""
        self.put_count += 1
        dropped = self.queue.put(data)
        self.accounting._count_dropped("queue_full", len(dropped))
        if len(self.queue) >= self.scheduler.wake_at:
            self.wake()

    def wake(self) -> None:
        """Step as the delivery thread does."""
        if self.scheduler.abandoned:
            self.scheduler.abandon()
            return
        self.scheduler.wake_at = sys.maxsize
        self._awake = True

    def flush(self) -> None:
        """Request delivery of all events that are held now."""
        self.scheduler.ask(self.queue.tail())
        self.wake()

    def close(self, within: float) -> None:
        """Request the end within `seconds`."""
        self.scheduler.close(self.clock.now + within)
        self.wake()

    # -- what the delivery thread does

    def advance(self, seconds: float = 0.0) -> None:
        """Advance the clock; step whenever the scheduler is due or was woken."""
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
        raise AssertionError("the scheduler does not come to rest")

    def _round(self) -> None:
        self._awake = False
        if self.scheduler.abandoned:
            self._next_step = NEVER
            return
        try:
            next_step = self.scheduler.step()
            self.scheduler.set_wake_at()
        except Exception as error:
            if not self.survives:
                raise
            self.bugs.append(error)
            self.scheduler.recover(error)
            self._next_step = self.clock.now
            return
        if self.scheduler.abandoned:
            self._next_step = NEVER
        else:
            self._next_step = self.clock.now if self.scheduler.must_wake else next_step

    # -- what a test looks at

    @property
    def sent(self) -> list[SentRequest]:
        return self.transport.sent

    @property
    def batches(self) -> list[list[int]]:
        """The numbers of the events of each request, in the order of the requests."""
        return [
            [get_number(data) for data in split_request(sent.path, sent.body)] for sent in self.sent
        ]

    @property
    def accepted(self) -> list[int]:
        """The numbers of the events that the server took, in its order."""
        return [
            get_number(data)
            for sent in self.transport.taken
            for data in split_request(sent.path, sent.body)
        ]

    @property
    def times(self) -> list[float]:
        """When each request was made, in seconds since the start."""
        return [sent.at - self.clock.start for sent in self.sent]

    @property
    def held(self) -> int:
        return len(self.queue) + len(self.queue._claimed)

    @property
    def dropped(self) -> dict[str, int]:
        return {str(reason): count for reason, count in self.accounting.dropped.items() if count}

    @property
    def reports(self) -> list[tuple[str, str | None, int]]:
        return [(error.type, error.reason, error.count) for error in self.errors]

    def check(self) -> None:
        """The invariant of the counts; it holds after every step."""
        counts = self.accounting
        assert self.transport.failures == []
        assert self.queue.tail() == self.put_count
        assert self.put_count == counts.delivered + sum(self.dropped.values()) + self.held

    def _on_error(self, error: WhisperrError) -> None:
        self.errors.append(error)
        self.on_report()
        self.reported_at.append(self.clock.now - self.clock.start)


def event(number: int) -> bytes:
    return b'{"event_type":"e","external_user_id":"u","number":%d}' % number


def identify(number: int) -> bytes:
    return b'{"external_user_id":"u","number":%d}' % number


def get_number(data: bytes) -> int:
    number: int = json.loads(data)["number"]
    return number


def split_request(path: str, body: bytes) -> list[bytes]:
    """Split a request into its events; joined again, they must equal the request."""
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
        numbers = {get_number(data) for data in split_request(request.path, request.body)}
        return answer(status) if numbers & set(bad) else ok()

    return reply


def takes_at_most(size: int) -> Callable[[Request], Answer]:
    """A server with a limit on the bytes of a body."""
    return lambda request: answer(413) if len(request.body) > size else ok()
