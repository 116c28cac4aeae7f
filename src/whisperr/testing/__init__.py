"""Tools for the tests of an application that sends events.

Example::

    import whisperr.testing

    with whisperr.testing.capture() as events:
        upgrade("42")
    events.assert_tracked("plan_upgraded", user="42", properties={"plan": "pro"})

In pytest, use the fixtures `whisperr_events` and `whisperr_server`; they need no import. The module
needs the standard library only.

- `capture` records the events of a block, and sends nothing. It returns `Events`.
- `strict` makes bad input raise `InvalidEvent` in a block.
- `send_to` sends the events of a block to a local server.
- `MemoryTransport` and `FakeClock` replace the network and the clock of one client.

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
