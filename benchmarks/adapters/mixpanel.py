"""Mixpanel with its buffered consumer: it sends in the caller's thread, 50 events a request."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE = {
    "memory": "never holds more than 50 events: the caller's thread waits for each request",
}


def load() -> None:
    """Import what users import."""
    import mixpanel  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int) -> Client:  # noqa: ARG001  # it takes 50 at most
    """Make a client; the application has to flush it at its end."""
    from mixpanel import BufferedConsumer, Mixpanel

    consumer = BufferedConsumer(events_url=f"{url}/track", request_timeout=10)
    track = Mixpanel("bench", consumer=consumer).track
    return Client(
        lambda properties: track(USER, NAME, properties), consumer.flush, end=consumer.flush
    )
