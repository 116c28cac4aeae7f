"""Endpoints of django-ninja, whose users are in `request.auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client, override_settings

from tests.django import settings
from tests.django.outboxes import get_written
from whisperr.django._user import _logged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

    from tests.django.site import Site

pytest.importorskip("ninja")

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
TOKENS = "tests.django.tokens.sets_user"
OURS = "whisperr.django.WhisperrMiddleware"


@pytest.fixture(autouse=True)
def _pages(site: Site) -> Iterator[None]:
    _logged.clear()
    with override_settings(ROOT_URLCONF="tests.django.ninja_urls"):
        yield


def get(path: str, bearer: str = "", session: User | None = None, token: str = "") -> Any:
    browser = Client()
    if session is not None:
        browser.force_login(session)
    return browser.get(f"/api/{path}", headers=get_headers(bearer, token))


def aget(path: str, bearer: str = "", session: User | None = None, token: str = "") -> Any:
    """Request a page through an event loop, as an ASGI server does."""
    browser = AsyncClient()
    if session is not None:
        browser.force_login(session)
    headers = get_headers(bearer, token)
    return async_to_sync(browser.get)(f"/api/{path}", headers=headers)


def get_headers(bearer: str, token: str) -> dict[str, str]:
    """Return what the security classes read, and what the middleware of tokens reads."""
    return {"Authorization": f"Bearer {bearer}"} | ({"X-Token": token} if token else {})


# The page, the token of the header, the user of the session, and whose event it is.
CASES = [
    ("token", "bob", None, "bob"),
    ("token", "bob", "ada", "bob"),
    ("setting", "bob", "ada", "bob"),
    ("session", "", "ada", "ada"),
    ("claims", "bob", None, None),  # the claims may name the user, but not in a known way
    ("claims", "bob", "ada", "ada"),
]
ENDS = ["", "/later", "/atrack"]


@pytest.mark.parametrize("fetch", [get, aget], ids=["WSGI", "ASGI"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("page", "bearer", "session", "expected"), CASES)
def test_the_user_that_the_endpoint_found_counts_before_the_user_of_the_session(
    site: Site,
    ada: User,
    bob: User,
    fetch: Any,
    end: str,
    page: str,
    bearer: str,
    session: str | None,
    expected: str | None,
) -> None:
    users = {"ada": ada, "bob": bob}
    response = fetch(page + end, bearer, users[session] if session else None)
    assert response.status_code == 200
    sent = [(str(users[expected].pk), "plan_upgraded")] if expected else []
    assert site.sent() == sent


def test_with_the_outbox_its_event_is_a_row(site: Site, outbox: None, ada: User, bob: User) -> None:
    for end in ENDS:
        aget(f"token{end}", "bob", ada)
    assert get_written() == [(str(bob.pk), "plan_upgraded")] * 3


def test_an_async_security_class_counts_as_well(site: Site, ada: User, bob: User) -> None:
    aget("async-token/later", "bob", ada)
    assert site.sent() == [(str(bob.pk), "plan_upgraded")]


def test_without_sessions_the_user_of_the_endpoint_is_enough(site: Site, bob: User) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        get("token", "bob")
        aget("token/later", "bob")
    assert site.sent() == [(str(bob.pk), "plan_upgraded")] * 2


def test_a_login_in_the_endpoint_counts_from_then_on(site: Site, ada: User, bob: User) -> None:
    get("token/login?name=ada", "bob")
    get("token/logout", "bob", ada)
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


@pytest.mark.parametrize(
    ("page", "error"), [("token/forbidden", "PermissionError"), ("token/throttled", "Throttled")]
)
def test_an_exception_handler_tracks_for_the_user_of_the_endpoint(
    site: Site, ada: User, bob: User, page: str, error: str
) -> None:
    assert get(page, "bob", ada).status_code == 403
    sent = [(a.user, a.type, a.body["properties"]) for a in site.arrived()]
    assert sent == [(str(bob.pk), "api_request_refused", {"error": error})]


def test_where_no_security_class_accepted_the_request_only_the_session_is_known(
    site: Site, ada: User
) -> None:
    for session in (None, ada):
        assert get("token", "unknown", session).status_code == 403
    assert site.sent() == [(str(ada.pk), "api_request_refused")]


class TestLog:
    """What the log says once, where the user may be another one."""

    @pytest.mark.parametrize("page", ["claims", "claims/later", "claims/atrack"])
    def test_a_request_auth_that_is_no_user_is_logged(
        self, site: Site, caplog: pytest.LogCaptureFixture, page: str
    ) -> None:
        for _ in range(2):
            get(page, "bob")
        (said,) = [one for one in caplog.messages if "request.auth" in one]
        assert "request.user is anonymous but request.auth is not" in said
        assert "set WHISPERR_RESOLVE_USER" in said

    def test_a_user_of_a_middleware_other_than_that_of_the_endpoint_is_logged(
        self, site: Site, ada: User, bob: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE[:2], TOKENS, OURS]):
            get("token", "bob", token="ada")
        assert site.sent() == [(str(ada.pk), "plan_upgraded")]
        assert "request.auth is not the user in request.user" in caplog.text

    def test_a_resolver_decides_and_nothing_is_logged(
        self, site: Site, ada: User, bob: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.by_claims"):
            for end in ENDS:
                get(f"claims{end}", "user_8842", ada)
            assert site.sent() == [("user_8842", "plan_upgraded")] * 3
        assert "request.auth" not in caplog.text

    def test_the_session_is_no_other_user(
        self, site: Site, ada: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        get("session", session=ada)
        get("token/login?name=ada", "ada")
        assert "request.auth" not in caplog.text
