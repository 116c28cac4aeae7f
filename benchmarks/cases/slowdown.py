"""Case 5: how much an application that computes slows down by tracking, with delivery."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.latency import flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter, Client

STEPS = 3_000
STEP_SECONDS = 0.0005
PAIRS = 20
COST = "extra"


def spin(rounds: int) -> int:
    """Compute for a constant time, and allocate nothing that stays."""
    value = 1
    for number in range(rounds):
        value = (value * 31 + number) & 0xFFFF
    return value


def calibrate_rounds(seconds: float) -> int:
    """Return how many rounds take this long when nothing else runs."""
    best = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        spin(10_000)
        best = min(best, time.perf_counter() - began)
    return max(1, int(10_000 * seconds / best))


def at(factor: float, steps: int = STEPS) -> dict[str, Any]:
    """Return the arguments: ten times the load are steps of a tenth of the time."""
    return {"steps": int(steps * max(factor, 1)), "seconds": STEP_SECONDS / factor}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Compare successive blocks with and without events; return the medians.

    A shared machine changes its speed within seconds, by more than is measured here.
    """
    steps = given["steps"] // PAIRS
    client = adapter.start(url, max(10_000, 2 * given["steps"]))
    client.track(make_properties(0))
    flush_within(client, 60.0)
    rounds = calibrate_rounds(given["seconds"])
    slowdowns, extras = [], []
    for pair in range(PAIRS):
        first = 1 + pair * steps
        if pair % 2:  # so that a change of speed affects both
            loaded = _with_events(client, rounds, first, steps)
            bare = _without(rounds, steps)
        else:
            bare = _without(rounds, steps)
            loaded = _with_events(client, rounds, first, steps)
        slowdowns.append(100 * (loaded / bare - 1))
        extras.append(1e6 * (loaded - bare) / steps)
    return {
        "expected": PAIRS * steps + 1,
        "slowdown": median(slowdowns),
        "extra": median(extras),
    }


def _with_events(client: Client, rounds: int, first: int, steps: int) -> float:
    """Return the seconds of the steps plus the CPU time until their events have arrived."""
    began = time.perf_counter()
    for number in range(first, first + steps):
        spin(rounds)
        client.track(make_properties(number))
    taken = time.perf_counter() - began
    before = time.process_time()
    flush_within(client, 60.0)
    return taken + time.process_time() - before


def _without(rounds: int, steps: int) -> float:
    began = time.perf_counter()
    for number in range(steps):
        spin(rounds)
        make_properties(number)
    return time.perf_counter() - began


CASE = Case(
    title="Slowdown of the application",
    about=(
        "3,000 steps that compute for 0.5 ms and track one event each, compared with the same "
        "steps without events: 20 blocks of each in turn, the median of the pairs. After a block "
        "with events, everything is flushed; the CPU time of that is included."
    ),
    figures=(
        Figure("slowdown", "slowdown", "%"),
        Figure("extra", "extra time per event", "µs"),
    ),
    full={"": Variant(at(1))},
    quick={"": Variant(at(1, steps=1_000))},
    plot="slowdown",
)
