"""Makes billing signals of the App Store Server Notifications, version 2.

Most notifications decide alone. `previous` is needed for one thing: a renewal does not say that the
period before it was a free trial.

A family member does not pay. A notification about one means a membership that starts or ends; what
the purchaser pays or cancels comes in the purchaser's own notification.

Facts about Apple are from its documentation,
https://developer.apple.com/documentation/appstoreservernotifications: the pages "notificationType",
"subtype", "price", "revocationPercentage", and those of the decoded transaction and renewal.

.. versionadded:: 1.0
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from . import BillingEvent
from ._app_store import (
    NOT_SUBSCRIPTIONS,
    Notification,
    get_facts,
    get_money,
    get_refund,
    get_trial_days,
    is_conversion,
)
from ._collector import Collector, Source, UserFields
from ._fields import Fields, PayloadError, format_time, read_payload
from ._history import History
from ._signals import Signals, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._history import Previous

__all__ = ["signals"]

_NOT_VERIFIED = (
    "the body is signed and not yet verified: pass what SignedDataVerifier."
    "verify_and_decode_notification returns for its signedPayload"
)
_NOT_FOR_PAYER = "a family member: only the start and the end of access are theirs"
_REVOKED = 5  # of "status"
_END_REASONS = {
    "VOLUNTARY": "voluntary",
    "BILLING_RETRY": "billing",
    "PRICE_INCREASE": "price_increase",
    "PRODUCT_NOT_FOR_SALE": "product_unavailable",
}
# By "expirationIntent".
_INTENT_END_REASONS = {1: "voluntary", 2: "billing", 3: "price_increase", 4: "product_unavailable"}
_INTENT_CANCEL_REASONS = {1: "unsubscribe", 2: "billing_error", 3: "price_increase"}

_REASONS = {
    "CONSUMPTION_REQUEST": "a customer asks Apple for a refund: REFUND tells if it is granted",
    "EXTERNAL_PURCHASE_TOKEN": "a token of an external purchase is no change of a subscription",
    "GRACE_PERIOD_EXPIRED": "the grace period is over and Apple retries the payment: EXPIRED or "
    "DID_RENEW tells how it ends",
    "METADATA_UPDATE": "the metadata changed, not the subscription",
    "MIGRATION": "the subscription moved to the Advanced Commerce API and goes on",
    "ONE_TIME_CHARGE": "a purchase that does not renew is no subscription",
    "PRICE_CHANGE": "a change of the price is announced: no billing event says it",
    "PRICE_INCREASE": "a change of the price is announced: no billing event says it",
    "REFUND_DECLINED": "no refund was granted",
    "REFUND_REVERSED": "a refund is taken back: no billing event says it",
    "RENEWAL_EXTENDED": "you extended the period: no billing event says it",
    "RENEWAL_EXTENSION": "you asked to extend periods: no billing event says it",
    "RESCIND_CONSENT": "a parent withdrew consent: no billing event says it",
    "TEST": "a test notification, which you asked for",
}


def signals(
    payload: object,
    *,
    previous: Previous = None,
    user_of: Callable[[str], object] | None = None,
    user_of_token: Callable[[str], object] | None = None,
) -> Signals:
    """Return what an App Store Server Notification means.

    Never raises for a payload: what is not understood is in `skipped`, with the reason. What the
    functions that you pass raise is passed on, so that your webhook fails and Apple sends the
    notification again.

    Args:
        payload: What `SignedDataVerifier.verify_and_decode_notification` of Apple's package
            returns, or the same as a dict or JSON. The transaction and the renewal inside may be
            signed, as Apple sends them, or decoded objects. The body of the request, with
            `signedPayload`, is skipped: its signature is not verified yet.
        previous: The stored state of the subscription, or a function that returns the state of a
            key, such as `states.get`.
        user_of: Returns your id of the user for an `originalTransactionId`, or None. It is called
            only if neither `appAccountToken` nor the state has the user.
        user_of_token: Returns your id of the user for an `appAccountToken`, or None. Without it,
            the token is your id of the user.

    Returns:
        The signals, what was skipped, and the state to store.

    .. versionadded:: 1.0
    """
    try:
        fields = read_payload(payload)
    except PayloadError as error:
        unread = isinstance(payload, (bytes, bytearray, memoryview, str))
        return Signals(skipped=[Skipped("", _NOT_VERIFIED if unread else str(error))])
    kind = _read_name(fields, "notificationType")
    subtype = _read_name(fields, "subtype")
    name = f"{kind}/{subtype}" if subtype else kind
    event_id, at = fields.text("notificationUUID"), fields.millis("signedDate")
    if not kind or event_id is None or at is None:
        return Signals(skipped=[Skipped(name, _describe_other(fields))])
    data = fields.object("data")
    transaction, renewal = (_decode(data, f"signed{one}Info") for one in ("Transaction", "Renewal"))
    subscription = transaction.text("originalTransactionId")
    is_other = transaction.text("type") in NOT_SUBSCRIPTIONS
    key = None if subscription is None or is_other else f"app_store:{subscription}"
    history = History(previous, key, event_id, at)
    environment = data.text("environment") or transaction.text("environment")
    token = transaction.text("appAccountToken")
    if token is None and transaction.text("inAppOwnershipType") != "FAMILY_SHARED":
        token = renewal.text("appAccountToken")
    found = Collector(
        Source("app_store", event_id, name, at, environment not in (None, "Production")),
        history,
        _get_user_fields(token, subscription, user_of, user_of_token),
    )
    one = Notification(kind, subtype, at, data, transaction, renewal, history, found)
    _read(one)
    return found.finish(**get_facts(one))


def _get_user_fields(
    token: str | None,
    subscription: str | None,
    user_of: Callable[[str], object] | None,
    user_of_token: Callable[[str], object] | None,
) -> UserFields:
    """Return where the user is: the token, or what the caller's functions return."""
    if token is None or user_of_token is None:
        return UserFields({"appAccountToken": token}, user_of, subscription)

    def find(subscription: str) -> object:
        user = user_of_token(token)
        return user_of(subscription) if user is None and user_of is not None else user

    return UserFields({"appAccountToken": None}, find, subscription)


