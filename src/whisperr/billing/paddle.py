"""Makes billing signals of the webhooks of Paddle Billing.

Several webhooks come for one cause, and one of them is the signal: `subscription.updated` comes
beside `subscription.activated`, `.past_due` and `.canceled`, and `transaction.paid` before
`transaction.completed`. `subscription.updated` says how a subscription is, not how it was. So what
only it reports (a cancellation, its withdrawal, a recovery) needs `previous`.

Facts about Paddle are from its documentation, https://developer.paddle.com/webhooks: a page for
each event, and "Simulate webhooks" with the order of events.

.. versionadded:: 1.0
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from . import BillingEvent
from ._collector import Collector, Source, UserFields
from ._fields import Fields, PayloadError, drop_none, format_time, read_payload
from ._history import History
from ._money import from_minor, get_exponent, to_currency
from ._periods import count_days, to_period
from ._signals import Signals, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from ._history import Previous

__all__ = ["signals"]

# The simulator makes such ids ("Simulation run events"), also for destinations of a live account.
_SIMULATED = "ntfsimevt_"

# A first payment may be late by hours. The shortest billing cycle is a day.
_FIRST_PAYMENT_DELAY = timedelta(hours=12)

_STATUSES = {"trialing": "trial", "active": "active", "past_due": "issue", "canceled": "ended"}

_REASONS = {
    "subscription.imported": "an import: the subscription began before, with another provider",
    "subscription.paused": "a pause: no billing event says it, and the subscription may resume",
    "subscription.resumed": "a pause ends: the payment is transaction.completed",
    "transaction.paid": "transaction.completed follows, and is the signal",
    "transaction.past_due": "subscription.past_due comes beside it, and is the signal",
    "transaction.payment_failed": "an attempt failed: subscription.past_due is the signal",
}

_ORIGINS = {
    **dict.fromkeys(["api", "web"], "the first payment: subscription.created is the signal"),
    "subscription_charge": "a charge beside the subscription, no renewal",
    "subscription_update": "a charge for a change of the subscription, no renewal",
    "subscription_payment_method_change": "a change of the payment method, no renewal",
}


class _Webhook(NamedTuple):
    """A webhook of a subscription, a transaction or an adjustment, which is its `data`."""

    type: str
    data: Fields
    history: History
    found: Collector


def signals(
    payload: object,
    *,
    previous: Previous = None,
    user_of: Callable[[str], object] | None = None,
    user_key: str = "external_user_id",
    sandbox: bool = False,
) -> Signals:
    """Return what a webhook of Paddle Billing means.

    Never raises for a payload: what is not understood is in `skipped`, with the reason. What
    `previous` and `user_of` raise is passed on, so that your webhook fails and Paddle sends it
    again.

    Args:
        payload: The webhook: a dict, JSON as bytes or text, or the `NotificationEvent` of
            Paddle's package.
        previous: The stored state of the subscription, or a function that returns the state of a
            key, such as `states.get`.
        user_of: Returns your id of the user for Paddle's id of the customer, `ctm_…`, or None. It
            is called only if neither `custom_data` nor the state has the user.
        user_key: The key of `custom_data` that has your id of the user.
        sandbox: Whether the webhook is from a sandbox account, which the payload does not say. The
            signals then have the mode `test`. Those of Paddle's simulator always have it.

    Returns:
        The signals, what was skipped, and the state to store. `state` is None for a transaction or
        an adjustment: they change nothing in it.

    .. versionadded:: 1.0
    """
    try:
        fields = read_payload(payload)
    except PayloadError as error:
        return Signals(skipped=[Skipped("", str(error))])
    event_type = fields.text("event_type") or ""
    event_id, at = get_origin(fields)
    read = _READERS.get(event_type.partition(".")[0])
    if read is None or event_id is None or at is None:
        return Signals(skipped=[Skipped(event_type, _describe_other(fields, event_type))])
    data = fields.object("data")
    key = data.text("id") if read is _read_subscription else data.text("subscription_id")
    history = History(previous, None if key is None else f"paddle:{key}", event_id, at)
    values = {f"custom_data.{user_key}": _get_user(data, user_key)}
    is_test = sandbox or event_id.startswith(_SIMULATED)
    found = Collector(
        Source("paddle", event_id, event_type, at, is_test),
        history,
        UserFields(values, user_of, data.text("customer_id")),
    )
    return read(_Webhook(event_type, data, history, found))


def get_origin(event: Fields) -> tuple[str | None, datetime | None]:
    """Return the id of an event and when it happened. The import sorts by them."""
    return event.text("event_id"), event.time("occurred_at")


def _describe_other(fields: Fields, event_type: str) -> str:
    """Return why a payload is no webhook that this module reads."""
    if fields.has("alert_name"):
        return "a webhook of Paddle Classic: this module reads those of Paddle Billing"
    if not event_type:
        return "no event_type: pass the body of a webhook of Paddle Billing unchanged"
    if event_type.partition(".")[0] not in _READERS:
        return f"{event_type} is no change of a subscription"
    return "no event_id, or no time in occurred_at"


def _get_user(data: Fields, user_key: str) -> object:
    """Return the user of `custom_data`, which Paddle's package keeps in an object of its own."""
    found = data.value("custom_data", user_key)
    return data.value("custom_data", "data", user_key) if found is None else found


