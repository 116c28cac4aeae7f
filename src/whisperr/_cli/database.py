"""The option `--database`, which `whisperr relay` and `whisperr outbox` share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from whisperr._secret import Secret

from .command import CommandError, UsageError

if TYPE_CHECKING:
    import argparse

    from whisperr.sqlalchemy._database import Source

VARIABLE = "WHISPERR_DATABASE_URL"


def add_database_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the database and the schema."""
    parser.add_argument(
        "--database",
        type=Secret,
        metavar="URL",
        help=f"database of the outbox (default: {VARIABLE}, which keeps a password out of the list "
        "of processes)",
    )
    text = "schema of its tables (default: the one that the database searches first)"
    parser.add_argument("--schema", metavar="NAME", help=text)


def open_outbox(arguments: argparse.Namespace) -> Source:
    """Return the tables that the options name.

    Raises UsageError for a missing or wrong URL, CommandError if the database cannot be used.
    """
    try:
        from whisperr.sqlalchemy._database import open_database
    except ImportError as error:
        raise UsageError(str(error)) from None
    given, option = arguments.database, "--database"
    if given is None:
        given, option = Secret(os.environ.get(VARIABLE)), VARIABLE
    if given.is_missing:
        raise UsageError(
            f"which database? --database URL, or {VARIABLE}; as in postgresql://user@host/name"
        )
    try:
        return open_database(given, arguments.schema)
    except ValueError as error:
        raise UsageError(f"{option} {error}") from None
    except LookupError as error:
        raise CommandError(str(error)) from None
