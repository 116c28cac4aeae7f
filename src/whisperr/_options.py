"""Every option of the client, once: its name, default, meaning and check.

Pure, apart from reading the environment and warning about a key or an address that looks wrong.
The options table of the documentation is made from OPTIONS.
"""

from __future__ import annotations

import os
import sys

from ._contract import BASE_URL, MAX_BATCH_EVENTS
from ._secret import Secret
from ._url import LOOPBACK, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_DEFAULT_MAX_QUEUE_BYTES = 64 * 1024 * 1024
OUTBOX = "django"
"""The name of the outbox of the Django door, as a buffer; the door alone can open it."""


class Option:
    """One option: its name, its default, what it does, and what may be given."""

    __slots__ = ("allowed", "check", "default", "meaning", "name")

    def __init__(
        self,
        name: str,
        default: object,
        meaning: str,
        allowed: str,
        check: Callable[[Any], bool],
    ) -> None:
        self.name = name
        self.default = default
        self.meaning = meaning
        self.allowed = allowed
        self.check = check

    def shown(self, value: object) -> str:
        """Return a value as an error may show it: an address may hold a password."""
        private = self.name == "base_url" or (self.name == "buffer" and isinstance(value, str))
        return type(value).__name__ if private else repr(value)


def _number(value: object, least: float) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and least <= value < sys.maxsize
    )


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _callback(value: object) -> bool:
    return value is None or callable(value)


def _text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _has(*names: str) -> Callable[[object], bool]:
    return lambda value: value is None or all(callable(getattr(value, n, None)) for n in names)


_opens = _has("open")
_buffer = _has("put", "claim", "ack", "release", "drain", "tail", "settled")


def _place(value: object) -> bool:
    return _opens(value) and not hasattr(value, "__fspath__")  # a `Path` opens something else


OPTIONS = (
    Option(
        "api_key",
        None,
        "Your server key (`wrk_…`); falls back to `WHISPERR_API_KEY`",
        "a string without white space or control characters",
        lambda v: isinstance(v, Secret),
    ),
    Option(
        "base_url",
        BASE_URL,
        "Where to send; falls back to `WHISPERR_BASE_URL`",
        "an http:// or https:// URL without user, query or fragment",
        lambda v: v is None or (isinstance(v, str) and parse_url(v) is not None),
    ),
    Option(
        "flush_at",
        20,
        "Deliver as soon as this many events wait",
        "a whole number from 1",
        lambda v: _whole(v, 1),
    ),
    Option(
        "flush_interval",
        10.0,
        "Deliver after this many seconds at the latest",
        "a number of seconds from 0.001",
        lambda v: _number(v, 0.001),
    ),
    Option(
        "max_queue_size",
        10_000,
        "Hold at most this many events; the oldest drop",
        "a whole number from 1",
        lambda v: _whole(v, 1),
    ),
    Option(
        "max_batch_size",
        MAX_BATCH_EVENTS,
        "Send at most this many events per request; above 500 means 500",
        "a whole number from 1",
        lambda v: _whole(v, 1),
    ),
    Option(
        "max_retries",
        6,
        "Repeat a failed request this many times before pausing",
        "a whole number from 0",
        lambda v: _whole(v, 0),
    ),
    Option(
        "request_timeout",
        10.0,
        "Seconds for one request, from connecting to the last byte",
        "a number of seconds from 0.001",
        lambda v: _number(v, 0.001),
    ),
    Option("disabled", False, "Do nothing at all", "True or False", _flag),
    Option("debug", False, "Log what happens to stderr", "True or False", _flag),
    Option(
        "on_error",
        None,
        "Called with a `WhisperrError` when events are lost or delivery pauses",
        "a callable or None",
        _callback,
    ),
    Option(
        "app_version",
        None,
        "Your version, sent with every event as `app_version`",
        "a string or None",
        _text,
    ),
    Option(
        "test_mode",
        False,
        "Mark every event as a test that touches no production data",
        "True or False",
        _flag,
    ),
    Option(
        "strict",
        False,
        "Raise `InvalidEvent` for bad input; for development and tests",
        "True or False",
        _flag,
    ),
    Option(
        "before_send",
        None,
        "Called with every event; returns it, changed or not, or None to veto",
        "a callable or None",
        _callback,
    ),
    Option(
        "max_queue_bytes",
        _DEFAULT_MAX_QUEUE_BYTES,
        "Hold at most this many bytes of events; the oldest drop",
        "a whole number from 1024",
        lambda v: _whole(v, 1024),
    ),
    Option(
        "buffer",
        None,
        "Where events are held instead of memory: a URL (`sqlite:////path`, `redis://host`) or "
        "an object; in Django also `django`, the outbox; falls back to `WHISPERR_BUFFER`; see "
        "docs/durability.md",
        "a URL such as sqlite:////var/lib/app/events.db or redis://localhost:6379/0, an object of "
        "whisperr.buffers, or one with put, claim, ack, release, drain, tail and settled",
        lambda v: "://" in v or v == OUTBOX if isinstance(v, str) else _place(v) or _buffer(v),
    ),
    Option(
        "ssl_context",
        None,
        "An `ssl.SSLContext` of your own, for a private certificate authority",
        "an ssl.SSLContext or None",
        _has("wrap_socket"),
    ),
    Option(
        "transport",
        None,
        "What sends requests instead of HTTP: an object with the `Transport` methods",
        "an object with send and close",
        _has("send", "close"),
    ),
)


