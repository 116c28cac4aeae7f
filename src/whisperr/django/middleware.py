"""The middleware: sets `request.whisperr`, and queues pending events after the view.

It reads neither the session nor the user. It is async in an async chain and sync in a sync one, so
that Django needs no thread between its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from ._tracker import RequestTracker
from .conf import get_resolver, require_settings_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class WhisperrMiddleware:
    """Sets `request.whisperr`, a `RequestTracker`, on every request, sync or async.

    Put it after `AuthenticationMiddleware` in `MIDDLEWARE`. It reads neither the session nor the
    user; the tracker does when the view tracks.

    Args:
        get_response: The next middleware or the view, which Django passes.

    Raises:
        django.core.exceptions.ImproperlyConfigured: The key is missing, a setting is wrong, or
            `WHISPERR_RESOLVE_USER` cannot be imported. Raised when the application starts.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        require_settings_client()
        get_resolver()

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Return the response to a request, a coroutine in an async chain."""
        tracker = RequestTracker(request)
        request.whisperr = tracker  # type: ignore[attr-defined]  # views see a WhisperrRequest
        if self._is_async:
            return self._acall(request, tracker)
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            tracker.pending.end()
            if tracker.pending:  # an async view behind a sync middleware
                tracker.pending.settle_in_sync()
        return response

    async def _acall(self, request: HttpRequest, tracker: RequestTracker) -> HttpResponseBase:
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            tracker.pending.end()
            if tracker.pending:
                await tracker.pending.settle()
        return response
