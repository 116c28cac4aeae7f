"""`whisperr track` and `whisperr identify`: send one, wait, and print the result."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr._foreign import printable
from whisperr._integrations.values import parse_json, parse_members, parse_moment

from .command import (
    MAX_SECONDS,
    Interrupted,
    Parser,
    Sender,
    UsageError,
    add_command,
    add_sending_options,
    to_float,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import Whisperr

_MAX_JSON_CHARS = 16 * 1024 * 1024  # more than any server accepts
_KEY = "The key is read from WHISPERR_API_KEY."
_VALUES = (
    "A value that is JSON is sent as JSON: 4900, true, null, [1]. Everything else is a string; "
    "write '\"4900\"' for a string of digits."
)
_USER = "external_user_id (your id of the user)"
_EVENT = "event_type (what happened, in lowercase snake case)"
_TRACK = "whisperr track user_8842 payment_failed amount_cents=4900"
_IDENTIFY = "whisperr identify user_8842 --trait plan=pro"
_TRACK_EXAMPLES = """\
  whisperr track user_8842 payment_failed amount_cents=4900 reason=card_declined
      a number and a string
  whisperr track user_8842 trial_started --at {an_hour_ago}
      an event of the past, at most 30 days ago
  whisperr track user_8842 invoice_overdue --json invoice.json
      properties from a file
"""
_IDENTIFY_EXAMPLES = """\
  whisperr identify user_8842 --email ada@example.com --trait plan=pro
      an address that the user has opted in to, and a trait
  whisperr identify user_8842 --trait seats=9 --trait 'zip="01234"'
      a number and a string of digits
"""


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the two commands."""
    track, identify = _add_track(commands), _add_identify(commands)
    for command in (track, identify):
        command.set_defaults(rest_to="words")
        command.add_argument(
            "--timeout",
            type=_parse_timeout,
            default=30.0,
            metavar="SECONDS",
            help="how long to try (default: %(default)g)",
        )
    add_sending_options(track)
    add_sending_options(identify, test_help="")


def _add_track(commands: argparse._SubParsersAction[Parser]) -> Parser:
    track = add_command(
        commands,
        "track",
        partial(_send, _track),
        "send one event and print the answer of the server",
        f"Send one event, wait for its delivery and print the result. {_KEY} {_VALUES}",
        _TRACK_EXAMPLES.replace("{an_hour_ago}", _format_an_hour_ago()),
        usage="USER EVENT [key=value ...]",
    )
    track.add_argument(
        "words",
        metavar="USER EVENT key=value",
        nargs="*",
        help="your id of the user; the event type, in lowercase snake case; properties",
    )
    track.add_argument(
        "--json", metavar="FILE", help="file with a JSON object of properties; - for standard input"
    )
    track.add_argument(
        "--at",
        type=_parse_time,
        metavar="TIME",
        help="when it happened: RFC 3339 with a time zone (default: now)",
    )
    track.add_argument(
        "--message-id",
        metavar="ID",
        help="id of the event (default: random); the server drops a second event with it",
    )
    return track


def _add_identify(commands: argparse._SubParsersAction[Parser]) -> Parser:
    identify = add_command(
        commands,
        "identify",
        partial(_send, _identify),
        "send traits and addresses of a user and print the answer of the server",
        f"Send traits and addresses of a user, wait for the delivery and print the result. {_KEY} "
        f"{_VALUES}",
        _IDENTIFY_EXAMPLES,
        usage="USER",
    )
    identify.add_argument("words", metavar="USER", nargs="*", help="your id of the user")
    for name in ("email", "phone", "push-token"):
        identify.add_argument(
            f"--{name}", metavar="ADDRESS", help="address that the user has opted in to"
        )
    identify.add_argument(
        "--trait",
        metavar="key=value",
        action="append",
        default=[],
        help="a trait of the user; may be repeated",
    )
    identify.add_argument(
        "--json", metavar="FILE", help="file with a JSON object of traits; - for standard input"
    )
    identify.add_argument(
        "--preferred-channel",
        choices=("email", "sms", "push"),
        help="channel that the user prefers",
    )
    identify.add_argument(
        "--anonymous-id",
        metavar="ID",
        help="id that the browser or app used before the user was known",
    )
    return identify


def _format_an_hour_ago() -> str:
    """Return a time that the server accepts, today and on every other day."""
    moment = datetime.now(timezone.utc) - timedelta(hours=1)
    return f"{moment:%Y-%m-%dT%H:%M:00Z}"


def _parse_timeout(text: str) -> float:
    """Return seconds above 0."""
    seconds = to_float(text)
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r}: the seconds must be above 0, at most 3600")
    return seconds


