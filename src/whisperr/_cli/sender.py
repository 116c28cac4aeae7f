"""A client for one command: strict, without logging, with a record of what it reported.

The key is read from the environment only: the arguments of a process are visible to every user of
the machine.
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

from .command import CommandError, UsageError

if TYPE_CHECKING:
    from whisperr import WhisperrError

_HINTS = {
    "auth": "check WHISPERR_API_KEY",
    "dropped": "correct the event and send it again",
    "retry_exhausted": "`whisperr doctor` looks for the cause",
}


class Sender:
    """One client and the errors it reported. Raises UsageError for a wrong configuration."""

    def __init__(self, base_url: str | None, **options: Any) -> None:  # noqa: ANN401  # those of Whisperr
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
                    base_url=base_url or BASE_URL,
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
