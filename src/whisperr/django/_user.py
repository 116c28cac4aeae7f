"""Who the user of a request is, read when asked and not before.

In an event loop `request.user` may need the database, which only `await` may reach. What cannot
be read at once is returned as Unread: how to read it later, as of now.
"""

from __future__ import annotations

from asyncio import get_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import LazyObject, empty

from whisperr import InvalidEvent

from .conf import RESOLVE_USER, is_async, resolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest


class Unread:
    """A user who takes an `await` to read. `source` is the same for reads with one answer."""

    __slots__ = ("_read", "by_session", "source")

    def __init__(
        self, read: Callable[[], Awaitable[object]], source: object, *, by_session: bool
    ) -> None:
        self._read = read
        self.source: object = source
        self.by_session: bool = by_session

    async def read(self) -> object:
        """Return the user's id, None for an anonymous visitor; raises InvalidEvent."""
        try:
            answer = await self._read()
            return key_of(answer) if self.by_session else answer
        except Exception as error:
            raise _failure(error) from error


class Known(Unread):
    """A user who is known, of an event that waits for a thread that may use the database."""

    __slots__ = ("key",)

    def __init__(self, key: object) -> None:
        self.key: object = key
        super().__init__(self._said, self, by_session=False)

    async def _said(self) -> object:
        return self.key


def user_of(request: HttpRequest) -> Any:  # noqa: ANN401  # keys are of any type
    """Return the user's id, None for an anonymous visitor, or Unread. Raises InvalidEvent."""
    try:
        resolve = resolver()
        if resolve is not None:
            return _resolved(resolve, request)
        return _authenticated(request)
    except Exception as error:
        raise _failure(error) from error


async def user_soon(request: HttpRequest) -> Any:  # noqa: ANN401  # likewise
    """Do what `user_of` does, and wait for the answer."""
    user = user_of(request)
    return await user.read() if isinstance(user, Unread) else user


def is_of_session(request: HttpRequest) -> bool:
    """Say whether the user of now is the one that Django found by the session."""
    return resolver() is None and isinstance(request.user, LazyObject)


def key_of(user: Any) -> object:  # noqa: ANN401  # a project's own user model
    """Return the primary key of an authenticated user, None of any other."""
    return user.pk if user is not None and user.is_authenticated else None


def _resolved(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    if is_async(resolve):
        if in_event_loop():
            return Unread(partial(resolve, request), resolve, by_session=False)
        return async_to_sync(resolve)(request)
    try:
        return resolve(request)
    except SynchronousOnlyOperation:
        if not in_event_loop():
            raise
        return Unread(partial(sync_to_async(resolve), request), resolve, by_session=False)


def _authenticated(request: HttpRequest) -> object:
    user = getattr(request, "user", request)
    if user is request:
        raise InvalidEvent(
            "external_user_id: the request has no user; put AuthenticationMiddleware before "
            f"WhisperrMiddleware, or set {RESOLVE_USER}"
        )
    if not _is_unloaded(user) or not in_event_loop():
        return key_of(user)
    # What Django's own `request.auser` has read already.
    known = vars(request).get("_acached_user")
    if known is not None:
        return key_of(known)
    auser = getattr(request, "auser", None)
    if auser is None:
        return Unread(sync_to_async(lambda: key_of(user) and user), user, by_session=True)
    if _reads_the_session(auser) and request.session.session_key is None:
        return None  # no session cookie came: Django would find nobody either
    return Unread(auser, auser, by_session=True)


def _is_unloaded(user: object) -> bool:
    return isinstance(user, LazyObject) and vars(user).get("_wrapped") is empty


def _reads_the_session(auser: object) -> bool:
    """Say whether this is Django's own `request.auser`. By name: importing it needs its models."""
    function = getattr(auser, "func", None)
    place = (getattr(function, "__module__", ""), getattr(function, "__name__", ""))
    return place == ("django.contrib.auth.middleware", "auser")


def in_event_loop() -> bool:
    """Say whether this runs in an event loop, where nothing may wait for the database."""
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def _failure(error: Exception) -> InvalidEvent:
    """Return what is reported; never the text of a foreign error, which may repeat data."""
    if isinstance(error, InvalidEvent):
        return error
    read = RESOLVE_USER if getattr(settings, RESOLVE_USER, None) else "reading request.user"
    return InvalidEvent(f"external_user_id: {read} raised {type(error).__name__}")
