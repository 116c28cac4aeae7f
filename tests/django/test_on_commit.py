"""Events that follow a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.test import override_settings

from whisperr import Event, InvalidEvent
from whisperr._client import get_pipeline
from whisperr.django import get_client, track_on_commit

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.django.site import Site


def accepted() -> int:
    """Return how many events were accepted that do not wait for a user or a commit any more."""
    pipeline = get_pipeline(get_client())
    assert pipeline is not None
    return get_client().stats().accepted - pipeline.deferrals.count


def test_an_event_is_encoded_at_once_and_queued_at_the_commit(site: Site) -> None:
    properties = {"plan": "pro"}
    with transaction.atomic():
        message_id = track_on_commit(8842, "plan_upgraded", properties, {"ip": "::1"})
        properties["plan"] = "changed later"
        assert accepted() == 0
        get_client().track("other", "later")
    assert accepted() == 2
    later, event = site.arrived()
    assert (event.user, event.type) == ("8842", "plan_upgraded")
    assert event.body["properties"] == {"plan": "pro"}
    assert event.body["context"]["$message_id"] == message_id
    assert event.body["occurred_at"] <= later.body["occurred_at"]


def test_a_typed_event_takes_the_place_of_a_name_and_properties(site: Site) -> None:
    class PlanUpgraded(Event):
        plan: str

    with transaction.atomic():
        track_on_commit(8842, PlanUpgraded(plan="pro"))
    (event,) = site.arrived()
    assert (event.type, event.body["properties"]) == ("plan_upgraded", {"plan": "pro"})


def test_a_rollback_discards_the_event(site: Site) -> None:
    def pay() -> None:
        with transaction.atomic():
            track_on_commit(8842, "plan_upgraded")
            raise LookupError("the card was declined")

    with pytest.raises(LookupError):
        pay()
    assert site.sent() == []
    assert accepted() == 0


def test_a_rollback_to_a_savepoint_discards_its_events(site: Site) -> None:
    with transaction.atomic():
        track_on_commit("u", "outer")
        with transaction.atomic():
            track_on_commit("u", "inner")
            transaction.set_rollback(True)
    assert site.sent() == [("u", "outer")]


def test_outside_a_transaction_an_event_is_queued_at_once(site: Site) -> None:
    connection.ensure_connection()
    assert track_on_commit("u", "plan_upgraded", message_id="m") == "m"
    assert accepted() == 1
    connection.close()
    assert track_on_commit("u", "plan_upgraded") is not None
    assert accepted() == 2
    assert connection.connection is None  # none was opened for it


def test_a_request_tracks_for_the_user_of_the_call(site: Site, ada: User) -> None:
    from django.contrib.auth import logout

    def view(request: Any) -> None:
        with transaction.atomic():
            request.whisperr.track_on_commit("plan_upgraded", {"plan": "pro"})
            logout(request)
            request.whisperr.track_on_commit("anonymous")
            assert accepted() == 0

    site.get(view, ada)
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]


def test_in_an_event_loop_there_is_no_transaction_to_wait_for(site: Site, ada: User) -> None:
    async def view(request: Any) -> None:
        request.whisperr.track_on_commit("unread")
        assert accepted() == 0
        await request.auser()
        request.whisperr.track_on_commit("known")
        track_on_commit(8842, "without_request")
        assert accepted() == 3

    site.aget(view, ada)
    assert [kind for _, kind in site.sent()] == ["unread", "known", "without_request"]


def test_an_open_connection_of_an_event_loop_does_not_stop_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def track() -> str | None:
        with monkeypatch.context() as unsafe:
            unsafe.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
            connection.ensure_connection()
        tracked = track_on_commit("u", "plan_upgraded")
        with monkeypatch.context() as unsafe:
            unsafe.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
            connection.close()
        return tracked

    assert async_to_sync(track)() is not None
    assert accepted() == 1


def test_a_function_in_a_thread_has_its_transaction(site: Site, ada: User) -> None:
    def pay(request: Any) -> None:
        with transaction.atomic():
            request.whisperr.track_on_commit("paid")
            assert accepted() == 0
        with transaction.atomic():
            request.whisperr.track_on_commit("refunded")
            transaction.set_rollback(True)

    async def view(request: Any) -> None:
        await sync_to_async(pay)(request)

    site.aget(view, ada)
    assert site.sent() == [(str(ada.pk), "paid")]


def test_bad_data_is_reported_at_once_with_its_line(site: Site) -> None:
    with transaction.atomic():
        assert track_on_commit("u", "Payment Failed") is None
        assert track_on_commit(None, "payment_failed") is None
        assert get_client().stats().not_accepted == {"invalid": 2}
    line = test_bad_data_is_reported_at_once_with_its_line.__code__.co_firstlineno + 2
    assert f"(at {__file__}:{line})" in site.get_reports()[0]
    assert accepted() == 0


def test_an_error_of_django_is_reported(site: Site) -> None:
    assert track_on_commit("u", "payment_failed", using="no_such_database") is None
    connection.ensure_connection()
    connection.set_autocommit(False)
    try:
        assert track_on_commit("u", "payment_failed") is None
    finally:
        connection.set_autocommit(True)
    assert "track_on_commit: Django raised ConnectionDoesNotExist" in site.get_reports()[0]
    assert get_client().stats().not_accepted == {"invalid": 2}
    assert site.sent() == []


def test_strict_mode_raises_at_once(site: Site) -> None:
    with override_settings(WHISPERR_STRICT=True), pytest.raises(InvalidEvent, match="event_type"):
        track_on_commit("u", "Payment Failed")


def test_a_client_that_is_shut_down_before_the_commit_reports_it(site: Site) -> None:
    client = get_client()
    with transaction.atomic():
        assert track_on_commit("u", "plan_upgraded") is not None
        client.shutdown()
    assert "waited for their user or a commit when" in site.get_reports()[0]
    assert client.stats().dropped == {"shutdown": 1}
    assert track_on_commit("u", "plan_upgraded") is None
    assert client.stats().not_accepted == {"closed": 1}


def test_disabled_does_nothing(site: Site) -> None:
    with override_settings(WHISPERR_DISABLED=True), transaction.atomic():
        assert track_on_commit("u", "plan_upgraded") is None
    assert site.server.arrivals() == []
