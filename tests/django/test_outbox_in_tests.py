"""With the outbox, tests of an application see what would be in the table: what has committed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.test import SimpleTestCase, TestCase, override_settings

from tests.django.outboxes import get_rows
from tests.django.urls import CurrentView
from whisperr.dev import LocalServer
from whisperr.django import get_client, track_on_commit
from whisperr.testing import Events, capture, send_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.django.site import Site


class Declined(Exception):  # of a payment
    """What makes the application roll back."""


def pay(*, declined: bool = False) -> None:
    """Track in a transaction, as an application does, and outside of it."""
    get_client().track("u", "payment_began")
    with suppress(Declined), transaction.atomic():
        get_client().track("u", "invoice_paid")
        track_on_commit("u", "receipt_sent")
        if declined:
            raise Declined
    get_client().track("u", "payment_ended")


ALL = ["payment_began", "invoice_paid", "receipt_sent", "payment_ended"]
OUTSIDE = ["payment_began", "payment_ended"]


def get_types(events: Events) -> list[str]:
    return [event.type for event in events]


@pytest.mark.usefixtures("outbox")
class InATestCase(TestCase):
    """Its transaction never commits, and is none of the application's."""

    def test_what_follows_a_commit_is_recorded_where_on_commit_runs(self) -> None:
        with capture() as events, self.captureOnCommitCallbacks(execute=True):
            pay()
            assert get_types(events) == OUTSIDE
        assert sorted(get_types(events)) == sorted(ALL)
        assert get_rows() == []

    def test_what_was_rolled_back_is_not_recorded(self) -> None:
        with capture() as events, self.captureOnCommitCallbacks(execute=True):
            pay(declined=True)
        assert get_types(events) == OUTSIDE

    def test_a_failed_assertion_says_that_events_wait_for_a_commit(self) -> None:
        with capture() as events:
            pay()
        with pytest.raises(AssertionError) as caught:
            events.assert_tracked("invoice_paid")
        assert "2 more wait for a commit or its user" in str(caught.value)
        assert "self.captureOnCommitCallbacks(execute=True)" in str(caught.value)

    def test_it_reaches_a_local_server_likewise(self) -> None:
        for declined, types in ((False, ALL), (True, OUTSIDE)):
            with LocalServer() as server, send_to(server.url):
                with self.captureOnCommitCallbacks(execute=True):
                    pay(declined=declined)
                assert get_client().flush(30)
                assert sorted(str(a.type) for a in server.arrivals()) == sorted(types)
        assert get_rows() == []

    async def test_an_async_view_is_recorded_and_a_call_in_the_loop_refused(self) -> None:
        async def view(request: Any) -> Any:
            from django.http import HttpResponse

            request.whisperr.track("report_exported")
            get_client().track("u", "in_the_loop")
            return HttpResponse("done")

        CurrentView.view = staticmethod(view)
        user = await self._create_user()
        await self.async_client.aforce_login(user)
        with capture() as events:
            assert (await self.async_client.get("/async/")).content == b"done"
        assert get_types(events) == ["report_exported"]
        (refused,) = events.refused
        assert "an event loop runs in this thread" in refused

    async def _create_user(self) -> Any:
        from django.contrib.auth.models import User

        return await User.objects.acreate(username="eve")


@pytest.mark.usefixtures("outbox")
class TestRealTransactions:
    """As in a TransactionTestCase."""

    def test_what_commits_is_recorded_in_the_order_of_the_calls(self) -> None:
        with capture() as events:
            pay()
        assert get_types(events) == ALL

    def test_what_was_rolled_back_is_not(self) -> None:
        with capture() as events:
            pay(declined=True)
        assert get_types(events) == OUTSIDE

    def test_a_savepoint_that_was_rolled_back_is_not_either(self) -> None:
        with capture() as events, transaction.atomic():
            pay(declined=True)
            get_client().track("u", "order_placed")
        assert get_types(events) == [*OUTSIDE, "order_placed"]

    def test_an_event_in_a_transaction_that_has_failed_is_refused(self) -> None:
        with capture() as events, suppress(DatabaseError), transaction.atomic():
            transaction.set_rollback(True)
            assert get_client().track("u", "invoice_paid") is None
        assert events == []
        (refused,) = events.refused
        assert refused.startswith("track: the transaction has already failed")

    def test_a_server_gets_what_commits(self) -> None:
        with LocalServer() as server, send_to(server.url):
            pay(declined=True)
            pay()
            assert get_client().flush(30)
            assert [a.type for a in server.arrivals()] == [*OUTSIDE, *ALL]


class InASimpleTestCase(SimpleTestCase):
    """It may not use the database, and a capture does not."""

    def test_an_event_is_recorded(self) -> None:
        with override_settings(WHISPERR_BUFFER="django"), capture() as events:
            get_client().track("u", "page_seen")
        assert get_types(events) == ["page_seen"]


@pytest.fixture(autouse=True)
def _commit_hooks_are_empty() -> Iterator[None]:
    yield
    assert transaction.get_connection().run_on_commit == []


def test_an_event_that_no_row_could_hold_is_dropped(outbox: None) -> None:
    with override_settings(WHISPERR_MAX_QUEUE_BYTES=1024), capture() as events:
        assert get_client().track("u", "page_seen", {"text": "x" * 2_000}) is None
        assert get_client().stats().dropped == {"too_large": 1}
    assert events == []


def test_a_disabled_client_is_recorded_and_sends_too(outbox: None) -> None:
    with override_settings(WHISPERR_DISABLED=True, WHISPERR_API_KEY=None):
        with capture() as events:
            pay(declined=True)
        assert get_types(events) == OUTSIDE
        with LocalServer() as server, send_to(server.url):
            pay(declined=True)
            assert get_client().flush(30)
            assert [a.type for a in server.arrivals()] == OUTSIDE
        pay()
    assert get_rows() == []


def test_after_the_block_rows_are_written_again(site: Site, outbox: None) -> None:
    get_client().track("u", "before")
    with capture():
        get_client().track("u", "recorded")
    with send_to(site.server.url):
        get_client().track("u", "sent")
    get_client().track("u", "after")
    assert len(get_rows()) == 2
    assert site.server.wait(1, timeout=30)[0].type == "sent"


def test_a_relay_delivers_the_rows_that_are_there_to_the_server_of_the_test(outbox: None) -> None:
    get_client().track("u", "row_of_before")
    with LocalServer() as server, send_to(server.url):
        get_client().track("u", "sent_at_once")
        call_command("whisperr_relay", "--once", verbosity=0)
        assert get_client().flush(30)
        assert {a.type for a in server.arrivals()} == {"row_of_before", "sent_at_once"}
    assert get_rows() == []


def test_a_relay_in_a_capture_is_an_error_and_delivers_nothing(outbox: None) -> None:
    get_client().track("u", "row_of_before")
    with capture() as events, pytest.raises(CommandError, match="captures events now"):
        call_command("whisperr_relay", "--once", verbosity=0)
    assert events == []
    assert len(get_rows()) == 1
