"""`request.whisperr`: the client, for the user of one request.

The user is read when something is tracked, never before. Where reading it takes an `await`, the
event is encoded at once and waits for its user, until the middleware can read it.

Threads: a request may be worked on by several, one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest

from whisperr import InvalidEvent
from whisperr._events.event import parse_identifier
from whisperr._integrations.deferred import (
    UNKNOWN,
    defer_event,
    defer_identify,
    is_on,
    nobody,
    outbox_of,
    refuse,
)

from ._client import get_client
from ._on_commit import queue_on_commit
from ._pending import Waiting, queue_soon
from ._user import Known, Unread, in_event_loop, is_of_session, user_of, user_soon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Literal

    from whisperr import Whisperr
    from whisperr.channel import ChannelFields


class RequestTracker:
    """Tracks for the user of one request: `request.whisperr`.

    The user is `str(request.user.pk)` or what WHISPERR_RESOLVE_USER returns, at the moment of the
    call. For an anonymous visitor nothing is sent. In an event loop, where the user may take an
    `await` to read, `track` and `identify` encode at once and the middleware finds the user
    after the view; `atrack` and `aidentify` wait for it.
    """

    __slots__ = ("_request", "waiting")

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.waiting: Waiting = Waiting()

    @property
    def client(self) -> Whisperr:
        """The client of this process; see `get_client`."""
        return get_client()

    @property
    def user_id(self) -> str | None:
        """The user's id as it is sent; None for an anonymous visitor, or if it cannot be read.

        Raises django.core.exceptions.SynchronousOnlyOperation in an event loop when the user is
        not loaded: `await request.whisperr.auser_id()` there.
        """
        client = get_client()
        user = self._user(client, "user_id", even_when_off=True)
        if isinstance(user, Unread):
            raise SynchronousOnlyOperation("use `await request.whisperr.auser_id()` here")
        return self._shown(client, user)

    async def auser_id(self) -> str | None:
        """Do what `user_id` does, also in an event loop."""
        client = get_client()
        return self._shown(client, await self._auser(client, "user_id", even_when_off=True))

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
        client = get_client()
        user = self._user(client, "track")
        if user is None:
            return None
        if not isinstance(user, Unread):
            return client.track(
                user, event_type, properties, context,
                occurred_at=occurred_at, message_id=message_id,
            )  # fmt: skip
        prepared = defer_event(
            client, UNKNOWN, event_type, properties, context, occurred_at, message_id
        )
        if prepared is None:
            return None
        self.waiting.add(prepared, user)
        return prepared.message_id

    async def atrack(
        self,
        event_type: str,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
    ) -> str | None:
        """Do what `track` does, reading the user before it returns; and writing the row, if so."""
        client = get_client()
        prepared = defer_event(
            client, UNKNOWN, event_type, properties, context, occurred_at, message_id
        )
        if prepared is None:
            return None
        user = await self._auser(client, "track")
        queued = user is not None and await queue_soon(prepared, user)
        return prepared.message_id if queued else None

    def track_on_commit(
        self,
        event_type: str,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        occurred_at: datetime | None = None,
        message_id: str | None = None,
        using: str | None = None,
    ) -> str | None:
        """Track when the current transaction commits; see `whisperr.django.track_on_commit`.

        The user is the one of now. In an event loop, where Django has no transactions, it is
        `track`.
        """
        client = get_client()
        user = self._user(client, "track")
        if user is None:
            return None
        given = (event_type, properties, context, occurred_at, message_id)
        if isinstance(user, Unread):
            prepared = defer_event(client, UNKNOWN, *given)
            if prepared is None:
                return None
            self.waiting.add(prepared, user)
            return prepared.message_id
        prepared = defer_event(client, user, *given)
        return None if prepared is None else queue_on_commit(prepared, using)

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
        known = {**locals()}
        del known["self"]
        client = get_client()
        user = self._user(client, "identify")
        if user is None:
            return
        prepared = defer_identify(client, **known)
        if prepared is None:
            return
        if isinstance(user, Unread):
            self.waiting.add(prepared, user)
        else:
            prepared.queue(user)

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
        known = {**locals()}
        del known["self"]
        client = get_client()
        prepared = defer_identify(client, **known)
        if prepared is not None:
            user = await self._auser(client, "identify")
            if user is not None:
                await queue_soon(prepared, user)

    def _user(self, client: Whisperr, call: str, *, even_when_off: bool = False) -> Any:  # noqa: ANN401  # a key of any type
        """Return the user's key, Unread, or None; a failure to read it is reported."""
        if not even_when_off and not is_on(client):
            return None
        try:
            user = user_of(self._request)
        except InvalidEvent as error:
            refuse(client, call, error)
            return None
        if self.waiting and not isinstance(user, Unread) and is_of_session(self._request):
            self.waiting.found(user)  # what was tracked first is queued first
        if user is None:
            nobody(client, call)
        elif outbox_of(client) is not None and not isinstance(user, Unread) and in_event_loop():
            return user if even_when_off else Known(user)
        return user

    async def _auser(self, client: Whisperr, call: str, *, even_when_off: bool = False) -> Any:  # noqa: ANN401  # likewise
        if not even_when_off and not is_on(client):
            return None
        await self.waiting.asettle()  # what was tracked first is queued first
        try:
            user = await user_soon(self._request)
        except InvalidEvent as error:
            refuse(client, call, error)
            return None
        if user is None:
            nobody(client, call)
        return user

    def _shown(self, client: Whisperr, user: object) -> str | None:
        if user is None:
            return None
        try:
            return parse_identifier(user, "external_user_id")
        except InvalidEvent as error:
            refuse(client, "user_id", error)
            return None


class WhisperrRequest(HttpRequest):
    """A request as views get it behind the middleware; for annotations.

    def upgrade(request: WhisperrRequest) -> HttpResponse:
        request.whisperr.track("plan_upgraded")
    """

    whisperr: RequestTracker
