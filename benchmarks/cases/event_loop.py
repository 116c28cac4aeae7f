"""Case 9, with asyncio: how long an event loop is delayed, even while the store hangs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks import stores
from benchmarks.case import Case, Figure, Variant
from benchmarks.cases import buffers
from benchmarks.event import make_properties
from benchmarks.latency import flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Client

RATE = 1_000
SECONDS = 2.0
_TICK = 0.001  # seconds
_HANGS = "Redis hangs after half of the time"


def measure(adapter: Any, url: str, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # it takes options
    """Track in one coroutine; measure in another how late it wakes up."""
    events = int(given["seconds"] * RATE)
    try:
        with stores.run_store(given["row"]) as store:
            client = buffers.make_client(adapter, url, 2 * events, store.url)
            hang = store.hang if given["hangs"] else None
            buffers.warm_up(client)
            turns, calls = asyncio.run(_run(client, events, hang))
            if given["hangs"]:
                store.go_on()
            flush_within(client, buffers.LIMIT)
    except stores.NoStoreError as reason:
        return {"unavailable": str(reason)}
    except ValueError as error:
        return {"unavailable": f"not in this checkout ({error})"}
    return {
        "longest": 1000 * (max(turns) - _TICK),
        "calls": 100 * calls / sum(turns),
        "expected": events + 1,
        "at_once": True,
    }


async def _run(client: Client, events: int, hang: Any) -> tuple[list[float], float]:  # noqa: ANN401  # a function or None
    """Return the seconds of each wake-up, and those of all calls together."""
    turns: list[float] = []
    calls = 0.0
    ended = asyncio.Event()

    async def watch() -> None:
        last = time.perf_counter()
        while not ended.is_set():
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            turns.append(now - last)
            last = now

    async def track() -> None:
        nonlocal calls
        start = time.perf_counter()
        for number in range(events):
            if number == events // 2 and hang is not None:
                hang()
            properties = make_properties(number)
            began = time.perf_counter()
            client.track(properties)
            calls += time.perf_counter() - began
            await asyncio.sleep(max(0.0, start + number / RATE - time.perf_counter()))
        ended.set()

    await asyncio.gather(watch(), track())
    return turns, calls


CASE = Case(
    title="An event loop",
    about=(
        f"A coroutine tracks {RATE:,} events a second, while another one wakes up every "
        "millisecond. Measured: how late the second one woke up at most, which includes the pauses "
        "of a shared machine, and the share of its time that the loop spent in `track()`."
    ),
    figures=(
        Figure("longest", "longest delay", "ms"),
        Figure("calls", "time in `track()`", "%", digits=2),
    ),
    full={
        "": Variant({"seconds": SECONDS, "hangs": False}),
        _HANGS: Variant({"seconds": SECONDS, "hangs": True}),
    },
    quick={
        "": Variant({"seconds": 0.5, "hangs": False}),
        _HANGS: Variant({"seconds": 0.5, "hangs": True}),
    },
    rows=stores.get_rows(stores.MEMORY, stores.SQLITE, stores.REDIS, stores.REDIS_LOG),
    rounds=3,
    baseline=stores.MEMORY,
)
