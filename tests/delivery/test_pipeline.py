"""The assembled pipeline with real threads: flush, shutdown and reports."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import (
    LIMIT,
    Calls,
    Errors,
    Pipelines,
    await_end,
    get_batches,
    shut,
    track,
)
from whisperr import Whisperr
from whisperr._contract import Answer, Request
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.memory import MemoryQueue
from whisperr.buffers import SQLiteBuffer
from whisperr.errors import StoreError
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from whisperr import WhisperrError
    from whisperr._delivery.pipeline import Pipeline
    from whisperr._delivery.pool import PoolThread


@pytest.fixture
def pipeline() -> Iterator[Pipelines]:
    made = Pipelines()
    yield made
    made.end()


class TestFlush:
    def test_with_nothing_held_it_is_over_at_once(self, pipeline: Pipelines) -> None:
        one = pipeline(MemoryTransport())
        assert one.flush(None)
        assert not one.thread.started

    def test_eight_at_once_share_one_delivery(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport(held=True)
        one = pipeline(transport)
        track(one, 1, 2, 3)
        calls = Calls(lambda: one.flush(LIMIT), times=8)
        transport.await_request()
        transport.let_go()
        assert calls.join() == [True] * 8
        assert get_batches(transport) == [[1, 2, 3]]

    @pytest.mark.parametrize("timeout", [0.0, 0.05])
    def test_it_returns_in_time_from_a_transport_that_blocks(
        self, pipeline: Pipelines, timeout: float
    ) -> None:
        one = pipeline(MemoryTransport(held=True))
        track(one, 1)
        began = time.monotonic()
        assert not one.flush(timeout)
        assert time.monotonic() - began < LIMIT / 2
        assert one.stats().held == 1

    def test_events_tracked_meanwhile_do_not_prolong_it(self, pipeline: Pipelines) -> None:
        numbers = iter(range(2, 1_000_000))

        def endless(_: Request) -> Answer:
            track(one, next(numbers))
            return Answer(202)

        transport = MemoryTransport()
        transport.replies = [endless] * 100_000
        one = pipeline(transport, flush_at=1)
        track(one, 1)
        assert one.flush(LIMIT)
        transport.replies.clear()

    def test_it_ends_when_delivery_cannot_go_on(self, pipeline: Pipelines) -> None:
        one = pipeline(MemoryTransport(Answer(401)))
        track(one, 1)
        assert not one.flush(LIMIT)
        assert one.stats().state == "paused"
        assert one.flush(LIMIT)
        assert one.stats().state == "running"

    @pytest.mark.parametrize(
        "failure",
        [
            OSError("refused"),
            ValueError("a bug of the transport"),
            StopIteration(),
            RecursionError(),
            MemoryError(),
        ],
        ids=lambda failure: type(failure).__name__,
    )
    def test_whatever_a_transport_raises_is_a_retry(
        self, pipeline: Pipelines, failure: Exception
    ) -> None:
        transport = MemoryTransport(failure)
        errors = Errors()
        one = pipeline(transport, on_error=errors)
        track(one, 1, 2)
        assert not one.flush(LIMIT / 5)
        assert errors.reported.wait(LIMIT / 5)
        assert [error.type for error in errors.seen] == ["retry_exhausted"]
        assert one.flush(LIMIT / 5)
        assert get_batches(transport) == [[1, 2], [1, 2]]

    @pytest.mark.parametrize("end", [SystemExit(1), GeneratorExit()], ids=repr)
    def test_what_ends_the_thread_loses_nothing(
        self, pipeline: Pipelines, end: BaseException
    ) -> None:
        transport = MemoryTransport(end)
        one = pipeline(transport)
        track(one, 1, 2)
        one.flush(LIMIT / 5)
        assert one.flush(LIMIT / 5)
        assert get_batches(transport) == [[1, 2], [1, 2]]
        assert one.stats().delivered == 2

    def test_from_on_error_it_does_not_wait_for_itself(self, pipeline: Pipelines) -> None:
        results: list[bool] = []
        errors = Errors(lambda _: results.append(one.flush(None)))
        one: Pipeline = pipeline(MemoryTransport(Answer(401)), on_error=errors)
        track(one, 1)
        one.flush(LIMIT)
        assert errors.reported.wait(LIMIT)
        assert results == [False]

    def test_from_on_error_it_still_asks_for_delivery(self, pipeline: Pipelines) -> None:
        errors = Errors(lambda _: one.flush(None))
        transport = MemoryTransport(Answer(401))
        one: Pipeline = pipeline(transport, on_error=errors)
        track(one, 1)
        one.flush(LIMIT)
        transport.await_request()
        transport.await_request()
        assert one.flush(LIMIT)
        assert one.stats().delivered == 1


class TestShutdown:
    def test_it_delivers_what_is_held(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport()
        one = pipeline(transport)
        track(one, 1, 2)
        assert shut(one)
        assert get_batches(transport) == [[1, 2]]
        assert one.stats().state == "closed"

    @pytest.mark.parametrize("last", [Answer(401), Answer(500), OSError("refused")])
    def test_it_says_when_not_all_was_delivered(
        self, pipeline: Pipelines, last: Answer | Exception
    ) -> None:
        one = pipeline(MemoryTransport(last))
        track(one, 1)
        assert [shut(one), shut(one)] == [False, False]
        assert one.stats().dropped == {"shutdown": 1}

    def test_a_second_one_does_nothing_and_agrees(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport()
        one = pipeline(transport)
        track(one, 1)
        assert [shut(one), shut(one)] == [True, True]
        assert len(transport.sent) == 1

    def test_several_at_once_all_return(self, pipeline: Pipelines) -> None:
        one = pipeline(MemoryTransport())
        track(one, 1)
        assert Calls(lambda: shut(one), times=8).join() == [True] * 8

    def test_without_any_event_it_starts_no_thread(self, pipeline: Pipelines) -> None:
        one = pipeline(MemoryTransport())
        assert shut(one)
        assert not one.thread.started

    def test_a_thread_that_waits_for_deferred_events_meanwhile_keeps_no_delivery_thread(
        self, pipeline: Pipelines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = pipeline(MemoryTransport())
        gone = threading.Event()
        let_go = one.thread.let_go

        def leave() -> None:
            let_go()
            gone.set()

        monkeypatch.setattr(one.thread, "let_go", leave)
        abandon = one.scheduler.abandon

        def join_first() -> None:
            one.thread._ensure_thread()  # what that thread does
            abandon()

        monkeypatch.setattr(one.scheduler, "abandon", join_first)
        one.begin_shutdown(time.monotonic() + LIMIT)
        assert gone.wait(LIMIT)

    def test_a_client_that_another_thread_ends_after_a_step_closes_its_connection(
        self, pipeline: Pipelines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        transport = MemoryTransport()
        one = pipeline(transport)
        serve = one.thread.serve

        def serve_and_end(thread: PoolThread) -> bool:
            goes_on = serve(thread)
            if transport.sent:
                one.scheduler.abandon()
            return goes_on

        monkeypatch.setattr(one.thread, "serve", serve_and_end)
        track(one, 1)
        one.flush(LIMIT)
        await_end(one.thread)
        assert len(transport.closes) == 1

    def test_a_transport_that_blocks_cannot_hold_it(self, pipeline: Pipelines) -> None:
        errors = Errors()
        one = pipeline(MemoryTransport(held=True), on_error=errors)
        track(one, 1, 2)
        began = time.monotonic()
        assert not shut(one, timeout=0.05)
        assert time.monotonic() - began < LIMIT / 2
        assert [(error.reason, error.count) for error in errors.seen] == [("shutdown", 2)]
        assert [lost["number"] for lost in errors.seen[0].events] == [1, 2]

    def test_what_was_given_up_is_not_delivered_a_second_time(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport(held=True)
        one = pipeline(transport)
        track(one, 1)
        shut(one, timeout=0.05)
        transport.let_go()
        await_end(one.thread)
        stats = one.stats()
        assert (stats.accepted, stats.delivered, stats.dropped) == (1, 0, {"shutdown": 1})

    def test_from_on_error_it_does_not_wait_for_itself(self, pipeline: Pipelines) -> None:
        errors = Errors(lambda _: shut(one))
        one: Pipeline = pipeline(MemoryTransport(Answer(410)), on_error=errors)
        track(one, 1)
        one.flush(LIMIT)
        assert errors.reported.wait(LIMIT)
        assert shut(one)

    def test_an_event_put_after_shutdown_is_dropped_with_its_reason(
        self, pipeline: Pipelines
    ) -> None:
        one = pipeline(MemoryTransport())
        shut(one)
        track(one, 1)
        assert one.stats().dropped == {"shutdown": 1}
        assert one.stats().held == 0


class TestReports:
    def test_a_call_after_shutdown_is_reported(self, pipeline: Pipelines) -> None:
        errors = Errors()
        one = pipeline(MemoryTransport(), on_error=errors)
        shut(one)
        one.reject_closed("track")
        assert [error.reason for error in errors.seen] == ["closed"]
        assert one.stats().not_accepted == {"closed": 1}

    def test_an_event_that_fits_nowhere_is_reported_without_another_call(
        self, pipeline: Pipelines
    ) -> None:
        errors = Errors()
        one = pipeline(MemoryTransport(), on_error=errors, max_queue_bytes=1_024)
        assert not one.put(b'{"event_type":"e","text":"' + b"x" * 2_000 + b'"}')
        assert one.stats().dropped == {"too_large": 1}
        assert errors.reported.wait(LIMIT / 5)
        assert errors.seen[0].reason == "too_large"

    def test_an_event_that_other_threads_have_pushed_out_at_once_is_no_larger_than_the_queue(
        self, pipeline: Pipelines, tmp_path: Path
    ) -> None:
        errors = Errors()
        buffer = SQLiteBuffer(tmp_path / "events.db")
        one = pipeline(
            MemoryTransport(), on_error=errors, max_queue_size=2, buffer=buffer, flush_interval=60
        )
        assert isinstance(one.queue, LeasedQueue)
        log = one.queue._transit.log
        assert log is not None
        write = log.write

        def write_with_others(data: bytes) -> None:
            write(data)
            for number in range(2):
                write(b'{"external_user_id":"%d"}' % number)

        log.write = write_with_others  # type: ignore[method-assign]  # of this log
        assert one.put(b'{"external_user_id":"mine"}')
        stats = one.stats()
        assert (stats.accepted, stats.held, stats.dropped) == (3, 2, {"queue_full": 1})

    def test_an_overflow_drops_the_oldest_and_is_reported(self, pipeline: Pipelines) -> None:
        errors = Errors()
        transport = MemoryTransport(held=True)
        one = pipeline(transport, on_error=errors, max_queue_size=2)
        track(one, 1)
        one.scheduler.ask(1)
        one.thread.wake()
        transport.await_request()
        track(one, 2, 3, 4, 5)
        transport.let_go()
        assert errors.reported.wait(LIMIT)
        assert (errors.seen[0].reason, errors.seen[0].count) == ("queue_full", 2)
        assert one.flush(LIMIT)
        assert get_batches(transport) == [[1], [4, 5]]

    def test_a_callback_that_exits_does_not_end_delivery(self, pipeline: Pipelines) -> None:
        def leave(_: WhisperrError) -> None:
            raise SystemExit(1)

        errors = Errors(leave)
        one = pipeline(MemoryTransport(Answer(410)), on_error=errors)
        track(one, 1)
        one.flush(LIMIT / 5)
        assert errors.reported.wait(LIMIT)
        track(one, 2)
        assert one.flush(LIMIT / 5)
        assert one.stats().delivered == 1


class Drained(MemoryQueue):
    """A queue that records when it is drained."""

    def __init__(self, drains: list[bytes]) -> None:
        super().__init__(10, 10_000)
        self._drains = drains

    def drain(self) -> list[bytes]:
        self._drains.append(b"drained")
        return []


class TestEnd:
    def test_reports_that_wait_come_before_the_loss_at_its_end(self, pipeline: Pipelines) -> None:
        errors = Errors()
        one = pipeline(MemoryTransport(held=True), on_error=errors)
        track(one, 1)
        for _ in range(2):  # the second one waits for a second
            one.accounting.failing("auth", "HTTP 401", 401, 1)
            one.reporter.emit(time.monotonic())
        shut(one, timeout=0.0)
        assert [error.type for error in errors.seen] == ["auth", "auth", "dropped"]

    def test_a_shorter_one_ends_a_longer_one_of_another_thread(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport(held=True)
        one = pipeline(transport)
        track(one, 1)
        longer = Calls(lambda: shut(one, LIMIT * 6))
        transport.await_request()
        assert not shut(one, timeout=0.05)
        assert longer.join() == [False]

    def test_a_client_that_has_ended_uses_its_queue_no_more_when_it_is_collected(
        self, pipeline: Pipelines
    ) -> None:
        one = pipeline(MemoryTransport())
        track(one, 1)
        assert shut(one)
        drains: list[bytes] = []
        one.scheduler._queue = Drained(drains)
        one.leave()
        assert drains == []

    @pytest.mark.skipif(
        sys.implementation.name == "pypy", reason="PyPy frees nothing without its collector"
    )
    def test_a_client_without_events_is_freed_without_a_collector(self) -> None:
        gc.disable()
        try:
            client = Whisperr("wrk_test", transport=MemoryTransport())
            freed = weakref.ref(client._get_pipeline())
            del client
            assert freed() is None
        finally:
            gc.enable()


class FakeSink:
    """A sink that can fail."""

    delivered_by = "`a relay`"

    def __init__(self, max_bytes: int = 10_000) -> None:
        self.broken = False
        self.events: list[bytes] = []
        self._max_bytes = max_bytes

    def put(self, data: bytes) -> Sequence[bytes]:
        if self.broken:
            raise StoreError("it is away")
        if len(data) > self._max_bytes:
            return (data,)
        self.events.append(data)
        return ()


class TestSink:
    """Events that another process delivers."""

    def test_what_is_written_is_held_and_nothing_is_sent(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport()
        one = pipeline(transport, buffer=FakeSink(), flush_at=1)
        track(one, 1, 2, 3)
        assert one.flush(None)
        assert (one.stats().accepted, one.stats().held) == (3, 3)
        assert not one.thread.started
        assert shut(one, LIMIT) is True
        assert one.stats().held == 3
        assert get_batches(transport) == []

    def test_what_cannot_be_written_is_not_accepted_and_reported_by_the_thread(
        self, pipeline: Pipelines
    ) -> None:
        errors = Errors()
        sink = FakeSink()
        sink.broken = True
        one = pipeline(MemoryTransport(), buffer=sink, on_error=errors)
        assert one.put(b'{"event_type":"a"}') is False
        assert one.put(b'{"external_user_id":"u"}', " (at a line)") is False
        stats = one.stats()
        assert (stats.accepted, stats.held, stats.not_accepted) == (0, 0, {"not_stored": 2})
        assert one.thread.started

    def test_what_is_too_large_is_dropped(self, pipeline: Pipelines) -> None:
        one = pipeline(MemoryTransport(), buffer=FakeSink(max_bytes=1024))
        assert one.put(b"x" * 2048) is False
        assert (one.stats().accepted, one.stats().dropped) == (1, {"too_large": 1})