def _read_subscription(hook: _Webhook) -> Signals:
    handle = _SUBSCRIPTION.get(hook.type)
    if hook.history.is_repeated:
        hook.found.skip(hook.history.reason)
    elif handle is not None:
        handle(hook)
    else:
        hook.found.skip(_describe_type(hook.type))
    return hook.found.finish(**_get_facts(hook.data))


def _get_facts(data: Fields) -> dict[str, object]:
    """Return what the next webhook needs to know; a pause keeps the status before it."""
    status, is_pending = data.text("status") or "", _is_cancel_pending(data)
    is_unknown = is_pending is None and status != "canceled"
    facts = {
        "status": _STATUSES.get(status),
        "auto_renew": None if is_unknown else is_pending is False and status != "canceled",
        "paid_from": format_time(data.time("first_billed_at")),
    }
    return drop_none(facts)


def _is_cancel_pending(data: Fields) -> bool | None:
    """Return whether a cancellation is scheduled; None if the payload does not say it."""
    action = data.text("scheduled_change", "action")
    if action is not None:
        return action == "cancel"
    is_absent = data.has("scheduled_change") and data.value("scheduled_change") is None
    return False if is_absent else None


def _describe_type(event_type: str) -> str:
    return _REASONS.get(event_type, f"{event_type} is no change of a subscription")


def _read_created(hook: _Webhook) -> None:
    data, transaction = hook.data, hook.data.text("transaction_id")
    status = data.text("status")
    if status == "trialing":
        hook.found.skip("a trial begins: subscription.trialing is the signal")
    elif status != "active":
        hook.found.skip("a new subscription that is neither active nor in a trial")
    elif data.text("collection_mode") == "manual":
        # "subscription.created": it occurs when such a transaction is billed, before it is paid.
        hook.found.skip("an invoice that may be unpaid: its transaction.completed is the signal")
    else:
        properties = {**_get_period(data), "transaction_id": transaction}
        occurrence = transaction and f"paddle:{transaction}"
        hook.found.add(BillingEvent.MEMBERSHIP_STARTED, properties, occurrence=occurrence)


def _read_trialing(hook: _Webhook) -> None:
    start, end = _get_trial(hook.data)
    properties = {
        **_get_plan(hook.data, with_period=True),
        "trial_length_days": count_days(start, end),
        "trial_ends_at": format_time(end),
    }
    hook.found.add(BillingEvent.TRIAL_STARTED, properties)


def _read_activated(hook: _Webhook) -> None:
    if is_conversion := _is_conversion(hook):
        hook.found.add(BillingEvent.TRIAL_CONVERTED, _get_period(hook.data))
    if hook.history.get("status") == "issue":
        hook.found.add(BillingEvent.BILLING_RECOVERED, _get_plan(hook.data))
    elif not is_conversion:
        hook.found.skip("no trial ends here: the start is subscription.created")


