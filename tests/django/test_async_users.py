"""The users of async views: around a login or logout, and from a resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import alogin, alogout
from django.test import override_settings

from whisperr.django import get_client

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.django.site import Site


def get_accepted() -> int:
    return get_client().stats().accepted


async def upgrade(request: Any) -> Any:
    return request.whisperr.track("plan_upgraded", {"plan": "pro"})


def test_nothing_is_sent_for_an_anonymous_visitor(site: Site, ada: User) -> None:
    seen: list[object] = []

    async def view(request: Any) -> None:
        seen.append(await upgrade(request))
        request.whisperr.identify(email="ada@example.com")
        seen.append(await request.whisperr.atrack("plan_upgraded"))
        await request.whisperr.aidentify(email="ada@example.com")
        seen.append(await request.whisperr.auser_id())

    site.aget(view)
    assert seen == [None, None, None]

    async def leaves(request: Any) -> None:
        await alogout(request)
        await upgrade(request)

    site.aget(leaves, ada)
    assert site.sent() == []
    assert site.errors == []


class TestLoginAndLogout:
    def test_what_is_tracked_after_a_login_is_of_the_new_user(
        self, site: Site, ada: User, bob: User
    ) -> None:
        async def view(request: Any) -> None:
            await upgrade(request)  # an anonymous visitor without a session
            await alogin(request, ada)
            request.whisperr.track("logged_in")
            await alogin(request, bob)
            request.whisperr.track("switched")
            await request.whisperr.atrack("awaited")
            await alogout(request)
            request.whisperr.track("logged_out")
            await request.whisperr.atrack("logged_out")

        site.aget(view)
        ada_, bob_ = str(ada.pk), str(bob.pk)
        assert site.sent() == [(ada_, "logged_in"), (bob_, "switched"), (bob_, "awaited")]
        assert site.errors == []

    def test_what_waits_at_a_logout_is_of_the_user_that_leaves(self, site: Site, ada: User) -> None:
        async def view(request: Any) -> None:
            await upgrade(request)
            await alogout(request)
            assert get_accepted() == 1

        site.aget(view, ada)
        assert site.sent() == [(str(ada.pk), "plan_upgraded")]

    def test_what_waits_at_a_login_is_dropped_and_reported(
        self, site: Site, ada: User, bob: User
    ) -> None:
        async def view(request: Any) -> None:
            await upgrade(request)
            await alogin(request, bob)

        site.aget(view, ada)
        assert (
            "the user changed before it could be read; await request.whisp" in site.get_reports()[0]
        )
        assert site.sent() == []
        assert get_client().stats().not_accepted == {"invalid": 1}

    def test_what_waits_for_a_resolver_at_a_logout_is_dropped_and_reported(
        self, site: Site, ada: User
    ) -> None:
        async def view(request: Any) -> None:
            await upgrade(request)
            await alogout(request)

        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.later"):
            site.aget(view, ada)
        assert "the user changed" in site.get_reports()[0]
        assert site.sent() == []


class TestResolver:
    @pytest.mark.parametrize(("name", "user"), [("later", "later_{}"), ("blocking", "blocking_{}")])
    def test_an_async_resolver_is_called_after_the_view(
        self, site: Site, ada: User, name: str, user: str
    ) -> None:
        async def view(request: Any) -> None:
            await upgrade(request)
            assert get_accepted() == 0

        async def awaiting(request: Any) -> None:
            await request.whisperr.atrack("awaited")
            assert get_accepted() == 2

        with override_settings(WHISPERR_RESOLVE_USER=f"tests.django.resolvers.{name}"):
            site.aget(view, ada)
            site.aget(awaiting, ada)
            site.aget(view_of_an_anonymous_visitor)
        expected = user.format(ada.pk)
        assert site.sent() == [(expected, "plan_upgraded"), (expected, "awaited")]

    def test_a_sync_resolver_is_called_after_the_view(self, site: Site) -> None:
        async def view(request: Any) -> None:
            await upgrade(request)
            assert get_accepted() == 0
            await request.whisperr.atrack("awaited")
            assert get_accepted() == 2

        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.by_header"):
            site.aget(view, headers={"X-Account": "acct_7"})
        assert site.sent() == [("acct_7", "plan_upgraded"), ("acct_7", "awaited")]

    def test_a_resolver_that_raises_is_reported_with_the_line_of_the_view(self, site: Site) -> None:
        async def view(request: Any) -> str:
            request.whisperr.track("plan_upgraded")
            return "continued"

        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.broken_later"):
            assert site.aget(view).content == b"continued"
        (message,) = site.get_reports()
        line = view.__code__.co_firstlineno + 1
        assert message == (
            f"track: external_user_id: WHISPERR_RESOLVE_USER raised KeyError (at {__file__}:{line})"
        )
        assert site.sent() == []

    def test_atrack_reports_a_resolver_that_raises(self, site: Site) -> None:
        async def view(request: Any) -> Any:
            return [await request.whisperr.atrack("plan_upgraded")]

        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.broken_later"):
            assert site.aget(view).content == b"[None]"
        line = view.__code__.co_firstlineno + 1
        assert site.get_reports()[0].endswith(f"raised KeyError (at {__file__}:{line})")


async def view_of_an_anonymous_visitor(request: Any) -> None:
    await upgrade(request)
    await request.whisperr.atrack("awaited")
