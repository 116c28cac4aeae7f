"""`manage.py whisperr_send USER EVENT key=value…` sends one event and prints the result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from whisperr._integrations.values import parse_members
from whisperr._queue.memory import MemoryQueue
from whisperr.django.conf import new_client

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from whisperr import WhisperrError


class Command(BaseCommand):
    """Sends one event with the project's settings and prints the result."""

    help: str = "Send one event, wait for the answer and print the result."
    # Sending one event is a way to find a mistake, so a failed check must not prevent it.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments of the command."""
        value = "the value as JSON (4900, 19.90, true, [1]); anything else is text"
        add = parser.add_argument
        add("user", metavar="USER", help="your id of the user")
        add("event", metavar="EVENT", help="such as payment_failed")
        add("properties", metavar="key=value", nargs="*", help=value)
        add("--message-id", metavar="ID", help="your own id for the event")
        text = "mark the event as a test, which affects no production data"
        add("--test", action="store_true", help=text)
        text = "seconds to wait for the answer (%(default)s)"
        add("--timeout", type=float, default=30.0, metavar="SECONDS", help=text)

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Send the event; fails if it was not delivered."""
        reports: list[WhisperrError] = []
        changed: dict[str, Any] = {"test_mode": True} if given["test"] else {}
        changed |= {"strict": True, "on_error": reports.append, "max_retries": 1}
        try:
            properties = parse_members(given["properties"])
            # In memory, whatever the settings say, because this process delivers the event.
            client = new_client("whisperr_send", **changed, buffer=MemoryQueue(1, sys.maxsize))
            chosen = client.track(
                given["user"], given["event"], properties, message_id=given["message_id"]
            )
        except (ImproperlyConfigured, ValueError) as error:  # also InvalidEvent
            raise CommandError(str(error)) from None
        if chosen is None:
            raise CommandError("not sent: whisperr is disabled, or before_send vetoed it")
        client.flush(given["timeout"])
        stats = client.stats()
        client.shutdown(0)
        if not stats.delivered:
            reason = stats.problem or "; ".join(error.message for error in reports) or "no answer"
            raise CommandError(f"not delivered: {reason}")
        self.stdout.write(self.style.SUCCESS(f"delivered, message id {chosen}"))
