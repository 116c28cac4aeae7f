"""Clients whose counters are not 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr import Whisperr
from whisperr.dev.faults import status

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr.dev import LocalServer


def make_clients(server: LocalServer, folder: Path) -> list[Whisperr]:
    """Return a client that delivers and loses, and one that has given up and stores."""
    busy = Whisperr("wrk_test", base_url=server.url, max_queue_size=2, flush_interval=3_600)
    busy.track(None, "seen")  # invalid
    for _ in range(3):
        busy.track("ada", "seen")  # the first one is dropped
    assert busy.flush(60)
    busy.track("ada", "seen")  # held
    paused = Whisperr(
        "wrk_test", base_url=server.url, buffer=f"sqlite:///{folder}/events.db", max_retries=1
    )
    server.set_faults(status(503))
    paused.track("ada", "seen")
    assert not paused.flush(60)
    server.set_faults()
    return [busy, paused]
