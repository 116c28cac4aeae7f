"""Case 2, steady: what one call costs the caller at an even rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.latency import flush_within, get_percentiles

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

RATE = 2_000
SECONDS = 5
COST = "p50"


def at(factor: float, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the arguments at a multiple of the load: more events a second."""
    return {"events": int(RATE * factor * seconds), "rate": RATE * factor}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track at the rate; a late call does not delay the next ones."""
    client = adapter.start(url, max(10_000, 2 * given["events"]))
    client.track(make_properties(given["events"]))
    track, now, rest = client.track, time.perf_counter_ns, time.sleep
    step = 1e9 / given["rate"]
    times = []
    start = now()
    for number in range(given["events"]):
        properties = make_properties(number)
        left = start + number * step - now()
        if left > 0:
            rest(left / 1e9)
        began = now()
        track(properties)
        times.append(now() - began)
    flush_within(client, 60.0)
    return {**get_percentiles(times), "expected": given["events"] + 1}


CASE = Case(
    title="track() at a steady rate",
    about="2,000 events a second, each call timed in the caller's thread.",
    figures=(
        Figure("p50", "p50", "µs"),
        Figure("p99", "p99", "µs"),
        Figure("p999", "p99.9", "µs"),
        Figure("max", "maximum", "µs", digits=0),
    ),
    full={"": Variant(at(1))},
    quick={"": Variant(at(1, seconds=1))},
    plot="p50",
)
