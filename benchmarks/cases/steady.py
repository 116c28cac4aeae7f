"""Case 2, steady: what one call costs the caller at an even rate."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from benchmarks.case import PLAIN, Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.latency import compare_with_floor, flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

RATE = 2_000
SECONDS = 2
COST = "p50"


def at(factor: float, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the arguments at a multiple of the load: more events a second."""
    return {"events": int(RATE * factor * seconds), "rate": RATE * factor}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track at the rate, and encode between two calls; a late call does not delay later ones."""
    client = adapter.start(url, max(10_000, 2 * given["events"]))
    client.track(make_properties(given["events"]))
    act, other = client.track, json.dumps
    now, rest = time.perf_counter_ns, time.sleep
    step = 0.5e9 / given["rate"]
    times: list[int] = []
    others: list[int] = []
    start = now()
    for half in range(2 * given["events"]):
        properties = make_properties(half // 2)
        left = start + half * step - now()
        if left > 0:
            rest(left / 1e9)
        began = now()
        act(properties)
        times.append(now() - began)
        act, other, times, others = other, act, others, times
    flush_within(client, 60.0)
    return {**compare_with_floor(times, others), "expected": given["events"] + 1}


CASE = Case(
    title="track() at a steady rate",
    about=(
        "2,000 events a second. Each call is timed in the calling thread, and `json.dumps` of the "
        "same properties between two calls. After each pause, the processor's caches are cold."
    ),
    figures=(
        Figure("p50", "p50", "µs"),
        Figure("floor", "`json.dumps`, p50", "µs", PLAIN),
        Figure("times", "p50", "times `json.dumps`", digits=2),
        Figure("p99", "p99", "µs"),
        Figure("p999", "p99.9", "µs"),
        Figure("max", "maximum", "µs", digits=0),
    ),
    full={"": Variant(at(1))},
    quick={"": Variant(at(1, seconds=1))},
    plot="p50",
)
