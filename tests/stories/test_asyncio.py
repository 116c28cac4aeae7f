"""Flushes from an event loop, from many threads at once, and from `on_error`."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests import redis_server
from whisperr._process.event_loop import THREAD_NAME
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stories.conftest import MakeClient
    from whisperr import WhisperrError

BOUND = 30.0
QUIET = {"flush_at": 1_000_000, "flush_interval": 3_600.0}


def test_aflush_leaves_the_loop_free_while_it_waits(
    server: LocalServer, make_client: MakeClient
) -> None:
    server.set_faults(faults.latency(0.5))
    client = make_client(**QUIET)

    async def main() -> tuple[list[bool], int]:
        for number in range(3):
            client.track("u", "seat_removed", {"n": number})
        flushes = asyncio.gather(*(client.aflush(BOUND) for _ in range(8)))
        turns = 0
        while not flushes.done():
            await asyncio.sleep(0.01)
            turns += 1
        return await flushes, turns

    flushed, turns = asyncio.run(main())
    assert flushed == [True] * 8
    assert turns > 5
    assert len(server.requests()) == 1


def test_a_cancelled_aflush_loses_nothing(server: LocalServer, make_client: MakeClient) -> None:
    server.set_faults(faults.latency(0.5))
    client = make_client(**QUIET)

    async def main() -> None:
        client.track("u", "trial_started")
        task = asyncio.create_task(client.aflush(BOUND))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert await client.aflush(BOUND)

    asyncio.run(main())
    assert [arrival.status for arrival in server.arrivals()] == ["accepted"]


def test_async_with_delivers_at_its_end(server: LocalServer, make_client: MakeClient) -> None:
    async def main() -> None:
        async with make_client(**QUIET) as client:
            client.track("u", "trial_started")

    asyncio.run(main())
    assert [arrival.type for arrival in server.arrivals()] == ["trial_started"]


def test_aflush_keeps_its_bound_while_the_executor_of_the_loop_is_full(
    server: LocalServer, make_client: MakeClient
) -> None:
    client = make_client(**QUIET)
    end = threading.Event()

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, end.wait, BOUND)
        client.track("u", "trial_started")
        try:
            return await asyncio.wait_for(client.aflush(BOUND), BOUND / 3)
        finally:
            end.set()
            await busy

    assert asyncio.run(main())
    assert [arrival.type for arrival in server.arrivals()] == ["trial_started"]


def test_both_work_after_the_executor_of_the_loop_was_shut_down(
    server: LocalServer, make_client: MakeClient
) -> None:
    client = make_client(**QUIET)

    async def main() -> list[bool]:
        await asyncio.to_thread(int)
        await asyncio.get_running_loop().shutdown_default_executor()
        client.track("u", "trial_started")
        return [await client.aflush(BOUND), await client.ashutdown(BOUND)]

    assert asyncio.run(main()) == [True, True]
    assert [arrival.type for arrival in server.arrivals()] == ["trial_started"]


def test_a_loop_ends_at_once_after_cancelled_waits_and_their_threads_end(
    server: LocalServer, make_client: MakeClient
) -> None:
    server.set_faults(faults.hang())
    client = make_client(**QUIET, request_timeout=BOUND)

    async def main() -> int:
        client.track("u", "trial_started")
        flushes = [asyncio.wait_for(client.aflush(), 0.05) for _ in range(10)]
        outcomes = await asyncio.gather(*flushes, return_exceptions=True)
        return sum(isinstance(one, asyncio.TimeoutError) for one in outcomes)

    began = time.monotonic()
    assert asyncio.run(main()) == 10
    assert time.monotonic() - began < BOUND / 2  # the request alone would take longer
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(BOUND / 3)
            assert not thread.is_alive()
    client.shutdown(0)


def test_a_cancelled_ashutdown_still_ends_the_client(
    server: LocalServer, make_client: MakeClient
) -> None:
    server.set_faults(faults.latency(0.3))
    client = make_client(**QUIET)

    async def main() -> None:
        client.track("u", "trial_started")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ashutdown(BOUND), 0.01)

    asyncio.run(main())
    assert client.shutdown(BOUND)
    assert not client.ready
    assert [arrival.type for arrival in server.arrivals()] == ["trial_started"]


class TestTrio:
    """The same in trio, which has neither the loop nor the executor of asyncio."""

    @pytest.fixture
    def trio(self) -> Any:
        return pytest.importorskip("trio", reason="trio is not installed")

    def test_aflush_and_ashutdown_deliver_and_leave_the_loop_free(
        self, trio: Any, server: LocalServer, make_client: MakeClient
    ) -> None:
        server.set_faults(faults.latency(0.3))
        client = make_client(**QUIET)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.sleep(0.01)
                turns += 1

        async def main() -> list[bool]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                client.track("u", "trial_started")
                flushed = await client.aflush(BOUND)
                client.track("u", "seat_added")
                ended = await client.ashutdown(BOUND)
                nursery.cancel_scope.cancel()
            return [flushed, ended]

        assert trio.run(main) == [True, True]
        assert turns > 5
        assert [arrival.type for arrival in server.arrivals()] == ["trial_started", "seat_added"]

    def test_async_with_delivers_at_its_end(
        self, trio: Any, server: LocalServer, make_client: MakeClient
    ) -> None:
        async def main() -> None:
            async with make_client(**QUIET) as client:
                client.track("u", "trial_started")

        trio.run(main)
        assert [arrival.type for arrival in server.arrivals()] == ["trial_started"]

    def test_a_cancelled_aflush_ends_at_once_and_loses_nothing(
        self, trio: Any, server: LocalServer, make_client: MakeClient
    ) -> None:
        server.set_faults(faults.hang(times=1))
        client = make_client(**QUIET, request_timeout=BOUND)

        async def main() -> bool:
            client.track("u", "trial_started")
            with trio.move_on_after(0.05) as scope:
                await client.aflush()
            return bool(scope.cancelled_caught)

        assert trio.run(main)
        assert client.stats().held == 1
        client.shutdown(0)


def test_eight_threads_that_flush_share_their_deliveries(
    server: LocalServer, make_client: MakeClient
) -> None:
    server.set_faults(faults.latency(0.2))
    client = make_client(**QUIET)
    together = threading.Barrier(8)

    def work(number: int) -> bool:
        together.wait(BOUND)
        client.track("u", "seat_removed", {"n": number})
        return client.flush(BOUND)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [True] * 8
    numbers = [arrival.body["properties"]["n"] for arrival in server.arrivals()]
    assert sorted(numbers) == list(range(8))


def test_on_error_may_flush_while_threads_flush(
    server: LocalServer, make_client: MakeClient
) -> None:
    server.set_faults(faults.status(400, times=1))
    answers: list[bool] = []

    def report(_: WhisperrError) -> None:
        client.track("u", "loss_noted")
        answers.append(client.flush(BOUND))

    client = make_client(**QUIET, on_error=report)
    client.track("u", "trial_started")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.flush(BOUND), range(8)))
    assert answers  # the flush did not wait for the thread that it runs in
    assert client.flush(BOUND)
    assert [arrival.type for arrival in server.arrivals()] == ["loss_noted"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="SIGSTOP: not on this system")
@pytest.mark.parametrize("logged", [False, True], ids=["alone", "with a log"])
def test_a_redis_that_hangs_does_not_block_the_loop(
    server: LocalServer, make_client: MakeClient, tmp_path: Path, *, logged: bool
) -> None:
    reason = redis_server.why_not()
    if reason is not None:
        pytest.skip(reason)
    redis = redis_server.RedisServer(tmp_path)
    log = {"log": tmp_path / "log"} if logged else {}
    # A call that waited for the answer of this Redis would wait for all of its time limit.
    client = make_client(buffer=redis.url("hangs", timeout=5, **log), flush_interval=0.05)
    ended = asyncio.Event()

    async def find_longest_blockage() -> float:
        longest, last = 0.0, time.monotonic()
        while not ended.is_set():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return longest

    async def track() -> None:
        for number in range(60):
            if number == 20:
                redis.send_signal(signal.SIGSTOP)
            client.track("u", "seat_removed", {"n": number})
            client.stats()
            await asyncio.sleep(0.005)
        ended.set()

    async def main() -> float:
        return (await asyncio.gather(find_longest_blockage(), track()))[0]

    try:
        longest = asyncio.run(main())
        assert longest < 2.5
        redis.send_signal(signal.SIGCONT)
        assert client.flush(BOUND)
    finally:
        redis.send_signal(signal.SIGCONT)
        client.shutdown(BOUND)
        redis.stop()
    found = [a.body["properties"]["n"] for a in server.arrivals(status="accepted")]
    assert sorted(found) == list(range(60))
