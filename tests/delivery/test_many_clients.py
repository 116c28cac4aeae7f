"""Many clients of a process share its delivery threads, and nothing else."""

from __future__ import annotations

import sys
import threading
import time
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
from tests.interrupting import interrupt_everywhere
from whisperr import Whisperr
from whisperr._contract import Answer
from whisperr._delivery.pool import MOST_THREADS, THREAD_NAME
from whisperr._process.exit import shutdown_all
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr._delivery.pipeline import Pipeline
    from whisperr.errors import WhisperrError

AT_ONCE = {"flush_at": 1, "flush_interval": 0.1}


@pytest.fixture
def pipeline() -> Iterator[Pipelines]:
    made = Pipelines()
    yield made
    made.end()


def hang(
    pipeline: Pipelines, count: int, **options: object
) -> list[tuple[Pipeline, MemoryTransport]]:
    """Make clients whose server hangs, each with a request in progress."""
    made = []
    for _ in range(count):
        transport = MemoryTransport(held=True)
        one = pipeline(transport, **options)
        track(one, 0)
        one.scheduler.ask(1)
        one.thread.wake()
        made.append((one, transport))
    return made


class TestHangingServers:
    @pytest.mark.parametrize("hanging", [1, 10])
    def test_they_do_not_hold_up_what_others_deliver_by_themselves(
        self, pipeline: Pipelines, hanging: int
    ) -> None:
        hang(pipeline, hanging)
        transports = [MemoryTransport() for _ in range(50)]
        others = [pipeline(transport, **AT_ONCE) for transport in transports]
        for one in others:
            track(one, 1)
        for transport in transports:
            transport.await_request(LIMIT / 2)
        for one in others:
            assert one.flush(LIMIT)
            assert (one.stats().delivered, one.stats().held) == (1, 0)

    def test_what_was_tracked_before_a_server_hangs_is_delivered_at_its_time(
        self, pipeline: Pipelines
    ) -> None:
        """The other clients make no call meanwhile that could start a thread."""
        transport = MemoryTransport()
        one = pipeline(transport, flush_interval=0.3)
        track(one, 1)
        hang(pipeline, 1)
        transport.await_request(LIMIT / 2)

    def test_when_all_threads_are_blocked_a_thread_that_flushes_delivers_itself(
        self, pipeline: Pipelines
    ) -> None:
        for _one, transport in hang(pipeline, MOST_THREADS):
            transport.await_request()
        mine = MemoryTransport()
        one = pipeline(mine)
        track(one, 1, 2)
        assert one.flush(LIMIT / 2)
        assert [sent.thread for sent in mine.sent] == [threading.current_thread()]
        track(one, 3)
        assert shut(one, LIMIT / 2)
        assert get_batches(mine) == [[1, 2], [3]]

    def test_they_share_a_bounded_number_of_threads(self, pipeline: Pipelines) -> None:
        hang(pipeline, 2 * MOST_THREADS)
        one = pipeline(MemoryTransport())
        track(one, 1)
        assert one.flush(LIMIT)
        threads = [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]
        assert len(threads) <= MOST_THREADS

    def test_a_shutdown_of_one_ends_neither_the_others_nor_their_threads(
        self, pipeline: Pipelines
    ) -> None:
        ((hanging, held),) = hang(pipeline, 1)
        transports = [MemoryTransport() for _ in range(5)]
        others = [pipeline(transport) for transport in transports]
        for number, (one, transport) in enumerate(zip(others, transports, strict=True)):
            track(one, number)
            assert shut(one)
            assert get_batches(transport) == [[number]]
            await_end(one.thread)
        assert hanging.stats().held == 1
        held.let_go()
        assert hanging.flush(LIMIT)
        assert hanging.stats().delivered == 1

    def test_at_the_exit_all_others_end_within_the_one_limit(self) -> None:
        transports = [MemoryTransport(held=n == 7) for n in range(60)]
        clients = [
            Whisperr("wrk_test", transport=transport, flush_interval=3600, max_retries=0)
            for transport in transports
        ]
        for number, client in enumerate(clients):
            client.track("u", "seat_removed", {"n": number})
        began = time.monotonic()
        shutdown_all(2.0)
        assert time.monotonic() - began < LIMIT
        for number, client in enumerate(clients):
            stats = client.stats()
            assert (stats.delivered, stats.dropped) == (
                (0, {"shutdown": 1}) if number == 7 else (1, {})
            )
        transports[7].let_go()


