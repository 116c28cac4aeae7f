"""Computes percentiles of call times. In the measured process: standard library only."""

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


def flush_within(client: Client, limit: float) -> bool:
    """Flush; return whether it ended within `limit` seconds."""
    thread = threading.Thread(target=client.flush, daemon=True)
    thread.start()
    thread.join(limit)
    return not thread.is_alive()
