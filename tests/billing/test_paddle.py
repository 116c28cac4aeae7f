"""Stories of several webhooks of Paddle Billing, and Paddle's own package."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.billing.cases import NOW, Case
from tests.billing.cases import paddle as cases
from tests.docs.page import get_names, get_rows, paste
from whisperr import BillingEvent
from whisperr.billing import paddle
from whisperr.testing import capture

if TYPE_CHECKING:
    from whisperr.billing import Signals, State


class Webhooks:
    """Receives webhooks, and keeps the states in a dict as the guide does."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.names: list[str] = []
        self.reasons: list[str] = []

    def receive(self, event_type: str, data: dict[str, Any], minutes: int) -> Signals:
        payload = cases.webhook(event_type, data, event=f"evt_{event_type}_{minutes}")
        payload["occurred_at"] = cases.at(NOW + timedelta(minutes=minutes))
        found = paddle.signals(payload, previous=self.states.get)
        if found.state:
            self.states[found.state["key"]] = found.state
        self.names += [one.event_type for one in found]
        self.reasons += [one.reason for one in found.skipped]
        return found


def cancelled() -> dict[str, Any]:
    return cases.subscription("active", scheduled_change=cases.scheduled("cancel"))


def failing() -> dict[str, Any]:
    return cases.later_period(status="past_due")


