"""`manage.py whisperr_outbox` shows what is in the outbox, and handles dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.core.management.base import BaseCommand, CommandError

from whisperr._integrations.outbox_report import (
    add_outbox_options,
    check_outbox_options,
    run_outbox,
)
from whisperr.django.conf import get_outbox_database
from whisperr.django.outbox import dead_letters
from whisperr.django.outbox.tables import check_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from django.core.management.base import CommandParser

    from whisperr._integrations.outbox_report import Figures


class Command(BaseCommand):
    """Shows figures and dead letters, which it can requeue or delete."""

    help: str = "Count the waiting rows and dead letters; list, requeue or delete dead letters."
    requires_system_checks: tuple[str, ...] = ()  # it uses tables, not settings

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the command."""
        text = "the database; default: WHISPERR_OUTBOX_DATABASE"
        parser.add_argument("--using", metavar="ALIAS", help=text)
        add_outbox_options(parser)

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Do what the options ask for, then print the figures."""
        try:
            check_outbox_options(given)
        except ValueError as error:
            raise CommandError(str(error)) from None
        alias = check_tables(given["using"] or get_outbox_database())
        self.stdout.write(run_outbox(_Tables(alias), given))


class _Tables(NamedTuple):
    """The tables of one database."""

    alias: str

    def get_figures(self) -> Figures:
        return dead_letters.get_figures(self.alias)

    def get_newest(self, count: int) -> list[dict[str, object]]:
        return dead_letters.get_newest(self.alias, count)

    def requeue(self, ids: Sequence[int] | None) -> int:
        return dead_letters.requeue(self.alias, ids)

    def prune(self, days: float) -> int:
        return dead_letters.prune(self.alias, days)
