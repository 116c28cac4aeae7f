"""Turns the records of an import into calls of `track` and `identify`.

An object has the shape of the wire: one with an `event_type` is an event, any other is an identify.
So the dropped events that `on_error` receives can be imported unchanged.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from whisperr import InvalidEvent
from whisperr._events.redaction import redact
from whisperr._integrations.values import parse_json, parse_moment

from .mapping import EVENT_KEYS, IDENTIFY_KEYS, TIME, TYPE, USER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whisperr import Whisperr

# CONTRACT, Event. `track` itself allows more, because clocks differ.
_AHEAD = timedelta(minutes=5)
_ID_DIGITS = 32


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the object of a line or an item; None for a blank one; raises InvalidEvent."""
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"not UTF-8 at byte {error.start}") from None
    if not text:
        return None
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InvalidEvent(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be a JSON object, got {type(value).__name__}")
    return value


def send_object(client: Whisperr, value: Mapping[str, Any]) -> str | None:
    """Track or identify one object with a strict client; return its type, None for an identify.

    Raises InvalidEvent, whose text says what is wrong with the object.
    """
    is_event = TYPE in value
    kind = "an event" if is_event else "an identify (it has no event_type)"
    known = EVENT_KEYS if is_event else IDENTIFY_KEYS
    for key in value:
        if key not in known:
            raise InvalidEvent(f"{redact(key)}: {kind} has only the keys {', '.join(known)}")
    arguments = {USER: None, **value}
    if not is_event:
        client.identify(**arguments)
        return None
    moment = _parse_occurred_at(value.get(TIME))
    client.track(**{**arguments, TIME: moment, "message_id": get_message_id(value)})
    return str(value[TYPE])


def get_message_id(event: Mapping[str, Any]) -> str:
    """Return the id of an event, or one made from its content: 32 hex digits.

    The order of the keys does not matter. So importing a line again adds no duplicate.
    """
    context = event.get("context")
    given = event.get("message_id") or (
        context.get("$message_id") if isinstance(context, dict) else None
    )
    if given:
        return str(given)
    text = json.dumps(event, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]


def _parse_occurred_at(stamp: object) -> datetime:
    if not isinstance(stamp, str):
        raise InvalidEvent(
            "occurred_at: an imported event needs the time when it happened, as a string"
        )
    try:
        moment = parse_moment(stamp)
    except ValueError as error:
        raise InvalidEvent(f"occurred_at: {error}") from None
    if moment > datetime.now(timezone.utc) + _AHEAD:
        raise InvalidEvent(
            f"occurred_at: {stamp} is more than 5 minutes ahead; the server refuses it"
        )
    return moment
