"""Case 5: what an application that computes loses by tracking, delivery included."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.event import properties_of
from benchmarks.latency import flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

STEPS = 4_000
STEP_SECONDS = 0.0005
COST = "extra"


def spin(rounds: int) -> int:
    """Compute something that takes as long each time and allocates nothing that stays."""
    value = 1
    for number in range(rounds):
        value = (value * 31 + number) & 0xFFFF
    return value


def rounds_of(seconds: float) -> int:
    """Return the rounds that take so long here when nothing else runs."""
    best = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        spin(10_000)
        best = min(best, time.perf_counter() - began)
    return max(1, int(10_000 * seconds / best))


def at(factor: float, steps: int = STEPS) -> dict[str, Any]:
    """Return what the process is given: ten times the load are steps of a tenth of the time."""
    return {"steps": int(steps * max(factor, 1)), "seconds": STEP_SECONDS / factor}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Run the same steps without and with an event each, in turns; take the median of each."""
    client = adapter.start(url, max(10_000, 2 * given["steps"]))
    client.track(properties_of(0))
    flush_within(client, 60.0)
    rounds = rounds_of(given["seconds"])
    steps = given["steps"]
    without = _loop(rounds, steps)
    began = time.perf_counter()
    for number in range(1, steps + 1):
        spin(rounds)
        client.track(properties_of(number))
    flush_within(client, 60.0)
    with_events = time.perf_counter() - began
    without = min(without, _loop(rounds, steps))
    return {
        "expected": steps + 1,
        "slowdown": 100 * (with_events / without - 1),
        "extra": 1e6 * (with_events - without) / steps,
    }


def _loop(rounds: int, steps: int) -> float:
    began = time.perf_counter()
    for number in range(1, steps + 1):
        spin(rounds)
        properties_of(number)
    return time.perf_counter() - began


CASE = Case(
    title="Slowdown of the application",
    about=(
        "4,000 steps of 0.5 ms that compute, one event each, against the same steps without; the "
        "time until everything is acknowledged is included."
    ),
    figures=(
        Figure("slowdown", "slowdown", "%"),
        Figure("extra", "extra time per event", "µs"),
    ),
    full={"": Variant(at(1))},
    quick={"": Variant(at(1, steps=1_000))},
    plot="slowdown",
)
