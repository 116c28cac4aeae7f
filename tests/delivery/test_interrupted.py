"""A signal handler that raises may interrupt any public call, at any point of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.interrupting import Interrupted, Tracer, interrupt_everywhere
from whisperr import Whisperr
from whisperr._delivery.accounting import ClientAccounting
from whisperr._delivery.scheduler import Scheduler
from whisperr._delivery.thread import DeliveryThread
from whisperr.protocols import Answer
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr._contract import Request

LIMIT = 10.0

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="CPython's rules of where signal handlers run"
)


class Scene:
    """A client that holds two events, and the events that it has sent."""

    def __init__(self, **options: Any) -> None:
        self.transport = MemoryTransport()
        self.client = Whisperr(
            "wrk_test", transport=self.transport, flush_interval=3_600, **options
        )
        self.ids = [self.client.track("u", "some_event", {"number": n}) for n in range(2)]

    @property
    def sent(self) -> list[str]:
        events = [event for request in self.transport.taken for event in request.events]
        return [event["context"]["$message_id"] for event in events if "context" in event]

    def check(self) -> None:
        """Check that no lock is held, the counts are right, and accepted events arrived once."""
        last = self.client.track("u", "some_event", {"number": 99})
        assert self.client.flush(LIMIT)
        stats = self.client.stats()
        assert stats.held == 0
        assert stats.accepted == stats.delivered + sum(stats.dropped.values())
        assert stats.delivered == sum(len(one.events) for one in self.transport.taken)
        assert stats.held_bytes == 0
        assert len(set(self.sent)) == len(self.sent)
        assert self.sent[-1] == last
        thread = self.client._get_pipeline().thread
        end = time.monotonic() + LIMIT
        assert thread.wait_until(lambda: not thread.in_step, lambda: False, end)

    def close(self) -> None:
        assert self.client.shutdown(LIMIT)


CALLS: dict[str, Callable[[Scene], object]] = {
    "track": lambda scene: scene.client.track("u", "some_event", {"number": 2, "at": [1, {}]}),
    "identify": lambda scene: scene.client.identify("u", email="a@example.com"),
    "invalid": lambda scene: scene.client.track("u", "Not A Name"),
    "flush": lambda scene: scene.client.flush(LIMIT),
    "stats": lambda scene: scene.client.stats(),
}


@pytest.mark.parametrize("options", [{}, {"max_queue_size": 2}], ids=["with room", "full"])
@pytest.mark.parametrize("call", CALLS)
def test_after_a_call_interrupted_anywhere_counts_are_right_and_events_arrive(
    call: str, options: dict[str, int]
) -> None:
    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        scene = Scene(**options)
        interrupt(lambda: CALLS[call](scene))
        scene.check()
        scene.close()

    assert interrupt_everywhere(story) > 5


def test_a_shutdown_that_is_interrupted_anywhere_can_be_repeated() -> None:
    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        scene = Scene()
        interrupt(lambda: scene.client.shutdown(LIMIT))
        assert scene.client.shutdown(LIMIT)
        stats = scene.client.stats()
        assert (stats.accepted, stats.delivered, stats.held) == (2, 2, 0)
        assert scene.sent == scene.ids

    assert interrupt_everywhere(story) > 5


def test_a_shutdown_that_reports_losses_reports_them_once_when_it_is_interrupted() -> None:
    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        reported: list[int] = []
        client = Whisperr(
            "wrk_test",
            transport=MemoryTransport(held=True),
            on_error=lambda error: reported.append(error.count),
        )
        client.track("u", "some_event")
        interrupt(lambda: client.shutdown(0.0))
        assert not client.shutdown(0.0)
        stats = client.stats()
        assert (stats.accepted, stats.dropped, stats.held) == (1, {"shutdown": 1}, 0)
        transport = client._config.transport
        assert isinstance(transport, MemoryTransport)
        transport.let_go()

    assert interrupt_everywhere(story) > 5


def test_a_limit_that_is_raised_in_a_transport_in_the_calling_thread_reaches_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no thread can be started, the calling thread delivers."""

    class TimeLimitExceeded(Exception):  # the name that a task queue gives it
        __module__, __qualname__ = "celery.exceptions", "TimeLimitExceeded"

    limits = [TimeLimitExceeded()]

    def answer(_: Request) -> Any:
        return limits.pop() if limits else Answer(202)

    client = Whisperr("wrk_test", transport=MemoryTransport(otherwise=answer))
    monkeypatch.setattr(client._get_pipeline().thread, "_ensure_thread", lambda: False)
    client.track("u", "some_event")
    with pytest.raises(TimeLimitExceeded):
        client.flush(LIMIT)
    assert client.flush(LIMIT)
    assert (client.stats().delivered, client.stats().held) == (1, 0)
    client.shutdown()


