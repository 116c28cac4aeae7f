"""Stories of several webhooks of RevenueCat, and what no single one shows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.billing.cases import NOW
from tests.billing.cases.revenuecat import (
    ANONYMOUS,
    CASES,
    FIRST,
    KEY,
    REFUND,
    TRIAL,
    USER,
    cancellation,
    in_store,
    millis,
    webhook,
)
from tests.docs.page import get_names, get_rows, paste
from whisperr import BillingEvent
from whisperr.billing import State, revenuecat
from whisperr.testing import capture

HOUR = timedelta(hours=1)


def receive(states: dict[str, State], payloads: list[dict[str, Any]]) -> list[str]:
    """Return the signals of webhooks in the order of arrival; a dict keeps the states."""
    received = []
    for payload in payloads:
        signals = revenuecat.signals(payload, previous=states.get)
        received += [one.event_type for one in signals]
        if signals.state:
            states[signals.state["key"]] = signals.state
    return received


def in_order(*payloads: dict[str, Any]) -> list[dict[str, Any]]:
    """Return webhooks with an id and a time each, an hour apart."""
    return [
        {"event": {**one["event"], "id": f"evt_{n}", "event_timestamp_ms": millis(NOW + n * HOUR)}}
        for n, one in enumerate(payloads)
    ]


def renewal(*, is_conversion: bool = False, transaction: str = "2") -> dict[str, Any]:
    return webhook("RENEWAL", is_trial_conversion=is_conversion, transaction_id=transaction)


def test_a_trial_is_converted_cancelled_and_ends() -> None:
    payloads = in_order(
        webhook("INITIAL_PURCHASE", **TRIAL),
        renewal(is_conversion=True),
        renewal(transaction="3"),
        cancellation("UNSUBSCRIBE"),
        webhook("UNCANCELLATION"),
        cancellation("UNSUBSCRIBE"),
        webhook("EXPIRATION", expiration_reason="UNSUBSCRIBE"),
    )
    states: dict[str, State] = {}
    assert receive(states, payloads) == [
        *("trial_started", "trial_converted", "renewal_succeeded", "auto_renew_disabled"),
        *("auto_renew_enabled", "auto_renew_disabled", "membership_ended"),
    ]
    (state,) = states.values()
    assert (state["status"], state["auto_renew"]) == ("ended", False)
    assert (state["paid_by"], state["end_reason"]) == ("2", "voluntary")


def test_a_failed_payment_is_one_issue_and_one_recovery() -> None:
    payloads = in_order(
        webhook("INITIAL_PURCHASE"),
        webhook("BILLING_ISSUE"),
        cancellation("BILLING_ERROR"),
        renewal(),
        renewal(transaction="3"),
    )
    assert receive({}, payloads) == [
        *("membership_started", "billing_issue_started"),
        *("renewal_succeeded", "billing_recovered", "renewal_succeeded"),
    ]


ISSUE, CANCELLED, EXPIRED = (
    webhook("BILLING_ISSUE", id="evt_issue"),
    cancellation("BILLING_ERROR", id="evt_cancelled"),
    webhook("EXPIRATION", id="evt_expired", expiration_reason="BILLING_ERROR"),
)


@pytest.mark.parametrize(
    "at_once",
    [[ISSUE, CANCELLED, EXPIRED], [EXPIRED, CANCELLED, ISSUE], [CANCELLED, EXPIRED, ISSUE]],
)
def test_without_a_grace_period_the_access_ends_at_once_and_comes_back(
    at_once: list[dict[str, Any]],
) -> None:
    start = webhook("INITIAL_PURCHASE", id="evt_start", event_timestamp_ms=millis(NOW - HOUR))
    back = renewal()
    back["event"]["event_timestamp_ms"] = millis(NOW + HOUR)
    received = receive({}, [start, *at_once, back])
    assert sorted(received[1:3]) == ["billing_issue_started", "membership_ended"]
    assert received[3:] == ["membership_started", "billing_recovered"]


def test_a_webhook_that_arrives_late_does_not_change_what_is_known() -> None:
    start, issue, recovery = in_order(
        webhook("INITIAL_PURCHASE"), webhook("BILLING_ISSUE"), renewal()
    )
    states: dict[str, State] = {}
    assert receive(states, [start, recovery, issue]) == [
        *("membership_started", "renewal_succeeded", "billing_issue_started")
    ]
    (state,) = states.values()
    assert state["status"] == "active"


def test_a_late_renewal_is_the_weaker_event() -> None:
    start, ended, late = in_order(
        webhook("INITIAL_PURCHASE"), webhook("EXPIRATION", expiration_reason="UNKNOWN"), renewal()
    )
    late["event"]["event_timestamp_ms"] = start["event"]["event_timestamp_ms"] + 1
    assert receive({}, [start, ended, late])[-1] == "renewal_succeeded"


def test_a_webhook_that_comes_again_after_newer_ones_says_nothing() -> None:
    payloads = in_order(webhook("INITIAL_PURCHASE"), renewal(), renewal(transaction="3"))
    states: dict[str, State] = {}
    receive(states, payloads)
    assert receive(states, payloads[:2]) == []
    (state,) = states.values()
    assert state["event"] == "evt_2"


def test_a_refund_leaves_the_renewal_as_it_is() -> None:
    states: dict[str, State] = {}
    payloads = in_order(webhook("INITIAL_PURCHASE"), cancellation("CUSTOMER_SUPPORT", **REFUND))
    assert receive(states, payloads) == ["membership_started", "refund_granted"]
    (state,) = states.values()
    assert state["auto_renew"] is True


def test_two_stores_with_the_same_id_are_two_subscriptions() -> None:
    states: dict[str, State] = {}
    receive(states, in_order(in_store("APP_STORE", "1"), in_store("AMAZON", "1")))
    assert list(states) == [KEY, f"revenuecat:amazon:{FIRST}"]


def test_the_time_is_that_of_the_webhook_and_not_of_the_purchase() -> None:
    """A store charges up to a day before the period begins, and the server accepts no future."""
    payload = webhook("RENEWAL", purchased_at_ms=millis(NOW + 24 * HOUR))
    (signal,) = revenuecat.signals(payload)
    assert signal.occurred_at == NOW


@pytest.mark.parametrize(
    "payload",
    [
        in_store("STRIPE", "sub_billing0001"),
        in_store("RC_BILLING", "rcb_1"),
        in_store("AMAZON", "amzn1.receipt"),
        webhook("RENEWAL", transaction_id=None),
        cancellation("UNSUBSCRIBE"),
        webhook("UNCANCELLATION"),
    ],
)
def test_what_may_come_twice_or_has_another_id_names_no_occurrence(payload: dict[str, Any]) -> None:
    (signal,) = revenuecat.signals(payload)
    assert "$occurrence_key" not in signal.context


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"environment": "SANDBOX"}, "test"),
        ({"store": "TEST_STORE"}, "test"),
        ({"environment": "PRODUCTION"}, None),
    ],
)
def test_the_sandbox_and_the_test_store_are_tests(
    changes: dict[str, Any], mode: str | None
) -> None:
    (signal,) = revenuecat.signals(webhook("UNCANCELLATION", **changes))
    assert signal.context.get("$mode") == mode


def test_an_anonymous_id_is_no_user_and_others_are_tried_in_order() -> None:
    known = {"app_user_id": USER, "original_app_user_id": "user_1", "aliases": ["user_2"]}
    found = []
    for name in known:
        (signal,) = revenuecat.signals(webhook("UNCANCELLATION", **known))
        found.append(signal.user)
        known[name] = [ANONYMOUS] if name == "aliases" else ANONYMOUS
    assert found == [USER, "user_1", "user_2"]
    (skipped,) = revenuecat.signals(webhook("UNCANCELLATION", **known)).skipped
    assert ANONYMOUS not in skipped.reason


def test_the_caller_is_asked_for_a_user_only_if_a_signal_needs_one() -> None:
    asked: list[str] = []
    anonymous = {"app_user_id": ANONYMOUS, "aliases": [ANONYMOUS]}
    for payload in (
        cancellation("BILLING_ERROR", **anonymous),
        webhook("TRANSFER", **anonymous),
        webhook("UNCANCELLATION"),
    ):
        revenuecat.signals(payload, user_of=asked.append)
    assert asked == []
    revenuecat.signals(webhook("UNCANCELLATION", **anonymous), user_of=asked.append)
    assert asked == [ANONYMOUS]


def test_an_error_of_the_caller_is_passed_on() -> None:
    def fails(_: str) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        revenuecat.signals(webhook("RENEWAL"), previous=fails)


def test_after_a_transfer_the_payload_and_not_the_state_has_the_user() -> None:
    states: dict[str, State] = {}
    receive(states, in_order(webhook("INITIAL_PURCHASE")))
    moved = webhook("RENEWAL", id="evt_moved", app_user_id="user_2", aliases=["user_2"])
    (signal,) = revenuecat.signals(moved, previous=states.get)
    assert signal.user == "user_2"


def test_a_key_that_no_table_would_hold_is_no_key() -> None:
    assert revenuecat.signals(webhook("RENEWAL", original_transaction_id="1" * 300)).state is None


PAGE = "docs/billing/revenuecat.md"


def test_the_code_of_the_page_receives_a_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask")
    monkeypatch.setenv("REVENUECAT_AUTHORIZATION", "Bearer secret")
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
    names: dict[str, Any] = {"__name__": "page"}
    with capture(strict=True) as events:
        exec(compile(paste(PAGE), PAGE, "exec"), names)
        client = names["app"].test_client()
        body = json.dumps(webhook("INITIAL_PURCHASE"))
        for wrong in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer s\xe9cret"}):
            answer = client.post("/webhooks/revenuecat", data=body, headers=wrong)
            assert answer.status_code == 401
        right = {"Authorization": "Bearer secret"}
        for _ in range(2):
            answer = client.post("/webhooks/revenuecat", data=body, headers=right)
            assert answer.status_code == 200  # RevenueCat sends a webhook again after any other
    assert [one.type for one in events] == [
        *("billing_issue_started", "membership_started", "membership_started")
    ]
    assert events[1].message_id == events[2].message_id
    assert list(names["states"]) == [KEY]


def test_the_table_of_the_page_has_all_events_with_their_webhooks() -> None:
    rows = get_rows(PAGE, "What becomes what")
    names = [value for name, value in vars(BillingEvent).items() if name.isupper()]
    assert [get_names(row[0]) for row in rows] == [[name] for name in names]
    webhooks: dict[str, set[str]] = {name: set() for name in names}
    for case in CASES:
        for name in case.expected:
            webhooks[name].add(case.payload.get("event", case.payload)["type"])
    assert {row[0].strip("`"): set(get_names(row[1])) for row in rows} == webhooks
