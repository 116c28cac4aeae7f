"""This checkout."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}
_LEAST_BYTES = 64 * 1024 * 1024  # the default; events of this suite take 400


def load() -> None:
    """Import what users import."""
    import whisperr  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int, **options: object) -> Client:
    """Make a client; what is held at the end of the process is delivered by itself."""
    from whisperr import Whisperr

    room = {"max_queue_size": capacity, "max_queue_bytes": max(_LEAST_BYTES, capacity * 1024)}
    client = Whisperr("wrk_bench", base_url=url, **room, **options)  # type: ignore[arg-type]  # of cases
    track = client.track
    return Client(lambda properties: track(USER, NAME, properties), client.flush)
