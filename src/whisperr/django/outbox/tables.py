"""Checks that the tables of the outbox can be used; for the commands."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import Error, connections

from whisperr.django.models import DeadLetter, OutboxEvent

from .buffer import get_alias


def check_tables(using: str | None) -> str:
    """Return the alias of the database of the outbox.

    Raises CommandError that says what to do when the tables are missing or out of reach.
    """
    alias = get_alias(using)
    if alias not in connections:
        raise CommandError(f"there is no database {alias!r} in DATABASES")
    try:
        there = connections[alias].introspection.table_names()
    except Error as error:
        reason = str(error).partition("\n")[0]
        raise CommandError(f"the database {alias!r} cannot be used: {reason}") from None
    named = {model._meta.db_table for model in (OutboxEvent, DeadLetter)}  # noqa: SLF001  # documented
    missing = named - set(there)
    if missing:
        raise CommandError(
            f"the database {alias!r} has no tables of the outbox: run "
            f"manage.py migrate --database {alias}"
        )
    return alias
