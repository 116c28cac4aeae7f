"""What the commands share: how they are added to the parser, options, types of values, errors."""

from __future__ import annotations

import argparse
from functools import partial
from textwrap import fill
from typing import TYPE_CHECKING

from whisperr._integrations.values import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_HELP_WIDTH = 80
_MAX_SECONDS = 3600  # an hour


class CommandError(Exception):
    """Ends a command with exit code 1. Its text is printed as one line: what is wrong."""

    code = 1


class UsageError(CommandError):
    """A call that cannot be carried out: the text says what to do; the exit code is 2."""

    code = 2


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a command; `run` returns its exit code, `examples` has calls and what they do."""
    command = commands.add_parser(
        name,
        help=summary,
        description=fill(description, _HELP_WIDTH),
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, name=name)
    return command


def add_sending_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that sends events."""
    parser.add_argument(
        "--base-url", metavar="URL", help="where to send; else WHISPERR_BASE_URL, else the service"
    )
    parser.add_argument(
        "--test", action="store_true", help="mark it as a test that changes no production data"
    )


def parse_count(text: str, minimum: int = 0) -> int:
    """Return a whole number from `minimum`."""
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from {minimum}")
    return int(text)


parse_positive = partial(parse_count, minimum=1)


def parse_timeout(text: str) -> float:
    """Return seconds above 0."""
    seconds = _to_float(text)
    if not 0 < seconds <= _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r}: the seconds must be above 0, at most 3600")
    return seconds


def parse_time(text: str) -> datetime:
    """Return the aware datetime of an RFC 3339 time."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_share(text: str) -> dict[str, float]:
    """Return the rate of a fault from a share of requests, above 0 and at most 1."""
    share = _to_float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a share must be above 0 and at most 1")
    return {"rate": share}


def parse_status(text: str) -> dict[str, float]:
    """Return the code and the rate of STATUS[:SHARE]."""
    status, _, share = text.partition(":")
    if not status.isdecimal() or not 300 <= int(status) <= 599:  # noqa: PLR2004  # HTTP
        raise argparse.ArgumentTypeError(f"{text!r}: the status must be from 300 to 599")
    return {"code": int(status), **parse_share(share or "1")}


def parse_delay(text: str) -> dict[str, float]:
    """Return the seconds and the rate of SECONDS[:SHARE]."""
    seconds, _, share = text.partition(":")
    delay = _to_float(seconds)
    if not 0 <= delay <= _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r}: the seconds must be from 0 to 3600")
    return {"seconds": delay, **parse_share(share or "1")}


def _to_float(text: str) -> float:
    """Return a number; -1, which is out of every range here, for any other text."""
    try:
        return float(text)
    except ValueError:
        return -1.0
