"""Case 2, burst: what one call costs the caller when many come at once."""

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

EVENTS = 5_000
COST = "p50"


def at(factor: float, events: int = EVENTS) -> dict[str, Any]:
    """Return the arguments of the process at a multiple of the load."""
    return {"events": int(events * factor)}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track events in a row and time each call, in turn with encoding another event."""
    client = adapter.start(url, max(10_000, 2 * given["events"]))
    client.track(make_properties(given["events"]))  # the first call is part of the case "start"
    events = [make_properties(number) for number in range(given["events"])]
    others = [make_properties(number) for number in range(given["events"])]
    track, encode, now = client.track, json.dumps, time.perf_counter_ns
    times, floor = [], []
    for properties, other in zip(events, others, strict=True):
        began = now()
        track(properties)
        tracked = now()
        encode(other)
        floor.append(now() - tracked)
        times.append(tracked - began)
    flush_within(client, 60.0)
    return {**compare_with_floor(times, floor), "expected": given["events"] + 1}


CASE = Case(
    title="track() in a burst",
    about=(
        "5,000 events in a row. Each call is timed in the calling thread. After each one, "
        "`json.dumps` of another event's properties is timed: what encoding alone costs."
    ),
    figures=(
        Figure("p50", "p50", "µs", digits=2),
        Figure("floor", "`json.dumps`, p50", "µs", PLAIN, digits=2),
        Figure("times", "p50", "times `json.dumps`", digits=2),
        Figure("times99", "p99", "times `json.dumps`", digits=2),
        Figure("p99", "p99", "µs"),
        Figure("p999", "p99.9", "µs"),
        Figure("max", "maximum", "µs", digits=0),
    ),
    full={"": Variant(at(1))},
    quick={"": Variant(at(1))},
    plot="p50",
)
