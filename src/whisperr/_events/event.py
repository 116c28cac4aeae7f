"""Step 2: check an event, stamp it, give it its id, encode it. From here on it is bytes.

Threads: any thread may call any method, also from a signal handler. Nothing here waits. Errors
are InvalidEvent and name the argument; what they cannot name (an object of the caller's whose
methods raise) is turned into one by `_json`.
"""

from __future__ import annotations

from whisperr._contract import RESERVED_CONTEXT_KEY, SDK_NAME
from whisperr._process.imports import json_loads
from whisperr.errors import InvalidEvent

from .clock import Clock, MessageIds
from .layout import EVENT_HEAD, split_at_user
from .to_json import quote, to_json, to_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    BeforeSend = Callable[[dict[str, Any]], "dict[str, Any] | None"]

# Sets instead of patterns: `re` would be a third of the time that importing the package takes.
_IN_WORDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
# What a mistaken name looks like; an address or a sentence in its place is never shown.
_LONGEST_NAME = 60
_IN_NAMES = _IN_WORDS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_. -")
# Backends have a few dozen event types; the bound is for those that make them up.
_KNOWN_TYPES = 1_000
_HEAD = EVENT_HEAD.decode()
# Stands where the user will be, in an event that is encoded before its user is known.
NO_USER = "-"
_EVENT_KEYS = {"external_user_id", "event_type", "occurred_at", "properties", "context"}
# What str() would give for these says nothing about a user.
_NOT_IDS = (bool, float, bytes, bytearray, dict, list, tuple, set, frozenset)


class Vetoed(Exception):  # noqa: N818  # not an error: `before_send` returned None
    """The caller's `before_send` does not want this event sent."""


