"""`whisperr outbox`: shows the outbox of a database, and requeues or deletes dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._integrations.outbox_report import (
    add_outbox_options,
    check_outbox_options,
    run_outbox,
)

from .command import CommandError, UsageError, add_command
from .database import add_database_options, open_outbox

if TYPE_CHECKING:
    import argparse

    from .command import Parser

_EXAMPLES = """\
  WHISPERR_DATABASE_URL=postgresql://app:secret@db/app whisperr outbox
      how many events wait, for how long, and how many dead letters there are
  whisperr outbox --database sqlite:////var/lib/app/app.db --dead 5
      also the newest five dead letters, with their ids
  whisperr outbox --database sqlite:////var/lib/app/app.db --requeue --all
      deliver all dead letters again, with the same ids, so that none counts twice
"""


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "outbox",
        _run,
        "show the outbox of a database, and requeue or delete dead letters",
        "Show how many events wait in an outbox and which the server refused (dead letters), and "
        "requeue or delete dead letters. Works on the tables of whisperr.sqlalchemy and on those "
        "of a Django project.",
        _EXAMPLES,
        usage="--database URL",
    )
    add_database_options(parser)
    add_outbox_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    given = vars(arguments)
    try:
        check_outbox_options(given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    claims, name = open_outbox(arguments)
    from whisperr._queue.table.store import get_first_line
    from whisperr.sqlalchemy._dead_letters import DeadLetters

    try:
        print(run_outbox(DeadLetters(claims), given))
    except claims.errors as error:
        raise CommandError(f"{name} cannot be used: {get_first_line(error)}") from None
    finally:
        claims.close()
    return 0
