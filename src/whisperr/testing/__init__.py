"""Tools for the tests of an application that sends events.

Example::

    import whisperr.testing

    with whisperr.testing.capture() as events:
        upgrade("42")
    events.assert_tracked("plan_upgraded", user="42", properties={"plan": "pro"})

In pytest, use the fixtures `whisperr_events` and `whisperr_server`; they need no import. The module
needs the standard library only.

.. versionadded:: 1.0
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
