"""The delivery thread, threads that wait for it, and processes where it cannot run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import LIMIT, Calls, await_end, get_batches
from tests.delivery.rig import BrokenHeaders, event
from whisperr._contract import Answer
from whisperr._delivery.accounting import ClientAccounting
from whisperr._delivery.pool import THREAD_NAME
from whisperr._delivery.reporter import Reporter
from whisperr._delivery.scheduler import NEVER, Scheduler
from whisperr._delivery.thread import DeliveryThread
from whisperr._queue.memory import MemoryQueue
from whisperr.testing import MemoryTransport, Reply

if TYPE_CHECKING:
    from whisperr.errors import WhisperrError


class Threadless(DeliveryThread):
    """A delivery thread where no thread can be started, as at the end of the interpreter."""

    def _ensure_thread(self) -> bool:
        return False


class Late(DeliveryThread):
    """Joins the delivery threads after another thread has just ended its scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.gone = threading.Event()

    def _start(self) -> bool:
        self._scheduler.abandon()
        return super()._start()

    def let_go(self) -> None:
        super().let_go()
        self.gone.set()


class Scene:
    """A scheduler in real time with its thread."""

    def __init__(
        self,
        transport: MemoryTransport,
        on_error: Callable[[WhisperrError], object] | None = None,
        kind: type[DeliveryThread] = DeliveryThread,
    ) -> None:
        self.transport = transport
        self.queue = MemoryQueue(10_000, 1 << 26)
        self.accounting = ClientAccounting(Reporter(on_error))
        self.scheduler = Scheduler(
            self.queue,
            transport,
            self.accounting,
            flush_at=1_000,
            flush_interval=3_600.0,
            max_batch_size=500,
            max_retries=0,
            request_timeout=LIMIT,
            clock=time.monotonic,
            random=lambda: 0.0,
        )
        self.thread = kind(self.scheduler)

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put(event(number))

    def flush(self, timeout: float = LIMIT) -> bool:
        position, given_up = self.queue.tail(), self.scheduler.give_ups
        self.scheduler.ask(position)
        self.thread.wake()
        return self.thread.wait_until(
            lambda: self.queue.settled(position),
            lambda: self.scheduler.give_ups != given_up,
            time.monotonic() + timeout,
        )


@pytest.fixture
def scene() -> Iterator[Callable[..., Scene]]:
    """Make scenes; afterwards unblock their transports and end their threads."""
    made: list[Scene] = []

    def make(
        *replies: Reply,
        held: bool = False,
        on_error: Callable[[WhisperrError], object] | None = None,
        kind: type[DeliveryThread] = DeliveryThread,
    ) -> Scene:
        made.append(Scene(MemoryTransport(*replies, held=held), on_error, kind))
        return made[-1]

    yield make
    for one in made:
        one.transport.let_go()
        one.scheduler.close(time.monotonic())
        one.thread.wake()
        await_end(one.thread)


Make = Callable[..., Scene]


