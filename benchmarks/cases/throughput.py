"""Case 3: how fast events are delivered, and what that costs."""

from __future__ import annotations

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
COST = "cpu"


def at(factor: float, events: int = EVENTS) -> dict[str, Any]:
    """Return the arguments of the process at a multiple of the load."""
    return {"events": int(events * factor), "limit": LIMIT}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track everything, flush; the CPU time is that of the whole process."""
    events = given["events"]
    client = adapter.start(url, 2 * events)
    before = resource.getrusage(resource.RUSAGE_SELF)
    first_ns = time.monotonic_ns()
    for number in range(events):
        client.track(make_properties(number))
    done = flush_within(client, given["limit"])
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "expected": events,
        "first_ns": first_ns,
        "cpu": 1000 * cpu / (events / 1000),
        "at_once": not done,
    }


def finish(figures: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Add what the server saw: the rate is to the last acknowledgement of an event."""
    seconds = (counts["last_ns"] - figures["first_ns"]) / 1e9
    return {
        "rate": counts["unique"] / seconds,
        "requests": counts["requests"],
        "connections": counts["connections"],
        "bytes": counts["bytes"] / max(counts["unique"], 1),
    }


CASE = Case(
    title="Throughput",
    about="50,000 events from the first `track()` to the last acknowledgement.",
    figures=(
        Figure("rate", "events per second", "", HIGH, digits=0),
        Figure("cpu", "CPU per 1,000 events", "ms"),
        Figure("requests", "requests", "", PLAIN, digits=0),
        Figure("connections", "connections", "", digits=0),
        Figure("bytes", "bytes per event", "", PLAIN, digits=0),
    ),
    full={"": Variant(at(1), limit=300.0)},
    quick={"": Variant(at(1, events=20_000), limit=300.0)},
    plot="rate",
)
