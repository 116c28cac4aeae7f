"""Defines every option of the client, once: its name, default, meaning and rule.

`Config` holds the checked values of one client; tests replace some of them through `OVERRIDES`. The
table of docs/reference/options.md and the settings of Django and Flask are derived from OPTIONS.
Pure, apart from reading the environment and warning about a publishable key or an unencrypted
address.
"""

from __future__ import annotations

import os
import sys
from _collections_abc import Mapping  # `collections.abc` would import the whole of `collections`

from ._address import ALLOWED_URL, LOOPBACK, parse_url, refuse_url
from ._contract import BASE_URL, MAX_BATCH_EVENTS
from ._conversion import ALLOWED_WORDS, same, to_flag, to_number, to_whole
from ._frozen import Frozen
from ._secret import Secret, hide_password
from .errors import MissingKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # What is allowed, in words; the check; the conversion of a value of another type.
    Rule = tuple[str, Callable[[Any], bool], Callable[[Any], Any]]

_LONGEST_VALUE = 100  # characters of a wrong value in an error

BUFFER_VARIABLE = "WHISPERR_BUFFER"
FLAGS_OF_ENVIRONMENT = ("disabled", "debug", "test_mode")
"""The options that `WHISPERR_DISABLED` and so on switch on."""

OUTBOX = "django"
"""The value of `buffer` that means the outbox of Django; only `whisperr.django` accepts it."""
OUTBOX_HINT = (
    "buffer: 'django' is the outbox of a Django project; use whisperr.django.get_client(), "
    "which makes a client for it"
)


class Option:
    """One option: its name, default and meaning, and the rule of its values.

    A value is converted and then checked. It may come from code, from the settings of a framework
    or from the environment, which has only text. So 1, "true" and "on" stand for True, and "20"
    and 20.0 for 20.
    """

    __slots__ = ("allowed", "check", "convert", "default", "meaning", "name")

    def __init__(self, name: str, default: object, meaning: str, rule: Rule) -> None:
        self.name: str = name
        self.default: object = default
        self.meaning: str = meaning
        self.allowed: str = rule[0]
        self.check: Callable[[Any], bool] = rule[1]
        self.convert: Callable[[Any], Any] = rule[2]

    def redact(self, value: object) -> str:
        """Return a value as an error may show it; only its type if it may contain a password."""
        if isinstance(value, Secret):
            return "str"
        private = self.name == "base_url" or (self.name == "buffer" and "@" in str(value))
        return type(value).__name__ if private else _quote(value)

    def refuse(self, value: object) -> str:
        """Return the text of an error about a wrong value, without the name of the option."""
        if self.name == "base_url" and isinstance(value, str):
            return refuse_url(value)
        is_old = self.name == "transport" and _is_old_transport(value)
        return f"{self.redact(value)}: must be {self.allowed}{_OLD_TRANSPORT if is_old else ''}"


def _quote(value: object) -> str:
    from ._foreign import printable  # only for an error

    return printable(repr(value), _LONGEST_VALUE)


