"""The webhooks of Stripe."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.billing.cases import NOW, Case

USER = "user_8842"
BASIL, ACACIA = "2025-03-31.basil", "2024-12-18.acacia"
DAY = timedelta(days=1)
MONTH = 30 * DAY
METADATA = {"external_user_id": USER}
PLAN = {"plan_id": "price_pro", "store": "stripe"}
MONTHLY = {**PLAN, "plan_period": "P1M"}
UPDATED = "customer.subscription.updated"
CREATED = "customer.subscription.created"
DELETED = "customer.subscription.deleted"


def at(time: datetime) -> int:
    """Return a time as Stripe writes it."""
    return int(time.timestamp())


def out(time: datetime) -> str:
    """Return a time as it is in the properties."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def webhook(
    event_type: str,
    data: dict[str, Any],
    before: dict[str, Any] | None = None,
    *,
    event: str = "evt_1",
    happened: datetime = NOW,
    **changes: Any,
) -> dict[str, Any]:
    """Return an event, live, of the newest version unless `changes` say otherwise."""
    changed = {} if before is None else {"previous_attributes": before}
    return {
        "id": event,
        "object": "event",
        "api_version": BASIL,
        "created": at(happened),
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": event_type,
        "data": {"object": data, **changed},
        **changes,
    }


def price() -> dict[str, Any]:
    return {
        "id": "price_pro",
        "object": "price",
        "active": True,
        "currency": "eur",
        "lookup_key": "pro",
        "product": "prod_pro",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        "type": "recurring",
        "unit_amount": 2900,
        "unit_amount_decimal": "2900",
    }


def subscription(
    status: str, *, start: datetime = NOW, is_old: bool = False, **changes: Any
) -> dict[str, Any]:
    """Return a subscription; an old one has the period itself, and not its item."""
    is_trial = status == "trialing"
    period = {
        "current_period_start": at(start),
        "current_period_end": at(start + (14 * DAY if is_trial else MONTH)),
    }
    item = {"id": "si_1", "object": "subscription_item", "quantity": 1, "price": price()}
    return {
        "id": "sub_1",
        "object": "subscription",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": at(start),
        "currency": "eur",
        "customer": "cus_1",
        "ended_at": None,
        "items": {"object": "list", "data": [item if is_old else {**item, **period}]},
        "latest_invoice": "in_1",
        "livemode": True,
        "metadata": METADATA,
        "pause_collection": None,
        "status": status,
        "trial_start": at(start) if is_trial else None,
        "trial_end": at(start + 14 * DAY) if is_trial else None,
        **(period if is_old else {}),
        **changes,
    }


