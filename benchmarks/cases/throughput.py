"""Case 3: how fast events are delivered, and what that costs."""

from __future__ import annotations

import json
import resource
import time
from typing import TYPE_CHECKING

from benchmarks.case import HIGH, PLAIN, Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.latency import flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

EVENTS = 50_000
LIMIT = 240.0
_SAMPLE = 5_000
COST = "cpu"


def at(factor: float, events: int = EVENTS) -> dict[str, Any]:
    """Return the arguments of the process at a multiple of the load."""
    return {"events": int(events * factor), "limit": LIMIT}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track everything and flush; the CPU time is that of the whole process.

    The time for making the properties is subtracted; the floor is what `json.dumps` takes for them.
    """
    events = int(given["events"] * given.get("share", 1.0))
    client = adapter.start(url, 2 * events)
    making, encoding = _measure_floor(min(events, _SAMPLE))
    before = resource.getrusage(resource.RUSAGE_SELF)
    first_ns = time.monotonic_ns()
    for number in range(events):
        client.track(make_properties(number))
    done = flush_within(client, given["limit"])
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    again = _measure_floor(min(events, _SAMPLE))
    making, encoding = (making + again[0]) / 2, (encoding + again[1]) / 2
    each = 1e6 * cpu / events - making
    return {
        "expected": events,
        "first_ns": first_ns,
        "cpu": each,
        "floor": encoding,
        "times": each / encoding,
        "at_once": not done,
    }


def _measure_floor(events: int) -> tuple[float, float]:
    """Return the microseconds of CPU time for making the properties of an event, and for encoding.

    Only this thread counts: others may still be busy starting the package.
    """
    began = time.thread_time_ns()
    for number in range(events):
        make_properties(number)
    made = time.thread_time_ns()
    for number in range(events):
        json.dumps(make_properties(number))
    making = (made - began) / events / 1000
    return making, (time.thread_time_ns() - made) / events / 1000 - making


def finish(figures: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Add what the server saw; the rate is up to the last acknowledgement of an event."""
    seconds = (counts["last_ns"] - figures["first_ns"]) / 1e9
    return {
        "rate": counts["unique"] / seconds,
        "requests": counts["requests"],
        "connections": counts["connections"],
        "bytes": counts["bytes"] / max(counts["unique"], 1),
    }


CASE = Case(
    title="Throughput",
    about=(
        "50,000 events, from the first `track()` to the last acknowledgement; fewer for packages "
        "that would take minutes. The CPU time is that of the whole process, minus the time for "
        "making the properties. `json.dumps` of the properties is shown for comparison."
    ),
    figures=(
        Figure("rate", "throughput", "events per s", HIGH, digits=0),
        Figure("cpu", "CPU per event", "µs"),
        Figure("floor", "`json.dumps`, CPU", "µs", PLAIN, digits=2),
        Figure("times", "CPU per event", "times `json.dumps`", digits=2),
        Figure("requests", "requests", "", PLAIN, digits=0),
        Figure("connections", "connections", "", digits=0),
        Figure("bytes", "bytes per event", "", PLAIN, digits=0),
    ),
    full={"": Variant(at(1), limit=300.0)},
    quick={"": Variant(at(1, events=20_000), limit=300.0)},
    plot="rate",
)
