"""Calls of the client for the lines of an import file, one line at a time.

A line is a JSON object in the shape of the wire: an event has an `event_type`, everything else is
an identify. So events that `on_error` received as dropped can be imported unchanged.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from inspect import signature
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from whisperr import InvalidEvent, Whisperr
from whisperr._integrations.values import parse_json, parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_LINE_BYTES = 1024 * 1024
# CONTRACT, Event. `track` itself is not as strict about the future, because of clocks that differ.
_AHEAD = timedelta(minutes=5)
_ID_DIGITS = 32
_EVENT_KEYS = tuple(signature(Whisperr.track).parameters)[1:]  # without self
_IDENTIFY_KEYS = tuple(signature(Whisperr.identify).parameters)[1:]


class Line(NamedTuple):
    """One line: its number from 1, the offset of its end, its bytes (None when it is too long)."""

    number: int
    end: int
    data: bytes | None


def read_lines(file: BinaryIO, line: int, offset: int) -> Iterator[Line]:
    """Yield the lines from an offset on, with at most MAX_LINE_BYTES of each in memory."""
    file.seek(offset)
    while data := file.readline(MAX_LINE_BYTES + 1):
        line += 1
        whole = len(data) <= MAX_LINE_BYTES
        while not whole and not data.endswith(b"\n"):
            data = file.readline(MAX_LINE_BYTES)
            if not data:
                break
        yield Line(line, file.tell(), data if whole else None)


def send_line(client: Whisperr, data: bytes | None) -> None:
    """Make the call of one line with a strict client; none for a blank line.

    Raises InvalidEvent that says what is wrong with the line.
    """
    if data is None:
        raise InvalidEvent(
            f"longer than {MAX_LINE_BYTES} bytes; is every event on a line of its own?"
        )
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"not UTF-8 at byte {error.start}") from None
    if not text:
        return
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InvalidEvent(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be a JSON object, got {type(value).__name__}")
    is_event = "event_type" in value
    kind = "an event" if is_event else "an identify (it has no event_type)"
    known = _EVENT_KEYS if is_event else _IDENTIFY_KEYS
    for key in value:
        if key not in known:
            raise InvalidEvent(f"{key[:40]!r}: {kind} has only the keys {', '.join(known)}")
    arguments = {"external_user_id": None, **value}
    if is_event:
        moment = _parse_occurred_at(value.get("occurred_at"))
        client.track(**{**arguments, "occurred_at": moment, "message_id": get_message_id(value)})
    else:
        client.identify(**arguments)


def get_message_id(event: Mapping[str, Any]) -> str:
    """Return the id that an event has, or one derived from its content: 32 hex digits.

    The order of the keys does not matter. So a second import of a line adds no duplicate.
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
        raise InvalidEvent("occurred_at: an imported event needs the time it happened, as a string")
    try:
        moment = parse_moment(stamp)
    except ValueError as error:
        raise InvalidEvent(f"occurred_at: {error}") from None
    if moment > datetime.now(timezone.utc) + _AHEAD:
        raise InvalidEvent(
            f"occurred_at: {stamp} is more than 5 minutes ahead; the server refuses it"
        )
    return moment
