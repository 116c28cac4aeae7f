"""`manage.py whisperr_relay` delivers the events of the outbox until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from whisperr._integrations.relaying import (
    REPORT_INTERVAL,
    Relay,
    RelayError,
    add_relay_options,
    parse_relay_options,
)
from whisperr._options import OPTIONS
from whisperr.django.conf import DISABLED, SETTINGS, get_outbox_database, new_client
from whisperr.django.outbox.tables import Claims, check_tables

if TYPE_CHECKING:
    from typing import Any

    from django.core.management.base import CommandParser

    from whisperr import Whisperr


class Command(BaseCommand):
    """Runs a client from the project's settings with the table as its buffer."""

    help: str = (
        "Deliver the events of the outbox until SIGTERM or SIGINT. Several relays may run at the "
        "same time, also on several machines."
    )
    requires_system_checks: tuple[str, ...] = ()  # it checks itself what it needs, and faster
    report_interval: float = REPORT_INTERVAL  # seconds between two lines of progress

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the command."""
        add_relay_options(parser)
        text = "the database; default: WHISPERR_OUTBOX_DATABASE"
        parser.add_argument("--using", metavar="ALIAS", help=text)

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Deliver; fails if it cannot start, and with `--once` if something is left."""
        self._verbose = given["verbosity"] > 0
        names = ("once", "batch", "interval", "lease")
        try:
            options = parse_relay_options(**{name: given[name] for name in names})
            alias = check_tables(given["using"] or get_outbox_database())
            relay = Relay(
                Claims(alias),
                options,
                _make_client,
                self._print,
                _get_max_retries(),
                self.report_interval,
            )
            relay.run(f"database {alias!r}")
        except RelayError as error:
            raise CommandError(str(error)) from None

    def _print(self, line: str) -> None:
        if self._verbose:
            self.stdout.write(line)
            self.stdout.flush()


def _make_client(options: dict[str, Any]) -> Whisperr:
    try:
        client = new_client("whisperr_relay", **options)
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    if not client.ready:
        where = "in the settings or in the environment"
        raise CommandError(f"{DISABLED} is on, {where}: nothing is delivered; remove it here")
    return client


def _get_max_retries() -> int:
    (option,) = (option for option in OPTIONS if option.name == "max_retries")
    retries: int = SETTINGS.read().get(option.name, option.default)
    return retries
