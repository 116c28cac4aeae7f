"""Reads the user of a Django request: what `request.user` is at the call, or a resolver's answer.

Invariant: `request.user` is the only truth. In an event loop reading it may need the database,
which only `await` may reach: then the user is returned as Unread, and is read from the same lazy
object later, whatever `request.user` is by then.

Threads: the event loop, and a thread that Django runs for it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.utils.functional import LazyObject, empty

from whisperr import InvalidEvent
from whisperr._integrations.deferred import Unread, to_invalid_event
from whisperr._integrations.tracker import is_async
from whisperr._process.interruption import is_interruption
from whisperr._process.logger import logger

from .conf import RESOLVE_USER, get_resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

_REQUEST_USER = "reading request.user"
_MIDDLEWARE = "django.contrib.auth.middleware"
_AUSER_ALONE = (
    "request.auser was replaced and request.user was not: events are sent for request.user; "
    "set request.user as well"
)
_KEYLESS = (
    "external_user_id: request.user is authenticated and has no primary key; set "
    f"{RESOLVE_USER} to a function that returns the id"
)

_logged: set[str] = set()  # what is logged once in a process


class LazyUser(Unread):
    """A lazy `request.user` that was not loaded when something was tracked for it."""

    def __init__(self, request: HttpRequest, user: LazyObject[Any]) -> None:
        super().__init__(self._load, user, _REQUEST_USER)
        self._request = request
        self._user = user

    @property
    def is_loaded(self) -> bool:
        """Whether something has loaded it meanwhile, so that its id is known."""
        return _get_loaded(self._request, self._user) is not empty

    def get_id(self) -> object:
        """Return the id of a loaded user, None for an anonymous visitor, or what is wrong."""
        try:
            return get_key(_get_loaded(self._request, self._user))
        except Exception as error:
            if is_interruption(error):
                raise
            return to_invalid_event(error, _REQUEST_USER)

    async def _load(self) -> object:
        if not self.is_loaded:
            auser: Any = getattr(self._request, "auser", None)
            if _is_of_session(self._user, self._request) and _is_django_auser(auser):
                return get_key(await auser())  # so that Django keeps what is read
        return await sync_to_async(get_key)(self._user)


def read_user(request: HttpRequest) -> object:
    """Return the user's id, None for an anonymous visitor, or Unread. Raises InvalidEvent."""
    try:
        resolve = get_resolver()
        return _authenticated(request) if resolve is None else _resolve(resolve, request)
    except Exception as error:
        if is_interruption(error):
            raise
        reader = RESOLVE_USER if getattr(settings, RESOLVE_USER, None) else _REQUEST_USER
        raise to_invalid_event(error, reader) from error


def get_key(user: Any) -> object:  # noqa: ANN401  # a project's own user model
    """Return the primary key of an authenticated user, None of any other."""
    if user is None or not user.is_authenticated:
        return None
    key: object = user.pk
    if key is None:
        raise InvalidEvent(_KEYLESS)
    return key


def in_event_loop() -> bool:
    """Return whether this runs in an event loop, where nothing may wait for the database."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _resolve(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    """Ask the resolver; in an event loop later, since it may wait, and may hide that it did."""
    if in_event_loop():
        return Unread(partial(_await_resolver, resolve, request), resolve, RESOLVE_USER)
    if is_async(resolve, iscoroutinefunction):
        return async_to_sync(resolve)(request)
    found = resolve(request)
    return async_to_sync(_await)(found) if isawaitable(found) else found


async def _await_resolver(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    if is_async(resolve, iscoroutinefunction):
        return await resolve(request)
    # In the thread in which Django runs sync code of this request, with its connections.
    found = await sync_to_async(resolve)(request)
    return await found if isawaitable(found) else found


async def _await(found: Any) -> object:  # noqa: ANN401  # what a project's own function returned
    return await found


def _authenticated(request: HttpRequest) -> object:
    if not hasattr(request, "user"):
        raise InvalidEvent(
            "external_user_id: the request has no user; put AuthenticationMiddleware before "
            f"WhisperrMiddleware, or set {RESOLVE_USER}"
        )
    user: object = request.user
    if not isinstance(user, LazyObject) or not in_event_loop():
        return get_key(user)
    loaded = _get_loaded(request, user)
    if loaded is not empty:
        return get_key(loaded)
    if _is_of_session(user, request):
        session = request.session
        if session.session_key is None and not session.modified:
            return None  # without a session cookie Django would find no user either
        auser = getattr(request, "auser", None)
        if auser is not None and not _is_django_auser(auser):
            _log_once(_AUSER_ALONE)
    return LazyUser(request, user)


def _get_loaded(request: HttpRequest, user: LazyObject[Any]) -> object:
    """Return the user behind a lazy object, `empty` while nothing has loaded it."""
    loaded: object = vars(user).get("_wrapped", empty)
    if loaded is empty and _is_of_session(user, request):
        loaded = vars(request).get("_acached_user", empty)  # what Django's `auser` has read
    return loaded


def _is_of_session(user: LazyObject[Any], request: HttpRequest) -> bool:
    """Return whether AuthenticationMiddleware made this object, for this request.

    Any other lazy object may find another user than the session, also where `request.auser` is
    Django's. By name, as the import of the middleware needs models.
    """
    find = vars(user).get("_setupfunc")
    if getattr(find, "__module__", "") != _MIDDLEWARE:
        return False
    return any(cell.cell_contents is request for cell in getattr(find, "__closure__", None) or ())


def _is_django_auser(auser: object) -> bool:
    function = getattr(auser, "func", None)
    name = (getattr(function, "__module__", ""), getattr(function, "__name__", ""))
    return name == (_MIDDLEWARE, "auser")


def _log_once(text: str) -> None:
    if text not in _logged:
        _logged.add(text)
        logger().warning(text)
