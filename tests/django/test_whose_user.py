"""One truth about the user: `request.user`, whatever has set it, also in async views."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, logout
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from tests.django import resolvers
from whisperr.django import get_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

    from tests.django.site import Site

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


@pytest.fixture
def tokens() -> Iterator[None]:
    """A middleware between Django's authentication and ours, which sets `request.user`."""
    path = "tests.django.tokens.sets_user"
    with override_settings(MIDDLEWARE=add_middleware(path)):
        yield


def add_middleware(path: str) -> list[str]:
    from tests.django.settings import MIDDLEWARE

    at = MIDDLEWARE.index(AUTHENTICATION) + 1
    return [*MIDDLEWARE[:at], path, *MIDDLEWARE[at:]]


async def upgrade(request: Any) -> Any:
    return request.whisperr.track("plan_upgraded")


async def upgrade_now(request: Any) -> Any:
    assert await request.whisperr.auser_id() is not None
    return await request.whisperr.atrack("plan_upgraded")


@pytest.mark.usefixtures("tokens")
class TestLazyUserOfAToken:
    @pytest.mark.parametrize("view", [upgrade, upgrade_now])
    @pytest.mark.parametrize("session", [False, True])
    def test_an_async_view_sends_for_it_and_not_for_the_session(
        self, site: Site, ada: User, bob: User, view: Any, session: bool
    ) -> None:
        site.aget(view, ada if session else None, headers={"X-Token": "bob"})
        assert site.sent() == [(str(bob.pk), "plan_upgraded")]

    def test_nothing_is_sent_for_the_session_when_the_token_is_missing(
        self, site: Site, ada: User
    ) -> None:
        site.aget(upgrade, ada)
        assert site.sent() == []
        assert site.errors == []

    def test_a_sync_view_sends_for_it(self, site: Site, ada: User, bob: User) -> None:
        site.get(lambda request: request.whisperr.track("seen"), ada, headers={"X-Token": "bob"})
        assert site.sent() == [(str(bob.pk), "seen")]

    def test_a_wrong_token_is_reported(self, site: Site, ada: User) -> None:
        site.aget(upgrade, ada, headers={"X-Token": "unknown"})
        assert "reading request.user raised DoesNotExist" in site.get_reports()[0]
        assert site.sent() == []

    def test_at_a_logout_of_the_session_its_events_are_not_given_to_the_session(
        self, site: Site, ada: User, bob: User
    ) -> None:
        async def view(request: Any) -> None:
            request.whisperr.track("of_the_token")
            await alogout(request)

        site.aget(view, ada, headers={"X-Token": "bob"})
        assert str(ada.pk) not in {user for user, _ in site.sent()}
        assert "the user changed" in site.get_reports()[0]

    def test_what_is_known_at_a_login_is_sent(self, site: Site, ada: User, bob: User) -> None:
        async def view(request: Any) -> None:
            request.whisperr.track("of_the_token")
            await sync_to_async(lambda: request.user.pk)()
            await alogin(request, ada)
            request.whisperr.track("logged_in")

        site.aget(view, headers={"X-Token": "bob"})
        assert site.sent() == [(str(bob.pk), "of_the_token"), (str(ada.pk), "logged_in")]


def test_events_of_the_session_are_not_given_to_a_lazy_user_that_the_view_sets(
    site: Site, ada: User, bob: User
) -> None:
    async def view(request: Any) -> None:
        request.whisperr.track("of_the_session")
        request.user = SimpleLazyObject(lambda: bob)
        bool(request.user)
        request.whisperr.track("of_the_token")

    site.aget(view, ada)
    assert sorted(site.sent()) == sorted(
        [(str(ada.pk), "of_the_session"), (str(bob.pk), "of_the_token")]
    )


def test_events_of_the_session_are_not_given_to_a_user_whom_the_view_set_and_logs_out(
    site: Site, ada: User, bob: User
) -> None:
    async def view(request: Any) -> None:
        request.whisperr.track("of_the_session")
        request.user = bob
        await sync_to_async(logout)(request)

    site.aget(view, ada)
    assert "the user changed" in site.get_reports()[0]
    assert site.sent() == []


def test_a_lazy_user_that_nobody_has_read_after_another_one_was_set_stays_the_own(
    site: Site, ada: User, bob: User
) -> None:
    async def view(request: Any) -> None:
        request.user = SimpleLazyObject(lambda: bob)
        request.whisperr.track("of_bob")
        request.user = AnonymousUser()
        request.whisperr.track("of_nobody")

    site.aget(view, ada)
    assert site.sent() == [(str(bob.pk), "of_bob")]


def test_a_session_without_a_key_that_has_a_user_counts(site: Site, ada: User) -> None:
    digest = ada.get_session_auth_hash()
    with override_settings(MIDDLEWARE=add_middleware("tests.django.tokens.sets_the_session")):
        site.aget(upgrade, headers={"X-Session": f"{ada.pk}:{digest}"})
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_a_replaced_auser_does_not_count_and_the_log_says_so(
    site: Site, ada: User, bob: User, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        override_settings(MIDDLEWARE=add_middleware("tests.django.tokens.sets_auser")),
        caplog.at_level(logging.WARNING, "whisperr"),
    ):
        for _ in range(3):
            site.aget(upgrade, ada, headers={"X-Token": "bob"})
    assert site.sent() == [(str(ada.pk), "plan_upgraded")] * 3
    (said,) = [one for one in caplog.messages if "request.auser" in one]
    assert "set request.user, too" in said


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("in_loop", [False, True])
def test_an_authenticated_user_without_a_key_is_reported(
    site: Site, lazy: bool, in_loop: bool
) -> None:
    class Stateless:
        is_authenticated = True
        pk = None

    def view(request: Any) -> None:
        request.user = SimpleLazyObject(Stateless) if lazy else Stateless()
        request.whisperr.track("plan_upgraded")

    async def later(request: Any) -> None:
        view(request)

    if in_loop:
        site.aget(later)
    else:
        site.get(view)
    (message,) = site.get_reports()
    assert (
        "external_user_id: request.user is authenticated but has no primary key; set WHISPERR_RES"
        in message
    )
    assert get_client().stats().not_accepted == {"invalid": 1}


class TestSyncResolver:
    @pytest.mark.parametrize("awaits", [False, True])
    def test_it_never_runs_in_the_event_loop(self, site: Site, ada: User, awaits: bool) -> None:
        async def view(request: Any) -> Any:
            if awaits:
                return await request.whisperr.atrack("plan_upgraded")
            return request.whisperr.track("plan_upgraded")

        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.forgiving"):
            site.aget(view, ada)
            site.aget(view)
        assert site.sent() == [
            (f"forgiving_{ada.pk}", "plan_upgraded"),
            ("forgiving_unknown", "plan_upgraded"),
        ]

    def test_it_runs_once_for_all_events_of_a_view(self, site: Site, ada: User) -> None:
        resolvers.calls.clear()

        async def view(request: Any) -> None:
            request.whisperr.track("first")
            request.whisperr.track("second")

        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.forgiving"):
            site.aget(view, ada)
        assert [name for _, name in site.sent()] == ["first", "second"]
        assert len(resolvers.calls) == 1

    def test_what_it_returns_is_awaited_where_that_is_needed(self, site: Site, ada: User) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.in_disguise"):
            site.aget(upgrade, ada)
        assert site.sent() == [(f"later_{ada.pk}", "plan_upgraded")]
