"""Holds what a capture has recorded, with queries and assertions.

Threads: any thread may add while another reads; each call here reads a snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, overload

from whisperr._contract import RESERVED_CONTEXT_KEY
from whisperr._events.event import parse_identifier
from whisperr._typed_event import get_values
from whisperr.events import Event

from ._difference import MISSING, get_differences, get_similarity, to_diff
from ._recorded import RecordedEvent, RecordedIdentify, cut, to_display

_Recorded = RecordedEvent | RecordedIdentify

_MAX_NEAREST = 3
_MAX_LISTED = 10
_MAX_REFUSED = 3
_MAX_WIDTH = 300
_NO_COMMIT = (
    "a commit or its user; a TestCase of Django never commits: track in the block "
    "`with self.captureOnCommitCallbacks(execute=True)`"
)


class Events(Sequence[RecordedEvent]):
    """The events that were tracked, oldest first. It grows while its block runs.

    It is a sequence of `RecordedEvent`: `len(events)`, `events[0]`, `for event in events` and
    `events == []` work. An assertion that fails raises AssertionError, which shows the nearest
    events as a diff.
    """

    def __init__(
        self,
        recorded: Iterable[_Recorded] = (),
        refused: Iterable[str] = (),
        count_waiting: Callable[[], int] = int,
    ) -> None:
        """`count_waiting` returns how many were tracked and may still be recorded later."""
        self._recorded = list(recorded)
        self._refused = list(refused)
        self._count_waiting = count_waiting

    @overload
    def __getitem__(self, index: int) -> RecordedEvent: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[RecordedEvent]: ...

    def __getitem__(self, index: int | slice) -> RecordedEvent | Sequence[RecordedEvent]:
        return self._events()[index]

    def __len__(self) -> int:
        return len(self._events())

    def __iter__(self) -> Iterator[RecordedEvent]:
        return iter(self._events())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Events, list, tuple)):
            return self._events() == list(other)
        return NotImplemented

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<Events {[str(event) for event in self._events()]}>"

    @property
    def identifies(self) -> list[RecordedIdentify]:
        """The identifies, oldest first."""
        return [one for one in tuple(self._recorded) if isinstance(one, RecordedIdentify)]

    @property
    def everything(self) -> list[RecordedEvent | RecordedIdentify]:
        """Events and identifies in the order of the calls."""
        return list(self._recorded)

    @property
    def refused(self) -> list[str]:
        """The calls that became no event, each as a sentence: what was wrong, and at which line."""
        return list(self._refused)

    def named(self, event_type: str | type[Event]) -> Events:
        """Return the events of one type.

        Args:
            event_type: The type, such as `"payment_failed"`, or its class.
        """
        name = _to_name(event_type)
        chosen = [one for one in self._events() if one.type == name]
        return Events(chosen, self._refused, self._count_waiting)

    def for_user(self, user: object) -> Events:
        """Return the events and identifies of one user.

        Args:
            user: The user's id, of any type that `track` accepts.
        """
        text = parse_identifier(user, "user")
        chosen = [one for one in tuple(self._recorded) if one.user == text]
        return Events(chosen, self._refused, self._count_waiting)

    def one(self, event_type: str | type[Event] | None = None) -> RecordedEvent:
        """Return the only event.

        Args:
            event_type: The type of the event, or its class; None for any.

        Raises:
            AssertionError: There is no such event, or more than one.
        """
        __tracebackhide__ = True
        chosen = self._events() if event_type is None else list(self.named(event_type))
        if len(chosen) != 1:
            were = {0: "none was", 1: "1 was"}.get(len(chosen), f"{len(chosen)} were")
            name = "event" if event_type is None else _to_name(event_type)
            heading = f"expected exactly one {name}, {were} tracked"
            lines = _to_list(chosen) if chosen else self._get_summary()
            raise AssertionError(_to_message(heading, lines))
        return chosen[0]

    def clear(self) -> None:
        """Remove everything recorded so far."""
        self._recorded.clear()
        self._refused.clear()

    def assert_tracked(
        self,
        event_type: str | Event | type[Event],
        *,
        user: object = None,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        message_id: object = None,
        times: int | None = None,
    ) -> None:
        """Assert that such an event was tracked.

        Args:
            event_type: The type of the event, or its class; or an `Event`, whose fields the event
                must have as properties. It must not have one for a field that is None.
            user: The user's id, of any type that `track` accepts; None for any user.
            properties: Properties that the event must have. Others are not compared.
            context: Members of the context that the event must have. Others are not compared.
            message_id: The message id of the event; None for any.
            times: How often it was tracked, exactly; None for at least once.

        Raises:
            AssertionError: It was not; the text shows the nearest events as a diff.
        """
        __tracebackhide__ = True
        if message_id is not None:
            own = {RESERVED_CONTEXT_KEY: parse_identifier(message_id, "message_id")}
            context = {**(context or {}), **own}
        self._check(
            "tracked",
            times,
            event_type=_to_name(event_type),
            external_user_id=user,
            properties=_merge(event_type, properties),
            context=context,
        )

    def assert_not_tracked(
        self,
        event_type: str | Event | type[Event] | None = None,
        *,
        user: object = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Assert that no such event was tracked; without arguments, that none was at all.

        Args:
            event_type: The type of the event, its class, or an `Event`, as in `assert_tracked`;
                None for any.
            user: The user's id; None for any user.
            properties: Properties of the event. Others are not compared.

        Raises:
            AssertionError: There was such an event.
        """
        __tracebackhide__ = True
        self._check(
            "tracked",
            0,
            event_type=None if event_type is None else _to_name(event_type),
            external_user_id=user,
            properties=_merge(event_type, properties),
        )

    def assert_identified(
        self,
        user: object = None,
        *,
        traits: Mapping[str, Any] | None = None,
        email: str | None = None,
        phone: str | None = None,
        channels: Sequence[Mapping[str, Any]] = (),
        preferred_channel: str | None = None,
        anonymous_id: str | None = None,
        times: int | None = None,
    ) -> None:
        """Assert that there was such an identify.

        Args:
            user: The user's id, of any type that `identify` accepts; None for any user.
            traits: Traits that it must have. Others are not compared.
            email: The address of one of its e-mail channels.
            phone: The number of one of its text message channels.
            channels: Channels that it must have. Members that are not named are not compared.
            preferred_channel: The preferred channel; None for any.
            anonymous_id: The anonymous id; None for any.
            times: How often there was one, exactly; None for at least once.

        Raises:
            AssertionError: There was none; the text shows the nearest ones as a diff.
        """
        __tracebackhide__ = True
        asked = [dict(channel) for channel in channels]
        addresses = {"email": email, "sms": phone}
        asked += [{"channel": kind, "address": at} for kind, at in addresses.items() if at]
        self._check(
            "identified",
            times,
            external_user_id=user,
            traits=traits,
            channels=asked or None,
            preferred_channel=preferred_channel,
            anonymous_id=anonymous_id,
        )

    def _events(self) -> list[RecordedEvent]:
        return [one for one in tuple(self._recorded) if isinstance(one, RecordedEvent)]

    def _check(self, verb: str, times: int | None, **members: object) -> None:
        """Assert that something with these members was recorded; None is not compared."""
        __tracebackhide__ = True
        wanted = {name: value for name, value in members.items() if value is not None}
        if "external_user_id" in wanted:
            wanted["external_user_id"] = parse_identifier(wanted["external_user_id"], "user")
        pool: Sequence[_Recorded] = self._events() if verb == "tracked" else self.identifies
        matching = [one for one in pool if not get_differences(wanted, one.body)]
        count = len(matching)
        if count == times or (times is None and count):
            return
        asked = "at least once" if times is None else _to_times(times)
        heading = f"expected to be {verb} {asked}: {_to_sentence(wanted)}"
        lines = []
        if count:
            lines += [f"it was {verb} {_to_times(count)}:", *_to_list(matching)]
        if times is None or count < times:
            lines += _get_nearest(wanted, [one for one in pool if one not in matching])
            lines += self._get_summary()
        raise AssertionError(_to_message(heading, lines))

    def _get_summary(self) -> list[str]:
        """Return a few lines about all that was recorded."""
        counts = Counter(one.type for one in self._events())
        listed = [f"{name} ({n})" for name, n in counts.most_common(_MAX_LISTED)]
        if len(counts) > _MAX_LISTED:
            listed.append(f"{len(counts) - _MAX_LISTED} more types")
        if self.identifies:
            listed.append(f"identify ({len(self.identifies)})")
        lines = [f"all that was recorded: {', '.join(listed) or 'nothing'}"]
        waiting = self._count_waiting()
        if waiting:
            lines.append(f"{waiting} more {'waits' if waiting == 1 else 'wait'} for {_NO_COMMIT}")
        refused = self.refused
        lines += [f"refused: {sentence}" for sentence in refused[:_MAX_REFUSED]]
        if len(refused) > _MAX_REFUSED:
            lines.append(f"refused: {len(refused) - _MAX_REFUSED} more calls")
        return lines


