"""Makes billing signals of the webhooks of RevenueCat, for the purchases of all its stores.

A webhook is decided by what it says itself. Only a recovery, and a subscription that begins again
after its end, need `previous`: RevenueCat reports both as `RENEWAL`.

Facts about RevenueCat are from the pages "Event Types and Fields", "Sample Events" and "Common
Webhook Flows" of its documentation, https://www.revenuecat.com.

.. versionadded:: 1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import BillingEvent
from ._collector import Collector, Source, UserFields
from ._fields import Fields, PayloadError, format_time, read_payload
from ._history import History
from ._money import to_currency
from ._periods import count_days
from ._signals import MAX_KEY_CHARS, Signals, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ._history import Previous

__all__ = ["signals"]

_ANONYMOUS = "$RCAnonymousID:"  # "Identifying Customers": ids that the app's SDK makes

_STORES = {"MAC_APP_STORE": "app_store", "PLAY_STORE": "google_play"}  # others in lower case

# What the transaction ids of a store begin with, where the id names the occurrence that the store's
# own webhooks name. Other stores have no module here, so nothing counts twice.
_PREFIXES = {"app_store": "", "google_play": "GPA.", "stripe": "in_", "paddle": "txn_"}

# A transaction means each other event once. In its period, a user may cancel again and again.
_REPEATABLE = (
    BillingEvent.TRIAL_AUTO_RENEW_DISABLED,
    BillingEvent.AUTO_RENEW_DISABLED,
    BillingEvent.AUTO_RENEW_ENABLED,
)

# The reasons why the renewal was turned off. CUSTOMER_SUPPORT is a refund: "this does not mean that
# a subscription's autorenewal preference has been deactivated".
_CANCEL_REASONS = {
    one: one.lower() for one in ("UNSUBSCRIBE", "DEVELOPER_INITIATED", "PRICE_INCREASE", "UNKNOWN")
}

_END_REASONS = {
    "UNSUBSCRIBE": "voluntary",
    "BILLING_ERROR": "billing",
    "DEVELOPER_INITIATED": "developer_initiated",
    "PRICE_INCREASE": "price_increase",
    "CUSTOMER_SUPPORT": "refund",
    "UNKNOWN": "other",
    "SUBSCRIPTION_PAUSED": "other",
}

# Access for a time that does not renew: a grant of RevenueCat, a prepaid plan of Google.
_NOT_RENEWING = ("PROMOTIONAL", "PREPAID")

_REASONS = {
    "TEST": "a test of RevenueCat's dashboard: it is about no purchase",
    "SUBSCRIPTION_PAUSED": "a pause is scheduled and access continues: EXPIRATION follows",
    "PRODUCT_CHANGE": "a change of plan: RENEWAL follows when the new plan is paid",
    "TRANSFER": "purchases move to another user, and no subscription changes",
    "SUBSCRIPTION_EXTENDED": "the period is longer now, and nothing was paid",
    "TEMPORARY_ENTITLEMENT_GRANT": (
        "access for a day, while the store does not answer: INITIAL_PURCHASE follows"
    ),
    "REFUND_REVERSED": "no billing event says that a refund was reversed",
    "INVOICE_ISSUANCE": "an invoice that is not paid yet",
    "VIRTUAL_CURRENCY_TRANSACTION": "virtual currency is no subscription",
    "EXPERIMENT_ENROLLMENT": "an experiment is no change of a subscription",
    "SUBSCRIBER_ALIAS": "another id of the same user, and no subscription changes",
    "PURCHASE_REDEEMED": "a purchase now belongs to a user of the app, and nothing was paid",
}


class _Webhook(NamedTuple):
    """A webhook of a purchase, which is its `event`."""

    event: Fields
    at: datetime
    store: str | None
    history: History
    found: Collector


def signals(
    payload: object,
    *,
    previous: Previous = None,
    user_of: Callable[[str], object] | None = None,
) -> Signals:
    """Return what a webhook of RevenueCat means.

    Never raises for a payload: what is not understood is in `skipped`, with the reason. What
    `previous` and `user_of` raise is passed on, so that your webhook fails and RevenueCat sends it
    again.

    Args:
        payload: The body of the webhook, or its `event` alone: a dict, or JSON as bytes or text.
        previous: The stored state of the subscription, or a function that returns the state of a
            key, such as `states.get`.
        user_of: Returns your id of the user for RevenueCat's `app_user_id`, or None. It is called
            only if all ids in the payload are anonymous and the state has no user.

    Returns:
        The signals, what was skipped, and the state to store.

    .. versionadded:: 1.0
    """
    try:
        body = read_payload(payload)
    except PayloadError as error:
        return Signals(skipped=[Skipped("", str(error))])
    event = _get_event(body)
    event_type = event.text("type") or ""
    event_id, at = get_origin(body)
    handle = _HANDLERS.get(event_type)
    if handle is None or event_id is None or at is None:
        return Signals(skipped=[Skipped(event_type, _describe_other(event_type))])
    store = _get_store(event)
    history = History(previous, _get_key(event, store), event_id, at)
    is_test = event.text("environment") == "SANDBOX" or store == "test_store"
    found = Collector(
        Source("revenuecat", event_id, event_type, at, is_test),
        history,
        UserFields(_get_users(event), user_of, event.text("app_user_id")),
    )
    if history.is_repeated:
        found.skip(history.reason)
        return found.finish()
    return found.finish(**handle(_Webhook(event, at, store, history, found)))


def _get_event(body: Fields) -> Fields:
    return body.object("event") if body.has("event") else body


def get_origin(body: Fields) -> tuple[str | None, datetime | None]:
    """Return the id of an event and when it happened. The import sorts by them.

    A purchase may be later than its webhook: a store charges before the period begins.
    """
    event = _get_event(body)
    return event.text("id"), event.millis("event_timestamp_ms")


def _describe_other(event_type: str) -> str:
    """Return why a payload is no webhook that means something."""
    if not event_type:
        return "no type: pass the body of a webhook of RevenueCat unchanged"
    if event_type in _HANDLERS:
        return "no id, or no time in event_timestamp_ms"
    return _REASONS.get(event_type, f"{event_type} is no type that this version knows")


def _get_store(event: Fields) -> str | None:
    found = event.text("store")
    return _STORES.get(found, found.lower()) if found else None


def _get_key(event: Fields, store: str | None) -> str | None:
    """Return the key of the state; None if the payload names no subscription."""
    original = event.text("original_transaction_id")
    key = f"revenuecat:{store}:{original}"
    return key if store and original and len(key) <= MAX_KEY_CHARS else None


def _get_users(event: Fields) -> dict[str, object]:
    """Return the ids of the user that are not anonymous, the id that was seen last first."""
    aliases = event.value("aliases")
    known = (one for one in aliases if _is_user(one)) if isinstance(aliases, list) else iter(())
    ids = {name: event.text(name) for name in ("app_user_id", "original_app_user_id")}
    found: dict[str, object] = {name: one if _is_user(one) else None for name, one in ids.items()}
    return {**found, "aliases": next(known, None)}


def _is_user(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not value.startswith(_ANONYMOUS)


def _add(hook: _Webhook, event: str, **properties: object) -> None:
    occurrence = None if event in _REPEATABLE else _get_occurrence(hook)
    hook.found.add(event, {**_get_purchase(hook), **properties}, occurrence=occurrence)


def _get_occurrence(hook: _Webhook) -> str | None:
    transaction, prefix = hook.event.text("transaction_id"), _PREFIXES.get(hook.store or "")
    if transaction is None or prefix is None or not transaction.startswith(prefix):
        return None
    return f"{hook.store}:{transaction}"


def _get_purchase(hook: _Webhook) -> dict[str, object]:
    event = hook.event
    return {
        "plan_id": event.text("product_id"),
        "transaction_id": event.text("transaction_id"),
        "store": hook.store,
    }


def _get_money(event: Fields) -> dict[str, object]:
    """Return what was paid, without the sign of a refund.

    `price` of RevenueCat is the amount in US dollars at an exchange rate, and not what was paid. A
    user who shares the purchase of the family paid nothing.
    """
    amount = event.decimal("price_in_purchased_currency")
    currency = to_currency(event.text("currency"))
    if amount is None or currency is None or event.boolean("is_family_share"):
        return {}
    return {"price": amount.copy_abs(), "currency": currency}


def _is_free(event: Fields) -> bool:
    """Return whether the period costs nothing; not if the price is unknown."""
    is_shared = event.boolean("is_family_share")
    return event.decimal("price_in_purchased_currency") == 0 and not is_shared


def _handle_initial_purchase(hook: _Webhook) -> Mapping[str, Any]:
    period = hook.event.text("period_type")
    if period is None:
        hook.found.skip("no period_type: it may be a trial or a paid period")
        return {}
    if period == "TRIAL":
        start, end = hook.event.millis("purchased_at_ms"), hook.event.millis("expiration_at_ms")
        _add(
            hook,
            BillingEvent.TRIAL_STARTED,
            trial_length_days=count_days(start, end),
            trial_ends_at=format_time(end),
        )
        return {"status": "trial", "auto_renew": True, "end_reason": None}
    return _start_membership(hook)


def _start_membership(hook: _Webhook) -> Mapping[str, Any]:
    """Add the signal of a paid start, or of access that the family or you pay for."""
    is_resubscribe = True if _has_ended(hook) and hook.history.get("paid_by") else None
    _add_start(hook, _get_access_source(hook), is_resubscribe=is_resubscribe)
    renews = hook.event.text("period_type") not in _NOT_RENEWING
    paid_by = hook.history.get("paid_by") or hook.event.text("transaction_id")
    return {"status": "active", "auto_renew": renews, "paid_by": paid_by, "end_reason": None}


def _add_start(hook: _Webhook, source: str, **properties: object) -> None:
    access = {"access_source": source, "entitlements": _get_entitlements(hook.event)}
    _add_period(hook, BillingEvent.MEMBERSHIP_STARTED, **access, **properties)


def _has_ended(hook: _Webhook) -> bool:
    return bool(hook.history.get("status") == "ended")


def _get_access_source(hook: _Webhook) -> str:
    if hook.event.text("period_type") == "PROMOTIONAL" or hook.store == "promotional":
        return "promotional"
    return "family_share" if hook.event.boolean("is_family_share") else "self_subscription"


def _get_entitlements(event: Fields) -> list[str] | None:
    found = event.value("entitlement_ids")
    names = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
    return names or None


def _handle_non_renewing_purchase(hook: _Webhook) -> Mapping[str, Any]:
    """A purchase with an entitlement gives access: for good, unless it expires."""
    event = hook.event
    if _get_entitlements(event) is None:
        hook.found.skip("a purchase without an entitlement gives no access")
        return {}
    source = _get_access_source(hook)
    if source == "self_subscription" and event.value("expiration_at_ms") is None:
        source = "lifetime"
    _add_start(hook, source)
    return {"status": "active", "auto_renew": False, "paid_by": event.text("transaction_id")}


def _handle_renewal(hook: _Webhook) -> Mapping[str, Any]:
    event, history = hook.event, hook.history
    changes: dict[str, Any] = {"status": "active", "end_reason": None}
    if event.text("period_type") == "TRIAL" or _is_free(event):
        hook.found.skip("a renewal of 0: nothing was paid")
    elif _is_conversion(hook):
        changes["paid_by"] = event.text("transaction_id")
        _add_period(hook, BillingEvent.TRIAL_CONVERTED)
    elif _has_ended(hook):
        changes |= _start_membership(hook)
    else:
        _add_period(hook, BillingEvent.RENEWAL_SUCCEEDED)
    # Without a grace period, RevenueCat sends EXPIRATION at once, and RENEWAL when the payment
    # works again.
    ended_unpaid = _has_ended(hook) and history.get("end_reason") == "billing"
    if history.get("status") == "issue" or ended_unpaid:
        _add(hook, BillingEvent.BILLING_RECOVERED)
    return changes


def _add_period(hook: _Webhook, event_type: str, **properties: object) -> None:
    """Add the signal of a payment, which begins a period."""
    ends_at = format_time(hook.event.millis("expiration_at_ms"))
    paid = _get_money(hook.event)
    _add(hook, event_type, current_period_ends_at=ends_at, **paid, **properties)


def _is_conversion(hook: _Webhook) -> bool:
    said = hook.event.boolean("is_trial_conversion")
    return hook.history.get("status") == "trial" if said is None else said


def _handle_cancellation(hook: _Webhook) -> Mapping[str, Any]:
    reason, period = hook.event.text("cancel_reason"), hook.event.text("period_type")
    if reason == "BILLING_ERROR":
        hook.found.skip("a payment failed: BILLING_ISSUE comes beside it, and is the signal")
    elif reason == "CUSTOMER_SUPPORT":
        _add_refund(hook)
    elif reason not in _CANCEL_REASONS:
        hook.found.skip("no cancel_reason that this version knows: it may be a refund")
    elif period is None:
        hook.found.skip("no period_type: it may be a trial or a paid period")
    elif period in _NOT_RENEWING:
        hook.found.skip("the purchase does not renew: EXPIRATION says when access ends")
    else:
        _add_cancellation(hook, _CANCEL_REASONS[reason], is_trial=period == "TRIAL")
        return {"auto_renew": False}
    return {}


def _add_cancellation(hook: _Webhook, reason: str, *, is_trial: bool) -> None:
    end = format_time(hook.event.millis("expiration_at_ms"))
    if is_trial:
        event, ends_at = BillingEvent.TRIAL_AUTO_RENEW_DISABLED, {"trial_ends_at": end}
    else:
        event, ends_at = BillingEvent.AUTO_RENEW_DISABLED, {"access_ends_at": end}
    _add(hook, event, store_cancel_reason=reason, **ends_at)


def _add_refund(hook: _Webhook) -> None:
    event = hook.event
    if event.text("period_type") == "TRIAL" or event.boolean("is_family_share"):
        hook.found.skip("a refund to a user who paid nothing: a trial, or a purchase of the family")
    else:  # an amount of 0 is none: documented samples of CANCELLATION have it
        money = {} if _is_free(event) else _get_money(event)
        _add(hook, BillingEvent.REFUND_GRANTED, **money)


def _handle_uncancellation(hook: _Webhook) -> Mapping[str, Any]:
    _add(hook, BillingEvent.AUTO_RENEW_ENABLED)
    return {"auto_renew": True}


def _handle_billing_issue(hook: _Webhook) -> Mapping[str, Any]:
    grace = hook.event.millis("grace_period_expiration_at_ms")
    _add(
        hook,
        BillingEvent.BILLING_ISSUE_STARTED,
        has_access=_has_access(hook, grace),
        grace_ends_at=format_time(grace),
    )
    # EXPIRATION may come at the same time and arrive first.
    return {} if _has_ended(hook) else {"status": "issue"}


def _has_access(hook: _Webhook, grace: datetime | None) -> bool | None:
    """Return whether access continues; None if the payload does not say it.

    The field of the grace period is null if there is none, and missing in older webhooks.
    """
    paid_until = hook.event.millis("expiration_at_ms")
    if any(one is not None and one > hook.at for one in (grace, paid_until)):
        return True
    is_known = hook.event.has("grace_period_expiration_at_ms") and paid_until is not None
    return False if is_known else None


def _handle_expiration(hook: _Webhook) -> Mapping[str, Any]:
    reason = _END_REASONS.get(hook.event.text("expiration_reason") or "")
    _add(hook, BillingEvent.MEMBERSHIP_ENDED, end_reason=reason)
    return {"status": "ended", "end_reason": reason}


_HANDLERS: dict[str, Callable[[_Webhook], Mapping[str, Any]]] = {
    "INITIAL_PURCHASE": _handle_initial_purchase,
    "NON_RENEWING_PURCHASE": _handle_non_renewing_purchase,
    "RENEWAL": _handle_renewal,
    "CANCELLATION": _handle_cancellation,
    "UNCANCELLATION": _handle_uncancellation,
    "BILLING_ISSUE": _handle_billing_issue,
    "EXPIRATION": _handle_expiration,
}
