"""The middleware: gives each request its `whisperr`, and lets waiting events go after the view.

It reads neither the session nor the user. Async in an async chain and sync in a sync one, so that
Django puts no thread between its neighbours for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from ._client import get_client
from ._tracker import RequestTracker
from .conf import resolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

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
        get_client()
        resolver()

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request; a coroutine in an async chain."""
        tracker = RequestTracker(request)
        request.whisperr = tracker  # type: ignore[attr-defined]  # views see a WhisperrRequest
        if self._is_async:
            return self._answered(request, tracker)
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            tracker.waiting.end()
            if tracker.waiting:  # an async view behind a sync middleware
                tracker.waiting.settle()
        return response

    async def _answered(self, request: HttpRequest, tracker: RequestTracker) -> HttpResponseBase:
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            tracker.waiting.end()
            if tracker.waiting:
                await tracker.waiting.asettle()
        return response
