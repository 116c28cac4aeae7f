"""Case 9, with many threads: what each buffer costs callers that track at the same time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from benchmarks import stores
from benchmarks.case import Case, Variant
from benchmarks.cases import buffers
from benchmarks.event import make_properties
from benchmarks.latency import flush_within, get_percentiles

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Client

THREADS = 16
EVENTS = 1_000  # of each thread
finish = buffers.finish


def measure(adapter: Any, url: str, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # it takes options
    """Track in all threads at once, timing each call, and flush."""
    total = THREADS * given["events"]
    try:
        with stores.run_store(given["row"]) as store:
            client = buffers.make_client(adapter, url, 2 * total, store.url)
            buffers.warm_up(client)
            first_ns, times = _track_in_threads(client, given["events"])
            flush_within(client, buffers.LIMIT)
    except stores.NoStoreError as reason:
        return {"unavailable": str(reason)}
    except ValueError as error:
        return {"unavailable": f"not in this checkout ({error})"}
    figures = {**get_percentiles(times), "expected": total + 1, "first_ns": first_ns}
    return {**figures, "at_once": True}  # the store has ended, and the client would wait for it


def _track_in_threads(client: Client, events: int) -> tuple[int, list[int]]:
    """Return when the threads started, and the nanoseconds of each call of all of them."""
    start = threading.Barrier(THREADS + 1)
    times: list[list[int]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        mine, track, now = times[number], client.track, time.perf_counter_ns
        start.wait()
        for event in range(number * events, (number + 1) * events):
            properties = make_properties(event)
            began = now()
            track(properties)
            mine.append(now() - began)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    first_ns = time.monotonic_ns()
    for thread in threads:
        thread.join()
    return first_ns, [one for part in times for one in part]


CASE = Case(
    title="Buffers, many threads",
    about=(
        f"{EVENTS:,} events from each of {THREADS} threads at once, until the server has "
        "acknowledged the last one. Each call is timed in its thread. The threads share one "
        "interpreter lock: with any package, a call takes milliseconds if another thread gets the "
        "lock meanwhile."
    ),
    figures=buffers.FIGURES,
    full={"": Variant({"events": EVENTS})},
    quick={"": Variant({"events": 200})},
    rows=stores.get_rows(stores.MEMORY, stores.SQLITE, stores.REDIS, stores.REDIS_LOG),
    rounds=3,
    baseline=stores.MEMORY,
)
