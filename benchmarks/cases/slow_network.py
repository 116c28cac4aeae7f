"""Case 7: throughput when the server delays every answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.case import HIGH, PLAIN, Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.latency import flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

EVENTS = 20_000
LIMIT = 20.0
DELAY = 0.05


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track everything and flush, for a limited time: a request per event would take 17 minutes."""
    events = int(given["events"] * given.get("share", 1.0))
    client = adapter.start(url, 2 * events)
    first = time.monotonic()
    tracked = 0
    while tracked < events and time.monotonic() - first < given["limit"]:
        client.track(make_properties(tracked))
        tracked += 1
    done = flush_within(client, given["limit"] - (time.monotonic() - first))
    return {"expected": tracked, "first_ns": int(first * 1e9), "at_once": not done}


def finish(figures: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Add the rate until the last acknowledgement."""
    seconds = (counts["last_ns"] - figures["first_ns"]) / 1e9
    return {"rate": counts["unique"] / seconds, "requests": counts["requests"]}


def _variant(events: int, limit: float) -> dict[str, Variant]:
    return {"": Variant({"events": events, "limit": limit}, delay=DELAY, limit=limit + 60)}


CASE = Case(
    title="Slow network",
    about=(
        "20,000 events at a server that waits 50 ms before each answer; fewer for packages that "
        f"would take minutes. Events that have not arrived after {LIMIT:.0f} s count as lost."
    ),
    figures=(
        Figure("rate", "throughput", "events per s", HIGH, digits=0),
        Figure("requests", "requests", "", PLAIN, digits=0),
    ),
    full=_variant(EVENTS, LIMIT),
    quick=_variant(2_000, 10.0),
    plot="rate",
)
