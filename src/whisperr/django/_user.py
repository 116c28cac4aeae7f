"""Reads the user of a Django request from `request.user` or from WHISPERR_RESOLVE_USER.

Invariant: without a resolver `request.user` counts, as it is at the call. Only where it is still
the user of the session, a user that the view has put into `request.auth` counts instead. In an
event loop reading it may need the database, which takes an `await`. The user is then returned as
Unread, and read later from the same lazy object, even if `request.user` has been replaced by then.

Threads: the event loop, and a thread that Django runs for it.
"""

from __future__ import annotations

import asyncio
import sys
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
from whisperr._process.logger import log

from .conf import RESOLVE_USER, get_resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

_REQUEST_USER = "reading request.user"
_MIDDLEWARE = "django.contrib.auth.middleware"
_AUSER_ALONE = (
    "only request.auser was replaced, so events are sent for request.user; set request.user, too"
)
_AUTH_ALONE = (
    "request.user is anonymous but request.auth is not, so nothing is sent; set "
    f"{RESOLVE_USER} to a function that returns the id of request.auth"
)
_OTHER_AUTH = (
    "request.auth is not the user in request.user, and events are sent for request.user; set "
    f"{RESOLVE_USER} to a function that returns the right id"
)
_NOT_AUTHENTICATED = (
    "external_user_id: this view of Django REST framework has not authenticated yet; read "
    "request.user before this call"
)
_KEYLESS = (
    "external_user_id: request.user is authenticated but has no primary key; set "
    f"{RESOLVE_USER} to a function that returns the id"
)

_logged: set[str] = set()  # the texts that this process has logged


class LazyUser(Unread):
    """A lazy `request.user` that was not loaded when something was tracked for it."""

    def __init__(self, request: HttpRequest, user: LazyObject[Any]) -> None:
        super().__init__(self._load, user, _REQUEST_USER)
        self._request = request
        self._user = user

    @property
    def is_loaded(self) -> bool:
        """Whether other code has loaded the user in the meantime, so that its id is known."""
        return _get_loaded(self._request, self._user) is not empty

    def get_id(self) -> object:
        """Return the id of a loaded user, None for an anonymous visitor, or an InvalidEvent."""
        try:
            return get_key(_get_loaded(self._request, self._user))
        except Exception as error:
            if is_interruption(error):
                raise
            return to_invalid_event(error, _REQUEST_USER)

    async def _load(self) -> object:
        key = await self._load_key()
        _log_other_user(self._request, key)
        return key

    async def _load_key(self) -> object:
        if not self.is_loaded:
            auser: Any = getattr(self._request, "auser", None)
            if _is_of_session(self._user, self._request) and _is_django_auser(auser):
                return get_key(await auser())  # so that Django caches the user
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
    """Return the primary key of an authenticated user, None for any other."""
    if user is None or not user.is_authenticated:
        return None
    key: object = user.pk
    if key is None:
        raise InvalidEvent(_KEYLESS)
    return key