def _read(one: Notification) -> None:
    """Add the signals of a notification, or the reason why it has none."""
    found, read = one.found, _READERS.get(one.kind)
    if read is None:
        unknown = "no notification that this version knows"
        found.skip(_REASONS.get(one.kind, unknown))
    elif one.history.is_repeated:
        found.skip(one.history.reason)
    elif one.transaction.text("transactionId") is None:
        found.skip("no transaction can be read of data.signedTransactionInfo")
    elif one.transaction.text("type") in NOT_SUBSCRIPTIONS:
        found.skip("a purchase that does not renew is no subscription")
    elif one.is_family and one.kind not in ("SUBSCRIBED", "OFFER_REDEEMED", "EXPIRED", "REVOKE"):
        found.skip(_NOT_FOR_PAYER)
    else:
        read(one)


def _read_start(one: Notification) -> None:
    """SUBSCRIBED, for a free trial as well as for a paid start."""
    transaction, ends_at = one.transaction, format_time(one.transaction.millis("expiresDate"))
    if one.is_free and not one.is_family:
        trial = {"trial_length_days": get_trial_days(transaction), "trial_ends_at": ends_at}
        _add(one, BillingEvent.TRIAL_STARTED, trial)
        return
    subtypes = {"RESUBSCRIBE": True, "INITIAL_BUY": False}
    owners = {"PURCHASED": "self_subscription", "FAMILY_SHARED": "family_share"}
    start = {
        "is_resubscribe": subtypes.get(one.subtype),
        "access_source": owners.get(transaction.text("inAppOwnershipType") or ""),
        "current_period_ends_at": ends_at,
    }
    _add(one, BillingEvent.MEMBERSHIP_STARTED, start)


def _read_offer(one: Notification) -> None:
    """OFFER_REDEEMED: a start in its older form, else an offer for an active subscription."""
    if one.subtype in ("INITIAL_BUY", "RESUBSCRIBE"):
        _read_start(one)
    elif one.is_family:
        one.found.skip(_NOT_FOR_PAYER)
    else:
        _read_plan(one)


def _read_plan(one: Notification) -> None:
    """DID_CHANGE_RENEWAL_PREF: an upgrade begins a period at once, which may be the first paid."""
    if one.subtype != "UPGRADE" or one.is_free:
        one.found.skip("an active subscription changes: no billing event says it")
    elif is_conversion(one):
        _add_period(one, BillingEvent.TRIAL_CONVERTED)
    elif one.history.known:
        one.found.skip("a paying subscriber changes the plan: no billing event says it")
    else:
        one.found.skip(
            f"a change of plan; whether it ends a trial is not known: {one.history.reason}"
        )


def _read_renewal(one: Notification) -> None:
    """DID_RENEW: a renewal or the first paid period, and a recovery too."""
    if one.subtype == "BILLING_RECOVERY" or one.history.get("status") == "issue":
        _add(one, BillingEvent.BILLING_RECOVERED)
    if one.is_free:
        one.found.skip("the new period is free: nothing was paid")
    elif is_conversion(one):
        _add_period(one, BillingEvent.TRIAL_CONVERTED)
    else:
        _add_period(one, BillingEvent.RENEWAL_SUCCEEDED)


def _read_auto_renew(one: Notification) -> None:
    """DID_CHANGE_RENEWAL_STATUS."""
    if one.auto_renew is None:
        one.found.skip("neither the subtype nor autoRenewStatus says what changed")
    elif one.auto_renew:
        _add(one, BillingEvent.AUTO_RENEW_ENABLED, is_once=False)
    else:
        _add_cancellation(one)


def _add_cancellation(one: Notification) -> None:
    # The subtype does not say why: Apple also turns the renewal off after a request for a refund.
    intent = one.renewal.integer("expirationIntent")
    why = {"store_cancel_reason": _INTENT_CANCEL_REASONS.get(intent or 0)}
    expires = one.transaction.millis("expiresDate")
    if one.is_trial:
        trial = {"trial_ends_at": format_time(expires), **why}
        _add(one, BillingEvent.TRIAL_AUTO_RENEW_DISABLED, trial, is_once=False)
        return
    ends = one.renewal.millis("gracePeriodExpiresDate") or expires
    if one.transaction.has("commitmentInfo"):  # months that are still due after a cancellation
        ends = None
    access = {"access_ends_at": format_time(ends), **why}
    _add(one, BillingEvent.AUTO_RENEW_DISABLED, access, is_once=False)


