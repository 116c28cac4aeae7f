"""Defines what a capture records: an event or an identify as it would have been sent. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

from whisperr._contract import RESERVED_CONTEXT_KEY
from whisperr._events.layout import is_identify
from whisperr._events.to_json import to_json

_MAX_DISPLAY = 80


@dataclass(frozen=True)
class Recorded:
    """What events and identifies have in common.

    Attributes:
        body: The decoded JSON object.
    """

    body: dict[str, Any]

    @property
    def user(self) -> str:
        """The `external_user_id`, as a string."""
        return str(self.body["external_user_id"])


class RecordedEvent(Recorded):
    """An event as it would be sent.

    Attributes:
        body: The decoded JSON object that `track` made.
    """

    @property
    def type(self) -> str:
        """The `event_type`, such as `"payment_failed"`."""
        return str(self.body["event_type"])

    @property
    def name(self) -> str:
        """Another name of `type`."""
        return self.type

    @property
    def properties(self) -> dict[str, Any]:
        """The properties as JSON values: a date as a string, a Decimal as a number."""
        return cast("dict[str, Any]", self.body["properties"])

    @property
    def context(self) -> dict[str, Any]:
        """The context, with `$message_id`, `sdk_name` and `sdk_version`."""
        return cast("dict[str, Any]", self.body["context"])

    @property
    def message_id(self) -> str:
        """The `$message_id`, which `track` returned."""
        return str(self.context[RESERVED_CONTEXT_KEY])

    @property
    def occurred_at(self) -> datetime:
        """When the event happened, in UTC, to the millisecond."""
        return datetime.fromisoformat(self.body["occurred_at"][:-1]).replace(tzinfo=timezone.utc)

    def __str__(self) -> str:
        return f"{self.type} of {self.user!r} {to_display(self.properties)}"


class RecordedIdentify(Recorded):
    """An identify as it would be sent.

    Attributes:
        body: The decoded JSON object that `identify` made.
    """

    @property
    def traits(self) -> dict[str, Any]:
        """The traits as JSON values; empty when there are none."""
        return cast("dict[str, Any]", self.body.get("traits", {}))

    @property
    def channels(self) -> list[dict[str, Any]]:
        """The channels, including those of `email=`, `phone=` and `push_token=`."""
        return cast("list[dict[str, Any]]", self.body.get("channels", []))

    @property
    def preferred_channel(self) -> str | None:
        """The `preferred_channel`; None when none was given."""
        return self.body.get("preferred_channel")

    @property
    def anonymous_id(self) -> str | None:
        """The `anonymous_id`; None when none was given."""
        return self.body.get("anonymous_id")

    def __str__(self) -> str:
        known = {k: v for k, v in self.body.items() if k != "external_user_id"}
        return f"identify of {self.user!r} {to_display(known)}"


def to_recorded(data: bytes) -> RecordedEvent | RecordedIdentify:
    """Decode what `track` or `identify` encoded."""
    body = json.loads(data)
    return RecordedIdentify(body) if is_identify(data) else RecordedEvent(body)


def to_display(value: object) -> str:
    """Return a value as one short line for people: the JSON that it becomes."""
    return cut(
        json.dumps(json.loads(to_json(value, "the value")), ensure_ascii=False), _MAX_DISPLAY
    )


def cut(text: str, width: int) -> str:
    """Return the text, with an ellipsis at its end when it was longer than `width`."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
