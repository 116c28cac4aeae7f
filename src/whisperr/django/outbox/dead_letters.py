"""Counts the rows of the outbox, and lists, requeues and deletes dead letters.

Threads: any, each with Django's connection of that thread. Ages are by the clock of the database.
Raises django.db.Error.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from whisperr._events.layout import get_kind
from whisperr._integrations.outbox_report import Figures
from whisperr._process.interruption import is_interruption
from whisperr.django.models import DeadLetter, OutboxEvent

from .columns import get_data, get_head, get_moment, make_readable, read_moments, to_bytes
from .tables import get_free_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

# How many dead letters one transaction requeues.
_REQUEUED_AT_ONCE = 500


def get_figures(alias: str) -> Figures:
    """Count what is in the outbox."""
    rows = OutboxEvent.objects.using(alias)
    total, waiting = rows.count(), get_free_rows(alias).count()
    reasons = DeadLetter.objects.using(alias).values_list("reason").order_by("reason")
    return Figures(
        waiting,
        max(total - waiting, 0),  # counted at two moments
        _get_oldest_age(rows),
        dict(reasons.annotate(count=Count("pk"))),
    )


def _get_oldest_age(rows: QuerySet[OutboxEvent]) -> float | None:
    age = ExpressionWrapper(Now() - F("created_at"), DurationField())
    try:
        oldest = rows.order_by("pk").annotate(age=age).values_list("age", flat=True).first()
    except Exception as error:  # an invalid date, which the database or Python refuses
        if is_interruption(error):
            raise
        return None
    return None if oldest is None else max(oldest.total_seconds(), 0.0)


def get_newest(alias: str, count: int) -> list[dict[str, object]]:
    """Return the newest dead letters, newest first, without payload and user.

    A date that cannot be read is returned as its text.
    """
    dead = DeadLetter.objects.using(alias).order_by("-pk")
    newest = make_readable(dead, "created_at", "refused_at")
    return [
        {
            "id": one.pk,
            "reason": one.reason,
            "status": one.status,
            "kind": get_kind(get_head(one)),
            "created_at": get_moment(one, "created_at"),
            "refused_at": get_moment(one, "refused_at"),
            "message": one.message,
        }
        for one in newest[:count]
    ]


def requeue(alias: str, ids: Sequence[int] | None) -> int:
    """Put dead letters (None: all) at the end of the outbox; return how many were moved.

    They are moved in several transactions, so an interrupted call has moved some of them.
    """
    dead = DeadLetter.objects.using(alias).order_by("pk")
    chosen = dead if ids is None else dead.filter(pk__in=ids)
    # Read all ids first, so that an event that is refused again meanwhile is not moved again.
    found = list(chosen.values_list("pk", flat=True))
    parts = range(0, len(found), _REQUEUED_AT_ONCE)
    return sum(_move(alias, found[at : at + _REQUEUED_AT_ONCE]) for at in parts)


def _move(alias: str, ids: Sequence[int]) -> int:
    with transaction.atomic(using=alias):
        some = DeadLetter.objects.using(alias).filter(pk__in=ids)
        # Write first, which locks the rows, on SQLite the file, so that none is moved twice.
        some.update(reason=F("reason"))
        created = read_moments(some, "created_at")
        found = some.order_by("pk").values_list("pk", get_data(alias))
        OutboxEvent.objects.using(alias).bulk_create(
            OutboxEvent(data=to_bytes(data), created_at=created[key]) for key, data in found
        )
        some.only("pk").delete()
    return len(created)


def prune(alias: str, days: float) -> int:
    """Delete dead letters that were refused more than `days` ago; return how many."""
    dead = DeadLetter.objects.using(alias)
    return dead.filter(refused_at__lt=Now() - timedelta(days=days)).only("pk").delete()[0]