def test_a_trial_with_all_its_webhooks_is_told_once() -> None:
    hooks = Webhooks()
    trialing = cases.subscription("trialing")
    hooks.receive("subscription.created", trialing, -20)
    hooks.receive("subscription.trialing", trialing, -19)
    active = cases.subscription("active", trial=True)
    payment = cases.transaction(items=[{"price": cases.price(trial=True)}])
    hooks.receive("subscription.updated", trialing, -10)
    hooks.receive("transaction.paid", payment, -9)
    hooks.receive("subscription.updated", active, -8)
    hooks.receive("subscription.activated", active, -7)
    hooks.receive("transaction.completed", payment, -6)
    assert hooks.names == ["trial_started", "trial_converted"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_first_payment_after_a_trial_is_no_renewal_in_any_order(order: tuple[int, int]) -> None:
    hooks = Webhooks()
    hooks.receive("subscription.trialing", cases.subscription("trialing"), -20)
    payment = cases.transaction(items=[{"price": cases.price(trial=True)}])
    both = [
        ("transaction.completed", payment, -5),
        ("subscription.activated", cases.subscription("active", trial=True), -4),
    ]
    for index in order:
        hooks.receive(*both[index])
    assert hooks.names == ["trial_started", "trial_converted"]


def test_the_renewal_after_the_first_paid_period_is_one() -> None:
    hooks = Webhooks()
    first = NOW - timedelta(days=30)
    active = cases.subscription("active", trial=True, first_billed_at=cases.at(first))
    hooks.receive("subscription.updated", active, -5)
    hooks.receive(
        "transaction.completed", cases.transaction(items=[{"price": cases.price(trial=True)}]), 0
    )
    assert hooks.names == ["renewal_succeeded"]


def test_a_cancellation_is_told_once_although_later_updates_have_it_too() -> None:
    hooks = Webhooks()
    hooks.receive("subscription.created", cases.subscription("active"), -30)
    for minutes in (-20, -19, -10):
        hooks.receive("subscription.updated", cancelled(), minutes)
    hooks.receive("subscription.updated", cases.subscription("active"), -5)
    hooks.receive("subscription.updated", cancelled(), -4)
    assert hooks.names == [
        *("membership_started", "auto_renew_disabled"),
        *("auto_renew_enabled", "auto_renew_disabled"),
    ]


def test_a_cancellation_that_takes_effect_is_not_withdrawn() -> None:
    hooks = Webhooks()
    hooks.receive("subscription.created", cases.subscription("active"), -30)
    hooks.receive("subscription.updated", cancelled(), -20)
    ended = cases.subscription("canceled")
    hooks.receive("subscription.updated", ended, -10)
    hooks.receive("subscription.canceled", ended, -9)
    assert hooks.names == ["membership_started", "auto_renew_disabled", "membership_ended"]


def test_a_failure_and_its_recovery_are_told_once() -> None:
    hooks = Webhooks()
    active, late = cases.later_period(), failing()
    hooks.receive("subscription.updated", active, -30)
    hooks.receive("transaction.payment_failed", cases.transaction(), -21)
    hooks.receive("subscription.updated", late, -20)
    hooks.receive("subscription.past_due", late, -19)
    hooks.receive("transaction.past_due", cases.transaction(), -18)
    hooks.receive("transaction.completed", cases.transaction(), -10)
    hooks.receive("subscription.updated", active, -9)
    hooks.receive("subscription.activated", active, -8)
    assert hooks.names == ["billing_issue_started", "renewal_succeeded", "billing_recovered"]


def test_a_payment_that_comes_first_does_not_hide_a_recovery_before_it() -> None:
    hooks = Webhooks()
    hooks.receive("subscription.past_due", failing(), -30)
    hooks.receive("transaction.completed", cases.transaction(), -8)
    hooks.receive("subscription.updated", cases.later_period(), -9)
    assert hooks.names == ["billing_issue_started", "renewal_succeeded", "billing_recovered"]


def test_a_failure_during_a_pause_recovers_after_it() -> None:
    hooks = Webhooks()
    hooks.receive("subscription.past_due", failing(), -30)
    hooks.receive("subscription.paused", cases.subscription("paused"), -20)
    hooks.receive("subscription.updated", cases.later_period(), -10)
    assert hooks.names == ["billing_issue_started", "billing_recovered"]


def test_an_update_that_comes_late_is_skipped() -> None:
    hooks = Webhooks()
    hooks.receive("subscription.created", cases.subscription("active"), -30)
    hooks.receive("subscription.updated", cases.subscription("active"), -10)
    hooks.receive("subscription.updated", cancelled(), -20)
    assert hooks.names == ["membership_started"]
    assert "a newer webhook of this subscription came before it" in hooks.reasons[-1]


def test_an_old_webhook_that_comes_again_is_skipped() -> None:
    hooks = Webhooks()
    hooks.receive("subscription.created", cases.subscription("active"), -30)
    hooks.receive("subscription.updated", cancelled(), -20)
    hooks.receive("subscription.created", cases.subscription("active"), -30)
    assert hooks.names == ["membership_started", "auto_renew_disabled"]
    assert "was handled since" in hooks.reasons[-1]


def test_several_destinations_report_one_event() -> None:
    payload = cases.webhook("subscription.past_due", cases.subscription("past_due"))
    (first,) = paddle.signals({**payload, "notification_id": "ntf_1"})
    (second,) = paddle.signals({**payload, "notification_id": "ntf_2"})
    assert first == second
    assert first.message_id == "evt_1:billing_issue_started"


@pytest.mark.parametrize(
    ("event", "arguments", "mode"),
    [
        ("evt_1", {}, None),
        ("evt_1", {"sandbox": True}, "test"),
        ("ntfsimevt_1", {}, "test"),
    ],
)
def test_the_sandbox_and_the_simulator_are_tests(
    event: str, arguments: dict[str, Any], mode: str | None
) -> None:
    data = cases.subscription("past_due")
    (found,) = paddle.signals(
        cases.webhook("subscription.past_due", data, event=event), **arguments
    )
    assert found.context.get("$mode") == mode


def test_user_of_is_called_only_without_a_user() -> None:
    asked: list[str] = []
    refund = cases.webhook("adjustment.created", cases.adjustment())
    named = cases.webhook("subscription.past_due", cases.subscription("past_due"))
    for payload in (named, cases.webhook("customer.updated", {"id": "ctm_2"}), refund):
        paddle.signals(payload, user_of=asked.append)
    assert asked == [cases.CUSTOMER]


def test_an_error_of_user_of_is_passed_on() -> None:
    def fail(customer: str) -> str:
        raise ConnectionError(customer)

    with pytest.raises(ConnectionError):
        paddle.signals(cases.webhook("adjustment.created", cases.adjustment()), user_of=fail)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("2900", "EUR", "29.00"),
        ("100", "JPY", "100"),
        ("12000", "KRW", "12000"),
        ("9990", "CLP", "9990"),
        ("70000", "VND", "70000"),
        ("1", "USD", "0.01"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(
    amount: str, currency: str, expected: str
) -> None:
    data = cases.with_totals(cases.totals(amount, currency))
    (found,) = paddle.signals(cases.webhook("transaction.completed", data))
    assert (str(found.properties["price"]), found.properties["currency"]) == (expected, currency)


def test_a_price_that_cannot_be_read_is_left_out() -> None:
    for broken in ("29.5", "-1", "x", None, 10**80):
        totals = {**cases.totals("2900"), "grand_total": broken}
        data = cases.with_totals(totals)
        (found,) = paddle.signals(cases.webhook("transaction.completed", data))
        assert not {"price", "currency"} & found.properties.keys()


OBJECTS = [
    case
    for case in cases.CASES
    if case.payload.get("event_type") not in {None, "subscription.danced", "customer.created"}
]


@pytest.mark.parametrize("case", OBJECTS, ids=lambda case: case.sentence)
def test_the_object_of_the_package_means_the_same(case: Case) -> None:
    entities = pytest.importorskip("paddle_billing.Entities.Notifications.NotificationEvent")
    body = json.dumps(case.payload)
    event = entities.NotificationEvent.from_request(SimpleNamespace(body=body.encode()))
    given: dict[str, Any] = {"previous": case.previous, **case.arguments}
    expected = paddle.signals(case.payload, **given)
    found = paddle.signals(event, **given)
    assert (found, found.skipped, found.state) == (expected, expected.skipped, expected.state)


def test_the_page_does_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paddle_billing")
    pytest.importorskip("flask")
    monkeypatch.setenv("PADDLE_WEBHOOK_SECRET", "pdl_secret")
    page, names = "docs/billing/paddle.md", {"__name__": "page"}
    with capture(strict=True) as events:
        exec(compile(paste(page), page, "exec"), names)
        client: Any = names["app"]
        body = json.dumps(cases.webhook("subscription.created", cases.subscription("active")))
        assert client.test_client().post("/webhooks/paddle", data=body).status_code == 400
        for signed, status in ((body, 204), (body + " ", 400)):
            answer = client.test_client().post("/webhooks/paddle", data=signed, headers=sign(body))
            assert answer.status_code == status
    assert [one.type for one in events] == ["billing_issue_started", "membership_started"]
    assert list(names["states"]) == [f"paddle:{cases.SUBSCRIPTION}"]


def sign(body: str) -> dict[str, str]:
    """Return the header that Paddle sends, with a signature of now."""
    now = int(time.time())
    digest = hmac.new(b"pdl_secret", f"{now}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"Paddle-Signature": f"ts={now};h1={digest}"}


def test_the_table_of_the_page_has_all_events_with_their_webhooks() -> None:
    rows = get_rows("docs/billing/paddle.md", "What becomes what")
    names = [value for name, value in vars(BillingEvent).items() if name.isupper()]
    assert [get_names(row[0]) for row in rows] == [[name] for name in names]
    webhooks: dict[str, set[str]] = {name: set() for name in names}
    for case in cases.CASES:
        for name in case.expected:
            webhooks[name].add(case.payload["event_type"])
    assert {row[0].strip("`"): set(get_names(row[1])) for row in rows} == webhooks
