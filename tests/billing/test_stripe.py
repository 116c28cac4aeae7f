"""Stories of several webhooks of Stripe, and what Stripe's own package makes of them."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.billing.cases import NOW
from tests.billing.cases.stripe import (
    CASES,
    CREATED,
    DAY,
    DELETED,
    MONTH,
    UPDATED,
    USER,
    at,
    invoice,
    line,
    refund,
    subscription,
    unpaid,
    webhook,
)
from tests.docs.page import get_names, get_rows, paste
from whisperr import BillingEvent
from whisperr.billing import stripe
from whisperr.billing.stripe import _subscriptions
from whisperr.testing import capture

PAGE = "docs/billing/stripe.md"
SECRET = "whsec_test"
EVENTS = [value for name, value in vars(BillingEvent).items() if name.isupper()]
HOUR = timedelta(hours=1)


def play(*webhooks: dict[str, Any]) -> list[str]:
    """Return the events of webhooks in the order of their arrival, with a dict of states."""
    states: dict[str, Any] = {}
    found: dict[str, str] = {}
    for one in webhooks:
        result = stripe.signals(one, previous=states.get)
        if result.state:
            states[result.state["key"]] = result.state
        found |= {signal.message_id: signal.event_type for signal in result}
    return list(found.values())


TRIAL = webhook(CREATED, subscription("trialing", start=NOW - 14 * DAY), event="evt_trial")
TRIAL["created"] = at(NOW - 14 * DAY)
TRIAL_ENDS: dict[str, Any] = {"trial_end": at(NOW), "latest_invoice": "in_2"}
CONVERTED = webhook(
    UPDATED,
    subscription("active", **TRIAL_ENDS),
    {"status": "trialing", "latest_invoice": "in_1"},
    event="evt_converted",
)
FIRST = webhook(
    "invoice.paid", invoice("subscription_cycle"), event="evt_first", happened=NOW + HOUR
)
RENEWED = webhook(
    "invoice.paid",
    invoice("subscription_cycle", id="in_3", lines={"data": [line(start=NOW + MONTH)]}),
    event="evt_renewed",
    happened=NOW + MONTH,
)


@pytest.mark.parametrize("order", [*itertools.permutations([CONVERTED, FIRST, FIRST])])
def test_the_first_payment_after_a_trial_is_no_renewal_in_any_order(order: Any) -> None:
    events = play(TRIAL, *order, RENEWED, *order)
    assert events == ["trial_started", "trial_converted", "renewal_succeeded"]


def test_the_first_payment_is_no_renewal_if_the_start_of_the_trial_comes_last() -> None:
    events = play(CONVERTED, FIRST, RENEWED, TRIAL)
    assert events == ["trial_converted", "renewal_succeeded", "trial_started"]


def test_a_trial_that_ends_early_converts_once() -> None:
    early = NOW - 10 * DAY
    ended = subscription("active", start=early, trial_end=at(early), latest_invoice="in_2")
    converted = webhook(UPDATED, ended, {"status": "trialing", "trial_end": at(NOW)})
    paid = webhook(
        "invoice.paid",
        invoice("subscription_cycle", lines={"data": [line(start=early)]}),
        event="evt_first",
    )
    assert play(TRIAL, converted, paid) == ["trial_started", "trial_converted"]


def test_a_paused_trial_converts_when_it_resumes() -> None:
    resumed = NOW + 20 * DAY
    paused = webhook(UPDATED, subscription("paused", **TRIAL_ENDS), {"status": "trialing"})
    active = webhook(
        UPDATED,
        subscription("active", start=resumed, **TRIAL_ENDS),
        {"status": "paused"},
        event="evt_resumed",
        happened=resumed,
    )
    paid = webhook(
        "invoice.paid",
        invoice("subscription_cycle", lines={"data": [line(start=resumed)]}),
        event="evt_first",
        happened=resumed + HOUR,
    )
    for order in itertools.permutations([active, paid]):
        assert play(TRIAL, paused, *order) == ["trial_started", "trial_converted"]


def test_a_trial_whose_first_payment_fails_at_once_converts_when_it_is_paid() -> None:
    past_due = webhook(
        UPDATED, subscription("past_due", **TRIAL_ENDS), {"status": "trialing"}, event="evt_due"
    )
    failed = webhook("invoice.payment_failed", unpaid(), event="evt_failed")
    later: dict[str, Any] = {"event": "evt_active", "happened": NOW + DAY}
    active = webhook(UPDATED, subscription("active", **TRIAL_ENDS), {"status": "past_due"}, **later)
    paid = webhook("invoice.paid", invoice("subscription_cycle"), event="evt_paid")
    for order in itertools.permutations([active, paid]):
        assert play(TRIAL, past_due, failed, *order) == [
            *("trial_started", "billing_issue_started", "trial_converted", "billing_recovered"),
        ]


def test_a_failed_renewal_is_one_issue_until_it_recovers_or_ends() -> None:
    first = webhook("invoice.payment_failed", unpaid(), event="evt_1")
    due = webhook(UPDATED, subscription("past_due"), {"status": "active"}, event="evt_2")
    second = webhook("invoice.payment_failed", unpaid(attempt_count=2), event="evt_3")
    active = webhook(UPDATED, subscription("active"), {"status": "past_due"}, event="evt_4")
    reason: dict[str, Any] = {"cancellation_details": {"reason": "payment_failed"}}
    ended = webhook(DELETED, subscription("canceled", **reason), event="evt_5")
    assert play(first, due, second, active) == ["billing_issue_started", "billing_recovered"]
    assert play(due, second, first, ended) == ["billing_issue_started", "membership_ended"]


def test_a_subscription_that_was_never_paid_is_no_membership() -> None:
    created = webhook(CREATED, subscription("incomplete"), event="evt_1")
    failed = webhook("invoice.payment_failed", unpaid("subscription_create"), event="evt_2")
    expired = webhook(
        UPDATED, subscription("incomplete_expired"), {"status": "incomplete"}, event="evt_3"
    )
    deleted = webhook(DELETED, subscription("canceled"), event="evt_4")
    assert play(created, failed, expired) == []
    assert play(created, failed, deleted) == []


def test_a_creation_that_comes_after_a_change_of_the_same_second_takes_nothing_back() -> None:
    changed = webhook(UPDATED, subscription("active"), {"status": "incomplete"}, event="evt_2")
    created = webhook(CREATED, subscription("incomplete"), event="evt_1")
    deleted = webhook(DELETED, subscription("canceled"), event="evt_3", happened=NOW + DAY)
    assert play(changed, created, deleted) == ["membership_ended"]


def test_a_refund_that_succeeds_at_once_is_one_though_it_changes_later() -> None:
    created = webhook("refund.created", refund(), event="evt_1")
    changed = webhook("refund.updated", refund(), {"destination_details": {}}, event="evt_2")
    assert play(created, changed) == ["refund_granted"]
    waiting = webhook("refund.created", refund("pending"), event="evt_1")
    succeeded = webhook("refund.updated", refund(), {"status": "pending"}, event="evt_2")
    assert play(waiting, succeeded) == ["refund_granted"]


CHECKOUT = webhook(
    "checkout.session.completed",
    {"id": "cs_1", "mode": "subscription", "subscription": "sub_1", "client_reference_id": USER},
    event="evt_checkout",
    happened=NOW + HOUR,
)


def test_a_checkout_tells_whose_the_subscription_is_and_makes_no_state_older() -> None:
    states: dict[str, Any] = {}
    anonymous: dict[str, Any] = {"metadata": {}}
    created = webhook(CREATED, subscription("trialing", **anonymous), event="evt_created")
    for one in (CHECKOUT, created, CHECKOUT):
        result = stripe.signals(one, previous=states.get)
        assert result.state is not None
        states[result.state["key"]] = result.state
    stored = states["stripe:sub_1"]
    assert (stored["user"], stored["status"], stored["event"]) == (USER, "trial", "evt_created")
    (signal,) = stripe.signals(created, previous=states.get)
    assert signal.user == USER


def test_a_checkout_without_a_user_leaves_the_state_as_it_is() -> None:
    empty = webhook("checkout.session.completed", {"id": "cs_1", "subscription": "sub_1"})
    assert stripe.signals(empty).state is None
    stored = stripe.signals(TRIAL).state
    assert stripe.signals(empty, previous=stored).state == stored


NO_METADATA = webhook(CREATED, subscription("trialing", metadata={}))


@pytest.mark.parametrize(
    ("payload", "asked"),
    [
        (TRIAL, []),
        (NO_METADATA, ["cus_1"]),
        (
            webhook(CREATED, subscription("trialing", metadata={}, customer={"id": "cus_1"})),
            ["cus_1"],
        ),
        (webhook("refund.created", refund(metadata={})), ["ch_1"]),
        (webhook("refund.created", refund(metadata={}, customer="cus_1")), ["cus_1"]),
        (webhook("refund.created", refund(metadata={}, charge=None)), ["pi_1"]),
        (webhook("customer.created", {"id": "cus_1"}), []),
        (webhook("invoice.paid", invoice("subscription_create", 0, parent=None)), []),
    ],
)
def test_the_function_is_asked_only_for_a_signal_without_a_user(
    payload: dict[str, Any], asked: list[str]
) -> None:
    calls: list[str] = []

    def find_user(customer: str) -> str:
        calls.append(customer)
        return "user_found"

    users = [signal.user for signal in stripe.signals(payload, user_of=find_user)]
    assert calls == asked
    assert users == ["user_found"] * len(asked) or users == [USER]


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"external_user_id": USER}, "parent": None, "subscription": "sub_1"},
        {"customer": {"id": "cus_1", "metadata": {"external_user_id": USER}}},
        {"lines": {"data": [line(metadata={"external_user_id": USER})]}},
        {"subscription_details": {"metadata": {"external_user_id": USER}}},
    ],
)
def test_an_invoice_has_the_user_in_several_places(changes: dict[str, Any]) -> None:
    parent = {"subscription_details": {"subscription": "sub_1", "metadata": {}}}
    data = invoice("subscription_cycle", **{"parent": parent, **changes})
    assert [one.user for one in stripe.signals(webhook("invoice.paid", data))] == [USER]


def test_what_the_functions_of_the_caller_raise_is_passed_on() -> None:
    def fail(_: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        stripe.signals(NO_METADATA, user_of=fail)
    with pytest.raises(ConnectionError):
        stripe.signals(TRIAL, previous=fail)


def test_an_event_of_test_mode_has_the_mode() -> None:
    modes = [
        stripe.signals({**TRIAL, "livemode": mode})[0].context.get("$mode")
        for mode in (False, True, None)
    ]
    assert modes == ["test", None, None]


def sign(body: str) -> str:
    """Return the header of a signature, as Stripe makes it."""
    now = int(time.time())
    digest = hmac.new(SECRET.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def test_the_events_of_stripes_package_mean_the_same() -> None:
    package = pytest.importorskip("stripe", reason="stripe is not installed")
    for case in CASES:
        body = json.dumps(case.payload)
        given = {"previous": case.previous, **case.arguments}
        expected = stripe.signals(case.payload, **given)
        if case.payload["object"] == "v2.core.event":
            continue  # the package has another function for thin events
        event = package.Webhook.construct_event(body, sign(body), SECRET)
        found = stripe.signals(event, **given)
        assert (found, found.skipped, found.state) == (expected, expected.skipped, expected.state)


def test_a_forged_signature_is_refused_by_stripes_package() -> None:
    package = pytest.importorskip("stripe", reason="stripe is not installed")
    body = json.dumps(TRIAL)
    with pytest.raises(package.SignatureVerificationError):
        package.Webhook.construct_event(body, sign(body + " "), SECRET)


class DictObject(dict[str, Any]):
    """An object of Stripe's package before version 15, where they were dicts."""


