"""Rows of the outbox for tests, and a claim on them that can be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import OperationalError

from whisperr._events.event import EventEncoder
from whisperr.django.models import OutboxEvent
from whisperr.django.outbox.claims import Claims

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG_AGO = b'"occurred_at":"2020-01-01T00:00:00.000Z"'


def events(count: int, first: int = 0) -> list[bytes]:
    """Return events as `track` encodes them, numbered by `n`."""
    encoder = EventEncoder("1.0.0")
    return [
        encoder.encode("user_1", "payment_failed", {"n": n})[1] for n in range(first, first + count)
    ]


def aged(data: bytes) -> bytes:
    """Return an event as if it had happened years ago."""
    at = data.index(b'"occurred_at"')
    return data[:at] + LONG_AGO + data[at + len(LONG_AGO) :]


def add(rows: Sequence[bytes]) -> None:
    """Let these events wait."""
    OutboxEvent.objects.bulk_create([OutboxEvent(data=data) for data in rows])


class BreakableClaims(Claims):
    """The table of the default database, which fails while it is `broken`; names its calls."""

    broken = False

    def __init__(self) -> None:
        super().__init__("default")
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in {"claim", "prolong", "release", "delete", "bury", "add"}:
            self.calls.append(name)
            if self.broken:
                raise OperationalError("it is away\nDETAIL: the row is secret")
        return super().__getattribute__(name)

    def close(self) -> None:
        """Keep the connection: it is that of the test."""
