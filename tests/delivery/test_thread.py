"""Beside step 4: threads that drive the worker, threads that wait for it, and neither."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import LIMIT, Calls, batches_of
from tests.delivery.rig import event
from whisperr._delivery.accounting import Ledger
from whisperr._delivery.reporter import Reporter
from whisperr._delivery.scheduler import NEVER, Scheduler
from whisperr._delivery.thread import THREAD_NAME, DeliveryThread
from whisperr._queue.memory import MemoryQueue
from whisperr.testing import MemoryTransport, Reply

if TYPE_CHECKING:
    from whisperr.errors import WhisperrError


class Threadless(DeliveryThread):
    """A driver where no thread can be started, as at the end of the interpreter."""

    def _ensure_thread(self) -> bool:
        return False


class Stage:
    """A worker in real time with its driver."""

    def __init__(
        self,
        transport: MemoryTransport,
        on_error: Callable[[WhisperrError], object] | None = None,
        kind: type[DeliveryThread] = DeliveryThread,
    ) -> None:
        self.transport = transport
        self.buffer = MemoryQueue(10_000, 1 << 26)
        self.ledger = Ledger()
        self.worker = Scheduler(
            self.buffer,
            transport,
            self.ledger,
            Reporter(on_error),
            flush_at=1_000,
            flush_interval=3_600.0,
            max_batch_size=500,
            max_retries=0,
            request_timeout=LIMIT,
            clock=time.monotonic,
            random=lambda: 0.0,
        )
        self.driver = kind(self.worker)

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.ledger.accept()
            self.buffer.put(event(number))

    def flush(self, timeout: float = LIMIT) -> bool:
        position, given_up = self.buffer.tail(), self.worker.give_ups
        self.worker.ask(position)
        self.driver.wake()
        return self.driver.wait_until(
            lambda: self.buffer.settled(position),
            lambda: self.worker.give_ups != given_up,
            time.monotonic() + timeout,
        )


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    """Make stages; let go of their transports and end their threads afterwards."""
    made: list[Stage] = []

    def make(
        *replies: Reply,
        held: bool = False,
        on_error: Callable[[WhisperrError], object] | None = None,
        kind: type[DeliveryThread] = DeliveryThread,
    ) -> Stage:
        made.append(Stage(MemoryTransport(*replies, held=held), on_error, kind))
        return made[-1]

    yield make
    for one in made:
        one.transport.let_go()
        one.worker.close(time.monotonic())
        one.driver.wake()
        thread = one.driver._thread
        if thread is not None:
            thread.join(LIMIT)
            assert not thread.is_alive()


Make = Callable[..., Stage]


class TestThread:
    def test_none_is_started_before_the_first_wake(self, stage: Make) -> None:
        one = stage()
        assert not one.driver.started
        assert one.driver.wait_until(lambda: True, lambda: False, NEVER)
        assert not one.driver.started

    def test_many_wakes_at_once_start_one(self, stage: Make) -> None:
        one = stage(held=True)
        one.put(1)
        one.worker.ask(1)
        before = set(threading.enumerate())
        Calls(one.driver.wake, times=16).join()
        one.transport.await_request()
        started = [t for t in set(threading.enumerate()) - before if t.name == THREAD_NAME]
        assert started == [one.driver._thread]

    def test_it_is_a_daemon_that_keeps_nobody_alive(self, stage: Make) -> None:
        one = stage()
        one.driver.wake()
        thread = one.driver._thread
        assert thread is not None
        assert thread.daemon

    def test_it_ends_with_the_worker_and_closes_the_connection(self, stage: Make) -> None:
        one = stage()
        one.put(1)
        assert one.flush()
        one.worker.close(time.monotonic() + LIMIT)
        one.driver.wake()
        thread = one.driver._thread
        assert thread is not None
        thread.join(LIMIT)
        assert not thread.is_alive()
        assert len(one.transport.closes) >= 1

    def test_when_abandoned_in_the_middle_it_closes_the_connection_itself(
        self, stage: Make
    ) -> None:
        one = stage(held=True)
        one.put(1)
        one.flush(0.0)
        one.transport.await_request()
        one.worker.abandon()
        one.transport.let_go()
        thread = one.driver._thread
        assert thread is not None
        thread.join(LIMIT)
        assert len(one.transport.closes) == 1

    def test_none_is_started_for_a_closed_worker(self, stage: Make) -> None:
        one = stage()
        one.worker.abandon()
        one.put(1)
        one.driver.wake()
        assert not one.driver.started
        assert one.ledger.dropped["shutdown"] == 1

    def test_a_mistake_is_logged_and_survived(
        self, stage: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        one = stage(lambda _: "no answer at all")
        one.put(1, 2)
        with caplog.at_level(logging.ERROR, "whisperr"):
            assert not one.flush()
        assert "a mistake in the client" in caplog.text
        assert one.flush()
        assert batches_of(one.transport) == [[1, 2]] * 2
        assert one.ledger.delivered == 2


class TestWaiting:
    def test_what_has_passed_is_not_waited_for(self, stage: Make) -> None:
        assert stage().driver.wait_until(lambda: True, lambda: True, 0.0)

    def test_what_is_stuck_is_not_waited_for(self, stage: Make) -> None:
        began = time.monotonic()
        assert not stage().driver.wait_until(lambda: False, lambda: True, began + LIMIT)
        assert time.monotonic() - began < LIMIT / 2

    @pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.05])
    def test_a_deadline_holds_whatever_the_transport_does(
        self, stage: Make, timeout: float
    ) -> None:
        one = stage(held=True)
        one.put(1)
        began = time.monotonic()
        assert not one.flush(timeout)
        assert time.monotonic() - began < LIMIT / 2

    def test_all_who_wait_learn_of_it(self, stage: Make) -> None:
        one = stage(held=True)
        one.put(1)
        calls = Calls(one.flush, times=8)
        one.transport.await_request()
        one.transport.let_go()
        assert calls.join() == [True] * 8
        assert len(one.transport.sent) == 1

    def test_who_waits_learns_of_giving_up(self, stage: Make) -> None:
        one = stage(OSError("refused"), held=True)
        one.put(1)
        call = Calls(one.flush)
        one.transport.await_request()
        one.transport.let_go()
        assert call.join() == [False]

    def test_nobody_is_remembered_who_no_longer_waits(self, stage: Make) -> None:
        one = stage(held=True)
        one.put(1)
        one.flush(0.0)
        assert one.driver._waiting == set()


class TestWithoutThreads:
    def test_the_caller_does_the_work(self, stage: Make) -> None:
        one = stage(kind=Threadless)
        one.put(1)
        assert one.flush()
        assert [sent.thread for sent in one.transport.sent] == [threading.current_thread()]

    def test_every_event_tries_again_to_start_one(self, stage: Make) -> None:
        one = stage(kind=Threadless)
        one.put(1)
        one.driver.wake()
        assert len(one.buffer) >= one.worker.wake_at

    def test_one_of_several_callers_does_the_work(self, stage: Make) -> None:
        one = stage(held=True, kind=Threadless)
        one.put(1)
        calls = Calls(one.flush, times=4)
        one.transport.await_request()
        one.transport.let_go()
        assert calls.join() == [True] * 4
        assert len(one.transport.sent) == 1

    def test_an_exception_in_the_caller_passes_on_and_loses_nothing(self, stage: Make) -> None:
        one = stage(KeyboardInterrupt(), kind=Threadless)
        one.put(1, 2)
        with pytest.raises(KeyboardInterrupt):
            one.flush()
        assert one.flush()
        first, second = one.transport.sent
        assert first.body == second.body
        assert one.ledger.delivered == 2

    def test_a_callback_that_flushes_does_not_wait_for_itself(self, stage: Make) -> None:
        results: list[bool] = []

        def flush(_: WhisperrError) -> None:
            results.append(one.flush())

        one: Stage = stage(OSError("refused"), kind=Threadless, on_error=flush)
        one.put(1)
        one.flush()
        one.flush()
        assert results == [False]
        assert one.ledger.delivered == 1

    def test_a_mistake_gives_the_turn_back(self, stage: Make) -> None:
        one = stage(lambda _: "no answer at all", kind=Threadless)
        one.put(1)
        with pytest.raises(AttributeError):
            one.flush()
        assert not one.driver.is_mine
        assert one.driver._turn.acquire(blocking=False)
        one.driver._turn.release()
