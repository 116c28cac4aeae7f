"""For the doors: the client, for the user of one request or task.

The user is read when something is tracked, never before, and nothing is read or sent for a client
that is disabled. A failure to read it is reported as bad data is; the request goes on.

Threads: any. It keeps nothing of its own.
"""

from __future__ import annotations

from whisperr._events.event import parse_identifier
from whisperr.errors import InvalidEvent

from .deferred import is_on, nobody, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any, Literal

    from whisperr._client import Whisperr
    from whisperr.channel import ChannelFields


class UserTracker:
    """Tracks for one user, found anew at each call. For an anonymous visitor nothing is sent."""

    __slots__ = ("_client_of", "_resolve")

    def __init__(self, client_of: Callable[[], Whisperr], resolve: Callable[[], object]) -> None:
        self._client_of = client_of
        self._resolve = resolve

    @property
    def client(self) -> Whisperr:
        """The client itself, for events of another user."""
        return self._client_of()

    @property
    def user_id(self) -> str | None:
        """The user's id as it is sent; None for an anonymous visitor, or if it cannot be read."""
        client = self._client_of()
        return get_user_id(client, self._user(client, "user_id"))

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

        The arguments are those of `Whisperr.track` after the user.
        """
        client = self._client_of()
        user = self._user(client, "track") if is_on(client) else None
        if user is None:
            return None
        return client.track(
            user, event_type, properties, context,
            occurred_at=occurred_at, message_id=message_id,
        )  # fmt: skip

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
        known: Any = {name: value for name, value in locals().items() if name != "self"}
        client = self._client_of()
        user = self._user(client, "identify") if is_on(client) else None
        if user is not None:
            client.identify(user, **known)

    def _user(self, client: Whisperr, call: str) -> object:
        """Return what the resolver says; None when nothing can be sent, which was told."""
        try:
            user = self._resolve()
            if hasattr(user, "__await__"):
                getattr(user, "close", int)()  # a coroutine that nobody awaits would warn
                raise InvalidEvent("external_user_id: resolve_user must not be async here")
        except Exception as error:  # noqa: BLE001  # of a project's own function: reported
            refuse(client, call, to_invalid_event(error))
            return None
        if user is None:
            nobody(client, call)
        return user


def get_user_id(client: Whisperr, user: object) -> str | None:
    """Return a user's id as it is sent; None when there is none, or a wrong one, which is told."""
    if user is None:
        return None
    try:
        return parse_identifier(user, "external_user_id")
    except InvalidEvent as error:
        refuse(client, "user_id", error)
        return None


def to_invalid_event(error: Exception) -> InvalidEvent:
    """Return what is reported; never the text of a foreign error, which may repeat data."""
    if isinstance(error, InvalidEvent):
        return error
    return InvalidEvent(f"external_user_id: resolve_user raised {type(error).__name__}")
