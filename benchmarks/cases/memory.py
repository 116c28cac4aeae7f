"""Case 4: what an event costs while it is held: memory, and work for the garbage collector."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.latency import flush_within

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

EVENTS = 5_000
_WARM = 2.0  # seconds; the server never answers, so the wait takes all of it
COST = "bytes"


def at(factor: float, events: int = EVENTS) -> dict[str, Any]:
    """Return the arguments of the process at a multiple of the load."""
    return {"events": int(events * factor)}


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track for a server that never answers; count what Python allocates for the events."""
    import tracemalloc  # not at the top: PyPy has none, but shows figures

    events = given["events"]
    client = adapter.start(url, max(10_000, 2 * events))
    client.track(make_properties(0))
    flush_within(
        client, _WARM
    )  # what the first request imports and creates is not part of a held event
    tracemalloc.start()
    gc.collect()
    objects, (memory, _) = len(gc.get_objects()), tracemalloc.get_traced_memory()
    for number in range(1, events + 1):
        client.track(make_properties(number))
    gc.collect()
    more_memory = tracemalloc.get_traced_memory()[0] - memory
    more_objects = len(gc.get_objects()) - objects
    return {
        "expected": events + 1,
        "bytes": more_memory / events,
        # Rounded to a hundredth, so that objects made once for sending do not count.
        "objects": round(more_objects / events, 2),
        "at_once": True,
    }


CASE = Case(
    title="Memory of held events",
    about=(
        "5,000 events wait for a server that never answers. `tracemalloc` counts bytes, "
        "`gc.get_objects` counts objects. Nothing can arrive, so nothing counts as lost."
    ),
    figures=(
        Figure("bytes", "memory per held event", "bytes", digits=0),
        Figure("objects", "tracked by the garbage collector, per event", "objects", digits=2),
    ),
    full={"": Variant(at(1), server="hanging", counted=False)},
    quick={"": Variant(at(1), server="hanging", counted=False)},
    rounds=2,  # they count, and do not time
    plot="bytes",
)
