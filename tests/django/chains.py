"""Middleware that is only sync, only async, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.decorators import (
    async_only_middleware,
    sync_and_async_middleware,
    sync_only_middleware,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@sync_only_middleware
def only_sync(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def middleware(request: Any) -> Any:
        return get_response(request)

    return middleware


@async_only_middleware
def only_async(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def middleware(request: Any) -> Any:
        return await get_response(request)

    return middleware


@sync_and_async_middleware
def tracks_on_both_sides(get_response: Callable[[Any], Any]) -> Any:
    """Inside of ours: it tracks before and after the view."""
    from asgiref.sync import iscoroutinefunction

    if iscoroutinefunction(get_response):

        async def later(request: Any) -> Any:
            request.whisperr.track("before")
            response = await get_response(request)
            request.whisperr.track("after")
            return response

        return later

    def now(request: Any) -> Any:
        request.whisperr.track("before")
        response = get_response(request)
        request.whisperr.track("after")
        return response

    return now
