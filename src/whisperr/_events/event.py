"""Checks the arguments of `track()` and encodes the event, with its time and its id, as bytes.

Raises InvalidEvent, which names the argument, also when a method of the caller's value raises.

Threads: any thread may call any method, even in a signal handler. No locks, no waiting.
"""

from __future__ import annotations

from whisperr._contract import RESERVED_CONTEXT_KEY, SDK_NAME, is_event_type
from whisperr._options import OVERRIDES
from whisperr._process.imports import json_loads
from whisperr._process.interruption import is_interruption
from whisperr._typed_event import TypedEvent, get_properties
from whisperr._version import __version__
from whisperr.errors import InvalidEvent

from .client_defaults import ClientDefaults
from .clock import Clock, MessageIds
from .general import is_enum, quote, to_str
from .layout import EVENT_HEAD, split_at_user
from .redaction import get_type_name, redact
from .scope import SCOPES
from .to_json import to_json, to_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whisperr._options import Config

    from .client_defaults import DefaultProperties
    from .defaults import Defaults

    BeforeSend = Callable[[dict[str, Any]], "dict[str, Any] | None"]

# Applications have a few dozen event types; the bound is for programs that generate them.
_MAX_KNOWN_TYPES = 1_000
_HEAD = EVENT_HEAD.decode()
# Placeholder in an event that is encoded before its user is known; `add_user` replaces it.
NO_USER = "-"
_USER = "external_user_id"
_USER_OF_HOOK = f"before_send: {_USER}"
_EVENT_KEYS = {"external_user_id", "event_type", "occurred_at", "properties", "context"}
# Types whose str() does not identify a user.
_NOT_IDS = (bool, float, bytes, bytearray, dict, list, tuple, set, frozenset)


class Vetoed(Exception):  # noqa: N818  # not an error: `before_send` returned None
    """Raised when the caller's `before_send` returns None for an event."""


class AnonymousUser(InvalidEvent):
    """Raised for a user that is None or blank, which code often passes for an anonymous visitor.

    There may be one such call per page view, so they are reported less often than other mistakes.
    """


