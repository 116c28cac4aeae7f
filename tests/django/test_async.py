"""`request.whisperr` in async views, where reading the user may take an `await`."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

from whisperr import InvalidEvent
from whisperr.django import WhisperrMiddleware, get_client
from whisperr.django._pending import _tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.contrib.auth.models import User

    from tests.django.site import Site


def accepted() -> int:
    return get_client().stats().accepted


async def upgrade(request: Any) -> Any:
    return request.whisperr.track("plan_upgraded", {"plan": "pro"})


def test_an_event_is_encoded_at_once_and_gets_its_user_after_the_view(
    site: Site, ada: User
) -> None:
    seen: list[Any] = []

    async def view(request: Any) -> None:
        properties = {"plan": "pro"}
        seen.append(request.whisperr.track("plan_upgraded", properties))
        properties["plan"] = "changed later"
        seen.append(accepted())
        late = get_client().track("other", "later")
        assert late is not None
        request.whisperr.identify(traits={"plan": "pro"})

    site.aget(view, ada)
    message_id, accepted_in_the_view = seen
    assert accepted_in_the_view == 0
    later, event, identify = site.arrived()
    assert (event.user, event.type) == (str(ada.pk), "plan_upgraded")
    assert event.body["properties"] == {"plan": "pro"}
    assert event.body["context"]["$message_id"] == message_id
    assert event.body["occurred_at"] <= later.body["occurred_at"]
    assert (identify.kind, identify.user) == ("identify", str(ada.pk))
    assert [a.status for a in (event, identify)] == ["accepted", "accepted"]


def test_the_user_is_read_once_for_all_events(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        for _ in range(3):
            await upgrade(request)

    with CaptureQueriesContext(connection) as logging_in:
        site.aget(nothing, ada)
    with CaptureQueriesContext(connection) as tracking:
        response = site.aget(view, ada)
    assert len(tracking) - len(logging_in) == 2
    assert response.headers["Vary"] == "Cookie"
    assert site.sent() == [(str(ada.pk), "plan_upgraded")] * 3


async def nothing(request: Any) -> HttpResponse:
    return HttpResponse("page")


def test_a_request_that_tracks_nothing_is_not_touched(site: Site, ada: User) -> None:
    for user in (None, ada):
        response = site.aget(nothing, user)
        assert "Vary" not in response.headers
        assert response.asgi_request.session.accessed is False


def test_awaiting_tracks_at_once(site: Site, ada: User) -> None:
    seen: list[Any] = []

    async def view(request: Any) -> None:
        with pytest.raises(SynchronousOnlyOperation, match="auser_id"):
            _ = request.whisperr.user_id
        seen.append(await request.whisperr.atrack("plan_upgraded", {"plan": "pro"}))
        await request.whisperr.aidentify(email="ada@example.com")
        seen.extend((accepted(), await request.whisperr.auser_id(), request.whisperr.user_id))

    site.aget(view, ada)
    event, identify = site.arrived()
    assert seen == [event.body["context"]["$message_id"], 2, str(ada.pk), str(ada.pk)]
    assert (event.user, identify.user, identify.kind) == (str(ada.pk), str(ada.pk), "identify")


def test_a_user_that_the_view_has_read_is_known_at_once(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        await request.auser()
        await upgrade(request)
        assert accepted() == 1

    site.aget(view, ada)
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_what_was_tracked_first_is_queued_first(site: Site, ada: User) -> None:
    async def reads_the_user(request: Any) -> None:
        request.whisperr.track("first")
        await request.auser()
        request.whisperr.track("second")

    async def awaits(request: Any) -> None:
        request.whisperr.track("third")
        await request.whisperr.atrack("fourth")
        request.whisperr.track("fifth")

    site.aget(reads_the_user, ada)
    site.aget(awaits, ada)
    with override_settings(WHISPERR_RESOLVE_USER="tests.django.resolvers.blocking"):
        site.aget(awaits, ada)
    names = ["first", "second", "third", "fourth", "fifth", "third", "fourth", "fifth"]
    assert [name for _, name in site.sent()] == names


def test_a_user_that_the_view_sets_does_not_get_earlier_events(
    site: Site, ada: User, bob: User
) -> None:
    async def view(request: Any) -> None:
        request.whisperr.track("of_the_session")
        request.user = bob  # as views do that find their user by a token
        request.whisperr.track("of_the_token")

    site.aget(view, ada)
    assert sorted(site.sent()) == sorted(
        [(str(ada.pk), "of_the_session"), (str(bob.pk), "of_the_token")]
    )


def test_a_task_that_runs_after_the_view_may_track(site: Site, ada: User) -> None:
    tasks: list[Any] = []

    async def later(request: Any) -> None:
        await tasks[0]
        for name in ("first", "second", "third"):
            request.whisperr.track(name)
            await asyncio.sleep(0)
        await asyncio.gather(*_tasks)

    async def view(request: Any) -> StreamingHttpResponse:
        over = asyncio.get_running_loop().create_future()
        tasks.extend((over, asyncio.ensure_future(later(request))))

        async def parts() -> AsyncIterator[bytes]:
            over.set_result(None)
            await tasks[1]
            yield b"."

        return StreamingHttpResponse(parts())

    site.aget(view, ada)
    user = str(ada.pk)
    assert site.sent() == [(user, "first"), (user, "second"), (user, "third")]


def test_bad_data_is_found_where_it_is_tracked(site: Site, ada: User) -> None:
    async def view(request: Any) -> Any:
        return [request.whisperr.track("Payment Failed")]

    assert site.aget(view, ada).content == b"[None]"
    line = view.__code__.co_firstlineno + 1
    assert site.get_reports()[0].endswith(f"(at {__file__}:{line})")
    with override_settings(WHISPERR_STRICT=True), pytest.raises(InvalidEvent, match="event_type"):
        site.aget(view, ada)


def test_bad_data_is_rejected_by_every_call(site: Site, ada: User) -> None:
    async def view(request: Any) -> Any:
        given = request.whisperr
        given.identify(preferred_channel="fax")
        await given.aidentify(preferred_channel="fax")
        return [given.track_on_commit("Bad Name"), await given.atrack("Bad Name")]

    assert site.aget(view, ada).content == b"[None, None]"
    assert get_client().stats().not_accepted == {"invalid": 4}
    assert get_client().stats().accepted == 0


def test_a_disabled_client_reads_no_user(site: Site, ada: User) -> None:
    async def view(request: Any) -> Any:
        given = request.whisperr
        given.identify(email="ada@example.com")
        await given.aidentify(email="ada@example.com")
        return [given.track("a"), given.track_on_commit("a"), await given.atrack("a")]

    with override_settings(WHISPERR_DISABLED=True):
        response = site.aget(view, ada)
    assert response.content == b"[None, None, None]"
    assert "Vary" not in response.headers


def test_in_strict_mode_a_user_that_cannot_be_sent_raises_after_the_view(
    site: Site, ada: User
) -> None:
    users = iter([["no id"], ["no id"]])

    async def resolve(request: Any) -> Any:
        return next(users)

    async def view(request: Any) -> None:
        await upgrade(request)
        await upgrade(request)

    with override_settings(WHISPERR_STRICT=True, WHISPERR_RESOLVE_USER=resolve):
        with pytest.raises(InvalidEvent, match="external_user_id: must be a string"):
            site.aget(view, ada)
        assert next(users) == ["no id"]  # asked once for both
        assert get_client().stats().accepted == 0


def test_before_send_sees_the_event_with_its_user(site: Site, ada: User) -> None:
    seen: list[Any] = []

    def before_send(event: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(event["external_user_id"])
        if event["event_type"] == "vetoed":
            return None
        return {**event, "properties": {"cleaned": True}}

    async def view(request: Any) -> None:
        request.whisperr.track("plan_upgraded", {"email": "ada@example.com"})
        request.whisperr.track("vetoed")
        assert seen == []

    with override_settings(WHISPERR_BEFORE_SEND=before_send):
        site.aget(view, ada)
        (arrival,) = site.arrived()
        assert get_client().stats().not_accepted == {"vetoed": 1}
    assert seen == [str(ada.pk)] * 2
    assert arrival.body["properties"] == {"cleaned": True}


def test_what_was_tracked_before_an_exception_is_sent(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        await upgrade(request)
        raise LookupError("no such plan")

    assert site.aget(view, ada, raise_request_exception=False).status_code == 500
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_a_streaming_answer_may_track(site: Site, ada: User) -> None:
    async def parts(request: Any) -> AsyncIterator[bytes]:
        for number in range(3):
            request.whisperr.track("part_sent", {"n": number})
            yield b"."
            await asyncio.gather(*_tasks)  # as time passes for them in a stream

    async def view(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts(request))

    assert site.aget(view, ada).streamed == [b"."] * 3
    assert site.sent() == [(str(ada.pk), "part_sent")] * 3
    assert _tasks == set()


def test_a_helper_in_a_thread_reads_the_user_there(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        await sync_to_async(request.whisperr.track)("plan_upgraded")
        assert accepted() == 1

    site.aget(view, ada)
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_a_request_that_is_cancelled_still_sends(site: Site, ada: User) -> None:
    async def answer(request: Any) -> Any:
        await upgrade(request)
        await asyncio.get_running_loop().create_future()

    async def cancelled() -> None:
        task = asyncio.ensure_future(call_middleware(answer, to_request(ada)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async_to_sync(cancelled)()
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_a_cancelled_reading_of_the_user_is_reported(site: Site, ada: User) -> None:
    reading = asyncio.Event()

    async def answer(request: Any) -> HttpResponse:
        await upgrade(request)
        await upgrade(request)
        return HttpResponse()

    async def resolve(request: Any) -> Any:
        reading.set()
        await asyncio.get_running_loop().create_future()

    async def cancelled() -> None:
        task = asyncio.ensure_future(call_middleware(answer, to_request(ada)))
        await asyncio.wait_for(reading.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with override_settings(WHISPERR_RESOLVE_USER=resolve):
        async_to_sync(cancelled)()
        assert "the request was cancelled before its user was read" in site.get_reports()[0]
        assert get_client().stats().not_accepted == {"invalid": 2}


async def call_middleware(view: Any, request: Any) -> Any:
    """Return the response of the middleware alone."""
    answering: Any = WhisperrMiddleware(view)(request)
    return await answering


def to_request(user: User) -> Any:
    from django.utils.functional import SimpleLazyObject

    request: Any = RequestFactory().get("/")
    request.user = SimpleLazyObject(lambda: user)
    return request


def test_without_auser_the_user_is_read_in_a_thread(site: Site, ada: User) -> None:
    async def answer(request: Any) -> HttpResponse:
        await upgrade(request)
        assert accepted() == 0
        return HttpResponse()

    async def respond() -> None:
        await call_middleware(answer, to_request(ada))

    async_to_sync(respond)()
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_a_sync_request_inside_an_event_loop_is_reported_and_continues(
    site: Site, ada: User
) -> None:
    def view(request: Any) -> HttpResponse:
        return HttpResponse(request.whisperr.track("seen"))

    async def respond() -> Any:
        return WhisperrMiddleware(view)(to_request(ada))

    assert async_to_sync(respond)().status_code == 200
    assert "would block the event loop" in site.get_reports()[0]
    assert get_client().stats().not_accepted == {"invalid": 1}


def test_the_middleware_is_async_in_an_async_chain_only(site: Site, ada: User) -> None:
    async def answer_later(request: Any) -> HttpResponse:
        return HttpResponse()

    assert iscoroutinefunction(WhisperrMiddleware(answer_later))
    assert not iscoroutinefunction(WhisperrMiddleware(lambda request: HttpResponse()))


def test_an_async_chain_stays_in_its_loop(site: Site, ada: User) -> None:
    threads: list[int] = []

    async def answer(request: Any) -> HttpResponse:
        threads.append(threading.get_ident())
        return HttpResponse()

    async def respond() -> None:
        threads.append(threading.get_ident())
        await call_middleware(answer, RequestFactory().get("/"))

    async_to_sync(respond)()
    assert len(set(threads)) == 1
