"""Views of Django REST framework and django-ninja, which find their users themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client, override_settings
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from whisperr.django._user import _logged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

    from tests.django.site import Site


class ByName(BaseAuthentication):  # type: ignore[misc]  # untyped, see pyproject.toml
    """Authenticates by a header, as a token would."""

    def authenticate(self, request: Any) -> Any:
        from django.contrib.auth.models import User

        name = request.headers.get("X-Name")
        return (User.objects.get(username=name), None) if name else None


class Upgrade(APIView):  # type: ignore[misc]  # likewise
    authentication_classes = (ByName, SessionAuthentication)
    permission_classes = (AllowAny,)

    def get(self, request: Any) -> Response:
        return Response({"id": request.whisperr.track("plan_upgraded")})


@pytest.mark.parametrize("session", [False, True])
def test_the_user_that_the_view_found_counts(
    site: Site, ada: User, bob: User, session: bool
) -> None:
    response = site.get(Upgrade.as_view(), ada if session else None, headers={"X-Name": "bob"})
    assert response.status_code == 200
    assert site.sent() == [(str(bob.pk), "plan_upgraded")]


def test_the_session_counts_where_the_view_uses_it(site: Site, ada: User) -> None:
    site.get(Upgrade.as_view(), ada)
    site.get(Upgrade.as_view())
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


@pytest.fixture
def rest_pages(site: Site) -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.django.rest_urls"):
        yield


@pytest.fixture
def ninja_pages(site: Site) -> Iterator[None]:
    pytest.importorskip("ninja")
    _logged.clear()
    with override_settings(ROOT_URLCONF="tests.django.ninja_urls"):
        yield


def get(path: str, user: User | None = None, **headers: str) -> Any:
    browser = Client(headers={name.replace("_", "-"): value for name, value in headers.items()})
    if user is not None:
        browser.force_login(user)
    response = browser.get(path)
    assert response.status_code == 200
    return response


@pytest.mark.usefixtures("rest_pages")
class TestLazyAuthentication:
    @pytest.mark.parametrize("session", [False, True])
    def test_before_the_user_is_read_an_event_is_reported_and_not_sent_for_the_session(
        self, site: Site, ada: User, bob: User, session: bool
    ) -> None:
        get("/lazy/", ada if session else None, X_Name="bob")
        assert (
            "this view of Django REST framework has not authenticated yet"
            in (site.get_reports()[0])
        )
        assert site.sent() == []

    def test_after_that_it_is_sent_for_the_user_of_the_view(
        self, site: Site, ada: User, bob: User
    ) -> None:
        get("/lazy/?read", ada, X_Name="bob")
        assert site.sent() == [(str(bob.pk), "plan_upgraded")]

    def test_the_session_counts_where_the_view_knows_nothing_else(
        self, site: Site, ada: User
    ) -> None:
        get("/lazy-session/", ada)
        assert site.sent() == [(str(ada.pk), "plan_upgraded")]


@pytest.mark.usefixtures("ninja_pages")
class TestNinja:
    @pytest.mark.parametrize("path", ["/api/token", "/api/later"])
    def test_a_user_that_is_in_request_auth_only_is_logged_once(
        self, site: Site, ada: User, caplog: pytest.LogCaptureFixture, path: str
    ) -> None:
        for _ in range(2):
            assert get(path, Authorization="Bearer ada").json() == {"id": None} or "later" in path
        assert site.sent() == []
        (said,) = [one for one in caplog.messages if "request.auth" in one]
        assert "request.user is anonymous but request.auth is not" in said
        assert "set WHISPERR_RESOLVE_USER" in said

    def test_another_user_in_request_auth_is_logged(
        self, site: Site, ada: User, bob: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        get("/api/token", ada, Authorization="Bearer bob")
        assert site.sent() == [(str(ada.pk), "plan_upgraded")]
        assert "request.auth is not the user in request.user" in caplog.text

    def test_a_resolver_makes_it_the_user(
        self, site: Site, ada: User, bob: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.by_auth"):
            get("/api/token", ada, Authorization="Bearer bob")
            get("/api/later", ada, Authorization="Bearer bob")
            assert site.sent() == [(str(bob.pk), "plan_upgraded")] * 2
        assert "request.auth" not in caplog.text

    def test_its_session_authentication_is_that_of_django(
        self, site: Site, ada: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        get("/api/session", ada)
        assert site.sent() == [(str(ada.pk), "plan_upgraded")]
        assert "request.auth" not in caplog.text
