"""Defines every option of the client, once: its name, default, meaning and check.

`Config` holds the checked values of one client; `OVERRIDES` is what tests set in place of them. The
options table of the README and the settings of Django and Flask are derived from OPTIONS. Pure,
apart from reading the environment and warning about a publishable key or an unencrypted address.
"""

from __future__ import annotations

import os
import sys

from ._contract import BASE_URL, MAX_BATCH_EVENTS
from ._frozen import Frozen
from ._secret import MissingKey, Secret, hide_password

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Rule = tuple[str, Callable[[Any], bool]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DIGITS = frozenset("0123456789")
_IN_HOSTS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-")
_IN_ADDRESSES = _DIGITS | frozenset("abcdefABCDEF:.")
_MAX_PORT_DIGITS = 5
_NOT_IN_PATHS = frozenset(" ?#")

OUTBOX = "django"
"""The value of `buffer` that means the outbox of Django; only `whisperr.django` accepts it."""
OUTBOX_HINT = (
    "buffer: 'django' is the outbox of a Django project; use whisperr.django.get_client(), "
    "which makes a client for it"
)


class Option:
    """One option: its name, default and meaning; its rule: the allowed values, and their check."""

    __slots__ = ("allowed", "check", "default", "meaning", "name")

    def __init__(self, name: str, default: object, meaning: str, rule: Rule) -> None:
        self.name: str = name
        self.default: object = default
        self.meaning: str = meaning
        self.allowed: str = rule[0]
        self.check: Callable[[Any], bool] = rule[1]

    def redact(self, value: object) -> str:
        """Return a value as errors may show it: of a URL only its type, it may have a password."""
        if isinstance(value, Secret):
            return "str"
        private = self.name == "base_url" or (self.name == "buffer" and isinstance(value, str))
        return type(value).__name__ if private else repr(value)


def _whole(least: int) -> Rule:
    def check(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return f"a whole number from {least}", check


def _has(*names: str) -> Callable[[object], bool]:
    return lambda value: value is None or all(callable(getattr(value, n, None)) for n in names)


def _is_seconds(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return _SHORTEST <= value < sys.maxsize


def _is_buffer(value: object) -> bool:
    if isinstance(value, Secret):
        return "://" in value.reveal()
    if isinstance(value, str):
        return "://" in value or value == OUTBOX
    if hasattr(value, "__fspath__"):
        return False  # the `open` of a `Path` opens something else
    is_sink = hasattr(value, "delivered_by") and hasattr(value, "put")
    return is_sink or _is_openable(value) or _is_queue(value)


_is_openable = _has("open")
_is_queue = _has("put", "claim", "ack", "release", "drain", "tail", "settled")
_SHORTEST = 0.001
_SECONDS: Rule = (f"a number of seconds from {_SHORTEST}", _is_seconds)
_FLAG: Rule = ("True or False", lambda value: isinstance(value, bool))
_CALLBACK: Rule = ("a callable or None", lambda value: value is None or callable(value))
_KEY: Rule = (
    "a string without white space or control characters",
    lambda v: isinstance(v, Secret),
)
_URL: Rule = (
    "an http:// or https:// URL without user, query or fragment",
    lambda value: value is None or (isinstance(value, str) and parse_url(value) is not None),
)
_TEXT: Rule = ("a string or None", lambda value: value is None or isinstance(value, str))
_BUFFERS = (
    "a URL such as sqlite:////var/lib/app/events.db or redis://localhost:6379/0, an object of "
    "whisperr.buffers, or a BufferConfig, Queue or Sink as whisperr.protocols describes them"
)

OPTIONS = (
    Option("api_key", None, "Your server key (`wrk_…`); falls back to `WHISPERR_API_KEY`", _KEY),
    Option("base_url", BASE_URL, "Where to send; falls back to `WHISPERR_BASE_URL`", _URL),
    Option("flush_at", 20, "Deliver as soon as this many events wait", _whole(1)),
    Option("flush_interval", 10.0, "Deliver after this many seconds at the latest", _SECONDS),
    Option(
        "max_queue_size", 10_000, "Hold at most this many events; the oldest are dropped", _whole(1)
    ),
    Option(
        "max_batch_size",
        MAX_BATCH_EVENTS,
        "Send at most this many events per request; above 500 means 500",
        _whole(1),
    ),
    Option("max_retries", 6, "Repeat a failed request this many times before pausing", _whole(0)),
    Option(
        "request_timeout",
        10.0,
        "Seconds for one request, from connecting to the last byte",
        _SECONDS,
    ),
    Option("disabled", False, "Do nothing at all", _FLAG),
    Option("debug", False, "Log what happens to stderr", _FLAG),
    Option(
        "on_error",
        None,
        "Called with a `WhisperrError` when events are lost or delivery pauses",
        _CALLBACK,
    ),
    Option("app_version", None, "Your version, sent with every event as `app_version`", _TEXT),
    Option("test_mode", False, "Mark every event as a test that touches no production data", _FLAG),
    Option("strict", False, "Raise `InvalidEvent` for bad input; for development and tests", _FLAG),
    Option(
        "before_send",
        None,
        "Called with every event; returns it, changed or not, or None to veto",
        _CALLBACK,
    ),
    Option(
        "max_queue_bytes",
        64 * 1024 * 1024,
        "Hold at most this many bytes of events; the oldest are dropped",
        _whole(1024),
    ),
    Option(
        "buffer",
        None,
        "Where events are held instead of memory: a URL (`sqlite:////path`, `redis://host`) or "
        "an object; in Django also `django`, the outbox; falls back to `WHISPERR_BUFFER`; see "
        "docs/durability.md and docs/extending.md",
        (_BUFFERS, _is_buffer),
    ),
    Option(
        "ssl_context",
        None,
        "An `ssl.SSLContext` of your own, for a private certificate authority",
        ("an ssl.SSLContext or None", _has("wrap_socket")),
    ),
    Option(
        "transport",
        None,
        "What sends requests instead of HTTP: an object with the `Transport` methods",
        ("an object with send and close", _has("send", "close")),
    ),
)


class Config(Frozen):
    """The checked options of one client, under their names; only `api_key` is called `key`.

    `buffer` may be a URL, wrapped when it may have a password, until `resolve_buffer` of
    `_delivery.pipeline` replaces it.
    """

    __slots__ = ("key", *(option.name for option in OPTIONS if option.name != "api_key"))

    key: Secret
    base_url: str
    flush_at: int
    flush_interval: float
    max_queue_size: int
    max_batch_size: int
    max_retries: int
    request_timeout: float
    disabled: bool
    debug: bool
    on_error: Any
    app_version: str | None
    test_mode: bool
    strict: bool
    before_send: Any
    max_queue_bytes: int
    buffer: Any
    ssl_context: Any
    transport: Any

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Check every option; raises ValueError that names it, the value and what is allowed.

        `given` has every option by its name, the key as a Secret.
        """
        for option in OPTIONS:
            value = given[option.name]
            if not option.check(value):
                raise ValueError(f"{option.name}={option.redact(value)}: must be {option.allowed}")
        values = dict(given)
        values["key"] = _get_key(values.pop("api_key"), disabled=values["disabled"])
        values["disabled"] = values["disabled"] or values["key"].is_missing  # only in tests
        values["base_url"] = _get_checked_base_url(values["base_url"])
        values["max_batch_size"] = min(values["max_batch_size"], MAX_BATCH_EVENTS)
        values["buffer"] = _get_buffer(values["buffer"])
        self._set(**values)

    def replace(self, **changed: object) -> Config:
        """Return a copy with other values of some attributes; these are not checked."""
        copy = object.__new__(Config)
        copy._set(**{**self._fields(), **changed})
        return copy

    def __repr__(self) -> str:
        return object.__repr__(self)  # the URL of a buffer may have a password


def _get_key(given: Secret, *, disabled: bool) -> Secret:
    if disabled:
        return Secret("")
    key = given.or_environment()
    if key.is_missing:
        if OVERRIDES.needs_no_key:
            return Secret("")
        raise MissingKey(f"api_key: {key.problem}")
    if key.problem is not None:
        raise ValueError(f"api_key: {key.problem}")
    if key.is_publishable:
        _warn(
            "api_key: this is a publishable key (wpk_...) for apps and browsers; the server will "
            "not opt anybody in for it. A backend needs a server key (wrk_...)"
        )
    return key


def get_base_url(given: str | None) -> str:
    """Return the address to use; the environment replaces the default, not another given one."""
    if given is None or given == BASE_URL:
        return os.environ.get("WHISPERR_BASE_URL") or BASE_URL
    return given


def _get_checked_base_url(given: str | None) -> str:
    """Return the address to use; warns about one that would send the key unencrypted."""
    url = get_base_url(given)
    parts = parse_url(url)
    if parts is None:
        raise ValueError("WHISPERR_BASE_URL: must be an http:// or https:// URL")
    if parts[0] == "http" and parts[1] not in LOOPBACK:
        _warn(f"base_url: http:// sends the key to {parts[1]} unencrypted; use https://")
    return url.rstrip("/")


def _get_buffer(given: object) -> object:
    """Return the given buffer, or the URL of one from the environment, or None for memory."""
    if given is None:
        given = hide_password(os.environ.get("WHISPERR_BUFFER") or None)
    if given == OUTBOX:
        raise ValueError(OUTBOX_HINT)
    return given


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, UserWarning, stacklevel=5)


def parse_url(url: str) -> tuple[str, str, int, str] | None:
    """Return scheme, host, port and path of a URL; None when it is not a valid one.

    Written by hand: `urllib.parse` accepts line ends, and both it and `re` cost an import.
    """
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme not in {"http", "https"} or not mark:
        return None
    if not path.isascii() or not path.isprintable() or not _NOT_IN_PATHS.isdisjoint(path):
        return None
    if authority.startswith("["):
        host, end, port = authority[1:].partition("]")
        valid = bool(end) and (not port or port.startswith(":")) and _IN_ADDRESSES.issuperset(host)
        port = port[1:] if len(port) != 1 else "?"
    else:
        host, colon, port = authority.partition(":")
        valid = _IN_HOSTS.issuperset(host)
        port = port or ("?" if colon else "")
    if not host or not valid or not _DIGITS.issuperset(port) or len(port) > _MAX_PORT_DIGITS:
        return None
    number = int(port or (443 if scheme == "https" else 80))
    return (scheme, host, number, (slash + path).rstrip("/")) if number < 65536 else None  # noqa: PLR2004  # TCP


class Overrides:
    """Slots that are None in production.

    - `pipeline`: a function of a client's configuration; what it returns takes the calls of that
      client, in place of the client's own pipeline.
    - `strict`: whether bad input raises, whatever the option `strict` of a client says.
    - `clients`: the clients that integrations make while `pipeline` is set; they end with it.
    - `keyless`: a function that returns whether a client without a key may be made now; it is a
      disabled one.
    """

    __slots__ = ("clients", "keyless", "pipeline", "strict")

    def __init__(self) -> None:
        self.pipeline: Callable[[Any], Any] | None = None
        self.strict: bool | None = None
        self.clients: dict[object, Any] | None = None
        self.keyless: Callable[[], bool] | None = None

    @property
    def needs_no_key(self) -> bool:
        """Whether a client may be made without a key: nothing of it is sent to the service."""
        return self.pipeline is not None or (self.keyless is not None and self.keyless())


OVERRIDES = Overrides()
