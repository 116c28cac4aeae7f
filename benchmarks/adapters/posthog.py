"""PostHog."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}


def load() -> None:
    """Import what users import."""
    import posthog  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int) -> Client:
    """Make a client; it ends by itself at the end of the process."""
    from posthog import Posthog

    client = Posthog("phc_bench", host=url, max_queue_size=capacity)
    capture = client.capture
    return Client(
        lambda properties: capture(NAME, distinct_id=USER, properties=properties), client.flush
    )
