"""The events of subscriptions: `previous_attributes` say what changed, so most need no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr.billing import BillingEvent
from whisperr.billing._fields import drop_none, format_time
from whisperr.billing._periods import count_days

from ._shapes import get_id, get_item, get_period, get_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from whisperr.billing._signals import Signals

    from ._shapes import Webhook

_STATUSES = {
    "trialing": "trial",
    "active": "active",
    "past_due": "issue",
    "unpaid": "issue",
    "canceled": "ended",
    "incomplete_expired": "ended",
}
_ISSUES = ("past_due", "unpaid")
_NOT_BEGUN = ("incomplete", "incomplete_expired")

# The values of `cancellation_details.reason` in "The Subscription object". The feedback of a
# customer ("too_expensive") is an opinion, and no cause of ours.
CANCEL_REASONS = {"cancellation_requested": "unsubscribe", "payment_failed": "billing_error"}
END_REASONS = {
    "cancellation_requested": "voluntary",
    "payment_failed": "billing",
    "payment_disputed": "other",
    "canceled_by_retention_policy": "other",
}

_STATUS_REASONS = {
    "active": "the first invoice is paid: invoice.paid is the signal",
    "past_due": "a payment failed: invoice.payment_failed is the signal",
    "unpaid": "all attempts to pay failed, and the subscription remains: it has not ended",
    "paused": "the trial ended without a payment method: the subscription may resume",
    "incomplete": "the first payment is not made yet: no membership began",
    "incomplete_expired": "the first payment was never made: no membership began",
    "canceled": "the end: customer.subscription.deleted is the signal",
}


def read_subscription(hook: Webhook) -> Signals:
    """Return the signals of an event of a subscription, with the state after it."""
    if hook.history.is_repeated:
        hook.found.skip(hook.history.reason)
        return hook.found.finish()
    _READERS[hook.type](hook)
    return hook.found.finish(**_get_facts(hook))


def _get_facts(hook: Webhook) -> dict[str, object]:
    """Return what later events need to know.

    An event has its time in seconds. One of the same second as the creation may come before it, and
    what that change reported stays.
    """
    subscription, history = hook.object, hook.history
    status = subscription.text("status") or ""
    if not status or (hook.type.endswith(".created") and history.get("status") is not None):
        return {}
    facts = {
        "status": "trial" if _is_unpaid_trial(hook) else _STATUSES.get(status),
        "auto_renew": status not in {"canceled", "incomplete_expired"} and not _is_ending(hook),
        "paid_from": format_time(_get_first_period(hook, status)),
    }
    return {**drop_none(facts), "unpaid": _is_unpaid_trial(hook) or None}


def _is_unpaid_trial(hook: Webhook) -> bool:
    """Return whether the first payment after a trial failed: it is a trial until it is paid."""
    was_trial = hook.before.text("status") == "trialing" or hook.history.get("unpaid") is True
    return hook.object.text("status") in _ISSUES and was_trial


def _get_first_period(hook: Webhook, status: str) -> datetime | None:
    """Return when the first paid period after a trial begins, for the state.

    `trial_end` stays when the trial is over. A paused trial is paid from when it resumes.
    """
    if _is_conversion(hook):
        return get_period(hook.object)[0] or hook.object.seconds("trial_end")
    if status == "trialing" or hook.history.get("paid_from") is None:
        return hook.object.seconds("trial_end")
    return None


def _is_ending(hook: Webhook) -> bool:
    """Return whether a cancellation is pending: the portal sets `cancel_at` alone."""
    subscription = hook.object
    is_set = subscription.boolean("cancel_at_period_end") is True
    return is_set or subscription.integer("cancel_at") is not None


def _was_ending(hook: Webhook) -> bool:
    """Return whether a cancellation was pending before a change of one of the two fields."""
    names = ("cancel_at_period_end", "cancel_at")
    at_end, at = [hook.before if hook.before.has(one) else hook.object for one in names]
    return at_end.boolean(names[0]) is True or at.integer(names[1]) is not None


def _read_created(hook: Webhook) -> None:
    status = hook.object.text("status") or ""
    if status == "trialing":
        _add_trial(hook)
    else:
        hook.found.skip(_describe_status(status))


def _describe_status(status: str) -> str:
    return _STATUS_REASONS.get(status, "a subscription without a status that is known")


def _read_updated(hook: Webhook) -> None:
    is_decided = _read_status_change(hook)
    is_decided = _read_cancellation(hook) or is_decided
    if not is_decided:
        hook.found.skip(_describe_update(hook))


def _read_status_change(hook: Webhook) -> bool:
    """Add the signals of a change of the status; return whether there is one, or a reason."""
    before, status = hook.before.text("status"), hook.object.text("status") or ""
    if before is None or before == status:
        return False
    is_conversion = _is_conversion(hook)
    if status == "trialing":
        _add_trial(hook)
    elif is_conversion:
        _add_conversion(hook)
    if status == "active" and before in _ISSUES:
        hook.found.add(BillingEvent.BILLING_RECOVERED, get_plan(get_item(hook.object)))
    elif status == "past_due" and hook.object.text("collection_method") == "send_invoice":
        # Nothing is charged, so no attempt fails: the invoice is overdue.
        hook.found.add(BillingEvent.BILLING_ISSUE_STARTED, get_plan(get_item(hook.object)))
    elif status != "trialing" and not is_conversion:
        hook.found.skip(_describe_status(status))
    return True


def _is_conversion(hook: Webhook) -> bool:
    """Return whether the first period after a trial begins.

    A subscription pauses only when its trial ends without a payment method ("The Subscription
    object", `status`). A trial whose first payment failed converts when it is paid.
    """
    before = hook.before.text("status")
    if hook.object.text("status") != "active" or before is None:
        return False
    return before in {"trialing", "paused"} or (
        before in _ISSUES and hook.history.get("unpaid") is True
    )


def _add_trial(hook: Webhook) -> None:
    start, end = hook.object.seconds("trial_start"), hook.object.seconds("trial_end")
    properties = {
        **get_plan(get_item(hook.object), with_period=True),
        "trial_length_days": count_days(start, end),
        "trial_ends_at": format_time(end),
    }
    hook.found.add(BillingEvent.TRIAL_STARTED, properties)


def _add_conversion(hook: Webhook) -> None:
    """Add the conversion; the invoice is that of the period only if it is new."""
    has_invoice = hook.before.has("latest_invoice")
    invoice = get_id(hook.object, "latest_invoice") if has_invoice else None
    properties = {
        **get_plan(get_item(hook.object), with_period=True),
        "current_period_ends_at": format_time(get_period(hook.object)[1]),
        "transaction_id": invoice,
    }
    occurrence = invoice and f"stripe:{invoice}"
    hook.found.add(BillingEvent.TRIAL_CONVERTED, properties, occurrence=occurrence)


def _read_cancellation(hook: Webhook) -> bool:
    """Add the signal of a cancellation or its withdrawal; return whether there is one."""
    is_ending = _is_ending(hook)
    has_begun = hook.object.text("status") not in _NOT_BEGUN
    if is_ending == _was_ending(hook) or not has_begun:
        return False
    plan = get_plan(get_item(hook.object))
    if not is_ending:
        hook.found.add(BillingEvent.AUTO_RENEW_ENABLED, plan)
        return True
    reason = hook.object.text("cancellation_details", "reason") or ""
    plan["store_cancel_reason"] = CANCEL_REASONS.get(reason)
    if hook.object.text("status") == "trialing":
        plan["trial_ends_at"] = format_time(hook.object.seconds("trial_end"))
        hook.found.add(BillingEvent.TRIAL_AUTO_RENEW_DISABLED, plan)
    else:
        ends_at = hook.object.seconds("cancel_at") or get_period(hook.object)[1]
        plan["access_ends_at"] = format_time(ends_at)
        hook.found.add(BillingEvent.AUTO_RENEW_DISABLED, plan)
    return True


def _describe_update(hook: Webhook) -> str:
    status = hook.object.text("status") or ""
    if status in _NOT_BEGUN:
        return _STATUS_REASONS[status]
    if not hook.before.to_dict():
        return "an update without previous_attributes: nothing says what changed"
    if hook.before.has("cancel_at") or hook.before.has("cancel_at_period_end"):
        return "the date of a cancellation changed: it was pending before"
    if hook.before.has("pause_collection"):
        return "the collection of payments was paused or resumed: the subscription stays as it is"
    if any(hook.before.has(name) for name in ("items", "plan", "quantity", "current_period_end")):
        return "a new period or a change of the plan: invoice.paid is the signal of a renewal"
    return "an update of what is no signal"


def _read_deleted(hook: Webhook) -> None:
    history = hook.history
    is_begun = history.get("status") is not None or history.get("auto_renew") is None
    if hook.object.text("status") == "incomplete_expired" or not is_begun:
        hook.found.skip(_STATUS_REASONS["incomplete_expired"])
        return
    reason = hook.object.text("cancellation_details", "reason") or ""
    properties = {
        **get_plan(get_item(hook.object), with_period=True),
        "end_reason": END_REASONS.get(reason),
    }
    hook.found.add(BillingEvent.MEMBERSHIP_ENDED, properties)


_READERS: dict[str, Callable[[Webhook], None]] = {
    "customer.subscription.created": _read_created,
    "customer.subscription.updated": _read_updated,
    "customer.subscription.deleted": _read_deleted,
}
