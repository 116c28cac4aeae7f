"""The published SDK, version 0.2.1."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}


def load() -> None:
    """Import what users import."""
    import whisperr  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int, **options: object) -> Client:
    """Make a client; what is held at the end of the process is delivered by itself."""
    from whisperr import Whisperr

    client = Whisperr("wrk_bench", base_url=url, max_queue_size=capacity, **options)  # type: ignore[arg-type]  # of cases
    track = client.track
    return Client(lambda properties: track(USER, NAME, properties), client.flush)
