"""The real-time developer notifications of Google Play, as billing events.

`signals(payload, purchase=fetch)` returns what a notification means. The notification has only the
purchase token, so `fetch` asks the Google Play Developer API for the purchase. The event is decided
by the number of the notification; the purchase, which may be newer, has the details.

Google's documentation:
https://developer.android.com/google/play/billing/rtdn-reference
https://developer.android.com/google/play/billing/lifecycle/subscriptions
https://developers.google.com/android-publisher/api-ref/rest/v3/purchases.subscriptionsv2

.. versionadded:: 1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import BillingEvent
from ._collector import Collector, Source, UserFields
from ._fields import Fields, PayloadError, format_time, read_payload
from ._google_play import Notification, Purchase, get_key, read_notification
from ._history import History
from ._periods import count_days
from ._signals import Signals, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ._history import Previous

__all__ = ["signals"]

_CANCELED, _RECOVERED, _HOLD, _GRACE, _REVOKED, _SCHEDULED = 3, 1, 5, 6, 12, 18
_MEANINGLESS = {
    8: "the user accepted a new price: the renewal has it",
    9: "the next payment was deferred: nothing was paid or cancelled",
    10: "the subscription is paused, and resumes by itself",
    11: "the schedule of a pause changed: the subscription goes on",
    17: "the items of the subscription changed: a change of plan",
    19: "a change of price was announced: the renewal has the new price",
    20: "a pending purchase was cancelled: nothing had started",
    22: "the consent to a higher price was asked for or given: the subscription goes on",
}


def signals(
    payload: object,
    *,
    purchase: Mapping[str, Any] | Callable[[str], Any] | None = None,
    previous: Previous = None,
    user_of: Callable[[str], object] | None = None,
) -> Signals:
    """Return what a real-time developer notification means.

    It does not verify who sent it, and never raises on a payload. What `purchase`, `previous` and
    `user_of` raise goes through, so that Pub/Sub delivers the notification again.

    Args:
        payload: The body of a Pub/Sub push request, as a dict or JSON; a message of
            `google-cloud-pubsub`; or the decoded notification.
        purchase: A function that is called with the purchase token, at most once and only if the
            notification needs it, and returns the resource of `purchases.subscriptionsv2.get`;
            None if Google has it no more. Or that resource.
        previous: A function that returns the stored `State` of a key, or the state. A purchase
            that replaces another has a new token, so only a function finds the state before it.
        user_of: A function that returns your id of the user, or None. It is called with the
            purchase token, then with the token which the purchase replaces, and only if neither the
            purchase nor the state has the user.

    .. versionadded:: 1.0
    """
    try:
        notification = read_notification(payload)
    except PayloadError as error:
        return Signals(skipped=[Skipped("", str(error))])
    reason = _MEANINGLESS.get(notification.number) or notification.reason
    if not reason and notification.number and notification.number not in _DECISIONS:
        reason = f"the notification type {notification.number} is not known"
    if reason:
        return Signals(skipped=[Skipped(notification.type, reason)])
    key = get_key(notification.token)
    history = History(previous, key, notification.id, notification.at)
    if history.is_repeated:
        return Signals([], [Skipped(notification.type, history.reason)], history.advance())
    found = _fetch(purchase, notification.token)
    if found is None and notification.number:
        reason = "the notification carries only a token: pass purchase="
        if purchase is not None:
            reason = "purchase= has no purchase of this token"
        return Signals(skipped=[Skipped(notification.type, reason)])
    webhook = _collect(notification, found or Purchase(Fields({})), history, previous, user_of)
    decide = _DECISIONS[notification.number] if notification.number else _void
    changes = decide(webhook)
    if webhook.purchase.is_trial and history.get("status") is None:
        changes = {"status": "trial", **changes}
    return webhook.collector.finish(**changes)


class _Webhook(NamedTuple):
    """One notification with its purchase, and what was known before it."""

    notification: Notification
    purchase: Purchase
    history: History
    collector: Collector

    def get_reason(self) -> str:
        """Return why a fact is not known."""
        return "the previous state does not say it" if self.history.known else self.history.reason

    def add(
        self, event: str, *, order: str | None = None, period: str = "", **properties: object
    ) -> None:
        """Add a signal with the properties of all events.

        - `order`: the order that names the occurrence.
        - `period`: the property that has the end of the current period.
        """
        purchase = self.purchase
        if period:
            properties[period] = format_time(self.ends_at)
        all_of_it = {"plan_id": purchase.plan_id, "store": "google_play", **properties}
        self.collector.add(event, all_of_it, occurrence=order and f"google_play:{order}")

    def add_payment(self, event: str, order: str | None) -> None:
        """Add a signal of a payment, which begins a period."""
        price, currency = self.purchase.get_price() if order else (None, None)
        period = "current_period_ends_at" if order else ""
        paid = {"transaction_id": order, "price": price, "currency": currency}
        self.add(event, order=order, period=period, **paid)

    @property
    def at(self) -> datetime:
        """When the notification happened."""
        return self.notification.at

    @property
    def ends_at(self) -> datetime | None:
        """The end of the period, if the purchase had it when the notification happened."""
        ends_at = self.purchase.ends_at
        return ends_at if ends_at is not None and ends_at > self.at else None

    @property
    def is_unpaid(self) -> bool:
        """Whether nothing had been paid yet, because of a free trial.

        The free trial is the first phase: a purchase that is in it now was in it before.
        """
        history = self.history
        known = history.get("status") == "trial" or history.get("unpaid") is True
        return known or self.purchase.is_trial


def _fetch(purchase: object, token: str) -> Purchase | None:
    found = purchase(token) if callable(purchase) else purchase
    try:
        return Purchase(read_payload(found))
    except PayloadError:
        return None


def _collect(
    notification: Notification,
    purchase: Purchase,
    history: History,
    previous: Previous,
    user_of: Callable[[str], object] | None,
) -> _Webhook:
    replaced = purchase.replaced_tokens
    for token in replaced:
        if callable(previous):
            at, key = notification.at, get_key(token)
            history.inherit(History(previous, key, notification.id, at))
    tokens = [notification.token, *replaced]
    user = UserFields(purchase.users, _ask_for_each(user_of, tokens), notification.token)
    source = Source(
        "google_play", notification.id, notification.type, notification.at, purchase.is_test
    )
    return _Webhook(notification, purchase, history, Collector(source, history, user))


def _ask_for_each(
    user_of: Callable[[str], object] | None, tokens: list[str]
) -> Callable[[str], object] | None:
    """Return a function that asks for the user of each token until there is one."""
    if user_of is None:
        return None
    return lambda _: next((one for one in map(user_of, tokens) if one is not None), None)


def _start(webhook: _Webhook) -> dict[str, Any]:
    """Decide SUBSCRIPTION_PURCHASED."""
    purchase, collector = webhook.purchase, webhook.collector
    if purchase.is_pending:
        collector.skip("the payment is pending: nothing has started yet")
        return {}
    if purchase.is_replacement and webhook.history.get("status") != "ended":
        return _replace(webhook)
    if purchase.has_offer and purchase.is_renewed:
        collector.skip("the purchase has renewed since: it may have begun with a free trial")
        return {}
    if purchase.has_offer and not purchase.has_phase:
        collector.skip("the purchase has no offerPhase: it may have begun with a free trial")
        return {}
    order = purchase.order
    changes = {"auto_renew": purchase.renews}
    if purchase.is_trial:
        days = count_days(purchase.starts_at, webhook.ends_at)
        webhook.add(
            BillingEvent.TRIAL_STARTED,
            order=order,
            period="trial_ends_at",
            trial_length_days=days,
            transaction_id=order,
        )
        return {**changes, "status": "trial"}
    resubscribes = purchase.is_resubscribe or webhook.history.get("status") == "ended" or None
    first = purchase.first_order
    price, currency = purchase.get_price()
    is_first = not purchase.is_renewed
    webhook.add(
        BillingEvent.MEMBERSHIP_STARTED,
        order=first,
        period="current_period_ends_at" if is_first else "",
        is_resubscribe=resubscribes,
        transaction_id=first,
        price=price if is_first else None,
        currency=currency if is_first else None,
    )
    return {**changes, "status": "active", "paid_by": first}


def _replace(webhook: _Webhook) -> dict[str, Any]:
    """Decide a purchase that replaces another before its end: it has a new token.

    It is a change of plan, a purchase again after a cancellation, or more time of a prepaid plan.
    """
    purchase, history, collector = webhook.purchase, webhook.history, webhook.collector
    had_issue = history.get("status") == "issue"
    if history.get("auto_renew") is None and not had_issue:
        collector.skip(
            f"a purchase that replaces another: {webhook.get_reason()}, so a change of plan and a "
            "withdrawn cancellation look the same (pass a function as previous=)"
        )
        return {}
    was_cancelled = history.get("auto_renew") is False and purchase.renews
    if was_cancelled:
        webhook.add(BillingEvent.AUTO_RENEW_ENABLED)
    if had_issue:
        webhook.add(BillingEvent.BILLING_RECOVERED, order=purchase.order)
    if not (was_cancelled or had_issue):
        collector.skip("a change of plan: the membership goes on")
    changes: dict[str, Any] = {"auto_renew": purchase.renews}
    if had_issue:
        changes["status"] = "trial" if history.get("unpaid") else "active"
    return changes


def _renew(webhook: _Webhook) -> dict[str, Any]:
    """Decide SUBSCRIPTION_RENEWED and SUBSCRIPTION_RECOVERED: a payment began a period."""
    purchase, history, collector = webhook.purchase, webhook.history, webhook.collector
    if purchase.is_trial:
        collector.skip("the purchase is in its free trial: nothing was paid")
        return {}
    order = purchase.order if purchase.is_renewed else None
    if order is not None and order == history.get("paid_by"):
        collector.skip("the payment was reported by an earlier webhook")
        return {}
    changes: dict[str, Any] = {"status": "active", "auto_renew": True, "unpaid": None}
    if webhook.is_unpaid:
        webhook.add_payment(BillingEvent.TRIAL_CONVERTED, order)
        changes["paid_by"] = order
    else:
        webhook.add_payment(BillingEvent.RENEWAL_SUCCEEDED, order)
    if history.get("status") == "issue":
        webhook.add(BillingEvent.BILLING_RECOVERED, order=order)
    elif webhook.notification.number == _RECOVERED and history.get("status") is None:
        collector.skip(
            f"billing_recovered: {webhook.get_reason()}, and the end of a pause looks the same "
            "(pass previous=)"
        )
    return changes


def _cancel(webhook: _Webhook) -> dict[str, Any]:
    """Decide SUBSCRIPTION_CANCELED and SUBSCRIPTION_CANCELLATION_SCHEDULED."""
    purchase, collector = webhook.purchase, webhook.collector
    is_scheduled = webhook.notification.number == _SCHEDULED
    if purchase.is_replaced:
        collector.skip("a change of plan, no cancellation: another purchase replaced this one")
        return {}
    changes = {"auto_renew": False}
    if not is_scheduled and purchase.ends_at is not None and purchase.ends_at <= webhook.at:
        collector.skip("access has ended already: SUBSCRIPTION_EXPIRED reports it")
        return changes
    if purchase.is_installment and webhook.history.get("auto_renew") is False:
        collector.skip("the cancellation was reported when it was scheduled")
        return changes
    # Its end is the end of the commitment, which the purchase does not have. An active purchase
    # was restored since, and may have a later period.
    is_known = not is_scheduled and not purchase.has_access
    reason = purchase.cancel_reason
    if webhook.is_unpaid:
        event, ends = BillingEvent.TRIAL_AUTO_RENEW_DISABLED, "trial_ends_at"
    else:
        event, ends = BillingEvent.AUTO_RENEW_DISABLED, "access_ends_at"
    webhook.add(event, period=ends if is_known else "", store_cancel_reason=reason)
    return changes


def _restore(webhook: _Webhook) -> dict[str, Any]:
    """Decide SUBSCRIPTION_RESTARTED."""
    webhook.add(BillingEvent.AUTO_RENEW_ENABLED)
    return {"auto_renew": True}


def _fail(webhook: _Webhook) -> dict[str, Any]:
    """Decide SUBSCRIPTION_IN_GRACE_PERIOD and SUBSCRIPTION_ON_HOLD, which may follow it."""
    purchase, history = webhook.purchase, webhook.history
    if history.get("status") == "issue":
        webhook.collector.skip("the issue was reported by an earlier webhook")
        return {}
    # The last order that was paid: the same for both notifications. An active purchase has
    # recovered since, and may have another.
    order = None if purchase.is_active else purchase.order
    price, currency = purchase.get_price()
    # Google extends expiryTime while the grace period lasts, so it is not the end of it.
    has_access = webhook.notification.number == _GRACE
    event = BillingEvent.BILLING_ISSUE_STARTED
    webhook.add(event, order=order, has_access=has_access, price=price, currency=currency)
    return {"status": "issue", "unpaid": webhook.is_unpaid or None}


def _end(webhook: _Webhook) -> dict[str, Any]:
    """Decide SUBSCRIPTION_EXPIRED and SUBSCRIPTION_REVOKED."""
    purchase, history, collector = webhook.purchase, webhook.history, webhook.collector
    if purchase.is_replaced:
        collector.skip("a change of plan, no end: another purchase replaced this one")
        return {}
    if history.get("status") == "ended":
        collector.skip("the end was reported by an earlier webhook")
        return {}
    if purchase.has_access and webhook.ends_at is not None:
        collector.skip("the purchase gives access, so the membership has not ended")
        return {}
    reason = purchase.end_reason or ("billing" if history.get("status") == "issue" else None)
    if webhook.notification.number == _REVOKED:
        # Google refunds what it revokes: by a refund, a chargeback, or because the purchase was
        # not acknowledged.
        reason = None if webhook.is_unpaid else "refund"
    webhook.add(BillingEvent.MEMBERSHIP_ENDED, order=purchase.order, end_reason=reason)
    return {"status": "ended", "auto_renew": False, "unpaid": None}


def _void(webhook: _Webhook) -> dict[str, Any]:
    """Decide a voided purchase: it names the order, and no amount."""
    order = webhook.notification.order
    is_first = order is not None and ".." not in order
    if is_first and webhook.is_unpaid:
        webhook.collector.skip("the order of a free trial was voided: nothing was paid")
        return {}
    webhook.add(BillingEvent.REFUND_GRANTED, order=order, transaction_id=order)
    return {}


_DECISIONS: dict[int, Callable[[_Webhook], dict[str, Any]]] = {
    _RECOVERED: _renew,
    2: _renew,
    _CANCELED: _cancel,
    4: _start,
    _HOLD: _fail,
    _GRACE: _fail,
    7: _restore,
    _REVOKED: _end,
    13: _end,
    _SCHEDULED: _cancel,
}
