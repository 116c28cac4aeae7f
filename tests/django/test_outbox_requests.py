"""The outbox behind `request.whisperr`, in sync and async views."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import alogin, alogout
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

from tests.django.outboxes import get_bodies, get_rows, get_written
from tests.django.settings import MIDDLEWARE
from whisperr import InvalidEvent
from whisperr.django import WhisperrMiddleware, get_client
from whisperr.django._pending import _tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.contrib.auth.models import User

    from tests.django.site import Site

pytestmark = pytest.mark.usefixtures("outbox")
BY_HEADER = "tests.django.resolvers.by_header"


def test_a_sync_view_writes_at_once(site: Site, ada: User) -> None:
    def view(request: Any) -> None:
        request.whisperr.track("plan_upgraded", {"plan": "pro"})
        request.whisperr.identify(traits={"plan": "pro"})
        assert len(get_rows()) == 2

    site.get(view, ada)
    assert get_written() == [(str(ada.pk), "plan_upgraded"), (str(ada.pk), None)]


def test_a_transaction_that_fails_discards_its_rows(site: Site, ada: User) -> None:
    def view(request: Any) -> None:
        with transaction.atomic():
            request.whisperr.track("gone")
            raise LookupError("the card was declined")

    with pytest.raises(LookupError):
        site.get(view, ada)
    assert get_rows() == []


def test_a_user_that_is_not_loaded_is_read_after_the_view(site: Site, ada: User) -> None:
    seen: list[Any] = []

    async def view(request: Any) -> None:
        properties = {"plan": "pro"}
        seen.append(request.whisperr.track("plan_upgraded", properties))
        properties["plan"] = "changed later"
        request.whisperr.identify(traits={"plan": "pro"})
        seen.append(await sync_to_async(get_rows)())

    site.aget(view, ada)
    assert seen[1] == []
    event, identify = get_bodies()
    assert (event["external_user_id"], event["properties"]) == (str(ada.pk), {"plan": "pro"})
    assert event["context"]["$message_id"] == seen[0]
    assert identify == {"external_user_id": str(ada.pk), "traits": {"plan": "pro"}}
    assert get_client().stats().not_accepted == {}


def test_an_event_of_a_known_user_is_written_after_the_view_as_well(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        request.whisperr.track("unread")
        await request.auser()
        request.whisperr.track("known")
        request.whisperr.identify(traits={"plan": "pro"})
        request.whisperr.track_on_commit("on_commit")
        assert request.whisperr.user_id == str(ada.pk)
        assert await sync_to_async(get_rows)() == []

    site.aget(view, ada)
    assert [kind for _, kind in get_written()] == ["unread", "known", None, "on_commit"]
    assert {user for user, _ in get_written()} == {str(ada.pk)}


def test_a_user_without_a_session_is_known_by_a_resolver(site: Site) -> None:
    async def view(request: Any) -> None:
        request.whisperr.track("plan_upgraded")
        await request.whisperr.atrack("awaited")
        assert len(await sync_to_async(get_rows)()) == 2

    with override_settings(WHISPERR_RESOLVE_USER=BY_HEADER):
        site.aget(view, headers={"X-Account": "acct_7"})
        site.aget(view_of_an_anonymous_visitor)
    assert get_written() == [("acct_7", "plan_upgraded"), ("acct_7", "awaited")]


async def view_of_an_anonymous_visitor(request: Any) -> None:
    request.whisperr.track("plan_upgraded")
    assert await request.whisperr.atrack("awaited") is None


def test_awaiting_writes_the_row_before_it_returns(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        message_id = await request.whisperr.atrack("plan_upgraded")
        (body,) = await sync_to_async(get_bodies)()
        assert body["context"]["$message_id"] == message_id
        await request.whisperr.aidentify(traits={"plan": "pro"})
        assert len(await sync_to_async(get_rows)()) == 2

    site.aget(view, ada)
    assert get_written() == [(str(ada.pk), "plan_upgraded"), (str(ada.pk), None)]


def test_an_await_that_cannot_write_returns_none_and_is_reported(
    site: Site, ada: User, second: str
) -> None:
    async def view(request: Any) -> Any:
        return await request.whisperr.atrack("plan_upgraded")

    with override_settings(WHISPERR_OUTBOX_DATABASE=second):
        assert site.aget(view, ada).content == b"None"
        assert get_client().stats().not_accepted == {"not_stored": 1}
    assert "no table of the outbox" in site.get_reports()[0]


def test_a_function_in_a_thread_writes_in_its_transaction(site: Site, ada: User) -> None:
    def pay(request: Any, *, declined: bool) -> None:
        with transaction.atomic():
            request.whisperr.track("declined" if declined else "paid")
            transaction.set_rollback(declined)

    async def view(request: Any) -> None:
        request.whisperr.track("first")  # of the view, whatever becomes of the transaction
        await request.auser()
        await sync_to_async(pay)(request, declined=True)
        await sync_to_async(pay)(request, declined=False)

    site.aget(view, ada)
    assert [kind for _, kind in get_written()] == ["paid", "first"]
    assert {user for user, _ in get_written()} == {str(ada.pk)}


def test_a_login_or_logout_does_not_change_a_known_user(site: Site, ada: User, bob: User) -> None:
    async def logs_out(request: Any) -> None:
        request.whisperr.track("before")
        await alogout(request)
        assert request.whisperr.track("anonymous") is None

    async def logs_in(request: Any) -> None:
        await request.auser()
        request.whisperr.track("of_ada")
        await alogin(request, bob, "django.contrib.auth.backends.ModelBackend")
        request.whisperr.track("of_bob")

    site.aget(logs_out, ada)
    site.aget(logs_in, ada)
    ada_, bob_ = str(ada.pk), str(bob.pk)
    assert get_written() == [(ada_, "before"), (ada_, "of_ada"), (bob_, "of_bob")]


def test_before_send_sees_it_with_its_user_and_may_veto(site: Site, ada: User) -> None:
    seen: list[Any] = []

    def review(event: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(event["external_user_id"])
        return None if event["event_type"] == "secret" else event

    async def view(request: Any) -> None:
        await request.auser()
        request.whisperr.track("secret")
        request.whisperr.track("plan_upgraded")

    with override_settings(WHISPERR_BEFORE_SEND=review):
        site.aget(view, ada)
        assert get_client().stats().not_accepted == {"vetoed": 1}
    assert get_written() == [(str(ada.pk), "plan_upgraded")]
    assert seen == [str(ada.pk)] * 2


def test_strict_mode_still_raises_for_bad_data(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        await request.auser()
        request.whisperr.track("Plan Upgraded")

    with override_settings(WHISPERR_STRICT=True), pytest.raises(InvalidEvent, match="event_type"):
        site.aget(view, ada)
    assert get_rows() == []


@pytest.mark.parametrize("chain", ["only_sync", "only_async", "tracks_on_both_sides"])
def test_it_works_in_every_chain(chain: str, site: Site, ada: User) -> None:
    def now(request: Any) -> None:
        request.whisperr.track("in_a_sync_view")

    async def later(request: Any) -> None:
        await request.auser()
        request.whisperr.track("in_an_async_view")

    with override_settings(MIDDLEWARE=[*MIDDLEWARE, f"tests.django.chains.{chain}"]):
        for visit, view in ((site.get, now), (site.aget, later)):
            visit(view, ada)
    kinds = [kind for _, kind in get_written() if kind not in {"before", "after"}]
    assert kinds == ["in_a_sync_view", "in_an_async_view"]
    if chain == "tracks_on_both_sides":
        expected = "before in_a_sync_view after before in_an_async_view after"
        assert [kind for _, kind in get_written()] == expected.split()


def test_an_async_view_behind_a_sync_chain_is_settled(site: Site, ada: User) -> None:
    from django.test import Client

    from tests.django.urls import CurrentView

    async def view(request: Any) -> None:
        request.whisperr.track("unread")
        await request.auser()
        request.whisperr.track("known")

    CurrentView.view = staticmethod(view)
    browser = Client()
    browser.force_login(ada)
    browser.get("/async/")  # through WSGI
    assert get_written() == [(str(ada.pk), "unread"), (str(ada.pk), "known")]


def test_a_sync_chain_inside_an_event_loop_reports_what_it_cannot_write(
    site: Site, ada: User
) -> None:
    def respond(request: Any) -> HttpResponse:
        assert request.whisperr.track("plan_upgraded") is not None
        return HttpResponse("page")

    async def respond_in_loop() -> None:
        request: Any = RequestFactory().get("/")
        request.user = ada
        WhisperrMiddleware(respond)(request)
        assert get_client().stats().not_accepted == {"not_stored": 1}

    async_to_sync(respond_in_loop)()
    assert "track: an event loop runs in this thread" in site.get_reports()[0]
    assert get_rows() == []


def test_a_stream_and_a_task_write_after_the_view(site: Site, ada: User) -> None:
    async def view(request: Any) -> StreamingHttpResponse:
        await request.auser()

        async def parts() -> AsyncIterator[str]:
            request.whisperr.track("streamed")
            yield "one"
            await asyncio.gather(*_tasks)
            request.whisperr.track("streamed_later")
            await asyncio.gather(*_tasks)
            yield "two"

        return StreamingHttpResponse(parts())

    assert site.aget(view, ada).streamed == [b"one", b"two"]
    assert [kind for _, kind in get_written()] == ["streamed", "streamed_later"]


def test_an_event_of_a_stream_is_written_after_one_whose_row_is_being_written(
    site: Site, ada: User
) -> None:
    async def view(request: Any) -> StreamingHttpResponse:
        await request.auser()

        async def parts() -> AsyncIterator[str]:
            request.whisperr.track("streamed")
            await asyncio.sleep(0)  # its task begins, and waits for a thread
            request.whisperr.track("meanwhile")
            await asyncio.gather(*_tasks)
            yield "one"

        return StreamingHttpResponse(parts())

    assert site.aget(view, ada).streamed == [b"one"]
    assert [kind for _, kind in get_written()] == ["streamed", "meanwhile"]


def test_a_request_that_tracks_nothing_makes_no_query(site: Site) -> None:
    async def view(request: Any) -> HttpResponse:
        return HttpResponse("page")

    get_client()
    with CaptureQueriesContext(connection) as queries:
        site.aget(view)
    assert len(queries) == 0
