"""Validate bodies against the ingestion contract. Pure: the clock is an argument.

Written from the contract alone and not from the client's encoder: neither would find a mistake
that both shared.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn

from .model import Problem

MAX_BATCH_EVENTS = 500
OLDEST = timedelta(days=30)
AHEAD = timedelta(minutes=5)

_EVENT_TYPE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_EVENT_KEYS = ("external_user_id", "event_type", "occurred_at", "properties", "context")
_IDENTIFY_KEYS = ("external_user_id", "anonymous_id", "traits", "preferred_channel", "channels")
_CHANNELS = ("email", "sms", "push")
_PUSH_KEYS: dict[str, tuple[str, ...]] = {
    "kind": ("fcm", "apns", "expo", "onesignal_sub"),
    "platform": ("ios", "android", "web", "macos", "windows", "linux"),
    "push_env": ("production", "sandbox"),
    "client_app_id": (),
    "provider_project": (),
}
_CHANNEL_KEYS = ("channel", "address", "opted_in", "verified", *_PUSH_KEYS)
_MAX_ANONYMOUS_ID = 128
_MAX_TEXT_CHARS = 80


class Malformed(Exception):  # noqa: N818  # an answer of the service, not an error of the program
    """The whole request is refused with 400: `code` is in the answer, `problem` says why."""

    def __init__(self, code: str, problem: Problem) -> None:
        super().__init__(str(problem))
        self.code = code
        self.problem = problem


def parse_body(body: bytes) -> Any:  # noqa: ANN401  # any JSON value
    """Return the value of a body; raises Malformed for what is not JSON in UTF-8 (RFC 8259)."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 at position {error.start}"
    except RecursionError:
        found = "nesting that is too deep"
    except ValueError as error:
        found = f"invalid JSON ({error})"
    raise Malformed("invalid_json", Problem("", found, "a JSON object in UTF-8"))


def parse_batch(body: bytes) -> list[Any]:
    """Return the events of a batch request; raises Malformed when it is wrong as a whole."""
    value = parse_body(body)
    if not isinstance(value, dict):
        raise Malformed("invalid_body", _wrong("", value, "an object with the key events"))
    for key in value:
        if key != "events":
            raise Malformed("unknown_key", _unknown("", key, ("events",)))
    events = value.get("events")
    if not isinstance(events, list) or not events:
        raise Malformed("no_events", _wrong("/events", events, "a list of 1 to 500 events"))
    if len(events) > MAX_BATCH_EVENTS:
        found = f"{len(events)} events"
        raise Malformed("too_many_events", Problem("/events", found, "1 to 500 events"))
    return events


def validate_event(event: object, now: float) -> list[Problem]:
    """Return the problems of one event; `now` is the wall clock in seconds."""
    if not isinstance(event, dict):
        return [_wrong("", event, "an object")]
    problems = [_unknown("", key, _EVENT_KEYS) for key in event if key not in _EVENT_KEYS]
    problems += _validate_user(event)
    name = event.get("event_type")
    if not isinstance(name, str) or not _EVENT_TYPE.fullmatch(name):
        problems.append(_wrong("/event_type", name, "lowercase snake case: payment_failed"))
    problems += _validate_time(event.get("occurred_at"), now)
    if not isinstance(event.get("properties"), dict):
        problems.append(_wrong("/properties", event.get("properties"), "an object, {} when none"))
    context = event.get("context")
    if not isinstance(context, dict):
        problems.append(_wrong("/context", context, "an object with $message_id"))
    elif not _is_text(context.get("$message_id")):
        found = context.get("$message_id")
        problems.append(_wrong("/context/$message_id", found, "a string, not empty"))
    return problems


def validate_identify(body: object) -> list[Problem]:
    """Return the problems of one identify."""
    if not isinstance(body, dict):
        return [_wrong("", body, "an object")]
    problems = [_unknown("", key, _IDENTIFY_KEYS) for key in body if key not in _IDENTIFY_KEYS]
    problems += _validate_user(body)
    if "anonymous_id" in body:
        handle = body["anonymous_id"]
        if not _is_text(handle) or len(handle) > _MAX_ANONYMOUS_ID:
            problems.append(_wrong("/anonymous_id", handle, "a string of 1 to 128 characters"))
    if "traits" in body and not isinstance(body["traits"], dict):
        problems.append(_wrong("/traits", body["traits"], "an object"))
    if "preferred_channel" in body and body["preferred_channel"] not in _CHANNELS:
        problems.append(_choice("/preferred_channel", body["preferred_channel"], _CHANNELS))
    channels = body.get("channels", [])
    if not isinstance(channels, list):
        return [*problems, _wrong("/channels", channels, "a list")]
    for index, channel in enumerate(channels):
        problems += _validate_channel(channel, f"/channels/{index}")
    return problems


def _validate_channel(channel: object, at: str) -> list[Problem]:
    if not isinstance(channel, dict):
        return [_wrong(at, channel, "an object")]
    problems = [_unknown(at, key, _CHANNEL_KEYS) for key in channel if key not in _CHANNEL_KEYS]
    kind = channel.get("channel")
    if kind not in _CHANNELS:
        problems.append(_choice(f"{at}/channel", kind, _CHANNELS))
    if not _is_text(channel.get("address")):
        problems.append(_wrong(f"{at}/address", channel.get("address"), "a string, not empty"))
    problems += [
        _wrong(f"{at}/{flag}", channel[flag], "true or false, or no key")
        for flag in ("opted_in", "verified")
        if flag in channel and not isinstance(channel[flag], bool)
    ]
    return problems + _validate_push(channel, kind, at)


def _validate_push(channel: dict[str, Any], kind: object, at: str) -> list[Problem]:
    problems = []
    for key, allowed in _PUSH_KEYS.items():
        if key not in channel:
            continue
        if kind != "push":
            problems.append(_wrong(f"{at}/{key}", channel[key], "no such key: for push only"))
        elif allowed and channel[key] not in allowed:
            problems.append(_choice(f"{at}/{key}", channel[key], allowed))
        elif not _is_text(channel[key]):
            problems.append(_wrong(f"{at}/{key}", channel[key], "a string, not empty"))
    return problems


def _validate_user(body: dict[str, Any]) -> list[Problem]:
    user = body.get("external_user_id")
    return [] if _is_text(user) else [_wrong("/external_user_id", user, "a string, not empty")]


def _validate_time(value: object, now: float) -> list[Problem]:
    at, shape = "/occurred_at", "RFC 3339 in UTC with three fraction digits and Z"
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return [_wrong(at, value, shape)]
    try:
        moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return [_wrong(at, value, f"a time that exists: {shape}")]
    present = datetime.fromtimestamp(now, timezone.utc)
    if not present - OLDEST <= moment <= present + AHEAD:
        return [_wrong(at, value, "from 30 days ago to 5 minutes ahead")]
    return []


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _unknown(at: str, key: str, allowed: tuple[str, ...]) -> Problem:
    pointer = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
    return Problem(pointer, "an unknown key", f"only {', '.join(allowed)}")


def _wrong(pointer: str, value: object, expected: str) -> Problem:
    return Problem(pointer, _to_text(value), expected)


def _choice(pointer: str, value: object, allowed: tuple[str, ...]) -> Problem:
    return _wrong(pointer, value, f"one of {', '.join(allowed)}")


def _to_text(value: object) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT_CHARS else f"{text[: _MAX_TEXT_CHARS - 1]}…"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
