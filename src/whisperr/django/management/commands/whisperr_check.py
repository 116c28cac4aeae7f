"""`manage.py whisperr_check` finds out why no events arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from whisperr._checkup.buffer import inspect_buffer
from whisperr._checkup.checkup import checkup
from whisperr._checkup.findings import to_text
from whisperr.django.conf import config
from whisperr.django.outbox.buffer import OutboxBuffer
from whisperr.django.outbox.checkup import inspect_outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._checkup.findings import Finding, State
    from whisperr._options import Config


class Command(BaseCommand):
    """Prints a line for each check; fails if one of them is wrong."""

    help: str = (
        "Check the settings of whisperr, the connection to the service, the key, the clock and the "
        "buffer. With the outbox, check its tables, its rows and whether a relay runs, too. "
        "Sends one request without events and only reads the buffer; nothing is stored."
    )
    # This command finds the same mistakes and continues after them.
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Run the checks."""
        encoding = getattr(self.stdout, "encoding", None)
        wrong = []
        given = "WHISPERR_BASE_URL in the settings"
        # `get_client` connects its client to Celery.
        for found in checkup(_read, _inspect_buffer, given, connected={"celery"}):
            self.stdout.write(to_text(found, self._paint, encoding))
            self.stdout.flush()
            wrong += [found.name] if found.state == "wrong" else []
        if wrong:
            raise CommandError(f"wrong: {', '.join(wrong)}")

    def _paint(self, sign: str, state: State) -> str:
        styles = {"ok": self.style.SUCCESS, "wrong": self.style.ERROR}
        return styles.get(state, self.style.WARNING)(sign)


def _read() -> Config:
    try:
        return config()
    except ImproperlyConfigured as error:
        raise ValueError(str(error)) from error


def _inspect_buffer(options: Config) -> Iterator[Finding]:
    if isinstance(options.buffer, OutboxBuffer):
        return inspect_outbox(options.buffer)
    return inspect_buffer(options)
