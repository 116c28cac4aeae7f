"""Segment."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}


def load() -> None:
    """Import what users import."""
    import segment.analytics  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int) -> Client:
    """Make a client; it ends by itself at the end of the process."""
    from segment.analytics.client import Client as Segment

    client = Segment("bench", host=url, max_queue_size=capacity)
    track = client.track
    return Client(lambda properties: track(USER, NAME, properties), client.flush)
