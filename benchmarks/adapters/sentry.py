"""Sentry: an event of level info with the properties as a context; one request for each."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}
# The longest case ends before it; `flush` has no "as long as it takes".
_LONG = 600.0


def load() -> None:
    """Import what users import."""
    import sentry_sdk  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int) -> Client:
    """Make a client; it ends by itself at the end of the process."""
    import sentry_sdk

    address = url.removeprefix("http://")
    sentry_sdk.init(f"http://bench@{address}/1", transport_queue_size=capacity)
    capture = sentry_sdk.capture_event

    def track(properties: dict[str, object]) -> None:
        capture(
            {
                "message": NAME,
                "level": "info",
                "user": {"id": USER},
                "contexts": {"event": properties},
            }
        )

    return Client(track, lambda: sentry_sdk.flush(_LONG))
