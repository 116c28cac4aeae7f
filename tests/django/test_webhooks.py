"""Webhooks of billing providers in a Django project, and the states of their subscriptions."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django.test import override_settings

from tests.django.outboxes import get_written
from tests.django.postgres import postgres, postgres_database, postgres_server
from tests.django.settings import INSTALLED_APPS
from tests.django.shop_billing import KEY, make, signals
from whisperr.billing import Signal, Signals
from whisperr.django import get_client, load_state, save_state, track_webhook
from whisperr.django.billing.models import SubscriptionState
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.django.site import Site
    from whisperr.billing import State

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

WITHOUT_TABLE = [app for app in INSTALLED_APPS if app != "whisperr.django.billing"]
TRIAL, PAID, RENEWED = make("evt_1", 0, status="trial"), make("evt_2", 1), make("evt_3", 2)


@pytest.fixture(autouse=True)
def _no_states() -> Iterator[None]:
    SubscriptionState.objects.all().delete()
    yield
    SubscriptionState.objects.all().delete()


def get_state(name: str, minute: int, **facts: Any) -> Any:
    """Return a state whose newest webhook has this name."""
    return {"key": KEY, "at": f"2026-01-01T00:{minute:02}:00Z", "event": name, **facts}


def get_user(customer: str) -> str:
    return f"user of {customer}"


class TestWithTheTable:
    def test_a_webhook_is_decided_from_what_the_ones_before_it_left(self, site: Site) -> None:
        for payload in (TRIAL, PAID, RENEWED):
            track_webhook(signals, payload)
        assert site.sent() == [
            ("8842", "trial_started"),
            ("8842", "trial_converted"),
            ("8842", "renewal_succeeded"),
        ]
        state = load_state(KEY)
        assert state is not None
        assert (state["event"], state["status"], state["user"]) == ("evt_3", "active", "8842")

    def test_a_webhook_that_comes_twice_counts_once(self, site: Site) -> None:
        for payload in (TRIAL, PAID, PAID):
            track_webhook(signals, payload)
        assert [a.status for a in site.arrived()] == ["accepted", "accepted", "duplicate"]

    def test_a_late_webhook_does_not_undo_a_newer_one(self, site: Site) -> None:
        for payload in (PAID, TRIAL):
            track_webhook(signals, payload)
        state = load_state(KEY)
        assert state is not None
        assert (state["event"], state["status"]) == ("evt_2", "active")
        assert set(state["handled"]) == {"evt_1", "evt_2"}
        assert track_webhook(signals, TRIAL).skipped

    def test_what_was_skipped_is_in_the_log_and_in_the_result(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, "whisperr"):
            found = track_webhook(signals, make("evt_1", 0, user=None))
        assert found.skipped[0].reason.startswith("renewal_succeeded: no user in user")
        assert f"whisperr: webhook paid: skipped: {found.skipped[0].reason}" in caplog.messages

    @pytest.mark.parametrize("setting", [get_user, f"{__name__}.get_user"])
    def test_the_user_comes_from_the_setting_or_from_the_call(
        self, site: Site, setting: object
    ) -> None:
        with override_settings(WHISPERR_BILLING_USER_OF=setting):
            track_webhook(signals, make("evt_1", 0, user=None))
            track_webhook(signals, make("evt_2", 0, user=None, key="shop:2"), user_of=str.upper)
        assert [user for user, _ in site.sent()] == ["user of cus_1", "CUS_1"]

    def test_a_failing_function_of_the_project_leaves_nothing_behind(self, site: Site) -> None:
        def fails(customer: str) -> str:
            raise LookupError(customer)

        with pytest.raises(LookupError):
            track_webhook(signals, make("evt_1", 0, user=None), user_of=fails)
        assert not SubscriptionState.objects.exists()
        assert site.sent() == []

    def test_an_event_loop_is_told_to_use_a_thread(self, site: Site) -> None:
        async def handle() -> None:
            track_webhook(signals, TRIAL)

        with pytest.raises(SynchronousOnlyOperation):
            async_to_sync(handle)()


class TestWithoutTheTable:
    def test_webhooks_are_tracked_and_nothing_is_stored(self, site: Site) -> None:
        with override_settings(INSTALLED_APPS=WITHOUT_TABLE):
            for payload in (TRIAL, PAID):
                track_webhook(signals, payload)
        assert site.sent() == [("8842", "trial_started"), ("8842", "renewal_succeeded")]
        assert not SubscriptionState.objects.exists()


@pytest.mark.usefixtures("outbox")
class TestOutbox:
    def test_events_and_state_are_in_one_transaction(self, site: Site) -> None:
        with transaction.atomic():
            track_webhook(signals, TRIAL)
            assert get_written() == [("8842", "trial_started")]
            transaction.set_rollback(True)
        assert (get_written(), load_state(KEY)) == ([], None)
        track_webhook(signals, TRIAL)
        assert get_written() == [("8842", "trial_started")]
        assert load_state(KEY) is not None

    def test_an_event_that_cannot_be_stored_lets_the_provider_send_it_again(
        self, site: Site
    ) -> None:
        def refuse(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
            if "whisperr_outboxevent" in sql:
                raise DatabaseError("away")
            return execute(sql, *rest)

        with (
            connections["default"].execute_wrapper(refuse),
            pytest.raises(StoreError, match="could not be stored"),
        ):
            track_webhook(signals, TRIAL)
        assert load_state(KEY) is None
        assert track_webhook(signals, TRIAL).skipped == []
        assert get_written() == [("8842", "trial_started")]

    def test_an_invalid_event_does_not_come_again_and_again(self, site: Site) -> None:
        def invalid(payload: dict[str, Any], **options: Any) -> Signals:
            found = signals(payload, **options)
            one = found[0]
            rest = (one.event_type, one.properties, one.occurred_at, one.message_id, one.context)
            return Signals([Signal(" ", *rest)], state=found.state)

        track_webhook(invalid, TRIAL)
        assert get_client().stats().not_accepted == {"invalid": 1}
        assert load_state(KEY) is not None


class TestStates:
    def test_a_state_is_loaded_as_it_was_saved(self) -> None:
        assert load_state(KEY) is None
        state = get_state("evt_1", 1, before={"status": "trial"}, handled=["evt_1"])
        save_state(state)
        assert load_state(KEY) == state
        assert load_state("shop:sub_2") is None

    @pytest.mark.parametrize(
        ("second", "kept"),
        [
            (get_state("evt_2", 2), "evt_2"),
            (get_state("evt_2", 1), "evt_2"),
            (get_state("evt_2", 0), "evt_1"),
            ({**get_state("evt_2", 0), "at": "2026-01-01T00:01:00.500Z"}, "evt_2"),
        ],
        ids=["newer", "as old", "older", "half a second newer"],
    )
    def test_an_older_state_never_replaces_a_newer_one(self, second: State, kept: str) -> None:
        save_state(get_state("evt_1", 1))
        save_state(second)
        state = load_state(KEY)
        assert state is not None
        assert state["event"] == kept

    def test_loading_without_a_transaction_writes_nothing(self) -> None:
        assert load_state(KEY) is None
        assert not SubscriptionState.objects.exists()


class SecondDatabase:
    """A router that keeps the states in another database."""

    alias = ""

    def db_for_write(self, model: type[Any], **_: object) -> str | None:
        return self.alias if model is SubscriptionState else None


def handle_at_once(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Handle a webhook in a thread, and another one in the meantime in a second thread."""
    is_inside, is_over = threading.Event(), threading.Event()

    def slow(payload: dict[str, Any], **options: Any) -> Signals:
        found = signals(payload, **options)  # which has loaded the state
        is_inside.set()
        is_over.wait(0.3)  # the time in which the other would finish without a lock
        return found

    def handle(signals: Callable[..., Signals], payload: dict[str, Any]) -> None:
        try:
            track_webhook(signals, payload)
        finally:
            connections.close_all()

    def follow() -> None:
        assert is_inside.wait(30)
        handle(signals, second)
        is_over.set()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(handle, slow, first), pool.submit(follow)]:
            future.result(30)


