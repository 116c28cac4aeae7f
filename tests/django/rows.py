"""Rows of the outbox for tests, and relays over the table, which can be made to fail."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import OperationalError
from django.db.models.functions import Now

from tests.queue.processes import LEASE, Processes
from whisperr._events.event import EventEncoder
from whisperr._queue.table.store import RelayQueue, TableStore
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.django.outbox.tables import Claims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.queue.queues import RecordingAccounting

BATCH = 10
LONG_AGO = b'"occurred_at":"2020-01-01T00:00:00.000Z"'


def make_events(count: int, first: int = 0) -> list[bytes]:
    """Return events as `track` encodes them, numbered by `n`."""
    encoder = EventEncoder("1.0.0")
    return [
        encoder.encode("user_1", "payment_failed", {"n": n})[1] for n in range(first, first + count)
    ]


def make_old(data: bytes) -> bytes:
    """Return an event as if it had happened years ago."""
    at = data.index(b'"occurred_at"')
    return data[:at] + LONG_AGO + data[at + len(LONG_AGO) :]


def add_rows(events: Sequence[bytes]) -> None:
    """Add rows that wait."""
    OutboxEvent.objects.bulk_create([OutboxEvent(data=data) for data in events])


def delete_rows(alias: str = "default") -> None:
    OutboxEvent.objects.using(alias).all().delete()
    DeadLetter.objects.using(alias).all().delete()


class BreakableClaims(Claims):
    """The table of a database, which fails while it is `broken`; records its calls."""

    broken = False

    def __init__(self, alias: str = "default") -> None:
        super().__init__(alias)
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in {"claim", "extend", "release", "delete", "dead_letter", "add"}:
            self.calls.append(name)
            if self.broken:
                raise OperationalError("it is away\nDETAIL: the row is secret")
        return super().__getattribute__(name)

    def close(self) -> None:
        """Keep the connection: it is that of the test."""


class Relays(Processes):
    """Relays that share the table of a database."""

    def __init__(self, alias: str = "default") -> None:
        super().__init__()
        self.alias = alias
        self.claims = BreakableClaims(alias)

    def make(self, max_events: int, max_bytes: int, accounting: RecordingAccounting) -> RelayQueue:
        store = TableStore(self.claims, batch=BATCH, lease=LEASE, clock=lambda: self.steady)
        return RelayQueue(
            store,
            max_events,
            max_bytes,
            accounting,
            poll_interval=1.0,
            clock=lambda: self.steady,
        )

    def get_stored(self) -> list[bytes]:
        rows = OutboxEvent.objects.using(self.alias).order_by("pk")
        return [bytes(data) for data in rows.values_list("data", flat=True)]

    def get_lease_left(self) -> float:
        rows = OutboxEvent.objects.using(self.alias).annotate(now=Now())
        until, now = rows.values_list("leased_until", "now")[0]
        return float((until - now).total_seconds())

    def end_lease(self) -> None:
        """Make all leases run out, as every relay sees them."""
        rows = OutboxEvent.objects.using(self.alias)
        rows.filter(leased_until__isnull=False).update(leased_until=Now() - timedelta(seconds=1))

    def fail(self) -> None:
        self.claims.broken = True

    def mend(self) -> None:
        self.claims.broken = False


def get_store(queue: RelayQueue) -> TableStore:
    store = queue._store
    assert isinstance(store, TableStore)
    return store