def _parse_time(text: str) -> datetime:
    """Return the aware datetime of an RFC 3339 time."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_words(arguments: argparse.Namespace) -> None:
    """Set the user, the event and the pairs; end with an error if one is missing."""
    user, event, *pairs = [*arguments.words, "", ""][: max(len(arguments.words), 2)]
    is_track = arguments.name == "track"
    if not arguments.words:
        missing = f"{_USER} and {_EVENT} are" if is_track else f"{_USER} is"
        example = _TRACK if is_track else _IDENTIFY
        arguments.parser.error(f"{missing} missing; example: {example}")
    if not is_track:
        pairs = arguments.words[1:]
        if pairs:
            options = shlex.join(word for pair in pairs for word in ("--trait", pair))
            arguments.parser.refuse(pairs, f"; traits are written: {printable(options)}")
    elif not event or "=" in event:
        words = ["whisperr", "track", user, "payment_failed", *arguments.words[1:]]
        arguments.parser.error(f"{_EVENT} is missing; example: {printable(shlex.join(words))}")
    arguments.user, arguments.event, arguments.pairs = user, event, pairs


def _track(client: Whisperr, arguments: argparse.Namespace) -> str:
    message_id = client.track(
        arguments.user,
        arguments.event,
        _read_object(arguments.json, arguments.pairs),
        occurred_at=arguments.at,
        message_id=arguments.message_id,
    )
    return f"{arguments.event} of {arguments.user}, message id {message_id}"


def _identify(client: Whisperr, arguments: argparse.Namespace) -> str:
    traits = _read_object(arguments.json, arguments.trait)
    _check_known(arguments, traits)
    client.identify(
        arguments.user,
        traits=traits,
        email=arguments.email,
        phone=arguments.phone,
        push_token=arguments.push_token,
        preferred_channel=arguments.preferred_channel,
        anonymous_id=arguments.anonymous_id,
    )
    return f"identify of {arguments.user}"


def _check_known(arguments: argparse.Namespace, traits: dict[str, Any]) -> None:
    """Raise UsageError for an empty address, or if nothing is given."""
    names = ("email", "phone", "push_token", "preferred_channel", "anonymous_id")
    given = {name: getattr(arguments, name) for name in names}
    for name, value in given.items():
        if value is not None and not value.strip():
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is empty: is a shell variable not set?")
    if not traits and not any(given.values()):
        raise UsageError(
            "nothing to send about the user: add --email, --phone or --trait, for example: "
            f"{_IDENTIFY}"
        )


def _send(
    call: Callable[[Whisperr, argparse.Namespace], str], arguments: argparse.Namespace
) -> int:
    """Make one call, deliver it, and print the result; `call` returns what it sends."""
    _read_words(arguments)
    sender = Sender(arguments)
    try:
        name = call(sender.client, arguments)
        spent = sender.deliver(arguments.timeout, partial(_report, arguments.name))
    except ValueError as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt:
        sender.client.shutdown(0)  # otherwise the exit of the process would wait for the delivery
        raise Interrupted(
            "interrupted; it may or may not have arrived; with --message-id it can be repeated "
            "without a duplicate"
            if arguments.name == "track"
            else "interrupted; it may or may not have arrived; it can be repeated"
        ) from None
    requests = sender.client.stats().requests
    retried = "" if requests == 1 else f" in {requests} requests"
    text = f"delivered {name}: accepted{retried} after {spent * 1000:.0f} ms"
    if getattr(arguments, "message_id", None) is not None:  # the answer does not tell
        text += "; dropped by the server if the message id has arrived before"
    print(printable(text))
    return 0


def _report(name: str, text: str) -> None:
    with suppress(OSError):  # stderr may be closed
        print(printable(f"whisperr {name}: {text}"), file=sys.stderr, flush=True)


def _read_object(file: str | None, pairs: list[str]) -> dict[str, Any]:
    """Return the object of a file, overridden by the `key=value` words."""
    value: Any = {}
    if file is not None:
        try:
            value = parse_json(_read_text(file))
        except (OSError, ValueError) as error:
            raise UsageError(f"--json {file}: {error}; name a file with a JSON object") from None
        if not isinstance(value, dict):
            raise UsageError(f"--json {file}: must be a JSON object, got {type(value).__name__}")
    return {**value, **parse_members(pairs)}


def _read_text(file: str) -> str:
    """Return the text of a file, or of stdin for `-`; raises ValueError when it is too long."""
    if file == "-":
        text = sys.stdin.read(_MAX_JSON_CHARS + 1)
    else:
        with Path(file).open(encoding="utf-8") as opened:
            text = opened.read(_MAX_JSON_CHARS + 1)  # a device may have no end
    if len(text) > _MAX_JSON_CHARS:
        raise ValueError(f"more than {_MAX_JSON_CHARS:,} characters")
    return text