class EventEncoder:
    """Encodes the events of one client. Belongs to one process, like its message ids."""

    __slots__ = (
        "_before_send",
        "_clock",
        "_context",
        "_defaults",
        "_plain",
        "_report",
        "_strict",
        "_test",
        "_types",
        "ids",
    )

    def __init__(
        self,
        version: str,
        *,
        app_version: str | None = None,
        test_mode: bool = False,
        strict: bool = False,
        before_send: BeforeSend | None = None,
        default_properties: DefaultProperties | None = None,
        report: Callable[[str], object] = lambda _problem: None,
        clock: Clock | None = None,
    ) -> None:
        """`report` is called for default or scoped properties that an event has to do without."""
        self.ids = MessageIds()
        self._clock = clock or Clock(each_second=self.ids.renew)
        self._types: dict[str, str] = {}
        self._strict = strict
        self._before_send = before_send
        self._context: dict[str, str] = {"sdk_name": SDK_NAME, "sdk_version": version}
        if app_version and app_version.strip():
            self._context["app_version"] = app_version.strip()
        self._test = {"$mode": "test"} if test_mode else {}
        self._report = report
        self._defaults = ClientDefaults(default_properties, self._context, self._test)
        self._plain = self._defaults.plain

    def encode(
        self,
        user: object,
        event_type: object,
        properties: object = None,
        context: object = None,
        occurred_at: object = None,
        message_id: object = None,
        *,
        is_complete: bool = True,
    ) -> tuple[str, bytes]:
        """Return the message id of the event, and the event as the bytes of one JSON object.

        Calls `before_send`, but not for an event that still lacks its user (`is_complete=False`).
        Raises InvalidEvent, or Vetoed if `before_send` returns None.
        """
        if type(user) is not str or not user or user.isspace():
            user = parse_identifier(user, _USER)
        if type(event_type) is str:
            name = self._types.get(event_type) or self._parse_type(event_type)
        elif isinstance(event_type, TypedEvent):
            name, properties = self._read_event(event_type, properties)
        else:
            name = self._parse_type(event_type)
        clock = self._clock
        time = clock.format_now() if occurred_at is None else clock.format_time(occurred_at)
        chosen = (
            self.ids.next() if message_id is None else parse_identifier(message_id, "message_id")
        )
        if type(properties) is dict:
            members = to_json(properties, "properties")
        else:
            members = "{}" if properties is None else to_json_object(properties, "properties")
        defaults = self._plain
        if SCOPES.in_use:
            defaults = self._get_defaults()
            members = defaults.complete(members)
        if context is None and message_id is None:
            rest = f'{{"$message_id":"{chosen}",{defaults.tail}'
        else:
            rest = self._merge_context(context, chosen, defaults.context) + "}"
        text = (
            f'{_HEAD}{name}","external_user_id":{quote(user)},"occurred_at":"{time}",'
            f'"properties":{members},"context":{rest}'
        )
        try:
            data = text.encode()  # calling `to_utf8` for every event would cost more
        except UnicodeEncodeError:
            data = to_utf8(text)
        if self._before_send is not None and is_complete:
            data = self._call_before_send(data)
        return chosen, data

    def encode_without_user(self, *given: object) -> tuple[str, bytes, bytes]:
        """Return the message id of an event, and its bytes before and after the user.

        `given` are the arguments of `encode` after the user. The event gets its time and id now.
        """
        chosen, data = self.encode(NO_USER, *given, is_complete=False)
        return (chosen, *split_at_user(data, NO_USER))

    def add_user(self, head: bytes, user: object, tail: bytes) -> bytes:
        """Return an event of `encode_without_user` with its user inserted, after `before_send`."""
        return self._call_before_send(join_user(head, user, tail))

    def _read_event(self, event: TypedEvent, properties: object) -> tuple[str, dict[str, object]]:
        """Return the name and the properties of a typed event."""
        if properties is not None:
            kind = get_type_name(event)
            raise InvalidEvent(f"properties: must be left out, because {kind} has its own")
        if OVERRIDES.is_strict(own=self._strict):
            from whisperr._field_types import check_types  # it imports `typing`

            check_types(event)
        return event.event_type, get_properties(event)

    def _parse_type(self, event_type: object) -> str:
        if not isinstance(event_type, str):
            raise InvalidEvent(f"event_type: must be a string, got {get_type_name(event_type)}")
        text = to_str(event_type)
        name = text.strip()
        if not is_event_type(name):
            raise InvalidEvent(
                f"event_type: got {redact(name)}; must be lowercase snake case such as "
                "'payment_failed' (letters a-z and digits, single underscores between)"
            )
        if len(self._types) >= _MAX_KNOWN_TYPES:
            self._types = {}
        self._types[text] = name
        return name

    def _merge_context(self, context: object, message_id: str, scoped: dict[str, Any]) -> str:
        """Return the context as JSON. The caller cannot replace the message id or the test mode."""
        given = {} if context is None else json_loads()(to_json_object(context, "context"))
        merged = {**self._context, **scoped, **given, **self._test}
        return to_json({**merged, RESERVED_CONTEXT_KEY: message_id}, "context")

    @property
    def problem(self) -> str | None:
        """What is wrong with a dictionary of default properties; None if nothing is."""
        return self._plain.problem

    def _get_defaults(self) -> Defaults:
        """Return what an event of this moment gets; report what of it cannot be encoded."""
        defaults = self._defaults.get()
        if defaults.problem is not None:
            if OVERRIDES.is_strict(own=self._strict):
                raise InvalidEvent(defaults.problem)
            self._report(defaults.problem)
        return defaults

    def _call_before_send(self, data: bytes) -> bytes:
        """Return the event that `before_send` returns, checked again and encoded."""
        if self._before_send is None:
            return data
        event: dict[str, Any] = json_loads()(data)
        message_id, time = event["context"][RESERVED_CONTEXT_KEY], event["occurred_at"]
        try:
            result = self._before_send(event)
        except Exception as error:
            if is_interruption(error):
                raise
            raise InvalidEvent(f"before_send: raised {get_type_name(error)}") from error
        if result is None:
            raise Vetoed
        if not isinstance(result, dict) or set(result) != _EVENT_KEYS:
            keys = ", ".join(sorted(_EVENT_KEYS))
            raise InvalidEvent(f"before_send: must return None or a dict with exactly {keys}")
        if result["occurred_at"] != time:
            raise InvalidEvent("before_send: occurred_at cannot be changed; pass it to track()")
        name = self._parse_type(result["event_type"])
        user = quote(parse_identifier(result[_USER], _USER_OF_HOOK))
        members = to_json_object(result["properties"], "properties")
        if not isinstance(result["context"], dict):
            kind = get_type_name(result["context"])
            raise InvalidEvent(f"before_send: context must be a dict, got {kind}")
        context = to_json({**result["context"], RESERVED_CONTEXT_KEY: message_id}, "context")
        return to_utf8(
            f'{_HEAD}{name}","external_user_id":{user},"occurred_at":"{time}",'
            f'"properties":{members},"context":{context}}}'
        )


