"""A client for one command: strict, with nothing on the log, and with what was said about events.

The key comes from the environment only: an argument would show it to everybody on the machine.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from whisperr import Whisperr
from whisperr._contract import BASE_URL

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from whisperr import WhisperrError

TIMEOUT = 30.0
_ADVICE = {
    "auth": "check WHISPERR_API_KEY",
    "dropped": "correct the event and send it again",
    "retry_exhausted": "`whisperr doctor` looks for the cause",
}


class WrongCallError(Exception):
    """What cannot be carried out as it was asked for: one line that says what to do; exit 2."""


class Sender:
    """One client and what it was told. Raises WrongCallError when no client can be made."""

    def __init__(self, base_url: str | None, **options: Any) -> None:  # noqa: ANN401  # those of Whisperr
        self.errors: list[WhisperrError] = []
        quiet = logging.getLogger("whisperr")
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())
        if not os.environ.get("WHISPERR_API_KEY", "").strip():
            raise WrongCallError("no key: set WHISPERR_API_KEY to your server key (wrk_...)")
        self.client = client_of(base_url, strict=True, on_error=self.errors.append, **options)

    def deliver(self, timeout: float) -> str | None:
        """Deliver what was tracked and end; return why it was not delivered, None when it was."""
        began = time.monotonic()
        self.client.flush(timeout)
        stats = self.client.stats()
        self.client.shutdown(0)
        if stats.delivered == stats.accepted:
            return None
        told = [error for error in self.errors if error.reason != "shutdown"]
        said = stats.problem or (told[0].message if told else None)
        spent = time.monotonic() - began
        kind = told[0].type if told else "retry_exhausted"
        return f"{said or f'no answer within {spent:.0f} s'}; {_ADVICE[kind]}"


def client_of(base_url: str | None, **options: Any) -> Whisperr:  # noqa: ANN401  # those of Whisperr
    """Make a client with the key of the environment; what it warns of is one line on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            client = Whisperr(base_url=base_url or BASE_URL, **options)
        except ValueError as error:
            raise WrongCallError(str(error)) from None
    for warning in caught:
        print(f"whisperr: {warning.message}", file=sys.stderr)
    return client


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every sending command has."""
    parser.add_argument(
        "--base-url", metavar="URL", help="where to send; else WHISPERR_BASE_URL, else the service"
    )
    parser.add_argument(
        "--test", action="store_true", help="mark it as a test that touches no production data"
    )


def fail(command: str, message: str, code: int) -> int:
    """Say in one line what is wrong; return the exit code."""
    print(f"whisperr {command}: {' '.join(message.split())}", file=sys.stderr)
    return code


def examples(*lines: Sequence[str]) -> str:
    """Return the end of a help text: calls, each with what it does."""
    listed = "".join(f"  {call}\n      {what}\n" for call, what in lines)
    return f"examples:\n{listed}"
