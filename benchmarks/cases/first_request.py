"""Case 1, busy: when the first event arrives while the main thread computes without a pause."""

from __future__ import annotations

from benchmarks.case import LOW, Case, Figure, Row, Variant
from benchmarks.packages import OURS, PUBLISHED


def finish(figures: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Add the time until the server had the event."""
    return {"arrived": (counts["last_ns"] - figures["tracked_ns"]) / 1e6}


def _variants() -> dict[str, Variant]:
    bare, loaded = "busy", "busy, sockets and TLS loaded"
    return {
        "http": Variant({"mode": bare}),
        "http, `socket` and `ssl` loaded": Variant({"mode": loaded}),
        "https": Variant({"mode": bare}, server="encrypted"),
        "https, `socket` and `ssl` loaded": Variant({"mode": loaded}, server="encrypted"),
    }


CASE = Case(
    title="First request of a busy process",
    about=(
        "A program tracks one event that is due at once. Its main thread then computes for a "
        "second without a pause, so the delivery thread competes with it for the interpreter lock. "
        "Measured: creating the client, and the time from `track()` until the server has the event."
    ),
    figures=(
        Figure("arrived", "track() to server", "ms", LOW, digits=0),
        Figure("made", "creating the client", "ms"),
    ),
    full=_variants(),
    quick=_variants(),
    program="busy",
    rows=(
        Row(OURS, "whisperr", "whisperr_now", compared=True),
        Row(PUBLISHED, "whisperr-0.2.1", "whisperr_0_2_1"),
    ),
)
