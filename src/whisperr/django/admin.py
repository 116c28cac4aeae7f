"""The read-only admin pages of the outbox; Django's admin, if it is installed, imports this file.

Lists show no payload and no user. The page of one row shows its JSON to users with the permission
to view it. With django-tenants, only the admin of the public schema shows them, because the rows
are those of all tenants. `manage.py whisperr_outbox` requeues and deletes dead letters. All pages
read the database to which the rows are written, and a damaged row breaks none of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db import connections
from django.utils.timesince import timesince

from whisperr._events.layout import get_kind

from .conf import get_outbox_database
from .models import DeadLetter, OutboxEvent
from .outbox.buffer import get_alias
from .outbox.columns import get_head, get_moment, make_readable, read_data

if TYPE_CHECKING:
    from datetime import datetime

    from django.db import models
    from django.db.models import QuerySet
    from django.http import HttpRequest

    Pages = admin.ModelAdmin[models.Model]
else:
    Pages = admin.ModelAdmin


_LONGEST_CONTENT = 64 * 1024  # bytes of an event that a page shows


class ReadOnly(Pages):
    """Pages that show rows to users with Django's view permission, and change nothing."""

    ordering: ClassVar[tuple[str, ...]] = ("-pk",)
    show_full_result_count: ClassVar[bool] = False  # the table may be long
    moments: ClassVar[tuple[str, ...]] = ("created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Model]:
        """Return the rows in the outbox's database."""
        rows = super().get_queryset(request).using(get_alias(get_outbox_database()))
        return make_readable(rows, *self.moments)

    def has_add_permission(self, *_: Any, **__: Any) -> bool:  # noqa: ANN401  # as Django asks
        """Return False: calls add rows, and only the relay and `whisperr_outbox` delete them."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Return False in the admin of a tenant, and else what Django says."""
        return not _is_of_tenant() and super().has_view_permission(request, obj)

    has_change_permission = has_add_permission
    has_delete_permission = has_add_permission

    @admin.display(description="event")
    def kind(self, row: Any) -> str:  # noqa: ANN401  # of both models
        """Return the name of the event, or "identify", without payload."""
        return get_kind(get_head(row))

    @admin.display(description="age", ordering="created_at")
    def age(self, row: Any) -> str:  # noqa: ANN401  # likewise
        """Return how long ago it was tracked."""
        moment = get_moment(row, "created_at")
        return "unknown" if moment is None or isinstance(moment, str) else timesince(moment)

    @admin.display(description="created at", ordering="created_at")
    def created(self, row: Any) -> datetime | str | None:  # noqa: ANN401  # likewise
        """Return when it was tracked."""
        return get_moment(row, "created_at")

    @admin.display(description="content")
    def content(self, row: Any) -> str:  # noqa: ANN401  # likewise
        """Return the JSON of one row; data that is not JSON is shown as bytes."""
        data, is_all = read_data(row, _LONGEST_CONTENT)
        if not is_all:
            return f"the first {_LONGEST_CONTENT:,} bytes: {data!r}"
        try:
            return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return repr(data)


class WaitingPages(ReadOnly):
    """The pages of events that wait or that a relay has claimed."""

    moments: ClassVar[tuple[str, ...]] = ("created_at", "leased_until")
    list_display: tuple[str, ...] = ("id", "kind", "age", "lease")
    fields: ClassVar[tuple[str, ...]] = ("id", "kind", "created", "lease", "content")

    @admin.display(description="leased until", ordering="leased_until")
    def lease(self, row: Any) -> datetime | str | None:  # noqa: ANN401  # a row
        """Return when the relay's claim ends."""
        return get_moment(row, "leased_until")


class DeadLetterPages(ReadOnly):
    """The pages of events that the server refused, and why."""

    moments: ClassVar[tuple[str, ...]] = ("created_at", "refused_at")
    list_display: tuple[str, ...] = ("id", "kind", "reason", "status", "age", "refused")
    list_filter: ClassVar[tuple[str, ...]] = ("reason",)
    fields: ClassVar[tuple[str, ...]] = (
        "id",
        "kind",
        "reason",
        "status",
        "message",
        "created",
        "refused",
        "content",
    )

    @admin.display(description="refused at", ordering="refused_at")
    def refused(self, row: Any) -> datetime | str | None:  # noqa: ANN401  # a row
        """Return when it was refused."""
        return get_moment(row, "refused_at")


def _is_of_tenant() -> bool:
    """Return whether django-tenants has set the schema of a tenant for this request."""
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    schemas = (getattr(one, "schema_name", None) for one in connections.all(initialized_only=True))
    return any(schema not in {None, public} for schema in schemas)


admin.site.register(OutboxEvent, WaitingPages)
admin.site.register(DeadLetter, DeadLetterPages)
