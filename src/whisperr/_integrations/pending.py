"""Of the ASGI door: the client, for the user of one request.

With an async resolver an event is encoded at once and waits for its user until the request ends,
because `track` cannot wait.

Threads: the event loop and the threads of sync handlers; a `deque` needs no lock for that.
"""

from __future__ import annotations

import inspect
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from whisperr.errors import InvalidEvent

from .deferred import UNKNOWN, defer_event, defer_identify, is_on, nobody, refuse
from .tracker import UserTracker, get_user_id, to_invalid_event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from datetime import datetime
    from typing import Literal

    from whisperr._client import Whisperr
    from whisperr.channel import ChannelFields

    from .deferred import DeferredEvent

_OVER = "external_user_id: the request is over and resolve_user is async; await atrack() there"
_CANCELLED = "external_user_id: the request was cancelled before its user was read"


class RequestTracker(UserTracker):
    """Tracks for the user of one request: `request.state.whisperr`.

    For an anonymous visitor nothing is sent. With an async resolver, what `track` and `identify`
    took is queued when the request is over, for the user of that moment; `atrack` and `aidentify`
    ask the resolver before they return.
    """

    __slots__ = ("_is_async", "_over", "_waiting")

    def __init__(
        self,
        client_of: Callable[[], Whisperr],
        scope: MutableMapping[str, Any],
        resolve_user: Callable[[Any], object] | None,
    ) -> None:
        resolve = _identity_in if resolve_user is None else resolve_user
        super().__init__(client_of, partial(resolve, scope))
        self._is_async = _is_async(resolve)
        self._over = False
        self._waiting: deque[DeferredEvent] = deque()

    async def auser_id(self) -> str | None:
        """Do what `user_id` does, also with an async resolver."""
        client = self._client_of()
        return get_user_id(client, await self._auser(client, "user_id"))

    def track(
        self,
        event_type: str,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> str | None:
        """Queue one event of the user and return its message id; None when it is not sent.

        The arguments are those of `Whisperr.track` after the user. An event that waits for its
        user has its id already; it is accepted when the user is known.
        """
        given = (event_type, properties, context)
        if not self._is_async:
            return super().track(*given, occurred_at=occurred_at, message_id=message_id)
        client = self._client_of()
        prepared = defer_event(client, UNKNOWN, *given, occurred_at, message_id)
        return None if prepared is None else self._wait(prepared)

    async def atrack(
        self,
        event_type: str,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> str | None:
        """Do what `track` does, reading the user before it returns."""
        client = self._client_of()
        given = (event_type, properties, context, occurred_at, message_id)
        prepared = defer_event(client, UNKNOWN, *given)
        if prepared is None:
            return None
        user = await self._auser(client, "track")
        return prepared.message_id if user is not None and prepared.queue(user) else None

    def identify(
        self,
        *,
        traits: Mapping[str, Any] | None = None,
        email: str | None = None,
        phone: str | None = None,
        push_token: str | None = None,
        preferred_channel: Literal["email", "sms", "push"] | None = None,
        channels: Sequence[ChannelFields | Mapping[str, Any]] | None = None,
        anonymous_id: str | None = None,
    ) -> None:
        """Queue what is known about the user; the arguments are those of `Whisperr.identify`."""
        known: Any = {n: v for n, v in locals().items() if n not in {"self", "__class__"}}
        if not self._is_async:
            super().identify(**known)
            return
        prepared = defer_identify(self._client_of(), **known)
        if prepared is not None:
            self._wait(prepared)

    async def aidentify(
        self,
        *,
        traits: Mapping[str, Any] | None = None,
        email: str | None = None,
        phone: str | None = None,
        push_token: str | None = None,
        preferred_channel: Literal["email", "sms", "push"] | None = None,
        channels: Sequence[ChannelFields | Mapping[str, Any]] | None = None,
        anonymous_id: str | None = None,
    ) -> None:
        """Do what `identify` does, reading the user before it returns."""
        known = {name: value for name, value in locals().items() if name != "self"}
        client = self._client_of()
        prepared = defer_identify(client, **known)
        if prepared is not None:
            user = await self._auser(client, "identify")
            if user is not None:
                prepared.queue(user)

    async def settle(self) -> None:
        """End the request: read the user of what waits, once, and queue it. For the middleware."""
        self._over = True
        if not self._waiting:
            return
        try:
            user = await self._read()
        except Exception as error:  # noqa: BLE001  # of a project's own function: reported
            failure = to_invalid_event(error)
            self._end_all(lambda prepared: prepared.refuse(failure))
        except BaseException:  # the task is cancelled: say what is lost by it, and go
            with suppress(InvalidEvent):
                self._end_all(lambda prepared: prepared.refuse(InvalidEvent(_CANCELLED)))
            raise
        else:
            self._end_all(
                lambda prepared: prepared.nobody() if user is None else prepared.queue(user)
            )

    def _wait(self, prepared: DeferredEvent) -> str | None:
        if self._over:
            prepared.refuse(InvalidEvent(_OVER))
            return None
        self._waiting.append(prepared)
        return prepared.message_id

    def _end_all(self, end: Callable[[DeferredEvent], object]) -> None:
        """End each that waits, also when strict mode raises for one; then raise the first error."""
        first: InvalidEvent | None = None
        while self._waiting:
            try:
                end(self._waiting.popleft())
            except InvalidEvent as error:  # noqa: PERF203  # the others have to end as well
                first = first or error
        if first is not None:
            raise first

    async def _read(self) -> object:
        user = self._resolve()
        return await user if inspect.isawaitable(user) else user

    async def _auser(self, client: Whisperr, call: str) -> object:
        """Return what the resolver says; None when nothing can be sent, which was told."""
        if call != "user_id" and not is_on(client):
            return None
        try:
            user = await self._read()
        except Exception as error:  # noqa: BLE001  # of a project's own function: reported
            refuse(client, call, to_invalid_event(error))
            return None
        if user is None:
            nobody(client, call)
        return user


def _is_async(function: Callable[[Any], object]) -> bool:
    """Say whether a resolver is to be awaited; also an object with an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # the method itself is looked at
    )


def _identity_in(scope: MutableMapping[str, Any]) -> object:
    """Return the `identity` that Starlette's authentication left in the scope."""
    user = scope.get("user")
    if user is None:
        raise InvalidEvent(
            "external_user_id: the request has no user; give WhisperrMiddleware a resolve_user, "
            "or put it inside AuthenticationMiddleware"
        )
    return user.identity if user.is_authenticated else None