def _whole(least: int) -> Rule:
    def check(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return f"a whole number from {least}", check, to_whole


def _has(*names: str) -> Callable[[object], bool]:
    return lambda value: value is None or all(callable(getattr(value, n, None)) for n in names)


def _is_seconds(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return _SHORTEST <= value < sys.maxsize


def _is_old_transport(value: object) -> bool:
    return hasattr(value, "send_batch") or hasattr(value, "send_identify")


def _is_buffer(value: object) -> bool:
    if isinstance(value, Secret):
        return "://" in value.reveal()
    if isinstance(value, str):
        return "://" in value or value == OUTBOX
    if hasattr(value, "__fspath__"):
        return False  # the `open` of a `Path` opens something else
    is_sink = hasattr(value, "delivered_by") and hasattr(value, "put")
    return is_sink or _is_openable(value) or _is_queue(value)


_OLD_TRANSPORT = (
    "; only whisperr 0.2 called send_batch and send_identify. Write the methods of "
    "whisperr.protocols.Transport; in tests use whisperr.testing.capture() or MemoryTransport"
)
_is_openable = _has("open")
_is_queue = _has("put", "claim", "ack", "release", "drain", "tail", "settled")
_SHORTEST = 0.001
_SECONDS: Rule = (f"a number of seconds from {_SHORTEST}", _is_seconds, to_number)
_FLAG: Rule = (
    f"True or False, or as text {ALLOWED_WORDS}",
    lambda value: isinstance(value, bool),
    to_flag,
)
_CALLBACK: Rule = ("a callable or None", lambda value: value is None or callable(value), same)
_KEY: Rule = (
    "a string of printable ASCII without whitespace in it; whitespace around it is ignored",
    lambda v: isinstance(v, Secret),
    same,
)
_URL: Rule = (
    ALLOWED_URL,
    lambda value: value is None or (isinstance(value, str) and parse_url(value) is not None),
    same,
)
_PROPERTIES: Rule = (
    "a dictionary, a function that returns one, or None",
    lambda value: value is None or callable(value) or isinstance(value, dict),
    lambda value: {**value} if isinstance(value, Mapping) else value,
)
_TEXT: Rule = ("a string or None", lambda value: value is None or isinstance(value, str), same)
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
    Option("disabled", False, "Do nothing at all; also with `WHISPERR_DISABLED`", _FLAG),
    Option("debug", False, "Log each step to stderr; also with `WHISPERR_DEBUG`", _FLAG),
    Option(
        "on_error",
        None,
        "Called with a `WhisperrError` when events are lost or delivery pauses",
        _CALLBACK,
    ),
    Option("app_version", None, "Your version, sent with every event as `app_version`", _TEXT),
    Option(
        "test_mode",
        False,
        "Mark every event as a test that touches no production data, but no identify; also with "
        "`WHISPERR_TEST_MODE`",
        _FLAG,
    ),
    Option("strict", False, "Raise `InvalidEvent` for bad input; for development and tests", _FLAG),
    Option(
        "before_send",
        None,
        "Called with every event; returns it, changed or not, or None to veto",
        _CALLBACK,
    ),
    Option(
        "default_properties",
        None,
        "Properties of every event: a dictionary, or a function that is called for each event",
        _PROPERTIES,
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
        "docs/delivery/durability.md and docs/delivery/extending.md",
        (_BUFFERS, _is_buffer, same),
    ),
    Option(
        "ssl_context",
        None,
        "An `ssl.SSLContext` of your own, for a private certificate authority",
        ("an ssl.SSLContext or None", _has("wrap_socket"), same),
    ),
    Option(
        "transport",
        None,
        "An object that sends requests in place of the built-in HTTP client",
        ("an object with send and close", _has("send", "close"), same),
    ),
)


class Config(Frozen):
    """The checked options of one client, under their own names; only `api_key` is called `key`.

    `buffer` may be a URL, wrapped when it may contain a password, until `resolve_buffer` in
    `_delivery.pipeline` replaces it with a buffer config.
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
    default_properties: Any
    max_queue_bytes: int
    buffer: Any
    ssl_context: Any
    transport: Any

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Check every option. `given` has all of them by name, the key as a Secret.

        Raises ValueError, which names the option, the value and what is allowed.
        """
        values: dict[str, Any] = {}
        for option in OPTIONS:
            values[option.name] = option.convert(given[option.name])
            if not option.check(values[option.name]):
                raise ValueError(f"{option.name}={option.refuse(given[option.name])}")
        for name in FLAGS_OF_ENVIRONMENT:
            values[name] = get_flag(name, given=values[name])
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
        name = "api_key" if key is given else "WHISPERR_API_KEY"
        raise ValueError(f"{name}: {key.problem}")
    if key.is_publishable:
        _warn(
            "api_key: this is a publishable key (wpk_...) for apps and browsers; with it, "
            "the server records no consent to messages. A backend needs a server key (wrk_...)"
        )
    return key


def get_flag(name: str, *, given: bool = False) -> bool:
    """Return whether an option is switched on, by the code or by its environment variable.

    The variable cannot switch it off, since `False` in the code may be the default. Raises
    ValueError for a wrong variable.
    """
    variable = f"WHISPERR_{name.upper()}"
    written = os.environ.get(variable)
    found = to_flag(written)
    if found is not True and found is not False:
        raise ValueError(f"{variable}={_quote(written)}: must be {ALLOWED_WORDS}")
    return found or given


def get_base_url(given: str | None) -> str:
    """Return the address to use. The environment replaces the default, but no other address."""
    if given is None or given == BASE_URL:
        return os.environ.get("WHISPERR_BASE_URL") or BASE_URL
    return given


def _get_checked_base_url(given: str | None) -> str:
    """Return the address to use; warns about one that would send the key unencrypted."""
    url = get_base_url(given)
    parts = parse_url(url)
    if parts is None:
        raise ValueError(f"WHISPERR_BASE_URL={refuse_url(url)}")
    if parts[0] == "http" and parts[1] not in LOOPBACK:
        _warn(f"base_url: http:// sends the key to {parts[1]} unencrypted; use https://")
    return f"{parts[0]}://{url.partition('://')[2]}".rstrip("/")


def name_variable(problem: str, buffer: str | Secret) -> str:
    """Return what is wrong with the URL of a buffer, with its variable if it is from there."""
    text = buffer.reveal if isinstance(buffer, Secret) else buffer.strip
    if text() != os.environ.get(BUFFER_VARIABLE, "").strip():
        return problem
    return f"{BUFFER_VARIABLE}: {problem.removeprefix('buffer: ').removeprefix('url: ')}"


def _get_buffer(given: object) -> object:
    """Return the given buffer, or the URL of one from the environment, or None for memory."""
    if given is None:
        given = hide_password(os.environ.get(BUFFER_VARIABLE) or None)
    if given == OUTBOX:
        raise ValueError(OUTBOX_HINT)
    return given


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, UserWarning, stacklevel=5)


class Overrides:
    """What tests set to change clients; each slot is None in production.

    - `pipeline`: a function that takes a client's configuration and returns the pipeline that
      takes the calls of that client instead of its own.
    - `strict`: whether bad input raises, whatever the option `strict` of a client says.
    - `clients`: the clients that integrations make while `pipeline` is set; they end with it.
    - `keyless`: a function that returns whether a client may be made without a key now, as a
      disabled one. None allows it while unittest imports a module.
    """

    __slots__ = ("clients", "keyless", "pipeline", "strict")

    def __init__(self) -> None:
        self.pipeline: Callable[[Any], Any] | None = None
        self.strict: bool | None = None
        self.clients: dict[object, Any] | None = None
        self.keyless: Callable[[], bool] | None = None

    def is_strict(self, *, own: bool) -> bool:
        """Return whether bad input raises in a client whose option `strict` is `own`."""
        return own if self.strict is None else self.strict

    @property
    def needs_no_key(self) -> bool:
        """Whether a client may be made without a key, because it sends nothing to the service."""
        from ._keyless import is_loaded_by_unittest  # only where a key is missing

        return self.pipeline is not None or (self.keyless or is_loaded_by_unittest)()


OVERRIDES = Overrides()
