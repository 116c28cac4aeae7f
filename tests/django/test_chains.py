"""Mixed chains of sync and async middleware, sync and async views, behind WSGI and ASGI."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from django.test import AsyncClient, Client, override_settings

from tests.django.settings import MIDDLEWARE
from tests.django.urls import CurrentView

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.django.site import Site

SYNC, ASYNC = "tests.django.chains.only_sync", "tests.django.chains.only_async"
BOTH = "tests.django.chains.tracks_on_both_sides"
CHAINS = {
    "ours alone": MIDDLEWARE,
    "sync before": [SYNC, *MIDDLEWARE],
    "async before": [ASYNC, *MIDDLEWARE],
    "sync behind": [*MIDDLEWARE, SYNC],
    "async behind": [*MIDDLEWARE, ASYNC],
    "sync before, async behind": [SYNC, *MIDDLEWARE, ASYNC],
    "async before, sync behind": [ASYNC, *MIDDLEWARE, SYNC],
    "both kinds on both sides": [ASYNC, SYNC, *MIDDLEWARE, ASYNC, SYNC, ASYNC],
}


@pytest.mark.parametrize(("gateway", "page"), [*product(("wsgi", "asgi"), ("sync", "async"))])
@pytest.mark.parametrize("chain", CHAINS)
def test_every_chain_tracks(site: Site, ada: User, chain: str, gateway: str, page: str) -> None:
    with override_settings(MIDDLEWARE=[*CHAINS[chain], BOTH]):
        visit(gateway, page, ada)
    user = str(ada.pk)
    assert sorted(site.sent()) == [(user, "after"), (user, "before"), (user, "in_view")]
    assert site.errors == []


def visit(gateway: str, page: str, user: User) -> None:
    """Request a page through the chain."""
    from asgiref.sync import async_to_sync

    async def later(request: Any) -> None:
        request.whisperr.track("in_view")

    CurrentView.view = staticmethod(
        later if page == "async" else lambda request: request.whisperr.track("in_view")
    )
    browser: Any = Client() if gateway == "wsgi" else AsyncClient()
    browser.force_login(user)
    get = browser.get if gateway == "wsgi" else async_to_sync(browser.get)
    assert get(f"/{page}/").status_code == 200
