"""Tools for the tests of an application that sends events.

    import whisperr.testing

    with whisperr.testing.capture() as events:
        upgrade("42")
    events.assert_tracked("plan_upgraded", user="42", properties={"plan": "pro"})

With pytest the fixtures `whisperr_events` and `whisperr_server` are there without an import. See
docs/develop/testing.md. Standard library only.
"""

from __future__ import annotations

from ._capture import capture, strict
from ._doubles import FakeClock, MemoryTransport, Reply, SentRequest
from ._events import Events
from ._recorded import RecordedEvent, RecordedIdentify
from ._sending import send_to

__all__ = [
    "Events",
    "FakeClock",
    "MemoryTransport",
    "RecordedEvent",
    "RecordedIdentify",
    "Reply",
    "SentRequest",
    "capture",
    "send_to",
    "strict",
]
