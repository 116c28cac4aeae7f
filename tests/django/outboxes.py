"""What is in the outbox of the site, and a second database for it."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import connections

from whisperr.django.models import OutboxEvent

if TYPE_CHECKING:
    from pathlib import Path

SECOND = "events"


def get_rows(alias: str = "default") -> list[bytes]:
    """Return what waits, in order, as it would be sent over the wire."""
    found = OutboxEvent.objects.using(alias).order_by("pk").values_list("data", flat=True)
    return [bytes(data) for data in found]


def get_bodies(alias: str = "default") -> list[dict[str, Any]]:
    return [json.loads(data) for data in get_rows(alias)]


def get_written(alias: str = "default") -> list[tuple[str, str | None]]:
    """Return the user and type of each row, None as the type of an identify."""
    return [(body["external_user_id"], body.get("event_type")) for body in get_bodies(alias)]


def add_database(path: Path) -> None:
    """Give the site a second database, without any table."""
    connections.settings[SECOND] = {**deepcopy(connections.settings["default"]), "NAME": str(path)}


def migrate_second() -> None:
    call_command("migrate", "whisperr", database=SECOND, verbosity=0)


def remove_database() -> None:
    with connections[SECOND].schema_editor() as editor:
        for table in connections[SECOND].introspection.table_names():
            editor.execute(f"DROP TABLE {editor.quote_name(table)}")
    connections[SECOND].close()
    del connections[SECOND]
    del connections.settings[SECOND]


class ToSecond:
    """A router that sends the outbox to the second database."""

    def db_for_write(self, model: type[Any], **_: object) -> str | None:
        return SECOND if model is OutboxEvent else None


class Confused:
    """A router that fails."""

    def db_for_write(self, model: type[Any], **_: object) -> str | None:
        if model is OutboxEvent:
            raise KeyError("a secret")
        return None