class TestReports:
    def test_a_slow_on_error_of_one_does_not_delay_those_of_another(
        self, pipeline: Pipelines
    ) -> None:
        free = threading.Event()
        slow, quick = Errors(lambda _: free.wait(LIMIT)), Errors()
        first = pipeline(MemoryTransport(Answer(410)), on_error=slow, **AT_ONCE)
        second = pipeline(MemoryTransport(Answer(410)), on_error=quick, **AT_ONCE)
        track(first, 1)
        while not slow.seen:
            assert not first.flush(0.05)
        track(second, 1)
        assert quick.reported.wait(LIMIT / 2)
        assert not slow.reported.is_set()
        free.set()

    def test_on_error_of_one_may_flush_another(self, pipeline: Pipelines) -> None:
        transport = MemoryTransport()
        other = pipeline(transport)
        results: list[bool] = []
        errors = Errors(lambda _: results.append(other.flush(LIMIT / 2)))
        one = pipeline(MemoryTransport(Answer(410)), on_error=errors)
        track(other, 1)
        track(one, 1)
        one.flush(LIMIT)
        assert errors.reported.wait(LIMIT)
        assert results == [True]
        assert get_batches(transport) == [[1]]

    def test_calls_of_one_on_error_never_overlap(self, pipeline: Pipelines) -> None:
        inside: list[int] = []
        most: list[int] = []

        def note(_: WhisperrError) -> None:
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()

        hang(pipeline, 3)
        errors = Errors(note)
        one = pipeline(MemoryTransport(*[Answer(410)] * 20), on_error=errors, **AT_ONCE)
        for number in range(5):
            track(one, number)
            errors.reported.clear()
        assert errors.reported.wait(LIMIT)
        assert set(most) == {1}


def test_an_exception_that_ends_the_thread_of_one_client_does_not_affect_the_others(
    pipeline: Pipelines,
) -> None:
    ending = pipeline(MemoryTransport(SystemExit(1)), **AT_ONCE)
    transport = MemoryTransport()
    other = pipeline(transport, flush_interval=0.3)
    track(other, 1)
    track(ending, 1)
    transport.await_request(LIMIT / 2)
    assert ending.flush(LIMIT / 2) or ending.flush(LIMIT / 2)
    assert ending.stats().delivered == 1


def test_one_client_after_the_other_leaves_no_threads_and_no_clients(pipeline: Pipelines) -> None:
    for number in range(30):
        transport = MemoryTransport()
        one = pipeline(transport)
        track(one, number)
        pool = one.thread._pool
        assert pool is not None
        assert shut(one)
        await_end(one.thread)
        assert one.thread not in pool._members


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="CPython's rules of where signal handlers run"
)
@pytest.mark.parametrize("call", ["track", "flush", "shutdown"])
def test_a_call_interrupted_anywhere_while_another_client_blocks_leaves_nothing_undone(
    call: str,
) -> None:
    """It starts a thread, since the one that runs is blocked."""

    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        held, transport = MemoryTransport(held=True), MemoryTransport()
        hanging = Whisperr("wrk_test", transport=held, flush_at=1, flush_interval=0.001)
        client = Whisperr("wrk_test", transport=transport, flush_interval=3600)
        hanging.track("u", "seat_removed")
        held.await_request()
        if call != "track":
            client.track("u", "seat_removed")
        calls: dict[str, Callable[[], object]] = {
            "track": lambda: client.track("u", "seat_removed"),
            "flush": lambda: client.flush(LIMIT),
            "shutdown": lambda: client.shutdown(LIMIT),
        }
        interrupt(calls[call])
        if call != "shutdown":
            client.track("u", "seat_removed")
            assert client.flush(LIMIT)
        assert client.shutdown(LIMIT)
        stats = client.stats()
        assert (stats.held, stats.delivered) == (0, stats.accepted)
        held.let_go()
        assert hanging.shutdown(LIMIT)
        assert hanging.stats().delivered == 1

    assert interrupt_everywhere(story) > 5


def test_clients_that_flush_at_once_all_return(pipeline: Pipelines) -> None:
    hang(pipeline, 5)
    transports = [MemoryTransport() for _ in range(30)]
    others = [pipeline(transport) for transport in transports]
    for one in others:
        track(one, 1)
    waiting = iter(others)
    assert Calls(lambda: next(waiting).flush(LIMIT), times=30).join() == [True] * 30
    assert all(get_batches(transport) == [[1]] for transport in transports)
