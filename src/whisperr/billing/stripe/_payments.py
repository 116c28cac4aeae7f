"""The events of payments: invoices, refunds and checkouts. None of them makes a state older.

An invoice is paid just after the subscription changed, and may come before that change: a state
with the time of the payment would make the change an old one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from whisperr.billing import BillingEvent
from whisperr.billing._fields import Fields, format_time

from ._shapes import get_id, get_latest, get_lines, get_plan, get_price

if TYPE_CHECKING:
    from whisperr.billing._signals import Signals

    from ._shapes import Webhook

# A period begins with the second in which the trial ends. The shortest period is a day.
_TOLERANCE = timedelta(hours=12)

# "The Invoice object", `billing_reason`.
_BILLING_REASONS = {
    "subscription_update": "an invoice for a change of the subscription, no renewal",
    "subscription_threshold": "an invoice for usage within a period, no renewal",
    "manual": "an invoice that someone made by hand, no renewal",
    "subscription": "an invoice of before May 2018, which does not say what it is for",
}


def read_invoice(hook: Webhook) -> Signals:
    """Return the signals of an invoice."""
    reason = hook.object.text("billing_reason") or ""
    if hook.history.key is None:
        hook.found.skip("an invoice without a subscription")
    elif hook.type == "invoice.payment_failed":
        _read_failure(hook, reason)
    elif not _is_paid(hook.object):
        hook.found.skip("an invoice of 0: a trial begins, or a discount takes everything off")
    elif reason == "subscription_create":
        _read_start(hook)
    elif reason == "subscription_cycle":
        _read_cycle(hook)
    else:
        hook.found.skip(_describe_billing(reason))
    return hook.found.finish_without_state()


def _is_paid(invoice: Fields) -> bool:
    """Return whether an invoice is of more than 0; a credit balance may have paid it all."""
    return any((invoice.integer(name) or 0) > 0 for name in ("amount_paid", "total"))


def _describe_billing(reason: str) -> str:
    return _BILLING_REASONS.get(reason, "an invoice whose billing_reason is no start or renewal")


def _read_failure(hook: Webhook, reason: str) -> None:
    invoice, found = hook.object, hook.found
    if reason == "subscription_create":
        found.skip("the first payment failed: no membership began")
    elif reason not in {"subscription_cycle", "subscription_update", "subscription_threshold"}:
        found.skip(_describe_billing(reason))
    elif invoice.text("collection_method") == "send_invoice":
        found.skip("an attempt of the customer: customer.subscription.updated says it is overdue")
    elif invoice.integer("attempt_count") != 1:
        found.skip("not the first attempt to pay: the issue started before")
    else:
        name = invoice.text("id")
        properties = {**get_plan(get_latest(get_lines(invoice))), "transaction_id": name}
        due = get_price(invoice.integer("amount_due"), invoice.text("currency"))
        occurrence = name and f"stripe:{name}"
        found.add(BillingEvent.BILLING_ISSUE_STARTED, {**properties, **due}, occurrence=occurrence)


def _read_start(hook: Webhook) -> None:
    """Add a start, unless a trial begins with a fee: its lines for the period are of 0."""
    lines = get_lines(hook.object)
    if lines and all(line.integer("amount") == 0 for line in lines):
        hook.found.skip("a fee beside a trial that begins: customer.subscription is the signal")
    else:
        _add_payment(hook, BillingEvent.MEMBERSHIP_STARTED, with_period=True)


def _read_cycle(hook: Webhook) -> None:
    """Add a renewal, unless it is the first payment after a trial."""
    start = get_latest(get_lines(hook.object)).seconds("period", "start")
    first = hook.history.paid_from
    is_first = start is not None and first is not None and abs(start - first) < _TOLERANCE
    if is_first or hook.history.get("status") == "trial":
        hook.found.skip("the first payment after a trial: trial_converted is its signal")
    else:
        _add_payment(hook, BillingEvent.RENEWAL_SUCCEEDED)


def _add_payment(hook: Webhook, event: str, *, with_period: bool = False) -> None:
    invoice, name = hook.object, hook.object.text("id")
    line = get_latest(get_lines(invoice))
    properties = {
        **get_plan(line, with_period=with_period),
        **get_price(invoice.integer("amount_paid"), invoice.text("currency")),
        "current_period_ends_at": format_time(line.seconds("period", "end")),
        "transaction_id": name,
    }
    hook.found.add(event, properties, occurrence=name and f"stripe:{name}")


def read_refund(hook: Webhook) -> Signals:
    """Return the signal of a refund: once, when its status becomes `succeeded`."""
    refund, name = hook.object, hook.object.text("id")
    if refund.text("status") != "succeeded":
        hook.found.skip("a refund that has not succeeded")
    elif hook.type == "refund.updated" and hook.before.text("status") is None:
        hook.found.skip("an update of a refund that had succeeded before")
    else:
        properties = {
            **get_price(refund.integer("amount"), refund.text("currency")),
            "transaction_id": get_id(refund, "charge") or get_id(refund, "payment_intent"),
            "store": "stripe",
        }
        occurrence = name and f"stripe:{name}"
        hook.found.add(BillingEvent.REFUND_GRANTED, properties, occurrence=occurrence)
    return hook.found.finish_without_state()


def read_checkout(hook: Webhook) -> Signals:
    """Return the state with the user: only a checkout has `client_reference_id`."""
    if hook.history.key is None:
        hook.found.skip("a checkout without a subscription")
        return hook.found.finish_without_state()
    hook.found.skip("a checkout: the events of its subscription are the signals")
    return hook.found.finish_with_user()
