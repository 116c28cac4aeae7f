"""What the commands share: how they are added to the parser, their errors, and their client.

The key is read from the environment only: the arguments of a process are visible to every user of
the machine.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from textwrap import fill
from typing import TYPE_CHECKING, Any

from whisperr import Whisperr
from whisperr._contract import BASE_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import WhisperrError

MAX_SECONDS = 3600  # an hour
_HELP_WIDTH = 80
_HINTS = {
    "auth": "check WHISPERR_API_KEY",
    "delayed": "`whisperr doctor` looks for the cause",
    "dropped": "correct the event and send it again",
    "retry_exhausted": "`whisperr doctor` looks for the cause",
}


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


def to_float(text: str) -> float:
    """Return a number; -1, which is out of every range here, for any other text."""
    try:
        return float(text)
    except ValueError:
        return -1.0


class Sender:
    """A strict client without logging, and the errors it reported.

    Raises UsageError for a wrong configuration.
    """

    def __init__(self, arguments: argparse.Namespace, **options: Any) -> None:  # noqa: ANN401  # those of Whisperr
        self.errors: list[WhisperrError] = []
        logger = logging.getLogger("whisperr")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        if not os.environ.get("WHISPERR_API_KEY", "").strip():
            raise UsageError("no key: set WHISPERR_API_KEY to your server key (wrk_...)")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self.client = Whisperr(
                    base_url=arguments.base_url or BASE_URL,
                    test_mode=arguments.test,
                    strict=True,
                    on_error=self.errors.append,
                    **options,
                )
            except ValueError as error:
                raise UsageError(str(error)) from None
        for warning in caught:
            print(f"whisperr: {warning.message}", file=sys.stderr)

    def deliver(self, timeout: float) -> float:
        """Deliver, shut down and return the seconds it took; raises CommandError for a failure."""
        began = time.monotonic()
        self.client.flush(timeout)
        stats = self.client.stats()
        self.client.shutdown(0)
        spent = time.monotonic() - began
        if stats.delivered != stats.accepted:
            errors = [error for error in self.errors if error.reason != "shutdown"]
            message = stats.problem or (errors[0].message if errors else None)
            hint = _HINTS[errors[0].type if errors else "retry_exhausted"]
            reason = message or f"no answer within {spent:.0f} s"
            raise CommandError(f"not delivered: {reason}; {hint}")
        return spent
