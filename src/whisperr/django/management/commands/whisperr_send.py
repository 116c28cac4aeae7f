"""`manage.py whisperr_send USER EVENT key=value…`: send one event and see it arrive."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from whisperr import InvalidEvent
from whisperr.django.conf import InMemory, new_client

if TYPE_CHECKING:
    from typing import Any

    from django.core.management.base import CommandParser

    from whisperr import WhisperrError


class Command(BaseCommand):
    """Sends with the project's settings and says what became of it."""

    help: str = "Send one event, wait for the answer and say what became of it."
    requires_system_checks: tuple[
        str, ...
    ] = ()  # sending one event is a way to find out what is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the call."""
        parser.add_argument("user", metavar="USER", help="your id of the user")
        parser.add_argument("event", metavar="EVENT", help="such as payment_failed")
        parser.add_argument(
            "properties", metavar="key=value", nargs="*",
            help="the value as JSON (4900, true, [1]); anything else is text",
        )  # fmt: skip
        parser.add_argument("--message-id", metavar="ID", help="an id of your own")
        parser.add_argument(
            "--test", action="store_true", help="mark it as a test that touches nobody"
        )
        parser.add_argument(
            "--timeout", type=float, default=30.0, metavar="SECONDS", help="%(default)s"
        )

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Send it; fails when it was not delivered."""
        properties = dict(map(_property, given["properties"]))
        told: list[WhisperrError] = []
        changed = {"strict": True, "on_error": told.append, "max_retries": 1, "buffer": InMemory()}
        if given["test"]:
            changed["test_mode"] = True
        try:
            client = new_client(**changed)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        try:
            chosen = client.track(
                given["user"], given["event"], properties, message_id=given["message_id"]
            )
        except InvalidEvent as error:
            raise CommandError(str(error)) from None
        if chosen is None:
            raise CommandError("not sent: whisperr is disabled, or before_send did not want it")
        client.flush(given["timeout"])
        stats = client.stats()
        client.shutdown(0)
        if not stats.delivered:
            reason = "; ".join(error.message for error in told) or stats.problem or "no answer"
            raise CommandError(f"not delivered: {reason}")
        self.stdout.write(self.style.SUCCESS(f"delivered, message id {chosen}"))


def _property(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"{text!r}: a property is written key=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
