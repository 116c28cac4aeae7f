"""Flushes from an event loop, from many threads at once, and from `on_error`."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
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
