"""`request.whisperr` in sync views, through Django's own test client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import login, logout
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.views.decorators.cache import cache_page

from tests.django.urls import CurrentView
from whisperr import InvalidEvent, Whisperr
from whisperr.django import get_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

    from tests.django.site import Site

WITHOUT_OURS = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def upgrade(request: Any) -> Any:
    return request.whisperr.track("plan_upgraded", {"plan": "pro"})


def test_an_event_is_sent_for_the_user_who_is_logged_in(site: Site, ada: User) -> None:
    message_id = site.get(upgrade, ada).content.decode()
    (arrival,) = site.arrived()
    assert (arrival.user, arrival.type) == (str(ada.pk), "plan_upgraded")
    assert arrival.body["properties"] == {"plan": "pro"}
    assert arrival.body["context"]["$message_id"] == message_id
    assert (arrival.status, arrival.problems) == ("accepted", ())


def test_everything_that_track_takes_is_passed_on(site: Site, ada: User) -> None:
    from datetime import datetime, timedelta, timezone

    at = datetime.now(timezone.utc) - timedelta(hours=1)
    site.get(
        lambda r: r.whisperr.track("seat_added", {}, {"ip": "::1"}, occurred_at=at, message_id="m"),
        ada,
    )
    (arrival,) = site.arrived()
    assert arrival.body["occurred_at"] == f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
    assert arrival.body["context"].items() >= {"ip": "::1", "$message_id": "m"}.items()


def test_an_identify_is_sent_for_the_user_who_is_logged_in(site: Site, ada: User) -> None:
    site.get(lambda r: r.whisperr.identify(email="ada@example.com", traits={"plan": "pro"}), ada)
    (arrival,) = site.arrived()
    assert (arrival.kind, arrival.user) == ("identify", str(ada.pk))
    assert arrival.body["traits"] == {"plan": "pro"}
    assert arrival.body["channels"] == [
        {"channel": "email", "address": "ada@example.com", "opted_in": True}
    ]


def test_nothing_is_sent_for_an_anonymous_visitor(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(WHISPERR_DEBUG=True):
        assert site.get(upgrade).content == b"None"
        site.get(lambda r: r.whisperr.identify(email="ada@example.com"))
        assert site.get(lambda r: r.whisperr.track_on_commit("paid")).content == b"None"
        assert site.sent() == []
        assert get_client().stats().accepted == 0
        assert site.errors == []
    messages = [r.getMessage() for r in caplog.records if "anonymous" in r.getMessage()]
    assert messages == [
        "whisperr: track: the visitor is anonymous; nothing is sent",
        "whisperr: identify: the visitor is anonymous; nothing is sent",
        "whisperr: track: the visitor is anonymous; nothing is sent",
    ]


def test_a_login_and_a_logout_in_the_same_view_count(site: Site, ada: User, bob: User) -> None:
    def view(request: Any) -> Any:
        request.whisperr.track("page_seen")  # anonymous
        login(request, ada)
        request.whisperr.track("logged_in")
        login(request, bob)
        request.whisperr.track("switched")
        logout(request)
        request.whisperr.track("logged_out")  # anonymous

    site.get(view)
    assert site.sent() == [(str(ada.pk), "logged_in"), (str(bob.pk), "switched")]


def test_the_user_id_and_the_client_are_there(site: Site, ada: User) -> None:
    seen: list[object] = []
    site.get(lambda r: seen.append((r.whisperr.user_id, r.whisperr.client)), ada)
    site.get(lambda r: seen.append(r.whisperr.user_id))
    assert seen == [(str(ada.pk), get_client()), None]


class TestNothingIsTouched:
    def test_a_request_that_tracks_nothing_makes_no_query_and_is_not_varied(
        self, site: Site, ada: User
    ) -> None:
        for user in (None, ada):
            with CaptureQueriesContext(connection) as with_ours:
                browser = Client()
                if user is not None:
                    browser.force_login(user)
                before = len(with_ours)
                CurrentView.view = staticmethod(lambda r: "page")
                response = browser.get("/sync/")
                assert len(with_ours) == before
            assert "Vary" not in response.headers
            assert response.wsgi_request.session.accessed is False

    def test_an_anonymous_page_stays_in_the_cache_for_all(self, site: Site, ada: User) -> None:
        made: list[int] = []

        def page(request: Any) -> HttpResponse:
            made.append(1)
            return HttpResponse("prices")

        cached = cache_page(60, key_prefix="whisperr")(page)
        assert site.get(cached).content == site.get(cached, ada).content == b"prices"
        assert len(made) == 1

    def test_tracking_reads_the_user_once_as_the_view_itself_would(
        self, site: Site, ada: User
    ) -> None:
        def count(view: Any) -> int:
            browser = Client()
            browser.force_login(ada)
            CurrentView.view = staticmethod(view)
            with CaptureQueriesContext(connection) as queries:
                response = browser.get("/sync/")
            assert response.headers["Vary"] == "Cookie"
            return len(queries)

        def tracks(request: Any) -> Any:
            for _ in range(3):
                upgrade(request)

        assert count(lambda r: r.user.is_authenticated) == count(tracks) == 2

    def test_a_disabled_client_reads_no_user(self, site: Site, ada: User) -> None:
        with override_settings(WHISPERR_DISABLED=True):
            response = site.get(upgrade, ada)
        assert response.content == b"None"
        assert "Vary" not in response.headers


class TestResolver:
    def test_it_says_who_the_user_is(self, site: Site) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.by_header"):
            site.get(upgrade, headers={"X-Account": "acct_7"})
            site.get(upgrade)
        assert site.sent() == [("acct_7", "plan_upgraded")]

    def test_an_async_one_works_in_a_sync_view(self, site: Site, ada: User) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.later"):
            site.get(upgrade, ada)
        assert site.sent() == [(f"later_{ada.pk}", "plan_upgraded")]

    def test_a_function_itself_will_do(self, site: Site) -> None:
        with override_settings(WHISPERR_RESOLVE_USER=lambda request: 7):
            site.get(upgrade)
        assert site.sent() == [("7", "plan_upgraded")]

    def test_one_that_raises_is_reported_and_the_view_goes_on(self, site: Site) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.broken"):
            response = site.get(lambda r: [upgrade(r), r.whisperr.user_id, "continued"])
        assert response.content == b"[None, None, 'continued']"
        (message,) = site.get_reports()
        assert message.startswith(
            "track: external_user_id: WHISPERR_RESOLVE_USER raised KeyError (at "
        )
        assert site.sent() == []
        assert get_client().stats().not_accepted == {"invalid": 2}

    def test_one_that_wants_a_loop_where_there_is_none_is_reported(self, site: Site) -> None:
        with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.confused"):
            assert site.get(upgrade).content == b"None"
        assert "WHISPERR_RESOLVE_USER raised SynchronousOnlyOperation" in site.get_reports()[0]

    def test_one_that_answers_nonsense_is_reported(self, site: Site) -> None:
        with override_settings(WHISPERR_RESOLVE_USER=lambda request: ["ada"]):
            site.get(lambda r: [upgrade(r), r.whisperr.user_id])
        assert "external_user_id: must be a string" in site.get_reports()[0]


def test_the_line_of_the_view_stands_in_the_report(site: Site, ada: User) -> None:
    def view(request: Any) -> Any:
        request.whisperr.track("Payment Failed")

    site.get(view, ada)
    line = view.__code__.co_firstlineno + 1
    (message,) = site.get_reports()
    assert message.endswith(f"(at {__file__}:{line})")


def test_bad_data_is_refused_by_every_call(site: Site, ada: User) -> None:
    def view(request: Any) -> Any:
        request.whisperr.identify(preferred_channel="fax")
        return request.whisperr.track_on_commit("Bad Name")

    assert site.get(view, ada).content == b"None"
    assert get_client().stats().not_accepted == {"invalid": 2}


def test_bad_data_raises_in_strict_mode(site: Site, ada: User) -> None:
    with override_settings(WHISPERR_STRICT=True), pytest.raises(InvalidEvent, match="event_type"):
        site.get(lambda r: r.whisperr.track("Payment Failed"), ada)


def test_a_site_without_authentication_is_told_what_to_do(site: Site) -> None:
    with override_settings(MIDDLEWARE=["whisperr.django.WhisperrMiddleware"]):
        assert site.get(upgrade).content == b"None"
    (message,) = site.get_reports()
    assert "put AuthenticationMiddleware before WhisperrMiddleware" in message


def test_what_was_tracked_before_an_exception_is_sent(site: Site, ada: User) -> None:
    def view(request: Any) -> Any:
        upgrade(request)
        raise LookupError("no such plan")

    with pytest.raises(LookupError):
        site.get(view, ada)
    assert site.get(view, ada, raise_request_exception=False).status_code == 500
    assert site.sent() == [(str(ada.pk), "plan_upgraded")] * 2


def test_a_streaming_answer_may_track(site: Site, ada: User) -> None:
    def parts(request: Any) -> Iterator[bytes]:
        for number in range(3):
            request.whisperr.track("part_sent", {"n": number})
            yield b"."

    response = site.get(lambda r: StreamingHttpResponse(parts(r)), ada)
    assert b"".join(response.streaming_content) == b"..."
    assert site.sent() == [(str(ada.pk), "part_sent")] * 3


def test_the_client_is_rebuilt_when_a_test_changes_its_settings(site: Site) -> None:
    first = get_client()
    first.track("u", "seat_added")
    assert get_client() is first
    with override_settings(WHISPERR_TEST_MODE=True):
        second = get_client()
        assert second is not first
        assert first.ready is False
        second.track("u", "seat_added")
    assert second.ready is False
    modes = [a.body["context"].get("$mode") for a in site.server.arrivals()]
    assert modes == [None, "test"]  # the old ones delivered what they held


def test_threads_that_come_first_together_get_one_client(site: Site) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    together = Barrier(8)

    def get(_: int) -> Whisperr:
        together.wait(60)
        return get_client()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(get, range(8))))) == 1
