"""Validate bodies against the ingestion contract, and hint at how to fix them, by tables. Pure.

Written from the contract alone and not from the client's encoder, so that a bug of one is found by
the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, NoReturn

from .model import Problem

# Returns what is expected in place of a value; None for a valid value.
_Rule = Callable[[Any], str | None]


def _rule(expected: str, is_right: Callable[[Any], object]) -> _Rule:
    return lambda value: None if is_right(value) else expected


def _choice(*allowed: str) -> _Rule:
    return _rule(f"one of {', '.join(allowed)}", lambda value: value in allowed)


MAX_BATCH_EVENTS = 500
_OLDEST = timedelta(days=30)
_AHEAD = timedelta(minutes=5)
_MAX_ANONYMOUS_ID = 128
_MAX_TEXT_CHARS = 80
_EVENT_TYPE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

_TEXT = _rule("a string that is not empty", lambda value: isinstance(value, str) and value)
_FLAG = _rule("true, false, or no key", lambda value: isinstance(value, bool))
_CHANNEL_NAME = _choice("email", "sms", "push")
_IDENTIFY: dict[str, _Rule] = {
    "external_user_id": _TEXT,
    "anonymous_id": _rule(
        "a string of 1 to 128 characters",
        lambda value: isinstance(value, str) and 0 < len(value) <= _MAX_ANONYMOUS_ID,
    ),
    "traits": _rule("an object", lambda value: isinstance(value, dict)),
    "preferred_channel": _CHANNEL_NAME,
    "channels": _rule("a list", lambda value: isinstance(value, list)),
}
_PUSH: dict[str, _Rule] = {
    "kind": _choice("fcm", "apns", "expo", "onesignal_sub"),
    "platform": _choice("ios", "android", "web", "macos", "windows", "linux"),
    "push_env": _choice("production", "sandbox"),
    "client_app_id": _TEXT,
    "provider_project": _TEXT,
}
_CHANNEL = {"channel": _CHANNEL_NAME, "address": _TEXT, "opted_in": _FLAG, "verified": _FLAG}
_PUSH_ONLY = _rule("no such key (push only)", lambda _: False)
_PUSH_CHANNEL = _CHANNEL | _PUSH
_OTHER_CHANNEL = _CHANNEL | dict.fromkeys(_PUSH, _PUSH_ONLY)
# By JSON pointer; every channel uses the pointers of the first.
_FLAG_HINT = "Send true or false, or leave the key out if it is not known."
_HINTS = {
    "": "Send one JSON object with the keys of the contract.",
    "/external_user_id": "Send the user's id as text: the integer 42 becomes the string 42.",
    "/event_type": "Rename it: lower-case letters and digits, one underscore between words.",
    "/properties": "Send an object; if there are no properties, send {}.",
    "/context": "Send an object with $message_id.",
    "/context/$message_id": (
        "Give each event its own id when it is created, and keep the id for retries."
    ),
    "/traits": "Send an object, or leave the key out.",
    "/anonymous_id": "Send the id as text of 1 to 128 characters, or leave the key out.",
    "/preferred_channel": "Name the channel email, sms or push, or leave the key out.",
    "/channels": "Send a list of channels, or leave the key out.",
    "/channels/0": "Send each channel as an object with channel and address.",
    "/channels/0/channel": "The key is channel, not type; its value is email, sms or push.",
    "/channels/0/address": "Send the address as text; leave out a channel without an address.",
    "/channels/0/opted_in": _FLAG_HINT,
    "/channels/0/verified": _FLAG_HINT,
}
_PUSH_HINT = "Use this key for push channels only, with one of the allowed values."


class Malformed(Exception):  # noqa: N818  # an answer of the service, not an error of the program
    """Raised to refuse a whole request with 400; the answer has the code and the problem."""

    def __init__(self, code: str, problem: Problem) -> None:
        super().__init__(str(problem))
        self.code = code


def parse_body(body: bytes) -> Any:  # noqa: ANN401  # any JSON value
    """Return the value of a body; raises Malformed if it is not JSON in UTF-8 (RFC 8259)."""
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
    """Return the events of a batch request; raises Malformed if the whole request is invalid."""
    value = parse_body(body)
    if not isinstance(value, dict):
        raise Malformed("invalid_body", _wrong("", value, "an object with the key events"))
    for problem in _find_unknown("", value, ("events",)):
        raise Malformed("unknown_key", problem)
    events = value.get("events")
    if not isinstance(events, list) or not events:
        raise Malformed("no_events", _wrong("/events", events, "a list of 1 to 500 events"))
    if len(events) > MAX_BATCH_EVENTS:
        found = f"{len(events)} events"
        raise Malformed("too_many_events", Problem("/events", found, "1 to 500 events"))
    return events


def validate_event(event: object, now: float) -> list[Problem]:
    """Return the problems of one event; `now` is the wall clock in seconds."""
    rules: dict[str, _Rule] = {
        "external_user_id": _TEXT,
        "event_type": _rule(
            "lowercase snake case: payment_failed",
            lambda value: isinstance(value, str) and _EVENT_TYPE.fullmatch(value),
        ),
        "occurred_at": partial(_check_time, now=now),
        "properties": _rule(
            "an object, {} if there are none", lambda value: isinstance(value, dict)
        ),
        "context": _rule("an object with $message_id", lambda value: isinstance(value, dict)),
    }
    problems = _check("", event, rules, required=rules)
    context = event.get("context") if isinstance(event, dict) else None
    if isinstance(context, dict) and (expected := _TEXT(context.get("$message_id"))):
        problems.append(_wrong("/context/$message_id", context.get("$message_id"), expected))
    return problems


def validate_identify(body: object) -> list[Problem]:
    """Return the problems of one identify."""
    problems = _check("", body, _IDENTIFY, required=("external_user_id",))
    channels = body.get("channels") if isinstance(body, dict) else None
    for index, channel in enumerate(channels if isinstance(channels, list) else ()):
        is_push = isinstance(channel, dict) and channel.get("channel") == "push"
        rules = _PUSH_CHANNEL if is_push else _OTHER_CHANNEL
        problems += _check(f"/channels/{index}", channel, rules, required=("channel", "address"))
    return problems


def get_hint(problem: Problem) -> str:
    """Return how to fix a problem, in one sentence."""
    if problem.found == "an unknown key":
        name = problem.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if problem.pointer.startswith("/channels/"):
            return f"Remove {name} from the channel."
        where = "traits" if "traits" in problem.expected else "properties"
        return f"Remove {name}, or move it into {where}."
    if problem.pointer == "/occurred_at":
        if problem.expected.startswith("from"):
            return "Check the clock of the sender; events older than 30 days cannot be sent."
        return "Write it as 2026-06-14T12:00:00.000Z: in UTC, truncated to the millisecond."
    pointer = re.sub(r"^/channels/\d+", "/channels/0", problem.pointer)
    return _HINTS.get(pointer, _PUSH_HINT if pointer.startswith("/channels/0/") else _HINTS[""])


def _check(
    at: str, value: object, rules: dict[str, _Rule], required: Container[str]
) -> list[Problem]:
    if not isinstance(value, dict):
        return [_wrong(at, value, "an object")]
    problems = _find_unknown(at, value, tuple(rules))
    for key, rule in rules.items():
        if (key in value or key in required) and (expected := rule(value.get(key))):
            problems.append(_wrong(f"{at}/{key}", value.get(key), expected))
    return problems


def _check_time(value: object, now: float) -> str | None:
    shape = "RFC 3339 in UTC with three fraction digits and Z"
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return shape
    try:
        moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return f"a time that exists: {shape}"
    age = datetime.fromtimestamp(now, timezone.utc) - moment
    return None if -_AHEAD <= age <= _OLDEST else "from 30 days ago to 5 minutes ahead"


def _find_unknown(at: str, value: dict[str, Any], allowed: tuple[str, ...]) -> list[Problem]:
    expected = f"only {', '.join(allowed)}"
    unknown = [key.replace("~", "~0").replace("/", "~1") for key in value if key not in allowed]
    return [Problem(f"{at}/{key}", "an unknown key", expected) for key in unknown]


def _wrong(pointer: str, value: object, expected: str) -> Problem:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    if len(text) > _MAX_TEXT_CHARS:
        text = f"{text[: _MAX_TEXT_CHARS - 1]}…"
    return Problem(pointer, text, expected)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