def _is_conversion(hook: _Webhook) -> bool:
    """Return whether an activation ends a trial, and not a failure or a pause, periods later."""
    data = hook.data
    if hook.history.get("status") == "trial":
        return True
    first, started = data.time("first_billed_at"), data.time("started_at")
    if first is None:
        return _get_item_trial(data) is not None
    period = data.time("current_billing_period", "starts_at") or first
    return started is not None and first > started and period - first < _FIRST_PAYMENT_DELAY


def _read_past_due(hook: _Webhook) -> None:
    hook.found.add(BillingEvent.BILLING_ISSUE_STARTED, _get_plan(hook.data))


def _read_canceled(hook: _Webhook) -> None:
    hook.found.add(BillingEvent.MEMBERSHIP_ENDED, _get_plan(hook.data, with_period=True))


def _read_updated(hook: _Webhook) -> None:
    data, history, found = hook.data, hook.history, hook.found
    status, is_pending = data.text("status"), _is_cancel_pending(data)
    if status == "canceled":
        found.skip("the end: subscription.canceled is the signal")
        return
    if not history.known:
        what = "a cancellation that may not be new" if is_pending else "an update"
        found.skip(f"{what}: {history.reason}; pass previous=")
        return
    if is_recovery := status == "active" and history.get("status") == "issue":
        found.add(BillingEvent.BILLING_RECOVERED, _get_plan(data))
    renewed = history.get("auto_renew")
    if is_pending and renewed is True:
        _add_cancellation(hook)
    elif is_pending is False and renewed is False and status in _STATUSES:
        found.add(BillingEvent.AUTO_RENEW_ENABLED, _get_plan(data))
    elif not is_recovery:
        found.skip("an update of what is no signal, or has an event of its own")


def _add_cancellation(hook: _Webhook) -> None:
    ends_at = format_time(hook.data.time("scheduled_change", "effective_at"))
    plan = _get_plan(hook.data)
    if hook.data.text("status") == "trialing":
        hook.found.add(BillingEvent.TRIAL_AUTO_RENEW_DISABLED, {**plan, "trial_ends_at": ends_at})
    else:
        hook.found.add(BillingEvent.AUTO_RENEW_DISABLED, {**plan, "access_ends_at": ends_at})


def _read_transaction(hook: _Webhook) -> Signals:
    data, found = hook.data, hook.found
    origin = data.text("origin") or ""
    if hook.type != "transaction.completed":
        found.skip(_describe_type(hook.type))
    elif hook.history.key is None:
        found.skip("a purchase without a subscription")
    elif data.decimal("details", "totals", "total") == 0:
        found.skip("a transaction of 0: a trial, a discount or a change, and no payment")
    elif origin == "subscription_recurring":
        _read_renewal(hook)
    elif origin in {"api", "web"} and data.text("collection_mode") == "manual":
        _add_payment(hook, BillingEvent.MEMBERSHIP_STARTED, with_period=True)
    else:
        found.skip(_ORIGINS.get(origin, "a transaction of an unknown origin"))
    return found.finish_without_state()


def _read_renewal(hook: _Webhook) -> None:
    """Add a renewal, unless it is the first payment after a trial, whose origin is the same."""
    start = hook.data.time("billing_period", "starts_at")
    first = hook.history.paid_from
    if first is not None and start is not None:
        is_first: bool | None = start - first < _FIRST_PAYMENT_DELAY
    elif hook.history.get("status") == "trial":
        is_first = True
    else:
        is_first = None if _may_have_trial(hook.data) else False
    if is_first is None:
        reason = f"a renewal, or the first payment after a trial: {hook.history.reason}"
        hook.found.skip(f"{reason}; pass previous=")
    elif is_first:
        hook.found.skip("the first payment after a trial: subscription.activated is the signal")
    else:
        _add_payment(hook, BillingEvent.RENEWAL_SUCCEEDED)


