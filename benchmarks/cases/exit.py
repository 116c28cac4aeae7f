"""Case 6: how long a process takes to exit while events are held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.event import make_properties

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

EVENTS = 1_000
LIMIT = 25.0


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Track and return; the parent measures the time until the process has ended."""
    client = adapter.start(url, 10_000)
    for number in range(given["events"]):
        client.track(make_properties(number))
    if client.end is not None:
        _at_exit(client.end)
    return {"expected": given["events"]}


def _at_exit(end: Any) -> None:  # noqa: ANN401  # whatever the package documents
    import atexit

    atexit.register(end)


def finish(figures: dict[str, float], _counts: dict[str, int]) -> dict[str, float]:
    """Return the seconds from the last line of the program to the end of its process."""
    return {"seconds": (figures["exited_ns"] - figures["ended_ns"]) / 1e9}


def _variants() -> dict[str, Variant]:
    given = {"events": EVENTS}
    return {
        "healthy server": Variant(given, limit=LIMIT),
        "hanging server": Variant(
            given, server="hanging", limit=LIMIT, counted=False, parallel=True
        ),
        "refusing server": Variant(
            given, server="refusing", limit=LIMIT, counted=False, parallel=True
        ),
    }


CASE = Case(
    title="Exit with held events",
    about=(
        "A program tracks 1,000 events and ends. Measured: the time from its last line to the end "
        f"of the process, which is killed after {LIMIT:.0f} s. At a hanging or refusing server "
        "nothing can arrive: whisperr tries again while an attempt still fits into its 10 seconds, "
        "and reports what it drops. A faster package gives up sooner."
    ),
    figures=(Figure("seconds", "time to exit", "s", digits=2),),
    full=_variants(),
    quick=_variants(),
    plot="seconds",
)
