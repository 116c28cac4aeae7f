"""The webhooks of Paddle Billing."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.billing.cases import NOW, Case

USER = "user_8842"
SUBSCRIPTION = "sub_01a0billing0subscription01"
CUSTOMER = "ctm_01a0billing0customer000001"
TRANSACTION = "txn_01a0billing0transaction001"
ADJUSTMENT = "adj_01a0billing0adjustment0001"
PLAN = "pri_01a0billing0price000000001"
DAY = timedelta(days=1)


def at(time: datetime) -> str:
    """Return a time as Paddle writes it: with microseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def out(time: datetime) -> str:
    """Return a time as it is in the properties."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


STARTED = NOW - 14 * DAY
ENDS = NOW + 30 * DAY


def webhook(event_type: str, data: dict[str, Any], *, event: str = "evt_1") -> dict[str, Any]:
    """Return a webhook that happened at NOW."""
    return {
        "event_id": event,
        "event_type": event_type,
        "occurred_at": at(NOW),
        "notification_id": "ntf_1",
        "data": data,
    }


def price(*, trial: bool = False) -> dict[str, Any]:
    """Return the price of an item, monthly."""
    return {
        "id": PLAN,
        "product_id": "pro_1",
        "name": "Pro",
        "description": "Pro, monthly",
        "type": "standard",
        "tax_mode": "account_setting",
        "billing_cycle": {"interval": "month", "frequency": 1},
        "trial_period": {"interval": "day", "frequency": 14} if trial else None,
        "unit_price": {"amount": "2900", "currency_code": "USD"},
        "unit_price_overrides": [],
        "quantity": {"minimum": 1, "maximum": 10},
        "status": "active",
        "custom_data": None,
        "created_at": at(STARTED),
        "updated_at": at(STARTED),
    }


def period(start: datetime, end: datetime) -> dict[str, str]:
    return {"starts_at": at(start), "ends_at": at(end)}


def subscription(status: str, *, trial: bool = False, **changes: Any) -> dict[str, Any]:
    """Return a subscription that began at NOW, or with a trial of 14 days before NOW."""
    is_trialing = status == "trialing"
    start = NOW if is_trialing or not trial else STARTED
    end = NOW + 14 * DAY if is_trialing else ENDS
    dates = period(start, start + 14 * DAY) if trial or is_trialing else None
    item = {
        "status": status,
        "quantity": 1,
        "recurring": True,
        "created_at": at(start),
        "updated_at": at(NOW),
        "previously_billed_at": None if is_trialing else at(NOW),
        "next_billed_at": at(end),
        "trial_dates": dates,
        "price": price(trial=trial or is_trialing),
    }
    return {
        "id": SUBSCRIPTION,
        "status": status,
        "customer_id": CUSTOMER,
        "address_id": "add_1",
        "business_id": None,
        "currency_code": "USD",
        "created_at": at(start),
        "updated_at": at(NOW),
        "started_at": at(start),
        "first_billed_at": None if is_trialing else at(NOW),
        "next_billed_at": at(end),
        "paused_at": None,
        "canceled_at": None,
        "collection_mode": "automatic",
        "billing_cycle": {"interval": "month", "frequency": 1},
        "current_billing_period": period(NOW, end),
        "scheduled_change": None,
        "items": [item],
        "custom_data": {"external_user_id": USER},
        **changes,
    }


def transaction(origin: str = "subscription_recurring", **changes: Any) -> dict[str, Any]:
    """Return a completed transaction of 29 dollars."""
    return {
        "id": TRANSACTION,
        "status": "completed",
        "customer_id": CUSTOMER,
        "subscription_id": SUBSCRIPTION,
        "currency_code": "USD",
        "origin": origin,
        "collection_mode": "automatic",
        "billing_period": period(NOW, ENDS),
        "items": [{"price": price(), "quantity": 1, "proration": None}],
        "details": {"totals": totals("2900"), "tax_rates_used": [], "line_items": []},
        "payments": [],
        "created_at": at(NOW),
        "updated_at": at(NOW),
        "billed_at": at(NOW),
        "custom_data": {"external_user_id": USER},
        **changes,
    }


def totals(amount: str, currency: str = "USD", *, credit: str = "0") -> dict[str, str]:
    """Return the totals of a transaction, all of them strings in the lowest denomination."""
    return {
        "subtotal": amount,
        "discount": "0",
        "tax": "0",
        "total": amount,
        "credit": credit,
        "credit_to_balance": "0",
        "balance": "0",
        "grand_total": str(int(amount) - int(credit)),
        "fee": "195",
        "earnings": "2705",
        "currency_code": currency,
    }


def with_totals(found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return transaction(details={"totals": found, "tax_rates_used": [], "line_items": []}, **changes)


def adjustment(**changes: Any) -> dict[str, Any]:
    """Return an approved full refund. An adjustment has no custom_data."""
    return {
        "id": ADJUSTMENT,
        "action": "refund",
        "type": "full",
        "transaction_id": TRANSACTION,
        "subscription_id": SUBSCRIPTION,
        "customer_id": CUSTOMER,
        "reason": "error",
        "credit_applied_to_balance": None,
        "currency_code": "USD",
        "status": "approved",
        "items": [],
        "totals": {
            "subtotal": "2900",
            "tax": "0",
            "total": "2900",
            "fee": "195",
            "earnings": "2705",
            "currency_code": "USD",
        },
        "created_at": at(NOW),
        "updated_at": at(NOW),
        **changes,
    }


def state(**facts: Any) -> dict[str, Any]:
    """Return the state of an active subscription, an hour before NOW."""
    known = {"user": USER, "status": "active", "auto_renew": True, **facts}
    about = {
        "key": f"paddle:{SUBSCRIPTION}",
        "at": out(NOW - timedelta(hours=1)),
        "event": "evt_0",
        "before": {},
        "handled": ["evt_0"],
    }
    return {**known, **about}


def scheduled(action: str) -> dict[str, Any]:
    return {"action": action, "effective_at": at(ENDS), "resume_at": None}


def later_period(status: str = "active", **changes: Any) -> dict[str, Any]:
    """Return a subscription whose trial ended a month ago."""
    return subscription(
        status,
        trial=True,
        started_at=at(NOW - 44 * DAY),
        first_billed_at=at(NOW - 30 * DAY),
        **changes,
    )


BASE = {"plan_id": PLAN, "store": "paddle"}
PLANNED = {**BASE, "plan_period": "P1M"}
PAID = {**BASE, "transaction_id": TRANSACTION, "current_period_ends_at": out(ENDS)}
KEY = f"paddle:{TRANSACTION}"
OF_USER = {"user_of": {CUSTOMER: USER}.get}
NEWER = {**state(), "at": out(NOW + timedelta(hours=1))}


def money(digits: str, currency: str) -> dict[str, Any]:
    return {"price": Decimal(digits), "currency": currency}


TRIALS = [
    Case(
        "a trial begins",
        webhook("subscription.trialing", subscription("trialing")),
        {
            "trial_started": {
                **PLANNED,
                "trial_length_days": 14,
                "trial_ends_at": out(NOW + 14 * DAY),
            }
        },
    ),
    Case(
        "a new subscription in a trial leaves the signal to trialing",
        webhook("subscription.created", subscription("trialing", transaction_id=TRANSACTION)),
        reason="subscription.trialing is the signal",
    ),
    Case(
        "the transaction of a trial is 0",
        webhook("transaction.completed", with_totals(totals("0"), origin="web")),
        reason="a transaction of 0",
    ),
    Case(
        "a trial becomes paid",
        webhook("subscription.activated", subscription("active", trial=True)),
        {"trial_converted": {**PLANNED, "current_period_ends_at": out(ENDS)}},
    ),
    Case(
        "a trial becomes paid some hours after it ended",
        webhook(
            "subscription.activated",
            subscription("active", trial=True, first_billed_at=at(NOW + timedelta(hours=2))),
        ),
        {"trial_converted": {**PLANNED, "current_period_ends_at": out(ENDS)}},
    ),
    Case(
        "the first payment after a trial failed, and then succeeds",
        webhook("subscription.activated", subscription("active", trial=True)),
        {
            "trial_converted": {**PLANNED, "current_period_ends_at": out(ENDS)},
            "billing_recovered": BASE,
        },
        previous=state(status="issue"),
    ),
    Case(
        "a trial is cancelled",
        webhook(
            "subscription.updated", subscription("trialing", scheduled_change=scheduled("cancel"))
        ),
        {"trial_auto_renew_disabled": {**BASE, "trial_ends_at": out(ENDS)}},
        previous=state(status="trial"),
    ),
    Case(
        "the first payment after a trial, when the state has the first billing",
        webhook("transaction.completed", transaction(items=[{"price": price(trial=True)}])),
        reason="the first payment after a trial: subscription.activated is the signal",
        previous=state(paid_from=out(NOW)),
    ),
    Case(
        "the first payment after a trial, before the subscription is active",
        webhook("transaction.completed", transaction(items=[{"price": price(trial=True)}])),
        reason="the first payment after a trial: subscription.activated is the signal",
        previous=state(status="trial"),
    ),
    Case(
        "the first payment after a trial, when the state is newer",
        webhook("transaction.completed", transaction(items=[{"price": price(trial=True)}])),
        reason="the first payment after a trial: subscription.activated is the signal",
        previous={**NEWER, "paid_from": out(NOW + timedelta(minutes=5))},
    ),
]

STARTS = [
    Case(
        "a subscription without a trial begins",
        webhook("subscription.created", subscription("active", transaction_id=TRANSACTION)),
        {"membership_started": {**PAID, "plan_period": "P1M"}},
        occurrences={"membership_started": f"{KEY}:membership_started"},
    ),
    Case(
        "the activation of a new subscription leaves the signal to created",
        webhook("subscription.activated", subscription("active")),
        reason="no trial ends here",
    ),
    Case(
        "the payment of a new subscription leaves the signal to created",
        webhook("transaction.completed", transaction("web")),
        reason="subscription.created is the signal",
    ),
    Case(
        "a subscription by invoice begins unpaid",
        webhook("subscription.created", subscription("active", collection_mode="manual")),
        reason="an invoice that may be unpaid",
    ),
    Case(
        "the first invoice of a subscription is paid",
        webhook("transaction.completed", transaction("api", collection_mode="manual")),
        {"membership_started": {**PAID, "plan_period": "P1M", **money("29.00", "USD")}},
        occurrences={"membership_started": f"{KEY}:membership_started"},
    ),
    Case(
        "an imported subscription did not begin",
        webhook("subscription.imported", subscription("active")),
        reason="an import",
    ),
    Case(
        "a new subscription has a status that we do not know",
        webhook("subscription.created", subscription("inactive")),
        reason="neither active nor in a trial",
    ),
]

RENEWALS = [
    Case(
        "a subscription renews",
        webhook("transaction.completed", transaction()),
        {"renewal_succeeded": {**PAID, **money("29.00", "USD")}},
        previous=state(paid_from=out(NOW - 30 * DAY)),
        occurrences={"renewal_succeeded": f"{KEY}:renewal_succeeded"},
    ),
    Case(
        "a plan without a trial renews, and there is no state",
        webhook("transaction.completed", transaction()),
        {"renewal_succeeded": {**PAID, **money("29.00", "USD")}},
    ),
    Case(
        "a plan with a trial renews, and there is no state",
        webhook("transaction.completed", transaction(items=[{"price": price(trial=True)}])),
        reason="a renewal, or the first payment after a trial: there is no previous state",
    ),
    Case(
        "a renewal in yen has no decimals",
        webhook("transaction.completed", with_totals(totals("2900", "JPY"), currency_code="JPY")),
        {"renewal_succeeded": {**PAID, **money("2900", "JPY")}},
    ),
    Case(
        "a renewal that a credit pays in part",
        webhook("transaction.completed", with_totals(totals("2900", credit="400"))),
        {"renewal_succeeded": {**PAID, **money("25.00", "USD")}},
    ),
    Case(
        "a renewal of 0",
        webhook("transaction.completed", with_totals(totals("0"))),
        reason="a transaction of 0",
    ),
    Case(
        "a charge beside the subscription",
        webhook("transaction.completed", transaction("subscription_charge")),
        reason="a charge beside the subscription",
    ),
    Case(
        "a charge for a change of plan",
        webhook("transaction.completed", transaction("subscription_update")),
        reason="a charge for a change of the subscription",
    ),
    Case(
        "a change of the payment method",
        webhook("transaction.completed", transaction("subscription_payment_method_change")),
        reason="a change of the payment method",
    ),
    Case(
        "a transaction of an origin that we do not know",
        webhook("transaction.completed", transaction("moon")),
        reason="an unknown origin",
    ),
    Case(
        "a purchase without a subscription",
        webhook("transaction.completed", transaction("web", subscription_id=None)),
        reason="a purchase without a subscription",
    ),
    Case(
        "a paid transaction is not yet completed",
        webhook("transaction.paid", transaction(status="paid")),
        reason="transaction.completed follows",
    ),
]

CANCELLATIONS = [
    Case(
        "a subscription is cancelled at the end of its period",
        webhook(
            "subscription.updated", subscription("active", scheduled_change=scheduled("cancel"))
        ),
        {"auto_renew_disabled": {**BASE, "access_ends_at": out(ENDS)}},
        previous=state(),
    ),
    Case(
        "a cancellation without a state may be old",
        webhook(
            "subscription.updated", subscription("active", scheduled_change=scheduled("cancel"))
        ),
        reason="that may not be new: there is no previous state",
    ),
    Case(
        "a cancellation that was there before",
        webhook(
            "subscription.updated", subscription("active", scheduled_change=scheduled("cancel"))
        ),
        reason="an update of what is no signal",
        previous=state(auto_renew=False),
    ),
    Case(
        "a cancellation is withdrawn",
        webhook("subscription.updated", subscription("active")),
        {"auto_renew_enabled": BASE},
        previous=state(auto_renew=False),
    ),
    Case(
        "a renewal of the dates is no signal",
        webhook("subscription.updated", subscription("active")),
        reason="an update of what is no signal",
        previous=state(),
    ),
    Case(
        "an update without a state",
        webhook("subscription.updated", subscription("active")),
        reason="an update: there is no previous state",
    ),
    Case(
        "a subscription ends",
        webhook("subscription.canceled", subscription("canceled", current_billing_period=None)),
        {"membership_ended": PLANNED},
        previous=state(auto_renew=False),
    ),
    Case(
        "the update of the end is no withdrawal of the cancellation",
        webhook("subscription.updated", subscription("canceled")),
        reason="subscription.canceled is the signal",
        previous=state(auto_renew=False),
    ),
    Case(
        "a pause is scheduled",
        webhook(
            "subscription.updated", subscription("active", scheduled_change=scheduled("pause"))
        ),
        reason="an update of what is no signal",
        previous=state(),
    ),
    Case(
        "a subscription is paused",
        webhook("subscription.paused", subscription("paused")),
        reason="a pause",
        previous=state(),
    ),
    Case(
        "a subscription resumes",
        webhook("subscription.resumed", later_period()),
        reason="a pause ends",
        previous=state(),
    ),
    Case(
        "an activation after a pause does not end the trial of long ago",
        webhook("subscription.activated", later_period()),
        reason="no trial ends here",
    ),
]

FAILURES = [
    Case(
        "a payment fails",
        webhook("subscription.past_due", subscription("past_due")),
        {"billing_issue_started": BASE},
    ),
    Case(
        "the update of a failure leaves the signal to past_due",
        webhook("subscription.updated", subscription("past_due")),
        reason="an update of what is no signal",
        previous=state(),
    ),
    Case(
        "the transaction of a failure leaves the signal to past_due",
        webhook("transaction.past_due", transaction(status="past_due")),
        reason="subscription.past_due comes beside it",
    ),
    Case(
        "an attempt of a payment fails",
        webhook("transaction.payment_failed", transaction(status="past_due")),
        reason="an attempt failed",
    ),
    Case(
        "a payment works again",
        webhook("subscription.updated", later_period()),
        {"billing_recovered": BASE},
        previous=state(status="issue"),
    ),
    Case(
        "a payment works again, and the cancellation is withdrawn",
        webhook("subscription.updated", later_period()),
        {"billing_recovered": BASE, "auto_renew_enabled": BASE},
        previous=state(status="issue", auto_renew=False),
    ),
    Case(
        "an activation after a failure does not end the trial of long ago",
        webhook("subscription.activated", later_period()),
        {"billing_recovered": BASE},
        previous=state(status="issue"),
    ),
]

REFUND = {"store": "paddle", "transaction_id": TRANSACTION}
REFUNDS = [
    Case(
        "a refund that Paddle approved at once",
        webhook("adjustment.created", adjustment()),
        {"refund_granted": {**REFUND, **money("29.00", "USD")}},
        arguments=OF_USER,
        occurrences={"refund_granted": f"{KEY}:refund_granted"},
    ),
    Case(
        "a refund waits for Paddle",
        webhook("adjustment.created", adjustment(status="pending_approval")),
        reason="not approved yet",
    ),
    Case(
        "a part of a payment is refunded, and the state knows the user",
        webhook("adjustment.updated", adjustment(type="partial")),
        {"refund_granted": {**REFUND, **money("29.00", "USD")}},
        previous=state(),
        occurrences={"refund_granted": f"paddle:{ADJUSTMENT}:refund_granted"},
    ),
    Case(
        "a refund that Paddle rejects",
        webhook("adjustment.updated", adjustment(status="rejected")),
        reason="rejected or reversed",
    ),
    Case(
        "a chargeback is no refund",
        webhook("adjustment.created", adjustment(action="chargeback")),
        reason="an adjustment that is no refund",
    ),
    Case(
        "a credit is no refund",
        webhook("adjustment.created", adjustment(action="credit")),
        reason="an adjustment that is no refund",
    ),
    Case(
        "a refund without a user names what was looked for",
        webhook("adjustment.created", adjustment()),
        reason="refund_granted: no user in custom_data.external_user_id, and user_of is not given",
    ),
]

OTHERS = [
    Case(
        "a customer is no subscription",
        webhook("customer.created", {"id": CUSTOMER, "email": "ada@example.com"}),
        reason="customer.created is no change of a subscription",
    ),
    Case(
        "a webhook of Paddle Classic",
        {"alert_id": "1", "alert_name": "subscription_created", "passthrough": USER},
        reason="Paddle Classic",
    ),
    Case(
        "an event of a subscription that we do not know",
        webhook("subscription.danced", subscription("active")),
        reason="subscription.danced is no change of a subscription",
    ),
    Case(
        "a webhook of the simulator",
        webhook("subscription.past_due", subscription("past_due"), event="ntfsimevt_1"),
        {"billing_issue_started": BASE},
    ),
    Case(
        "the user has a key of your own",
        webhook("subscription.past_due", subscription("past_due", custom_data={"uid": 7})),
        {"billing_issue_started": BASE},
        arguments={"user_key": "uid"},
    ),
]

CASES = [*TRIALS, *STARTS, *RENEWALS, *CANCELLATIONS, *FAILURES, *REFUNDS, *OTHERS]