@pytest.mark.parametrize(
    "model",
    [
        DictObject(TRIAL, data=DictObject(TRIAL["data"])),
        SimpleNamespace(id="evt_trial", stripe_data=TRIAL, djstripe_created=NOW),
        SimpleNamespace(
            id="evt_trial",
            type=CREATED,
            livemode=True,
            created=NOW - 14 * DAY,
            data=TRIAL["data"],
            djstripe_created=NOW,
        ),
    ],
    ids=["a subclass of dict", "dj-stripe", "dj-stripe before 2.10"],
)
def test_other_objects_mean_the_same(model: object) -> None:
    found, expected = stripe.signals(model), stripe.signals(TRIAL)
    assert (found, found.state) == (expected, expected.state)


def test_a_model_without_a_time_is_skipped_with_the_reason() -> None:
    model = SimpleNamespace(type=CREATED, created=None, data=TRIAL["data"], djstripe_created=NOW)
    assert "without id, created" in stripe.signals(model).skipped[0].reason


def test_the_page_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stripe", reason="stripe is not installed")
    pytest.importorskip("flask", reason="Flask is not installed")
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
    names: dict[str, Any] = {"__name__": "page"}
    with capture(strict=True) as events:
        exec(compile(paste(PAGE), PAGE, "exec"), names)
        client = names["app"].test_client()
        body = json.dumps(CONVERTED)
        assert client.post("/webhooks/stripe", data=body).status_code == 400
        for sent, status in ((body, 204), (body + " ", 400)):
            signed = {"Stripe-Signature": sign(body)}
            answer = client.post("/webhooks/stripe", data=sent, headers=signed)
            assert answer.status_code == status
    assert [one.type for one in events] == ["billing_issue_started", "trial_converted"]
    assert list(names["states"]) == ["stripe:sub_1"]