class TestThread:
    def test_none_is_started_before_the_first_wake(self, scene: Make) -> None:
        one = scene()
        assert not one.thread.started
        assert one.thread.wait_until(lambda: True, lambda: False, NEVER)
        assert not one.thread.started

    def test_many_wakes_at_once_start_one(self, scene: Make) -> None:
        one = scene(held=True)
        one.put(1)
        one.scheduler.ask(1)
        before = set(threading.enumerate())
        Calls(one.thread.wake, times=16).join()
        one.transport.await_request()
        started = [t for t in set(threading.enumerate()) - before if t.name == THREAD_NAME]
        assert len(started) <= 1  # one of another test may run already
        assert one.transport.sent[0].thread.name == THREAD_NAME

    def test_it_is_a_daemon_that_does_not_keep_the_process_alive(self, scene: Make) -> None:
        one = scene()
        one.put(1)
        assert one.flush()
        assert one.transport.sent[0].thread.daemon

    def test_it_ends_with_the_scheduler_and_closes_the_connection(self, scene: Make) -> None:
        one = scene()
        one.put(1)
        assert one.flush()
        one.scheduler.close(time.monotonic() + LIMIT)
        one.thread.wake()
        await_end(one.thread)
        assert len(one.transport.closes) >= 1

    def test_when_abandoned_in_the_middle_it_closes_the_connection_itself(
        self, scene: Make
    ) -> None:
        one = scene(held=True)
        one.put(1)
        one.flush(0.0)
        one.transport.await_request()
        one.scheduler.abandon()
        one.transport.let_go()
        await_end(one.thread)
        assert len(one.transport.closes) == 1

    def test_none_is_started_for_an_ended_scheduler(self, scene: Make) -> None:
        one = scene()
        one.scheduler.abandon()
        one.put(1)
        one.thread.wake()
        assert not one.thread.started
        assert one.accounting.dropped["shutdown"] == 1

    def test_one_that_joins_too_late_leaves_again(self, scene: Make) -> None:
        late = scene(kind=Late).thread
        assert isinstance(late, Late)
        late._ensure_thread()
        assert late.gone.wait(LIMIT)
        assert not late.started

    def test_a_bug_is_logged_and_survived(
        self, scene: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        one = scene(Answer(410, BrokenHeaders(location="elsewhere")))
        one.put(1, 2)
        assert not one.flush()
        one.accounting.reporter.emit(0.0, everything=True)
        assert "whisperr: internal error in the delivery thread: RuntimeError at " in caplog.text
        assert one.flush()
        assert get_batches(one.transport) == [[1, 2]] * 2
        assert one.accounting.delivered == 2


class TestWaiting:
    def test_a_condition_that_holds_is_not_waited_for(self, scene: Make) -> None:
        assert scene().thread.wait_until(lambda: True, lambda: True, 0.0)

    def test_a_condition_that_cannot_come_true_is_not_waited_for(self, scene: Make) -> None:
        began = time.monotonic()
        assert not scene().thread.wait_until(lambda: False, lambda: True, began + LIMIT)
        assert time.monotonic() - began < LIMIT / 2

    @pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.05])
    def test_a_deadline_holds_whatever_the_transport_does(
        self, scene: Make, timeout: float
    ) -> None:
        one = scene(held=True)
        one.put(1)
        began = time.monotonic()
        assert not one.flush(timeout)
        assert time.monotonic() - began < LIMIT / 2

    def test_all_waiting_threads_return(self, scene: Make) -> None:
        one = scene(held=True)
        one.put(1)
        calls = Calls(one.flush, times=8)
        one.transport.await_request()
        one.transport.let_go()
        assert calls.join() == [True] * 8
        assert len(one.transport.sent) == 1

    def test_a_waiting_thread_returns_at_a_give_up(self, scene: Make) -> None:
        one = scene(OSError("refused"), held=True)
        one.put(1)
        call = Calls(one.flush)
        one.transport.await_request()
        one.transport.let_go()
        assert call.join() == [False]

    def test_a_thread_that_no_longer_waits_is_forgotten(self, scene: Make) -> None:
        one = scene(held=True)
        one.put(1)
        one.flush(0.0)
        assert one.thread._waiting == set()


class TestWithoutThreads:
    def test_the_caller_does_the_work(self, scene: Make) -> None:
        one = scene(kind=Threadless)
        one.put(1)
        assert one.flush()
        assert [sent.thread for sent in one.transport.sent] == [threading.current_thread()]

    def test_every_event_tries_again_to_start_one(self, scene: Make) -> None:
        one = scene(kind=Threadless)
        one.put(1)
        one.thread.wake()
        assert len(one.queue) >= one.scheduler.wake_at

    def test_one_of_several_callers_does_the_work(self, scene: Make) -> None:
        one = scene(held=True, kind=Threadless)
        one.put(1)
        calls = Calls(one.flush, times=4)
        one.transport.await_request()
        one.transport.let_go()
        assert calls.join() == [True] * 4
        assert len(one.transport.sent) == 1

    def test_an_exception_in_the_caller_propagates_and_loses_no_event(self, scene: Make) -> None:
        one = scene(KeyboardInterrupt(), kind=Threadless)
        one.put(1, 2)
        with pytest.raises(KeyboardInterrupt):
            one.flush()
        assert one.flush()
        first, second = one.transport.sent
        assert first.body == second.body
        assert one.accounting.delivered == 2

    def test_a_callback_that_flushes_does_not_wait_for_itself(self, scene: Make) -> None:
        results: list[bool] = []

        def flush(_: WhisperrError) -> None:
            results.append(one.flush())

        one: Scene = scene(OSError("refused"), kind=Threadless, on_error=flush)
        one.put(1)
        one.flush()
        one.flush()
        assert results == [False]
        assert one.accounting.delivered == 1

    def test_a_bug_gives_the_turn_back(self, scene: Make) -> None:
        one = scene(Answer(410, BrokenHeaders(location="elsewhere")), kind=Threadless)
        one.put(1)
        assert not one.flush()
        assert not one.thread.in_step
        assert one.accounting.reporter.due() is not None
