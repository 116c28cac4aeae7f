"""Views of Django REST framework, which find their users themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, Client, override_settings
from rest_framework.test import APIClient

from tests.django.outboxes import get_written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

    from tests.django.site import Site

OURS = "whisperr.django.WhisperrMiddleware"
VIEWS = ["class", "function", "set"]


@pytest.fixture(autouse=True)
def _pages(site: Site) -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.django.rest_urls"):
        yield


def get(path: str, name: str | None = None, session: User | None = None, **headers: str) -> Any:
    browser = Client()
    if session is not None:
        browser.force_login(session)
    return browser.get(f"/{path}", headers=get_headers(name) | headers)


def aget(path: str, name: str | None = None, session: User | None = None) -> Any:
    """Request a page through an event loop, as an ASGI server does."""
    browser = AsyncClient()
    if session is not None:
        browser.force_login(session)
    return async_to_sync(browser.get)(f"/{path}", headers=get_headers(name))


def get_headers(name: str | None) -> dict[str, str]:
    return {} if name is None else {"X-Name": name}


@pytest.mark.parametrize("fetch", [get, aget], ids=["WSGI", "ASGI"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_user_that_the_view_found_counts_before_the_user_of_the_session(
    site: Site, ada: User, bob: User, fetch: Any, view: str
) -> None:
    for session in (None, ada):
        assert fetch(f"{view}/", "bob", session).status_code == 200
    assert site.sent() == [(str(bob.pk), "plan_upgraded")] * 2


def test_the_session_counts_where_the_view_uses_it(site: Site, ada: User) -> None:
    get("class/", session=ada)
    get("class/")
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_without_sessions_the_user_of_the_view_is_enough(site: Site, bob: User) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        get("class/", "bob")
        aget("class/", "bob")
    assert site.sent() == [(str(bob.pk), "plan_upgraded")] * 2


def test_the_client_of_the_framework_sets_the_user(site: Site, ada: User, bob: User) -> None:
    browser = APIClient()
    browser.force_login(ada)
    browser.force_authenticate(bob)
    browser.get("/class/")
    assert site.sent() == [(str(bob.pk), "plan_upgraded")]


class TestRefusals:
    @pytest.mark.parametrize(
        ("page", "error"), [("admin", "PermissionDenied"), ("throttled", "Throttled")]
    )
    def test_an_exception_handler_tracks_for_the_user_of_the_view(
        self, site: Site, ada: User, bob: User, page: str, error: str
    ) -> None:
        assert get(f"{page}/", "bob", ada).status_code in {403, 429}
        (arrival,) = site.arrived()
        assert (arrival.user, arrival.body["properties"]) == (str(bob.pk), {"error": error})

    def test_after_a_failed_authentication_nothing_is_sent_for_the_session(
        self, site: Site, ada: User
    ) -> None:
        assert get("class/", "unknown", ada).status_code == 403
        assert site.sent() == []
        assert site.errors == []

    def test_what_is_refused_before_the_authentication_is_reported_and_not_sent(
        self, site: Site, ada: User
    ) -> None:
        assert get("class/", "ada", ada, Accept="image/png").status_code == 406
        assert "has not authenticated yet" in site.get_reports()[0]
        assert site.sent() == []

    def test_in_a_transaction_that_is_rolled_back_no_row_is_written_and_the_answer_stays(
        self, site: Site, outbox: None, bob: User
    ) -> None:
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert get("atomic/", "bob").status_code == 403
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
        assert "the transaction has already failed" in site.get_reports()[0]
        assert get_written() == []


class TestLazyAuthentication:
    @pytest.mark.parametrize("session", [False, True])
    def test_before_the_user_is_read_an_event_is_reported_and_not_sent_for_the_session(
        self, site: Site, ada: User, bob: User, session: bool
    ) -> None:
        get("lazy/", "bob", ada if session else None)
        assert (
            "this view of Django REST framework has not authenticated yet"
            in (site.get_reports()[0])
        )
        assert site.sent() == []

    def test_after_that_it_is_sent_for_the_user_of_the_view(
        self, site: Site, ada: User, bob: User
    ) -> None:
        get("lazy/?read", "bob", ada)
        assert site.sent() == [(str(bob.pk), "plan_upgraded")]

    def test_the_session_counts_where_the_view_knows_nothing_else(
        self, site: Site, ada: User
    ) -> None:
        get("lazy-session/", session=ada)
        assert site.sent() == [(str(ada.pk), "plan_upgraded")]
