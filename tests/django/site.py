"""Requests to the site, and what its client sent and reported."""

from __future__ import annotations

import re
from threading import Condition
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from tests.django.urls import CurrentView
from whisperr.django import get_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from whisperr import WhisperrError
    from whisperr.dev import Arrival, LocalServer


class Site:
    """The site as a browser sees it, and its client as the service sees it."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.errors: list[WhisperrError] = []
        self._changed = Condition()

    def get(self, view: Callable[[Any], Any], user: User | None = None, **options: Any) -> Any:
        """Request the sync page, which calls `view`, with the session cookie of a user."""
        CurrentView.view = staticmethod(view)
        browser = Client(**options)
        if user is not None:
            browser.force_login(user)
        return browser.get("/sync/")

    def aget(
        self,
        view: Callable[[Any], Any],
        user: User | None = None,
        *,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Any:
        """Request the async page through an event loop.

        Through asgiref, so that what Django does in threads stays in this one, with its connection.
        """
        CurrentView.view = staticmethod(view)
        browser = AsyncClient(**options)
        if user is not None:
            browser.force_login(user)

        async def request() -> Any:
            response: Any = await browser.get("/async/", headers=headers)
            if response.streaming:
                response.streamed = [part async for part in response]
            return response

        return async_to_sync(request)()

    def arrived(self) -> list[Arrival]:
        """Deliver what is queued, and return all that arrived."""
        assert get_client().flush(30)
        return self.server.arrivals()

    def sent(self) -> list[tuple[str | None, str | None]]:
        """Return the user and type of all that arrived, None as the type of an identify."""
        arrivals = self.arrived()
        assert [a.problems for a in arrivals if a.status == "refused"] == []
        return [(a.user, a.type) for a in arrivals]

    def record_error(self, error: WhisperrError) -> None:
        """Record an error, as the site's `on_error`. The delivery thread calls it."""
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()

    def get_reports(self) -> list[str]:
        """Return what happened in the reports of `on_error`, as soon as there is one."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.errors, 30)
            return [re.split(r"; \d+ events? ", error.message)[0] for error in self.errors]
