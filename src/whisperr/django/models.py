"""The tables of the outbox: events that wait for the relay, and those that the server refused.

`outbox.buffer` adds rows, a relay delivers them, and `outbox.dead_letters` handles those that were
refused. A row holds the bytes of one event or identify as they are sent, so nothing has to be
parsed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models.functions import Now

from whisperr._events.layout import get_kind

from .outbox.columns import get_head

if TYPE_CHECKING:
    from datetime import datetime


class OutboxEvent(models.Model):
    """One event or identify that waits for delivery, after which the row is deleted.

    Rows are delivered in the order of their ids. A relay claims rows by writing its token and the
    end of its lease into them, by the clock of the database (`outbox.tables`).
    """

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    data: models.BinaryField[bytes, bytes] = models.BinaryField()
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        db_default=Now(), editable=False
    )
    token: models.CharField[str, str] = models.CharField(
        max_length=32, default="", blank=True, editable=False
    )
    leased_until: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True, editable=False
    )

    class Meta:
        """The names in the admin."""

        verbose_name: str = "waiting event"
        verbose_name_plural: str = "waiting events"

    def __str__(self) -> str:
        return f"{get_kind(get_head(self))} {self.pk}"


class DeadLetter(models.Model):
    """One event or identify that was refused, and why; kept until it is requeued or deleted.

    - `reason`: as in `stats().dropped`, such as `rejected` or `expired`.
    - `message`: the server's reason. `status`: the HTTP status of its answer, if there was one.
    """

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    data: models.BinaryField[bytes, bytes] = models.BinaryField()
    reason: models.CharField[str, str] = models.CharField(max_length=32)
    message: models.TextField[str, str] = models.TextField(default="", blank=True)
    status: models.PositiveSmallIntegerField[int | None, int | None] = (
        models.PositiveSmallIntegerField(null=True, blank=True)
    )
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(editable=False)
    refused_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        db_default=Now(), editable=False
    )

    class Meta:
        """The names in the admin."""

        verbose_name: str = "dead letter"
        verbose_name_plural: str = "dead letters"

    def __str__(self) -> str:
        return f"{get_kind(get_head(self))} {self.pk}: {self.reason}"