class Config:
    """The checked options of one client. Attributes have the names of the options."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Check every option; raises ValueError that names it, the value and what is allowed.

        `given` holds every option by its name, the key as a Secret.
        """
        for option in OPTIONS:
            value = given[option.name]
            if not option.check(value):
                raise ValueError(f"{option.name}={option.shown(value)}: must be {option.allowed}")
        values = dict(given)
        self.key = _key(values.pop("api_key"), disabled=values["disabled"])
        self.base_url = _base_url(values.pop("base_url"))
        self.flush_at: int = values["flush_at"]
        self.flush_interval: float = values["flush_interval"]
        self.max_queue_size: int = values["max_queue_size"]
        self.max_batch_size: int = min(values["max_batch_size"], MAX_BATCH_EVENTS)
        self.max_retries: int = values["max_retries"]
        self.request_timeout: float = values["request_timeout"]
        self.disabled: bool = values["disabled"]
        self.debug: bool = values["debug"]
        self.on_error = values["on_error"]
        self.app_version: str | None = values["app_version"]
        self.test_mode: bool = values["test_mode"]
        self.strict: bool = values["strict"]
        self.before_send = values["before_send"]
        self.max_queue_bytes: int = values["max_queue_bytes"]
        self.buffer = _buffer_of(values["buffer"])
        self.ssl_context = values["ssl_context"]
        self.transport = values["transport"]


def _key(given: Secret, *, disabled: bool) -> Secret:
    if disabled:
        return Secret("")
    key = given.or_environment()
    if key.problem is not None:
        raise ValueError(f"api_key: {key.problem}")
    if key.is_publishable:
        _warn(
            "api_key: this is a publishable key (wpk_...) for apps and browsers; the server will "
            "not opt anybody in for it. A backend needs a server key (wrk_...)"
        )
    return key


def get_base_url(given: str | None) -> str:
    """Return the address to use. The default gives way to the environment, a given one does not."""
    if given is None or given == BASE_URL:
        return os.environ.get("WHISPERR_BASE_URL") or BASE_URL
    return given


def _base_url(given: str | None) -> str:
    """Return the checked address to use; one that would show the key is warned about."""
    url = get_base_url(given)
    parts = parse_url(url)
    if parts is None:
        raise ValueError("WHISPERR_BASE_URL: must be an http:// or https:// URL")
    if parts[0] == "http" and parts[1] not in LOOPBACK:
        _warn(f"base_url: http:// sends the key to {parts[1]} unencrypted; use https://")
    return url.rstrip("/")


def _buffer_of(given: object) -> object:
    """Return the place that a URL names, or the object that was given, or None for memory."""
    if given is None:
        given = os.environ.get("WHISPERR_BUFFER") or None
    if not isinstance(given, str):
        return given
    from .buffers import parse_buffer_url

    return parse_buffer_url(given)


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, UserWarning, stacklevel=5)
