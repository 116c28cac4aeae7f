"""The table of the states of subscriptions; `states` reads and writes its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Now

if TYPE_CHECKING:
    from datetime import datetime


class SubscriptionState(models.Model):
    """What the next webhook of a subscription needs to know.

    - `key`: the provider and its id of the subscription, such as `stripe:sub_1`.
    - `state`: a `whisperr.billing.State`; empty while the first webhook is handled.
    """

    key: models.CharField[str, str] = models.CharField(max_length=255, primary_key=True)
    state: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    updated_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(
        db_default=Now(), editable=False
    )

    class Meta:
        """The names in the admin."""

        verbose_name: str = "state of a subscription"
        verbose_name_plural: str = "states of subscriptions"

    def __str__(self) -> str:
        return self.key
