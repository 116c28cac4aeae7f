"""Short descriptions of what a local server received."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.upgrade.program import Look

    from whisperr.dev import LocalServer
    from whisperr.dev._ingest.model import ReceivedRequest


def _to_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


def show_types(server: LocalServer) -> str:
    """Return the types of the accepted events in order, and the statuses of refused requests."""
    arrived = [arrival.type or "identify" for arrival in server.arrivals(status="accepted")]
    refused = [f"answered {one.status}" for one in server.requests() if not _is_accepted(one)]
    return "arrived: " + (", ".join([*arrived, *refused]) or "nothing")


def _is_accepted(request: ReceivedRequest) -> bool:
    return request.status is None or request.status < 300  # noqa: PLR2004  # HTTP


def show_first(*names: str) -> Look:
    """Return a function that shows parts of the first event or identify that was sent."""

    def show(server: LocalServer) -> str:
        bodies = [arrival.body for arrival in server.arrivals()]
        if not bodies:
            return show_types(server)
        value: Any = bodies[0]
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return "arrived: " + _to_text(value)

    return show


def count_copies(server: LocalServer) -> str:
    """Return how often each event was sent."""
    copies = len(server.arrivals())
    return f"arrived: {copies} time{'s' if copies != 1 else ''}"
