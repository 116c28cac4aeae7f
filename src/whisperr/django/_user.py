"""Reads the user of a request, when asked and not before.

In an event loop `request.user` may need the database, which only `await` may reach. A user that
cannot be read at once is returned as Unread, which reads the user of that moment later.
"""

from __future__ import annotations

from asyncio import get_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import LazyObject, empty

from whisperr import InvalidEvent
from whisperr._integrations.pending import Unread, to_invalid_event
from whisperr._integrations.tracker import is_async

from .conf import RESOLVE_USER, get_resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

_REQUEST_USER = "reading request.user"


class SessionUser(Unread):
    """The user that Django finds by the session."""


class KnownUser(Unread):
    """A user that is known, of an event that waits for a thread that may use the database."""

    def __init__(self, key: object) -> None:
        self.source: object = key

    async def read(self) -> object:
        """Return the user's id."""
        return self.source


def read_user(request: HttpRequest) -> object:
    """Return the user's id, None for an anonymous visitor, or Unread. Raises InvalidEvent."""
    try:
        resolve = get_resolver()
        return _authenticated(request) if resolve is None else _resolve(resolve, request)
    except Exception as error:
        reader = RESOLVE_USER if getattr(settings, RESOLVE_USER, None) else _REQUEST_USER
        raise to_invalid_event(error, reader) from error


def is_session_user(request: HttpRequest) -> bool:
    """Return whether the user of now is the one that Django found by the session."""
    return get_resolver() is None and isinstance(request.user, LazyObject)


def get_key(user: Any) -> object:  # noqa: ANN401  # a project's own user model
    """Return the primary key of an authenticated user, None of any other."""
    return user.pk if user is not None and user.is_authenticated else None


def _resolve(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    if is_async(resolve, iscoroutinefunction):
        if in_event_loop():
            return Unread(partial(resolve, request), resolve, RESOLVE_USER)
        return async_to_sync(resolve)(request)
    try:
        return resolve(request)
    except SynchronousOnlyOperation:
        if not in_event_loop():
            raise
        return Unread(partial(sync_to_async(resolve), request), resolve, RESOLVE_USER)


def _authenticated(request: HttpRequest) -> object:
    if not hasattr(request, "user"):
        raise InvalidEvent(
            "external_user_id: the request has no user; put AuthenticationMiddleware before "
            f"WhisperrMiddleware, or set {RESOLVE_USER}"
        )
    user = request.user
    is_loaded = not isinstance(user, LazyObject) or vars(user).get("_wrapped") is not empty
    if is_loaded or not in_event_loop():
        return get_key(user)
    # What Django's own `request.auser` has read already.
    known = vars(request).get("_acached_user")
    if known is not None:
        return get_key(known)
    auser = getattr(request, "auser", None)
    if auser is None:
        return SessionUser(sync_to_async(partial(get_key, user)), user, _REQUEST_USER)
    if _reads_the_session(auser) and request.session.session_key is None:
        return None  # without a session cookie Django would find no user either

    async def read_key() -> object:
        return get_key(await auser())

    return SessionUser(read_key, auser, _REQUEST_USER)


def _reads_the_session(auser: object) -> bool:
    """Return whether this is Django's own `request.auser`; by name, as its import needs models."""
    function = getattr(auser, "func", None)
    name = (getattr(function, "__module__", ""), getattr(function, "__name__", ""))
    return name == ("django.contrib.auth.middleware", "auser")


def in_event_loop() -> bool:
    """Return whether this runs in an event loop, where nothing may wait for the database."""
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True
