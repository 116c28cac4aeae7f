"""Amplitude."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}


def load() -> None:
    """Import what users import."""
    import amplitude  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int) -> Client:  # noqa: ARG001  # its storage has no option for it
    """Make a client; it ends by itself at the end of the process."""
    from amplitude import Amplitude, BaseEvent, Config

    client = Amplitude("bench", Config(server_url=f"{url}/2/httpapi"))
    track = client.track

    def flush() -> None:
        for future in client.flush() or ():
            if future is not None:
                future.result()

    return Client(
        lambda properties: track(BaseEvent(NAME, user_id=USER, event_properties=properties)), flush
    )
