"""Read-only pages of the outbox; Django's admin imports this file, where it is installed.

Lists show no payload and no user. The page of one row shows its JSON, to users with the permission
to view it. `manage.py whisperr_outbox` requeues and deletes dead letters.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.utils.timesince import timesince

from whisperr._events.layout import get_kind

from .models import DeadLetter, OutboxEvent

if TYPE_CHECKING:
    from django.db import models

    Pages = admin.ModelAdmin[models.Model]
else:
    Pages = admin.ModelAdmin


class ReadOnly(Pages):
    """Rows that can be viewed, with Django's own permission for that."""

    ordering: ClassVar[tuple[str, ...]] = ("-pk",)
    show_full_result_count: ClassVar[bool] = False  # the table may be long

    def has_add_permission(self, *_: Any, **__: Any) -> bool:  # noqa: ANN401  # as Django asks
        """Return False: events add rows, and only the relay and `whisperr_outbox` delete them."""
        return False

    has_change_permission = has_add_permission
    has_delete_permission = has_add_permission

    @admin.display(description="event")
    def kind(self, row: Any) -> str:  # noqa: ANN401  # of both models
        """Return what it is, without payload."""
        return get_kind(bytes(row.data))

    @admin.display(description="age", ordering="created_at")
    def age(self, row: Any) -> str:  # noqa: ANN401  # likewise
        """Return how long ago it was tracked."""
        return timesince(row.created_at)

    @admin.display(description="content")
    def content(self, row: Any) -> str:  # noqa: ANN401  # likewise
        """Return the JSON of one row; bytes that are none as they are."""
        data = bytes(row.data)
        try:
            return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return repr(data)


class WaitingPages(ReadOnly):
    """The pages of events that wait, or that a relay has claimed."""

    list_display: tuple[str, ...] = ("id", "kind", "age", "leased_until")
    fields: ClassVar[tuple[str, ...]] = ("id", "kind", "created_at", "leased_until", "content")


class DeadLetterPages(ReadOnly):
    """The pages of events that were refused, and why."""

    list_display: tuple[str, ...] = ("id", "kind", "reason", "status", "age", "refused_at")
    list_filter: ClassVar[tuple[str, ...]] = ("reason",)
    fields: ClassVar[tuple[str, ...]] = (
        "id",
        "kind",
        "reason",
        "status",
        "message",
        "created_at",
        "refused_at",
        "content",
    )


admin.site.register(OutboxEvent, WaitingPages)
admin.site.register(DeadLetter, DeadLetterPages)