def make_encoder(config: Config, report: Callable[[str], object]) -> EventEncoder:
    """Return the encoder of a client; `report` as in `EventEncoder`."""
    return EventEncoder(
        __version__,
        app_version=config.app_version,
        test_mode=config.test_mode,
        strict=config.strict,
        before_send=config.before_send,
        default_properties=config.default_properties,
        report=report,
    )


def join_user(head: bytes, user: object, tail: bytes) -> bytes:
    """Return an event or identify with its user inserted; raise InvalidEvent for a bad user."""
    return head + to_utf8(quote(parse_identifier(user, _USER))) + tail


_ALLOWED_IDS = "must be a string, an integer, a UUID or an object with its own string form"


def parse_identifier(value: object, name: str) -> str:
    """Return an id as a string, as the contract requires; accept a primary key of any type."""
    try:
        # By type: a lazy proxy for a string is no str, and str() resolves it.
        text = to_str(value) if issubclass(type(value), str) else _format_key(value, name)
    except InvalidEvent:
        raise
    except Exception as error:
        if is_interruption(error):
            raise
        raise InvalidEvent(
            f"{name}: a {get_type_name(value)} cannot be read ({get_type_name(error)})"
        ) from error
    if not text or text.isspace():
        raise _get_error(name)(f"{name}: must not be empty or blank")
    return text


def _get_error(name: str) -> type[InvalidEvent]:
    """Return the class of the error for a missing id."""
    return AnonymousUser if name == _USER else InvalidEvent


def _format_key(value: object, name: str) -> str:
    """Return the text of a key that is not a string; raise InvalidEvent for what is no key."""
    kind = type(value)
    if value is None or isinstance(value, _NOT_IDS):
        error = _get_error(name) if value is None else InvalidEvent
        raise error(f"{name}: {_ALLOWED_IDS}; got {redact(value)}")
    if hasattr(value, "pk"):
        problem = f"got a {get_type_name(value)} object; pass its key, such as user.pk"
        raise InvalidEvent(f"{name}: {problem}")
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        problem = f"a {get_type_name(value)} object has no string form; pass its id"
        raise InvalidEvent(f"{name}: {problem}")
    return to_str(value.value if is_enum(value) else value)  # type: ignore[attr-defined]  # an Enum


def to_json_object(value: object, name: str) -> str:
    """Return `value` as a JSON object; raise InvalidEvent if it becomes anything else."""
    text = to_json(value, name)
    if not text.startswith("{"):
        raise InvalidEvent(f"{name}: must be a dict, got {get_type_name(value)}")
    return text
