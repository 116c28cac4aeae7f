"""`whisperr relay`: delivers the events of an outbox of SQLAlchemy or Django until stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whisperr import Whisperr
from whisperr._integrations.relaying import (
    Relay,
    RelayError,
    add_relay_options,
    parse_relay_options,
)
from whisperr._options import OPTIONS

from .command import CommandError, UsageError, add_command
from .database import add_database_options, open_outbox

if TYPE_CHECKING:
    import argparse

    from .command import Parser

_EXAMPLES = """\
  WHISPERR_DATABASE_URL=postgresql://app:secret@db/app whisperr relay
      deliver until SIGTERM or Ctrl-C
  whisperr relay --database sqlite:////var/lib/app/app.db --once
      deliver everything, then end: for cron
"""


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "relay",
        _run,
        "deliver the events of an outbox in a database",
        "Deliver the events of an outbox until SIGTERM or Ctrl-C. Works on the tables of "
        "whisperr.sqlalchemy and on those of a Django project. Several relays can run at once, on "
        "one machine or on several, also together with manage.py whisperr_relay. The key is read "
        "from WHISPERR_API_KEY, the address from WHISPERR_BASE_URL.",
        _EXAMPLES,
        usage="--database URL",
    )
    add_database_options(parser)
    add_relay_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    names = ("once", "batch", "interval", "lease")
    try:
        options = parse_relay_options(**{name: getattr(arguments, name) for name in names})
    except RelayError as error:
        raise UsageError(str(error)) from None
    claims, name = open_outbox(arguments)
    max_retries: int = _get_default("max_retries")
    try:
        Relay(claims, options, _make_client, _print, max_retries).run(name)
    except RelayError as error:
        raise CommandError(str(error)) from None
    return 0


def _make_client(options: dict[str, Any]) -> Whisperr:
    try:
        client = Whisperr(**options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not client.enabled:
        raise UsageError("WHISPERR_DISABLED is set, so nothing would be delivered: unset it")
    return client


def _get_default(name: str) -> Any:  # noqa: ANN401  # options have all kinds of types
    (default,) = (option.default for option in OPTIONS if option.name == name)
    return default


def _print(line: str) -> None:
    print(line, flush=True)