def _may_have_trial(transaction: Fields) -> bool:
    prices = [item.object("price") for item in transaction.objects("items")]
    return not prices or any(
        one.value("trial_period") is not None or not one.has("trial_period") for one in prices
    )


def _add_payment(hook: _Webhook, event: str, *, with_period: bool = False) -> None:
    data, transaction = hook.data, hook.data.text("id")
    properties = {
        **_get_plan(data, with_period=with_period),
        **_get_price(data.object("details", "totals"), "grand_total", data.text("currency_code")),
        "current_period_ends_at": format_time(data.time("billing_period", "ends_at")),
        "transaction_id": transaction,
    }
    hook.found.add(event, properties, occurrence=transaction and f"paddle:{transaction}")


def _read_adjustment(hook: _Webhook) -> Signals:
    data, action, status = hook.data, hook.data.text("action"), hook.data.text("status")
    if action != "refund":
        hook.found.skip("an adjustment that is no refund, such as a credit or a chargeback")
    elif status == "pending_approval":
        hook.found.skip("a refund that Paddle has not approved yet")
    elif status != "approved":
        hook.found.skip("a refund that was rejected or reversed")
    else:
        transaction = data.text("transaction_id")
        # A transaction has one full refund, and may have several partial ones.
        name = transaction if data.text("type") == "full" else data.text("id")
        properties = {
            **_get_price(data.object("totals"), "total", data.text("currency_code")),
            "transaction_id": transaction,
            "store": "paddle",
        }
        occurrence = name and f"paddle:{name}"
        hook.found.add(BillingEvent.REFUND_GRANTED, properties, occurrence=occurrence)
    return hook.found.finish_without_state()


def _get_price(totals: Fields, name: str, currency: str | None) -> dict[str, Decimal | str]:
    """Return the price and the currency; neither if one cannot be read.

    Amounts are strings in the lowest denomination ("Currencies"): "100" is 100 JPY and 1 USD.
    """
    code = to_currency(totals.text("currency_code") or currency)
    amount = totals.decimal(name)
    if code is None or amount is None or amount < 0 or amount != amount.to_integral_value():
        return {}
    return {"price": from_minor(int(amount), get_exponent(code)), "currency": code}


def _get_plan(data: Fields, *, with_period: bool = False) -> dict[str, object]:
    """Return the plan: the price of the first recurring item, and the billing cycle."""
    prices = [item.object("price") for item in data.objects("items")]
    price = next((one for one in prices if one.value("billing_cycle")), Fields({}))
    plan: dict[str, object] = {"plan_id": price.text("id"), "store": "paddle"}
    if with_period:
        cycle = (data if data.value("billing_cycle") else price).object("billing_cycle")
        plan["plan_period"] = to_period(cycle.text("interval"), cycle.integer("frequency"))
    return plan


def _get_period(data: Fields) -> dict[str, object]:
    """Return the plan, and the end of the period that is paid."""
    ends_at = format_time(data.time("current_billing_period", "ends_at"))
    return {**_get_plan(data, with_period=True), "current_period_ends_at": ends_at}


def _get_trial(data: Fields) -> tuple[datetime | None, datetime | None]:
    """Return when the trial starts and ends. It is the first billing period of a subscription."""
    period = _get_item_trial(data) or data.object("current_billing_period")
    return period.time("starts_at"), period.time("ends_at")


def _get_item_trial(data: Fields) -> Fields | None:
    trials = [item.object("trial_dates") for item in data.objects("items")]
    return next((one for one in trials if one.value("ends_at")), None)


_SUBSCRIPTION: dict[str, Callable[[_Webhook], None]] = {
    "subscription.created": _read_created,
    "subscription.trialing": _read_trialing,
    "subscription.activated": _read_activated,
    "subscription.past_due": _read_past_due,
    "subscription.canceled": _read_canceled,
    "subscription.updated": _read_updated,
}
_READERS: dict[str, Callable[[_Webhook], Signals]] = {
    "subscription": _read_subscription,
    "transaction": _read_transaction,
    "adjustment": _read_adjustment,
}