def line(
    amount: int = 2900,
    *,
    start: datetime = NOW,
    is_old: bool = False,
    proration: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Return a line of an invoice for a period of a subscription."""
    details = {"proration": proration, "subscription": "sub_1", "subscription_item": "si_1"}
    shape: dict[str, Any] = {
        "parent": {"type": "subscription_item_details", "subscription_item_details": details},
        "pricing": {"type": "price_details", "price_details": {"price": "price_pro"}},
    }
    if is_old:
        shape = {"type": "subscription", "proration": proration, "price": price()}
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": amount,
        "currency": "eur",
        "metadata": {},
        "period": {"start": at(start), "end": at(start + MONTH)},
        **shape,
        **changes,
    }


def invoice(
    reason: str, paid: int = 2900, *, is_old: bool = False, **changes: Any
) -> dict[str, Any]:
    """Return an invoice of the subscription."""
    details = {"metadata": METADATA, "subscription": "sub_1"}
    shape: dict[str, Any] = {"parent": {"type": "subscription_details"}}
    shape["parent"]["subscription_details"] = details
    if is_old:
        shape = {"subscription": "sub_1", "subscription_details": {"metadata": METADATA}}
    return {
        "id": "in_2",
        "object": "invoice",
        "amount_due": paid,
        "amount_paid": paid,
        "attempt_count": 1,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "currency": "eur",
        "customer": "cus_1",
        "lines": {"object": "list", "data": [line(paid, is_old=is_old)]},
        "metadata": {},
        "status": "paid",
        "total": paid,
        **shape,
        **changes,
    }


def unpaid(reason: str = "subscription_cycle", **changes: Any) -> dict[str, Any]:
    """Return an invoice whose payment failed."""
    return invoice(reason, **{"amount_paid": 0, "amount_due": 2900, "status": "open", **changes})


def refund(status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    """Return a refund, which says nothing of a customer or a subscription."""
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 500,
        "charge": "ch_1",
        "currency": "eur",
        "metadata": METADATA,
        "payment_intent": "pi_1",
        "reason": "requested_by_customer",
        "status": status,
        **changes,
    }


def state(**facts: Any) -> dict[str, Any]:
    """Return what was stored an hour ago."""
    about = {"key": "stripe:sub_1", "at": out(NOW - timedelta(hours=1)), "event": "evt_0"}
    return {**about, "before": {}, "handled": ["evt_0"], "auto_renew": True, **facts}


ENDS = out(NOW + MONTH)
TRIAL = {**MONTHLY, "trial_length_days": 14, "trial_ends_at": out(NOW + 14 * DAY)}
CONVERTED = {**MONTHLY, "current_period_ends_at": ENDS}
PAID: dict[str, object] = {
    **PLAN,
    "price": Decimal("29.00"),
    "currency": "EUR",
    "transaction_id": "in_2",
    "current_period_ends_at": ENDS,
}
FAILED = {name: one for name, one in PAID.items() if name != "current_period_ends_at"}
REFUNDED = {
    "store": "stripe",
    "price": Decimal("5.00"),
    "currency": "EUR",
    "transaction_id": "ch_1",
}
AMOUNT = {name: PAID[name] for name in ("price", "currency", "transaction_id")}
REQUESTED: dict[str, Any] = {
    "cancellation_details": {"reason": "cancellation_requested", "feedback": "unused"}
}
CANCELLED = {**PLAN, "store_cancel_reason": "unsubscribe"}
AFTER_TRIAL = subscription("active", latest_invoice="in_2", trial_end=at(NOW))

STARTS = [
    Case(
        "a subscription with a trial",
        webhook(CREATED, subscription("trialing")),
        {"trial_started": TRIAL},
    ),
    Case(
        "a subscription with a trial, before basil",
        webhook(CREATED, subscription("trialing", is_old=True), api_version=ACACIA),
        {"trial_started": TRIAL},
    ),
    Case(
        "a trial that begins after the payment method was confirmed",
        webhook(UPDATED, subscription("trialing"), {"status": "incomplete"}),
        {"trial_started": TRIAL},
    ),
    Case(
        "the end of a trial names the invoice of the first period",
        webhook(UPDATED, AFTER_TRIAL, {"status": "trialing", "latest_invoice": "in_1"}),
        {"trial_converted": {**CONVERTED, "transaction_id": "in_2"}},
        occurrences={"trial_converted": "stripe:in_2:trial_converted"},
    ),
    Case(
        "the end of a trial whose latest invoice is still that of 0",
        webhook(UPDATED, subscription("active"), {"status": "trialing"}),
        {"trial_converted": CONVERTED},
    ),
    Case(
        "the end of a trial, before basil",
        webhook(UPDATED, subscription("active", is_old=True), {"status": "trialing"}),
        {"trial_converted": CONVERTED},
    ),
    Case(
        "a paused trial resumes",
        webhook(UPDATED, subscription("active"), {"status": "paused"}),
        {"trial_converted": CONVERTED},
    ),
    Case(
        "the first invoice is paid",
        webhook("invoice.paid", invoice("subscription_create")),
        {"membership_started": PAID},
        occurrences={"membership_started": "stripe:in_2:membership_started"},
    ),
    Case(
        "the first invoice is paid, before basil",
        webhook("invoice.paid", invoice("subscription_create", is_old=True), api_version=ACACIA),
        {"membership_started": {**PAID, "plan_period": "P1M"}},
    ),
    Case(
        "an invoice of 0",
        webhook("invoice.paid", invoice("subscription_create", 0)),
        reason="an invoice of 0: a trial begins",
    ),
    Case(
        "a fee beside a trial",
        webhook(
            "invoice.paid",
            invoice("subscription_create", lines={"data": [line(0), line(900, parent={})]}),
        ),
        reason="a fee beside a trial",
    ),
    Case(
        "an invoice without lines",
        webhook("invoice.paid", invoice("subscription_create", lines=None)),
        {"membership_started": {**AMOUNT, "store": "stripe"}},
    ),
    *(
        Case(
            f"a new subscription that is {status}", webhook(CREATED, subscription(status)), {}, why
        )
        for status, why in (
            ("active", "invoice.paid is the signal"),
            ("incomplete", "no membership began"),
        )
    ),
    Case(
        "the first payment works in the end",
        webhook(UPDATED, subscription("active"), {"status": "incomplete"}),
        reason="invoice.paid is the signal",
    ),
]

MIXED = [
    {"price": price(), "current_period_start": at(NOW - MONTH), "current_period_end": at(end)}
    for end in (NOW + MONTH, NOW + 12 * MONTH)
]
AFTER = state(status="active", paid_from=out(NOW))
RENEWALS = [
    Case(
        "a renewal without a state",
        webhook("invoice.paid", invoice("subscription_cycle")),
        {"renewal_succeeded": PAID},
        occurrences={"renewal_succeeded": "stripe:in_2:renewal_succeeded"},
    ),
    Case(
        "a renewal before basil",
        webhook("invoice.paid", invoice("subscription_cycle", is_old=True), api_version=ACACIA),
        {"renewal_succeeded": PAID},
    ),
    Case(
        "a renewal without a version",
        webhook("invoice.paid", invoice("subscription_cycle", is_old=True), api_version=None),
        {"renewal_succeeded": PAID},
    ),
    Case(
        "a renewal long after the trial",
        webhook("invoice.paid", invoice("subscription_cycle")),
        {"renewal_succeeded": PAID},
        previous=state(status="active", paid_from=out(NOW - MONTH)),
    ),
    Case(
        "a renewal that the credit balance pays",
        webhook("invoice.paid", invoice("subscription_cycle", amount_paid=0)),
        {"renewal_succeeded": {k: v for k, v in PAID.items() if k not in {"price", "currency"}}},
    ),
    Case(
        "the first payment an hour after the trial",
        webhook("invoice.paid", invoice("subscription_cycle")),
        reason="the first payment after a trial",
        previous=AFTER,
    ),
    Case(
        "the first payment before the end of the trial is known",
        webhook("invoice.paid", invoice("subscription_cycle")),
        reason="the first payment after a trial",
        previous=state(status="trial"),
    ),
    Case(
        "a renewal of 0",
        webhook("invoice.paid", invoice("subscription_cycle", 0)),
        reason="an invoice of 0",
    ),
    *(
        Case(f"an invoice for {reason}", webhook("invoice.paid", invoice(reason)), {}, why)
        for reason, why in (
            ("subscription_update", "a change of the subscription"),
            ("subscription_threshold", "usage within a period"),
            ("manual", "made by hand"),
            ("subscription", "before May 2018"),
            ("quote_accept", "no start or renewal"),
        )
    ),
    Case(
        "an invoice without a subscription",
        webhook("invoice.paid", invoice("manual", parent=None)),
        reason="without a subscription",
    ),
    *(
        Case(
            f"a renewal with {what} beside the period",
            webhook("invoice.paid", invoice("subscription_cycle", lines={"data": lines})),
            {"renewal_succeeded": PAID},
        )
        for what, lines in (
            ("usage before", [line(start=NOW - MONTH, pricing=None), line()]),
            ("a proration", [line(start=NOW + DAY, proration=True), line()]),
            ("an old proration", [line(start=NOW + DAY, proration=True, is_old=True), line()]),
            ("a charge", [line(start=NOW + DAY, parent={"type": "invoice_item_details"}), line()]),
        )
    ),
    Case(
        "yen have no decimals",
        webhook("invoice.paid", invoice("subscription_cycle", currency="jpy")),
        {"renewal_succeeded": {**PAID, "price": Decimal(2900), "currency": "JPY"}},
    ),
    *(
        Case(
            f"{code} has two decimals with Stripe",
            webhook("invoice.paid", invoice("subscription_cycle", currency=code.lower())),
            {"renewal_succeeded": {**PAID, "price": Decimal("29.00"), "currency": code}},
        )
        for code in ("ISK", "UGX")
    ),
    Case(
        "ariary have none with Stripe",
        webhook("invoice.paid", invoice("subscription_cycle", currency="mga")),
        {"renewal_succeeded": {**PAID, "price": Decimal(2900), "currency": "MGA"}},
    ),
    Case(
        "dinars of Kuwait have three",
        webhook("invoice.paid", invoice("subscription_cycle", currency="kwd")),
        {"renewal_succeeded": {**PAID, "price": Decimal("2.900"), "currency": "KWD"}},
    ),
]

CANCELLATIONS = [
    Case(
        "a cancellation in the trial",
        webhook(
            UPDATED,
            subscription("trialing", cancel_at=at(NOW + 14 * DAY), **REQUESTED),
            {"cancel_at": None},
        ),
        {"trial_auto_renew_disabled": {**CANCELLED, "trial_ends_at": out(NOW + 14 * DAY)}},
    ),
    Case(
        "a cancellation in the portal, which sets cancel_at alone",
        webhook(
            UPDATED,
            subscription("active", cancel_at=at(NOW + 3 * DAY), **REQUESTED),
            {"cancel_at": None, "canceled_at": None},
        ),
        {"auto_renew_disabled": {**CANCELLED, "access_ends_at": out(NOW + 3 * DAY)}},
    ),
    Case(
        "a cancellation at the end of the period",
        webhook(
            UPDATED,
            subscription("active", cancel_at_period_end=True),
            {"cancel_at_period_end": False},
        ),
        {"auto_renew_disabled": {**PLAN, "access_ends_at": ENDS}},
    ),
    Case(
        "a cancellation at the end of the period, before basil",
        webhook(
            UPDATED,
            subscription("active", is_old=True, cancel_at_period_end=True),
            {"cancel_at_period_end": False},
        ),
        {"auto_renew_disabled": {**PLAN, "access_ends_at": ENDS}},
    ),
    Case(
        "a cancellation with items of several lengths ends with the earliest",
        webhook(
            UPDATED,
            subscription("active", cancel_at_period_end=True, items={"data": MIXED}),
            {"cancel_at_period_end": False},
        ),
        {"auto_renew_disabled": {**PLAN, "access_ends_at": ENDS}},
    ),
    Case(
        "the withdrawal of a cancellation in the portal",
        webhook(UPDATED, subscription("active"), {"cancel_at": at(NOW + DAY)}),
        {"auto_renew_enabled": PLAN},
    ),
    Case(
        "the withdrawal of a cancellation at the end of the period",
        webhook(UPDATED, subscription("active"), {"cancel_at_period_end": True}),
        {"auto_renew_enabled": PLAN},
    ),
    Case(
        "a pending cancellation gets another date",
        webhook(UPDATED, subscription("active", cancel_at=at(NOW)), {"cancel_at": at(NOW + DAY)}),
        reason="it was pending before",
    ),
    *(
        Case(
            f"the end with the reason {reason}",
            webhook(DELETED, subscription("canceled", cancellation_details={"reason": reason})),
            {"membership_ended": {**MONTHLY, **({"end_reason": meant} if meant else {})}},
        )
        for reason, meant in (
            ("cancellation_requested", "voluntary"),
            ("payment_failed", "billing"),
            ("payment_disputed", "other"),
            (None, None),
        )
    ),
    Case(
        "the end of what was never paid",
        webhook(DELETED, subscription("canceled")),
        reason="the first payment was never made",
        previous=state(),
    ),
    Case(
        "the customer cancels before the first payment",
        webhook(
            UPDATED,
            subscription("incomplete", cancel_at_period_end=True),
            {"cancel_at_period_end": False},
        ),
        reason="no membership began",
    ),
    Case(
        "the first payment came too late",
        webhook(UPDATED, subscription("incomplete_expired"), {"status": "incomplete"}),
        reason="the first payment was never made",
    ),
]

ISSUES = [
    Case(
        "the first attempt fails",
        webhook("invoice.payment_failed", unpaid()),
        {"billing_issue_started": FAILED},
        occurrences={"billing_issue_started": "stripe:in_2:billing_issue_started"},
    ),
    Case(
        "the first attempt fails, before basil",
        webhook("invoice.payment_failed", unpaid(is_old=True), api_version=ACACIA),
        {"billing_issue_started": FAILED},
    ),
    Case(
        "the second attempt fails",
        webhook("invoice.payment_failed", unpaid(attempt_count=2)),
        reason="not the first attempt",
    ),
    Case(
        "the first payment of a subscription fails",
        webhook("invoice.payment_failed", unpaid("subscription_create")),
        reason="no membership began",
    ),
    Case(
        "the customer fails to pay an invoice that was sent",
        webhook("invoice.payment_failed", unpaid(collection_method="send_invoice")),
        reason="an attempt of the customer",
    ),
    Case(
        "a payment for something else fails",
        webhook("invoice.payment_failed", unpaid("manual")),
        reason="made by hand",
    ),
    Case(
        "the subscription becomes past due beside it",
        webhook(UPDATED, subscription("past_due"), {"status": "active"}),
        reason="invoice.payment_failed is the signal",
    ),
    Case(
        "an invoice that was sent is overdue",
        webhook(
            UPDATED,
            subscription("past_due", collection_method="send_invoice"),
            {"status": "active"},
        ),
        {"billing_issue_started": PLAN},
    ),
    *(
        Case(
            f"a subscription that was {before} is active",
            webhook(UPDATED, subscription("active"), {"status": before}),
            {"billing_recovered": PLAN},
        )
        for before in ("past_due", "unpaid")
    ),
    Case(
        "a trial whose first payment failed is paid",
        webhook(UPDATED, subscription("active"), {"status": "past_due"}),
        {"trial_converted": CONVERTED, "billing_recovered": PLAN},
        previous=state(status="trial", unpaid=True),
    ),
    Case(
        "a recovery before the end of the trial is known is no conversion",
        webhook(UPDATED, subscription("active"), {"status": "past_due"}),
        {"billing_recovered": PLAN},
        previous=state(status="trial"),
    ),
    Case(
        "the attempts end",
        webhook(UPDATED, subscription("unpaid"), {"status": "past_due"}),
        reason="it has not ended",
    ),
    Case(
        "a trial pauses",
        webhook(UPDATED, subscription("paused"), {"status": "trialing"}),
        reason="may resume",
    ),
]

REFUNDS = [
    Case(
        "a refund of a part",
        webhook("refund.created", refund()),
        {"refund_granted": REFUNDED},
        occurrences={"refund_granted": "stripe:re_1:refund_granted"},
    ),
    Case(
        "a refund that was pending",
        webhook("refund.updated", refund(), {"status": "pending"}),
        {"refund_granted": REFUNDED},
    ),
    Case(
        "a refund of a payment intent alone",
        webhook("refund.created", refund(charge=None)),
        {"refund_granted": {**REFUNDED, "transaction_id": "pi_1"}},
    ),
    Case("a refund that waits", webhook("refund.created", refund("pending")), {}, "not succeeded"),
    Case(
        "a refund that gets a reference later",
        webhook("refund.updated", refund(), {"destination_details": {}}),
        reason="succeeded before",
    ),
]

OTHERS = [
    Case(
        "a checkout",
        webhook(
            "checkout.session.completed",
            {"id": "cs_1", "subscription": "sub_1", "client_reference_id": USER},
        ),
        reason="the events of its subscription are the signals",
    ),
    Case(
        "a checkout of a single purchase",
        webhook("checkout.session.completed", {"id": "cs_1", "client_reference_id": USER}),
        reason="without a subscription",
    ),
    Case(
        "a change of the quantity",
        webhook(UPDATED, subscription("active"), {"quantity": 2}),
        reason="a change of the plan",
    ),
    Case(
        "the collection of payments pauses",
        webhook(UPDATED, subscription("active"), {"pause_collection": None}),
        reason="paused or resumed",
    ),
    Case(
        "an update of the metadata",
        webhook(UPDATED, subscription("active"), {"metadata": {}}),
        {},
        "no signal",
    ),
    Case("an update of nothing", webhook(UPDATED, subscription("active")), {}, "nothing says"),
    Case(
        "a newer webhook was handled",
        webhook(UPDATED, subscription("active"), {"status": "trialing"}),
        reason="a newer webhook",
        previous=state(at=out(NOW + DAY), handled=["evt_1", "evt_2"], event="evt_2"),
    ),
    *(
        Case(f"the event {name}", webhook(name, {"id": "x"}), {}, why)
        for name, why in (
            ("customer.created", "customer.created is no change of a subscription"),
            ("invoice.payment_succeeded", "invoice.paid comes beside it"),
            ("charge.refunded", "refund.created"),
            ("charge.refund.updated", "refund.updated is the signal"),
        )
    ),
    Case(
        "a thin event",
        {"id": "evt_1", "object": "v2.core.event", "type": "v2.core.account.updated"},
        reason="a thin event",
    ),
    Case("an event without a time", webhook(UPDATED, {"id": "x"}, created=None), {}, "without id"),
    Case(
        "a subscription without a user",
        webhook(CREATED, subscription("trialing", metadata={})),
        reason="no user in metadata.external_user_id",
    ),
    Case(
        "a test",
        webhook(CREATED, subscription("trialing"), livemode=False),
        {"trial_started": TRIAL},
    ),
    Case(
        "another key of the metadata",
        webhook(CREATED, subscription("trialing", metadata={"uid": USER})),
        {"trial_started": TRIAL},
        arguments={"user_key": "uid"},
    ),
]

CASES = [*STARTS, *RENEWALS, *CANCELLATIONS, *ISSUES, *REFUNDS, *OTHERS]