class Recording(Events):
    """The events of a capture, with the methods that the capture fills it with.

    Any thread may call them, even from a signal handler.
    """

    def record(self, recorded: _Recorded) -> None:
        """Add an event or identify that was tracked."""
        self._recorded.append(recorded)

    def refuse(self, sentence: str) -> None:
        """Add the report of a call that became no event."""
        self._refused.append(sentence)

    def end(self, waiting: int) -> None:
        """End the recording; `waiting` events still wait, and will never be recorded."""
        self._count_waiting = lambda: waiting


def _to_name(event: str | Event | type[Event]) -> str:
    """Return an event type; raise TypeError for an abstract class, which no event can have."""
    if isinstance(event, str):
        return event
    if not event.event_type:
        raise TypeError(f"{event!r} is abstract: no event has its type")
    return event.event_type


def _merge(event: object, properties: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the properties to expect: those of a typed event, and others."""
    if not isinstance(event, Event):
        return properties
    values = {k: MISSING if v is None else v for k, v in get_values(event).items()}
    return {**values, **(properties or {})}


def _get_nearest(wanted: Mapping[str, Any], pool: Sequence[_Recorded]) -> list[str]:
    ranked = sorted(pool, key=lambda one: get_similarity(wanted, one.body), reverse=True)
    lines = ["nearest (- expected, + recorded):"] if ranked else []
    for one in ranked[:_MAX_NEAREST]:
        lines.append(f"  {one}")
        lines += [f"    {line}" for line in to_diff(wanted, one.body)]
    return lines


def _to_list(recorded: Sequence[_Recorded]) -> list[str]:
    lines = [f"  {one}" for one in recorded[:_MAX_LISTED]]
    more = len(recorded) - _MAX_LISTED
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _to_sentence(wanted: Mapping[str, Any]) -> str:
    rest = {key: _without_missing(value) for key, value in wanted.items()}
    name = rest.pop("event_type", None)
    user = rest.pop("external_user_id", None)
    whose = "" if user is None else f" of {user!r}"
    members = "".join(f", {key} {to_display(value)}" for key, value in rest.items())
    return f"{name or 'anything'}{whose}{members}"


def _without_missing(value: Any) -> Any:  # noqa: ANN401  # any member
    if not isinstance(value, Mapping):
        return value
    return {key: one for key, one in value.items() if one is not MISSING}


def _to_times(times: int) -> str:
    return {0: "not at all", 1: "once"}.get(times, f"{times} times")


def _to_message(heading: str, lines: Iterable[str]) -> str:
    """Return a message that fits on a screen."""
    return "\n".join(cut(one, _MAX_WIDTH) for one in (heading, *lines))