class EventEncoder:
    """Make the bytes of events with one configuration. Belongs to one process (message ids)."""

    __slots__ = ("_before_send", "_clock", "_context", "_ids", "_tail", "_test", "_types")

    def __init__(
        self,
        version: str,
        *,
        app_version: str | None = None,
        test_mode: bool = False,
        before_send: BeforeSend | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._ids = MessageIds()
        self._clock = clock or Clock(each_second=self._ids.renew)
        self._types: dict[str, str] = {}
        self._before_send = before_send
        self._context: dict[str, str] = {"sdk_name": SDK_NAME, "sdk_version": version}
        if app_version and app_version.strip():
            self._context["app_version"] = app_version.strip()
        self._test = {"$mode": "test"} if test_mode else {}
        # What follows the message id in an event without a context of the caller's: the same
        # for every event, so it is written once.
        self._tail = to_json({**self._context, **self._test}, "context")[1:] + "}"

    def event(
        self,
        user: object,
        event_type: object,
        properties: object = None,
        context: object = None,
        occurred_at: object = None,
        message_id: object = None,
        *,
        whole: bool = True,
    ) -> tuple[str, bytes]:
        """Return the message id and the event as the bytes of its JSON object.

        `before_send` sees it when it is `whole`. Raises InvalidEvent, or Vetoed when
        `before_send` returns None.
        """
        if type(user) is not str or not user or user.isspace():
            user = parse_identifier(user, "external_user_id")
        name = self._types.get(event_type) if type(event_type) is str else None
        if name is None:
            name = self._checked_type(event_type)
        stamp = self._clock.stamp() if occurred_at is None else self._clock.format(occurred_at)
        chosen = (
            self._ids.next() if message_id is None else parse_identifier(message_id, "message_id")
        )
        if type(properties) is dict:
            members = to_json(properties, "properties")
        else:
            members = "{}" if properties is None else to_json_object(properties, "properties")
        if context is None and message_id is None:
            rest = f'{{"$message_id":"{chosen}",{self._tail}'
        else:
            rest = self._context_text(context, chosen) + "}"
        text = (
            f'{_HEAD}{name}","external_user_id":{quote(user)},"occurred_at":"{stamp}",'
            f'"properties":{members},"context":{rest}'
        )
        try:
            data = text.encode()  # not `to_utf8`: a call less for every event
        except UnicodeEncodeError:
            data = to_utf8(text)
        if self._before_send is not None and whole:
            data = self._reviewed(data, self._before_send)
        return chosen, data

    def renew_ids(self) -> None:
        """Make new message ids from now on: copies of this process must not share any."""
        self._ids.renew()

    def encode_without_user(self, *given: object) -> tuple[str, bytes, bytes]:
        """Return the message id and the two pieces of an event that the user stands between.

        `given` is what `event` takes after the user. Everything but the user is settled now.
        """
        chosen, data = self.event(NO_USER, *given, whole=False)
        return (chosen, *split_at_user(data, NO_USER))

    def add_user(self, head: bytes, user: object, tail: bytes) -> bytes:
        """Return the event whose pieces were made before; now `before_send` sees it."""
        data = join_user(head, user, tail)
        if self._before_send is not None:
            data = self._reviewed(data, self._before_send)
        return data

    def _checked_type(self, event_type: object) -> str:
        if not isinstance(event_type, str):
            raise InvalidEvent(f"event_type: must be a string, got {type(event_type).__name__}")
        name = event_type.strip()
        if not all(word and _IN_WORDS.issuperset(word) for word in name.split("_")):
            raise InvalidEvent(
                f"event_type: got {shown(name)}; must be lowercase snake case such as "
                "'payment_failed' (letters a-z and digits, single underscores between)"
            )
        if len(self._types) >= _KNOWN_TYPES:
            self._types = {}
        self._types[str(event_type)] = name
        return name

    def _context_text(self, context: object, message_id: str) -> str:
        """Merge the caller's context; neither the id nor the test mark can be replaced by it."""
        if context is None:
            given: dict[str, Any] = {}
        else:
            given = json_loads()(to_json_object(context, "context"))
        merged = {**self._context, **given, **self._test, RESERVED_CONTEXT_KEY: message_id}
        return to_json(merged, "context")

    def _reviewed(self, data: bytes, before_send: BeforeSend) -> bytes:
        """Show the event to the caller's `before_send`; what comes back is checked once more."""
        event: dict[str, Any] = json_loads()(data)
        message_id, stamp = event["context"][RESERVED_CONTEXT_KEY], event["occurred_at"]
        try:
            answer = before_send(event)
        except Exception as error:
            raise InvalidEvent(
                f"before_send: raised {type(error).__name__}; the event was dropped"
            ) from error
        if answer is None:
            raise Vetoed
        if not isinstance(answer, dict) or set(answer) != _EVENT_KEYS:
            keys = ", ".join(sorted(_EVENT_KEYS))
            raise InvalidEvent(f"before_send: must return None or a dict with exactly {keys}")
        if answer["occurred_at"] != stamp:
            raise InvalidEvent("before_send: occurred_at cannot be changed; pass it to track()")
        name = self._checked_type(answer["event_type"])
        user = quote(parse_identifier(answer["external_user_id"], "external_user_id"))
        members = to_json_object(answer["properties"], "properties")
        context = to_json({**answer["context"], RESERVED_CONTEXT_KEY: message_id}, "context")
        return to_utf8(
            f'{_HEAD}{name}","external_user_id":{user},"occurred_at":"{stamp}",'
            f'"properties":{members},"context":{context}}}'
        )


def join_user(head: bytes, user: object, tail: bytes) -> bytes:
    """Return an event or identify with its user in place; raises InvalidEvent for a bad one."""
    return head + to_utf8(quote(parse_identifier(user, "external_user_id"))) + tail


def parse_identifier(value: object, name: str) -> str:
    """Return an id as the string that the contract wants; `user.pk` of any kind just works."""
    if isinstance(value, str):
        text = str.__str__(value)
    elif value is None or isinstance(value, _NOT_IDS):
        raise InvalidEvent(f"{name}: must be a string or have a string form, got {shown(value)}")
    elif hasattr(value, "pk"):
        raise InvalidEvent(
            f"{name}: got a {type(value).__name__} object; pass its key, such as user.pk"
        )
    else:
        text = _own_text(value, name)
    if not text or text.isspace():
        raise InvalidEvent(f"{name}: must not be empty or blank")
    return text


def to_json_object(value: object, name: str) -> str:
    """Return the JSON object that `value` becomes; anything that is no object is refused."""
    text = to_json(value, name)
    if not text.startswith("{"):
        raise InvalidEvent(f"{name}: must be a dict, got {type(value).__name__}")
    return text


def _own_text(value: object, name: str) -> str:
    kind = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise InvalidEvent(f"{name}: a {kind.__name__} object has no string form; pass its id")
    try:
        return str(getattr(value, "value", value) if _is_enum(kind) else value)
    except Exception as error:
        raise InvalidEvent(
            f"{name}: a {kind.__name__} cannot be read ({type(error).__name__})"
        ) from error


def _is_enum(kind: type) -> bool:
    return any((base.__module__, base.__qualname__) == ("enum", "Enum") for base in kind.__mro__)


def shown(value: object) -> str:
    """Name a refused value without showing data: constants and what reads like a name."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str) and len(value) <= _LONGEST_NAME and _IN_NAMES.issuperset(value):
        return repr(str.__str__(value))
    return f"a {type(value).__name__}"
