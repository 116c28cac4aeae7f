"""Trackers: the client, for the user of one request or task.

Integrations differ in how they read the user: `_read_user`. It is read when something is tracked,
never before, and not for a disabled client. A failure is reported as bad data is, and the request
continues.

`TrackArguments` and `IdentifyArguments` are the only place where the integrations spell what
`Whisperr.track` and `Whisperr.identify` take; a test compares them with the client.

Threads: any. A tracker keeps nothing but the deferred events of its request.
"""

from __future__ import annotations

from inspect import isawaitable, signature
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

Fields: TypeAlias = "Mapping[str, Any] | None"
F = TypeVar("F", bound="Callable[..., object]")

_ASYNC = "external_user_id: resolve_user must not be async here"


class TrackArguments(TypedDict, total=False):
    """What `Whisperr.track` takes by name only."""

    occurred_at: datetime | None
    message_id: str | None


class IdentifyArguments(TypedDict, total=False):
    """What `Whisperr.identify` takes after the user."""

    traits: Mapping[str, Any] | None
    email: str | None
    phone: str | None
    push_token: str | None
    preferred_channel: Literal["email", "sms", "push"] | None
    channels: Sequence[ChannelFields | Mapping[str, Any]] | None
    anonymous_id: str | None


def same_parameters(method: Callable[..., object]) -> Callable[[F], F]:
    """Show the parameters of a client's method, in `help()` and `inspect.signature`.

    All of them but the user, and with them what only the decorated function has.
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
    """Raise TypeError for an argument that does not exist, also when nothing will be sent."""
    for name in given:
        if name not in arguments.__annotations__:
            raise TypeError(f"got an unexpected keyword argument {name!r}")


def is_async(resolve: Callable[[Any], object], is_coroutine: Callable[[object], bool]) -> bool:
    """Return whether a resolver is to be awaited; also an object with an async `__call__`."""
    return is_coroutine(resolve) or is_coroutine(getattr(resolve, "__call__", None))  # noqa: B004  # the method itself


class UserTracker:
    """Tracks for one user, read anew at each call. Nothing is sent for an anonymous visitor."""

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
        """The client itself, for events of another user."""
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
        event_type: str,
        properties: Fields = None,
        context: Fields = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Queue one event of the user and return its message id; None when it is not sent.

        The arguments are those of `Whisperr.track` after the user. An event that waits for its
        user has its id already; it is accepted when the user is known.
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
        """Queue what is known about the user; the arguments are those of `Whisperr.identify`."""
        check_names(arguments, IdentifyArguments)
        client = self._get_client()
        user = self._find_user(client, "identify") if client.enabled else None
        if isinstance(user, Unread):
            self._defer(defer_identify(client, **arguments), user)
        elif user is not None:
            client.identify(user, **arguments)

    def _find_user(self, client: Whisperr, call: str) -> object:
        """Return what `_read_user` does; None also when that fails, which is reported."""
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
        """Return why there is no user, for the log: in a request, a visitor without a login."""
        return "the visitor is anonymous"


class DeferringTracker(UserTracker):
    """Has methods to await as well, and pending events where only those can read the user."""

    __slots__ = ("pending",)

    def __init__(
        self, get_client: Callable[[], Whisperr], resolve: Callable[[], object], pending: Pending
    ) -> None:
        super().__init__(get_client, resolve)
        self.pending: Pending = pending

    async def _aread_user(self) -> object:
        """Return the user's id, None for an anonymous visitor, or why it cannot be read."""
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
        """Do what `user_id` does, also where reading the user takes an `await`."""
        client = self._get_client()
        user = await self._aread_user()
        if user is None:
            report_anonymous(client, "user_id", self._explain_no_user())
        return to_user_id(client, user)

    @same_parameters(Whisperr.track)
    async def atrack(
        self,
        event_type: str,
        properties: Fields = None,
        context: Fields = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Do what `track` does, and read the user before it returns."""
        given = (event_type, properties, context)
        return await self._settle(defer_event(self._get_client(), UNKNOWN, *given, **arguments))

    @same_parameters(Whisperr.identify)
    async def aidentify(self, **arguments: Unpack[IdentifyArguments]) -> None:
        """Do what `identify` does, and read the user before it returns."""
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


def to_user_id(client: Whisperr, user: object) -> str | None:
    """Return a user's id as it is sent; None without one, or for a wrong one, which is reported."""
    try:
        if isinstance(user, InvalidEvent):
            raise user
        return None if user is None else parse_identifier(user, "external_user_id")
    except InvalidEvent as error:
        client.reject("user_id", error)
        return None
