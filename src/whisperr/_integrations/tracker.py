"""Trackers call the client for the user of one request or task.

Integrations differ in how they read the user (`_read_user`). A tracker reads it in each call, never
before, and not for a disabled client. A failure is reported like bad data, and the request
continues.

Only `TrackArguments` and `IdentifyArguments` spell out the arguments of `Whisperr.track` and
`Whisperr.identify` for the integrations; a test compares them with the client.

Threads: any. A tracker keeps nothing but the deferred events of its request.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from inspect import isawaitable, iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar

from whisperr._client import Whisperr
from whisperr._events.event import parse_identifier
from whisperr._process.interruption import is_interruption
from whisperr.errors import InvalidEvent

from .deferred import (
    UNKNOWN,
    DeferredEvent,
    Pending,
    Unread,
    defer_event,
    defer_identify,
    report_anonymous,
    to_invalid_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from typing_extensions import Unpack

    from whisperr.channel import ChannelFields
    from whisperr.events import Event

Fields: TypeAlias = "Mapping[str, Any] | None"
F = TypeVar("F", bound="Callable[..., object]")

_ASYNC = "external_user_id: resolve_user must not be async here"


class TrackArguments(TypedDict, total=False):
    """The keyword-only arguments of `Whisperr.track`."""

    occurred_at: datetime | None
    message_id: str | None


class IdentifyArguments(TypedDict, total=False):
    """The arguments of `Whisperr.identify` after the user."""

    traits: Mapping[str, Any] | None
    email: str | None
    phone: str | None
    push_token: str | None
    preferred_channel: Literal["email", "sms", "push"] | None
    channels: Sequence[ChannelFields | Mapping[str, Any]] | None
    anonymous_id: str | None


def same_parameters(method: Callable[..., object]) -> Callable[[F], F]:
    """Return a decorator that shows the parameters of a client's method in `help()`.

    `help()` and `inspect.signature` then show them without the user, together with the parameters
    that only the decorated function has.
    """
    _self, _user, *shared = signature(method).parameters.values()

    def apply(function: F) -> F:
        own = signature(function)
        parameters = {one.name: one for one in (*own.parameters.values(), *shared)}
        del parameters["arguments"]  # it stands for those of the method
        ordered = sorted(parameters.values(), key=lambda parameter: parameter.kind)
        vars(function)["__signature__"] = own.replace(parameters=ordered)
        return function

    return apply


def check_names(given: Mapping[str, object], arguments: type) -> None:
    """Raise TypeError for an unknown argument, even when nothing will be sent."""
    for name in given:
        if name not in arguments.__annotations__:
            raise TypeError(f"got an unexpected keyword argument {name!r}")


def is_async(resolve: Callable[[Any], object], is_coroutine: Callable[[object], bool]) -> bool:
    """Return whether a resolver must be awaited, also an object with an async `__call__`."""
    return is_coroutine(resolve) or is_coroutine(getattr(resolve, "__call__", None))  # noqa: B004  # the method itself


class UserTracker:
    """Tracks for the user of the running request or task.

    Each call reads the user. For an anonymous visitor it sends nothing. If reading the user fails,
    the call is reported like bad data, and the request or task continues.
    """

    __slots__ = ("_get_client", "_resolve")

    def __init__(self, get_client: Callable[[], Whisperr], resolve: Callable[[], object]) -> None:
        self._get_client = get_client
        self._resolve = resolve

    def _read_user(self) -> object:
        """Return the user's id, None for an anonymous visitor, or Unread. May raise anything."""
        return self._resolve()

    def _defer(self, deferred: DeferredEvent | None, user: Unread) -> str | None:
        """Keep an event until its user is read; for trackers whose user may be Unread."""
        raise NotImplementedError

    @property
    def client(self) -> Whisperr:
        """The client itself, for events of other users."""
        return self._get_client()

    @property
    def user_id(self) -> str | None:
        """The user's id as it is sent; None for an anonymous visitor, or if it cannot be read."""
        client = self._get_client()
        user = self._find_user(client, "user_id")
        return to_user_id(client, InvalidEvent(_ASYNC) if isinstance(user, Unread) else user)

    @same_parameters(Whisperr.track)
    def track(
        self,
        event_type: str | Event,
        properties: Fields = None,
        context: Fields = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Queue one event of the user.

        The arguments are those of `Whisperr.track` after the user. If reading the user takes an
        `await`, the event is encoded now and accepted once its user is known.

        Args:
            event_type: The name of the event in lowercase snake case, such as
                `"payment_failed"`; or an `Event`, which has a name and properties.
            properties: A dictionary that describes the event; values of any type become JSON.
            context: A dictionary about the circumstances, such as a device or a locale.
            occurred_at: An aware `datetime`, at most 30 days ago. None means now.
            message_id: Your own unique id, such as the id of a webhook. The server drops a second
                event with the same id. None generates one.

        Returns:
            The message id of the event, or None when nothing is sent.

        Raises:
            InvalidEvent: The input or the user is bad, and the client is `strict`.
        """
        check_names(arguments, TrackArguments)
        client = self._get_client()
        user = self._find_user(client, "track") if client.enabled else None
        given = (event_type, properties, context)
        if isinstance(user, Unread):
            return self._defer(defer_event(client, UNKNOWN, *given, **arguments), user)
        return None if user is None else client.track(user, *given, **arguments)

    @same_parameters(Whisperr.identify)
    def identify(self, **arguments: Unpack[IdentifyArguments]) -> None:
        """Queue what is known about the user.

        The arguments are those of `Whisperr.identify` after the user.

        Args:
            traits: A dictionary of what is known, such as `{"plan": "pro"}`. Traits merge.
            email: An e-mail address, which becomes an opted-in channel. A blank one counts as
                none, also for the next two.
            phone: A phone number, which becomes an opted-in text message channel.
            push_token: A device token, which becomes an opted-in push channel.
            preferred_channel: `"email"`, `"sms"` or `"push"`.
            channels: All channels with their details, from `Channel` or as dictionaries. They
                replace `email`, `phone` and `push_token`.
            anonymous_id: The id that a browser or an app gave the visitor before the user was
                known; 1 to 128 characters.

        Raises:
            InvalidEvent: The input or the user is bad, and the client is `strict`.
        """
        check_names(arguments, IdentifyArguments)
        client = self._get_client()
        user = self._find_user(client, "identify") if client.enabled else None
        if isinstance(user, Unread):
            self._defer(defer_identify(client, **arguments), user)
        elif user is not None:
            client.identify(user, **arguments)

    def _find_user(self, client: Whisperr, call: str) -> object:
        """Return the result of `_read_user`; None also if that fails, which is reported."""
        try:
            user = self._read_user()
            if hasattr(user, "__await__"):
                getattr(user, "close", int)()  # a coroutine that nothing awaits would warn
                raise InvalidEvent(_ASYNC)
        except Exception as error:  # of a project's own function: reported
            if is_interruption(error):
                raise
            client.reject(call, to_invalid_event(error))
            return None
        if user is None:
            report_anonymous(client, call, self._explain_no_user())
        return user

    def _explain_no_user(self) -> str:
        """Return why there is no user, for the log."""
        return "the visitor is anonymous"


class DeferringTracker(UserTracker):
    """A tracker with async methods, which keeps events until an `await` can read their user."""

    __slots__ = ("pending",)

    def __init__(
        self, get_client: Callable[[], Whisperr], resolve: Callable[[], object], pending: Pending
    ) -> None:
        super().__init__(get_client, resolve)
        self.pending: Pending = pending

    async def _aread_user(self) -> object:
        """Return the user's id, None for an anonymous visitor, or an InvalidEvent."""
        try:
            user = self._read_user()
            if isawaitable(user):
                user = await user
        except Exception as error:  # of a project's own function: reported
            if is_interruption(error):
                raise
            return to_invalid_event(error)
        return await user.read() if isinstance(user, Unread) else user

    def _defer(self, deferred: DeferredEvent | None, user: Unread) -> str | None:
        return self.pending.add(deferred, user)

    async def auser_id(self) -> str | None:
        """Return the id of the user as it is sent, also if reading it takes an `await`.

        Returns:
            The id; None for an anonymous visitor, or if the user cannot be read.
        """
        client = self._get_client()
        user = await self._aread_user()
        if user is None:
            report_anonymous(client, "user_id", self._explain_no_user())
        return to_user_id(client, user)

    @same_parameters(Whisperr.track)
    async def atrack(
        self,
        event_type: str | Event,
        properties: Fields = None,
        context: Fields = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Queue one event of the user, and read the user before this returns.

        Args:
            event_type: The name of the event, or an `Event`, as in `track`.
            properties: A dictionary that describes the event.
            context: A dictionary about the circumstances.
            occurred_at: An aware `datetime`, at most 30 days ago. None means now.
            message_id: Your own unique id. None generates one.

        Returns:
            The message id of the event, or None when nothing is sent.

        Raises:
            InvalidEvent: The input or the user is bad, and the client is `strict`.
        """
        given = (event_type, properties, context)
        return await self._settle(defer_event(self._get_client(), UNKNOWN, *given, **arguments))

    @same_parameters(Whisperr.identify)
    async def aidentify(self, **arguments: Unpack[IdentifyArguments]) -> None:
        """Queue what is known about the user, and read the user before this returns.

        Args:
            traits: A dictionary of what is known, as in `identify`.
            email: An e-mail address, which becomes an opted-in channel.
            phone: A phone number, which becomes an opted-in text message channel.
            push_token: A device token, which becomes an opted-in push channel.
            preferred_channel: `"email"`, `"sms"` or `"push"`.
            channels: All channels with their details. They replace the three above.
            anonymous_id: The id that the visitor had before the user was known.

        Raises:
            InvalidEvent: The input or the user is bad, and the client is `strict`.
        """
        check_names(arguments, IdentifyArguments)
        await self._settle(defer_identify(self._get_client(), **arguments))

    async def _settle(self, deferred: DeferredEvent | None) -> str | None:
        if deferred is None:
            return None
        try:
            accepted = await self.pending.finish([(deferred, await self._aread_user())])
        finally:
            deferred.cancel()  # a cancelled or interrupted call tracks nothing
        return deferred.message_id if accepted else None


class ResolvingTracker(DeferringTracker):
    """Reads the user with a resolver, sync or async, that takes the request.

    An async resolver runs later, with the context variables of the call that tracked.
    """

    __slots__ = ("_is_async",)

    def __init__(
        self,
        get_client: Callable[[], Whisperr],
        request: object,
        resolve_user: Callable[[Any], object],
    ) -> None:
        super().__init__(get_client, partial(resolve_user, request), Pending())
        self._is_async = is_async(resolve_user, iscoroutinefunction)

    def _read_user(self) -> object:
        if not self._is_async:
            return self._resolve()
        return Unread(self._resolve, source=self, context=copy_context())


def to_user_id(client: Whisperr, user: object) -> str | None:
    """Return the id of a user as it is sent; None without a user, or for a bad id (reported)."""
    try:
        if isinstance(user, InvalidEvent):
            raise user
        return None if user is None else parse_identifier(user, "external_user_id")
    except InvalidEvent as error:
        client.reject("user_id", error)
        return None