def test_the_table_of_the_page_has_all_events_with_their_webhooks() -> None:
    rows = get_rows(PAGE, "What becomes what")[: len(EVENTS)]
    assert [get_names(row[0]) for row in rows] == [[name] for name in EVENTS]
    webhooks: dict[str, set[str]] = {name: set() for name in EVENTS}
    for case in CASES:
        for name in case.expected:
            webhooks[name].add(case.payload["type"].replace("customer.subscription", ""))
    assert {row[0].strip("`"): set(get_names(row[1])) for row in rows} == webhooks


def test_the_page_has_the_reasons_of_the_code() -> None:
    cancel: dict[str, str] = {}
    end: dict[str, str] = {}
    for reasons, cancelled, ended in get_rows(PAGE, "What becomes what")[len(EVENTS) :]:
        for reason in get_names(reasons):
            cancel |= dict.fromkeys([reason] if cancelled else [], cancelled.strip("`"))
            end[reason] = ended.strip("`")
    assert (cancel, end) == (_subscriptions.CANCEL_REASONS, _subscriptions.END_REASONS)


def test_the_end_that_comes_first_does_not_make_the_first_payment_a_renewal() -> None:
    ended = webhook(DELETED, subscription("canceled"), event="evt_end", happened=NOW + DAY)
    events = ["membership_ended", "trial_converted"]
    assert play(ended, CONVERTED, FIRST) == events
    assert play(ended, CONVERTED, ended, FIRST) == events  # the end comes again