def in_event_loop() -> bool:
    """Return whether an event loop runs in this thread, which must not wait for the database."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _resolve(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    """Call the resolver; in an event loop return Unread, because the resolver may block."""
    if in_event_loop():
        return Unread(partial(_await_resolver, resolve, request), resolve, RESOLVE_USER)
    if is_async(resolve, iscoroutinefunction):
        return async_to_sync(resolve)(request)
    found = resolve(request)
    return async_to_sync(_await)(found) if isawaitable(found) else found


async def _await_resolver(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    if is_async(resolve, iscoroutinefunction):
        return await resolve(request)
    # Django's thread for the sync code of this request, which has the database connections.
    found = await sync_to_async(resolve)(request)
    return await found if isawaitable(found) else found


async def _await(found: Any) -> object:  # noqa: ANN401  # the result of a project's own function
    return await found


def _authenticated(request: HttpRequest) -> object:
    found = _get_user_in_auth(request)
    if found is not None and _is_user_of_session(request):
        return get_key(found)
    if not hasattr(request, "user"):
        raise InvalidEvent(
            "external_user_id: the request has no user; put AuthenticationMiddleware before "
            f"WhisperrMiddleware, or set {RESOLVE_USER}"
        )
    if _authenticates_later(request):
        raise InvalidEvent(_NOT_AUTHENTICATED)
    user: object = request.user
    if isinstance(user, LazyObject) and in_event_loop():
        user = _get_loaded(request, user)
        if user is empty:
            return _get_unread(request, request.user)
    key = get_key(user)
    _log_other_user(request, key)
    return key


def _get_unread(request: HttpRequest, user: Any) -> LazyUser | None:  # noqa: ANN401  # a lazy object
    if _is_of_session(user, request):
        session = request.session
        if session.session_key is None and not session.modified:
            _log_other_user(request, None)
            return None  # without a session cookie Django would not find a user, either
        auser = getattr(request, "auser", None)
        if auser is not None and not _is_django_auser(auser):
            _log_once(_AUSER_ALONE)
    return LazyUser(request, user)


def _authenticates_later(request: HttpRequest) -> bool:
    """Return whether a view of Django REST framework runs and has not authenticated yet.

    Until then, `request.user` is the user of the session, which the view may ignore. The framework
    sets `auth` on Django's request as soon as it has authenticated.
    """
    views = sys.modules.get("rest_framework.views")
    if views is None or "auth" in vars(request):
        return False
    view = getattr(getattr(request.resolver_match, "func", None), "cls", None)
    if not isinstance(view, type) or not issubclass(view, views.APIView):
        return False
    session = sys.modules["rest_framework.authentication"].SessionAuthentication
    return not all(issubclass(one, session) for one in view.authentication_classes)  # type: ignore[attr-defined]  # of the framework


def _get_user_in_auth(request: HttpRequest) -> Any:  # noqa: ANN401  # a project's own user model
    """Return the user that a view has authenticated and put into `request.auth`, None without one.

    Views of django-ninja put there what their security class returns: a user, a token, or claims.
    Django REST framework puts a token there, and sets `request.user`.
    """
    auth = vars(request).get("auth")
    if isinstance(auth, LazyObject):
        auth = _get_loaded(request, auth)
    is_user = getattr(auth, "is_authenticated", False) is True and hasattr(auth, "pk")
    return auth if is_user else None


def _is_user_of_session(request: HttpRequest) -> bool:
    """Return whether `request.user` is what AuthenticationMiddleware has set, or is not there.

    If not, a login or the view has set it, which counts.
    """
    user = getattr(request, "user", None)
    return user is None or (isinstance(user, LazyObject) and _is_of_session(user, request))


def _log_other_user(request: HttpRequest, key: object) -> None:
    """Log once that a view has authenticated a user other than the one that is sent."""
    auth = vars(request).get("auth")
    if auth is None or isinstance(auth, LazyObject):
        return
    if key is None:
        _log_once(_AUTH_ALONE)
    elif getattr(_get_user_in_auth(request), "pk", key) != key:
        _log_once(_OTHER_AUTH)


def _get_loaded(request: HttpRequest, user: LazyObject[Any]) -> object:
    """Return the user behind a lazy object, or `empty` if nothing has loaded it yet."""
    loaded: object = vars(user).get("_wrapped", empty)
    if loaded is empty and _is_of_session(user, request):
        loaded = vars(request).get("_acached_user", empty)  # the cache of Django's `auser`
    return loaded


def _is_of_session(user: LazyObject[Any], request: HttpRequest) -> bool:
    """Return whether AuthenticationMiddleware made this object for this request.

    Any other lazy object may find a user other than the session's, even if `request.auser` is
    Django's. Compared by name, because importing the middleware needs models.
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
        log("warning", "%s", text)