def _read_failure(one: Notification) -> None:
    """DID_FAIL_TO_RENEW. The amount and the plan are those of the renewal that failed."""
    grace = one.renewal.millis("gracePeriodExpiresDate")
    expires = one.transaction.millis("expiresDate")
    has_access = one.subtype == "GRACE_PERIOD" or any(
        end is not None and end > one.at for end in (grace, expires)
    )
    price, currency = get_money(one.renewal, "renewalPrice")
    failure = {
        "has_access": has_access,
        "grace_ends_at": format_time(grace),
        "plan_id": one.renewal.text("autoRenewProductId") or one.transaction.text("productId"),
        "price": price,
        "currency": currency,
        "transaction_id": None,
    }
    _add(one, BillingEvent.BILLING_ISSUE_STARTED, failure)


def _read_end(one: Notification) -> None:
    """EXPIRED."""
    was_ended = one.history.get("status") == "ended"
    if was_ended and one.transaction.has("revocationDate"):
        one.found.skip("the refund of this period ended the membership before")
        return
    intent = one.renewal.integer("expirationIntent")
    reason = _END_REASONS.get(one.subtype) or _INTENT_END_REASONS.get(intent or 0, "other")
    _add(one, BillingEvent.MEMBERSHIP_ENDED, {"end_reason": reason})


def _read_revocation(one: Notification) -> None:
    """REVOKE: a family member loses access."""
    is_refund = (one.transaction.text("revocationType") or "").startswith("REFUND_")
    _add(one, BillingEvent.MEMBERSHIP_ENDED, {"end_reason": "refund" if is_refund else "other"})


def _read_refund(one: Notification) -> None:
    """REFUND, which also ends the membership if the period was not over."""
    _add(one, BillingEvent.REFUND_GRANTED, {"price": get_refund(one.transaction)})
    expires = one.transaction.millis("expiresDate")
    is_over = expires is None or expires <= one.at or one.history.get("status") == "ended"
    if one.data.integer("status") == _REVOKED and not is_over:
        _add(one, BillingEvent.MEMBERSHIP_ENDED, {"end_reason": "refund"})


_READERS: dict[str, Callable[[Notification], None]] = {
    "DID_CHANGE_RENEWAL_PREF": _read_plan,
    "DID_CHANGE_RENEWAL_STATUS": _read_auto_renew,
    "DID_FAIL_TO_RENEW": _read_failure,
    "DID_RENEW": _read_renewal,
    "EXPIRED": _read_end,
    "OFFER_REDEEMED": _read_offer,
    "REFUND": _read_refund,
    "REVOKE": _read_revocation,
    "SUBSCRIBED": _read_start,
}


def _add_period(one: Notification, event_type: str) -> None:
    ends_at = format_time(one.transaction.millis("expiresDate"))
    _add(one, event_type, {"current_period_ends_at": ends_at})


def _add(
    one: Notification,
    event_type: str,
    properties: Mapping[str, object] | None = None,
    *,
    is_once: bool = True,
) -> None:
    """Add a signal with what all signals have.

    `is_once` is False for what may happen again and again in the period of a transaction: it has no
    occurrence, which would count the second time as the first.
    """
    transaction = one.transaction
    price, currency = (None, None) if one.is_family else get_money(transaction, "price")
    common = {
        "plan_id": transaction.text("productId"),
        "price": price,
        "currency": currency,
        "transaction_id": transaction.text("transactionId"),
        "store": "app_store",
    }
    occurrence = f"app_store:{common['transaction_id']}" if is_once else None
    one.found.add(event_type, {**common, **(properties or {})}, occurrence=occurrence)


def _read_name(fields: Fields, name: str) -> str:
    """Return a type; Apple's package keeps one that it does not know in a `raw` field."""
    return fields.text(name) or fields.text(f"raw{name[0].upper()}{name[1:]}") or ""


def _decode(data: Fields, name: str) -> Fields:
    """Return the object inside a JWS, or one that is decoded; an empty one if it cannot be read.

    The signature is not checked: the JWS is a part of the payload, which is verified.
    """
    signed = data.value(name)
    if not isinstance(signed, str):
        return data.object(name)
    parts = signed.split(".")
    try:
        found = json.loads(base64.urlsafe_b64decode(f"{parts[1]}===")) if len(parts) > 1 else None
    except (ValueError, RecursionError):
        found = None
    return Fields(found if isinstance(found, dict) else {})


def _describe_other(fields: Fields) -> str:
    """Return why a payload without a type, an id or a time has no signals."""
    if fields.has("signedPayload"):
        return _NOT_VERIFIED
    if fields.has("notification_type"):
        return "a notification of version 1: choose version 2 in App Store Connect"
    return "no notification: notificationType, notificationUUID or signedDate is missing"