@pytest.mark.parametrize("status", [202, 400])
def test_after_a_delivery_in_a_call_that_is_interrupted_anywhere_each_event_counts_once(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryThread, "_ensure_thread", lambda _: False)

    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        client = Whisperr("wrk_test", transport=MemoryTransport(otherwise=Answer(status)))
        for _ in range(2):
            client.track("u", "some_event")
        interrupt(lambda: client.flush(LIMIT))
        client.flush(LIMIT)
        stats = client.stats()
        assert (stats.accepted, stats.held) == (2, 0)
        assert stats.delivered + sum(stats.dropped.values()) == 2
        assert client.shutdown(LIMIT)

    assert interrupt_everywhere(story) > 5


class Waiting:
    """An event that waits for its user."""

    counted_bytes = 0


class Resumed:
    """A client whose first step is interrupted after the queue has forgotten two sent events.

    They are not counted yet. `strike` is called at point `at` while the scheduler resumes, as if
    another thread ran there.
    """

    def __init__(
        self, patches: pytest.MonkeyPatch, at: int, strike: Callable[[Whisperr], object]
    ) -> None:
        self.points = 0
        self._at = at
        self._strike = strike
        self._resume = Scheduler.resume
        self._settled = ClientAccounting.settled
        self._interruptions = [Interrupted()]
        # The calling thread delivers.
        patches.setattr(DeliveryThread, "_ensure_thread", lambda _: False)
        patches.setattr(ClientAccounting, "settled", self._count_settled)

        def resume(scheduler: Scheduler) -> None:  # a function, which becomes a method
            self._trace(scheduler)

        patches.setattr(Scheduler, "resume", resume)
        self.scene = Scene(max_queue_size=2)

    def _count_settled(self, *given: Any, **named: Any) -> None:
        if self._interruptions:
            raise self._interruptions.pop()
        self._settled(self.scene.client._get_pipeline().accounting, *given, **named)

    def _trace(self, scheduler: Scheduler) -> None:
        tracer, before = Tracer(self._at, lambda: self._strike(self.scene.client)), sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # 3.12 asks for it when tracing begins
        sys.settrace(tracer.trace)
        try:
            self._resume(scheduler)
        finally:
            sys.settrace(before)
        self.points = tracer.points

    def check(self) -> None:
        with pytest.raises(Interrupted):
            self.scene.client.flush(LIMIT)
        stats = self.scene.client.stats()
        assert (stats.delivered, stats.requests) == (2, 1), f"at point {self._at}"
        self.scene.check()
        self.scene.close()


@pytest.mark.parametrize("count", [1, 3], ids=["with room", "full"])
def test_after_an_interrupted_step_events_of_other_threads_do_not_change_what_was_delivered(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(client: Whisperr) -> None:
        for _ in range(count):
            client.track("u", "some_event")

    at, points = 0, 1
    while at <= points:
        with monkeypatch.context() as patches:
            story = Resumed(patches, at, strike)  # at point 0: nowhere
            story.check()
            points = max(points, story.points)
        at += 1
    assert points > 5


def test_after_an_interrupted_step_the_loss_of_a_deferred_event_does_not_count_as_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Resumed(monkeypatch, 0, Whisperr.stats)
    pipeline = story.scene.client._get_pipeline()
    assert not pipeline.defer(Waiting(), 1)  # the queue is full
    story.check()
