"""Middleware that finds the user by a token, as packages for tokens do: `request.user` is lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import AnonymousUser, User


def get_user(request: Any) -> User | AnonymousUser:
    from django.contrib.auth.models import AnonymousUser, User

    name = request.headers.get("X-Token")
    return User.objects.get(username=name) if name else AnonymousUser()


def _chain(get_response: Callable[[Any], Any], prepare: Callable[[Any], None]) -> Any:
    if iscoroutinefunction(get_response):

        async def later(request: Any) -> Any:
            prepare(request)
            return await get_response(request)

        return later

    def now(request: Any) -> Any:
        prepare(request)
        return get_response(request)

    return now


@sync_and_async_middleware
def sets_user(get_response: Callable[[Any], Any]) -> Any:
    """Replaces `request.user`, and leaves `request.auser` as it is."""

    def prepare(request: Any) -> None:
        request.user = SimpleLazyObject(lambda: get_user(request))

    return _chain(get_response, prepare)


@sync_and_async_middleware
def sets_auser(get_response: Callable[[Any], Any]) -> Any:
    """Replaces `request.auser`, and leaves `request.user` as it is."""

    def prepare(request: Any) -> None:
        async def auser() -> Any:
            return await sync_to_async(get_user)(request)

        request.auser = auser

    return _chain(get_response, prepare)


@sync_and_async_middleware
def sets_the_session(get_response: Callable[[Any], Any]) -> Any:
    """Writes a user into a session that has no key yet, as single sign-on does."""

    def prepare(request: Any) -> None:
        from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

        key, _, digest = request.headers["X-Session"].partition(":")
        request.session[SESSION_KEY] = key
        request.session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        request.session[HASH_SESSION_KEY] = digest

    return _chain(get_response, prepare)
