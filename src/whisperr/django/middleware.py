"""The middleware: gives each request its `whisperr`, and queues pending events after the view.

It reads neither the session nor the user. Async in an async chain and sync in a sync one, so that
Django puts no thread between its neighbours for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from ._tracker import DjangoRequestTracker
from .conf import get_resolver, require_settings_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class WhisperrMiddleware:
    """Put `request.whisperr` on every request. Belongs after AuthenticationMiddleware.

    Raises ImproperlyConfigured when the application starts for a missing key, a wrong setting or a
    resolver that cannot be imported.
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
        """Return the response to a request; a coroutine in an async chain."""
        tracker = DjangoRequestTracker(request)
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

    async def _acall(self, request: HttpRequest, tracker: DjangoRequestTracker) -> HttpResponseBase:
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            tracker.pending.end()
            if tracker.pending:
                await tracker.pending.settle()
        return response