class TestTwoAtOnce:
    @pytest.mark.parametrize("stored", [[], [make("evt_0", -1)]], ids=["the first", "later ones"])
    def test_the_second_waits_and_sees_what_the_first_has_saved(
        self, site: Site, stored: list[dict[str, Any]]
    ) -> None:
        for payload in stored:
            track_webhook(signals, payload)
        handle_at_once(TRIAL, PAID)
        state = load_state(KEY)
        assert state is not None
        assert state["handled"][-2:] == ["evt_1", "evt_2"]
        assert site.sent()[len(stored) :] == [
            ("8842", "trial_started"),
            ("8842", "trial_converted"),
        ]

    @pytest.mark.parametrize("stored", [[], [make("evt_0", -1)]], ids=["the first", "later ones"])
    def test_so_it_is_on_postgresql(
        self, site: Site, postgres: str, stored: list[dict[str, Any]]
    ) -> None:
        call_command("migrate", "whisperr_billing", database=postgres, verbosity=0)
        SecondDatabase.alias = postgres
        with override_settings(DATABASE_ROUTERS=[f"{__name__}.SecondDatabase"]):
            SubscriptionState.objects.using(postgres).all().delete()
            for payload in stored:
                track_webhook(signals, payload)
            handle_at_once(TRIAL, PAID)
            assert not SubscriptionState.objects.using("default").exists()
            state = load_state(KEY)
        assert state is not None
        assert state["handled"][-2:] == ["evt_1", "evt_2"]
        assert site.sent()[len(stored) :] == [
            ("8842", "trial_started"),
            ("8842", "trial_converted"),
        ]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("nowhere.get_user", "cannot be imported"), (7, "must name a function that takes")],
)
def test_a_wrong_function_of_users_is_named(site: Site, setting: object, reason: str) -> None:
    with (
        override_settings(WHISPERR_BILLING_USER_OF=setting),
        pytest.raises(ImproperlyConfigured, match=f"WHISPERR_BILLING_USER_OF = .*{reason}"),
    ):
        track_webhook(signals, TRIAL)
