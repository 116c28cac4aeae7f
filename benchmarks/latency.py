"""Computes percentiles of call times. In the measured process: standard library only.

The floor for all packages is `json.dumps` of the same properties, timed in the same process, in
turn with the calls: what encoding alone costs on this machine at this moment.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from benchmarks.summary import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.client import Client


def get_percentiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    """Return p50, p99, p99.9 and the maximum in microseconds."""
    ordered = sorted(nanoseconds)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: percentile(ordered, share) / 1000 for name, share in shares.items()}


def compare_with_floor(nanoseconds: Sequence[int], floor: Sequence[int]) -> dict[str, float]:
    """Return the percentiles, the median of the floor, and p50 and p99 as multiples of it."""
    found = get_percentiles(nanoseconds)
    encoding = get_percentiles(floor)["p50"]
    return {
        **found,
        "floor": encoding,
        "times": found["p50"] / encoding,
        "times99": found["p99"] / encoding,
    }


def flush_within(client: Client, limit: float) -> bool:
    """Flush; return whether it ended within `limit` seconds."""
    thread = threading.Thread(target=client.flush, daemon=True)
    thread.start()
    thread.join(limit)
    return not thread.is_alive()
