"""Notifications of the App Store, version 2: as Apple's package returns them, verified.

The transaction and the renewal are objects here, so that tests can break their fields; Apple sends
them signed, see `sign`.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.billing.cases import NOW, Case

if TYPE_CHECKING:
    from datetime import datetime

TOKEN = "5d1c0f2e-7a44-4c1b-9a55-0c0e8d3f6b21"
FIRST, SECOND = "700000100000001", "700000100000002"


def to_millis(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def to_text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


START, WEEK, MONTH = NOW, NOW + timedelta(days=7), NOW + timedelta(days=30)


def make_transaction(**changes: Any) -> dict[str, Any]:
    """Return the transaction of a paid month that begins now; None removes a field."""
    fields = {
        "transactionId": SECOND,
        "originalTransactionId": FIRST,
        "webOrderLineItemId": "700000200000002",
        "bundleId": "com.example.reader",
        "productId": "reader.pro.monthly",
        "subscriptionGroupIdentifier": "20990001",
        "purchaseDate": to_millis(START),
        "originalPurchaseDate": to_millis(START - timedelta(days=60)),
        "expiresDate": to_millis(MONTH),
        "quantity": 1,
        "type": "Auto-Renewable Subscription",
        "appAccountToken": TOKEN,
        "inAppOwnershipType": "PURCHASED",
        "signedDate": to_millis(NOW),
        "environment": "Production",
        "transactionReason": "RENEWAL",
        "storefront": "DEU",
        "storefrontId": "143443",
        "price": 9990,
        "currency": "EUR",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def make_trial(**changes: Any) -> dict[str, Any]:
    """Return the transaction of a free week, the first of its subscription."""
    fields = {
        "transactionId": FIRST,
        "originalPurchaseDate": to_millis(START),
        "expiresDate": to_millis(WEEK),
        "transactionReason": "PURCHASE",
        "price": 0,
        "offerType": 1,
        "offerDiscountType": "FREE_TRIAL",
        "offerPeriod": "P1W",
        **changes,
    }
    return make_transaction(**fields)


def make_family(**changes: Any) -> dict[str, Any]:
    """Return the transaction of a family member, which has no token."""
    return make_transaction(inAppOwnershipType="FAMILY_SHARED", appAccountToken=None, **changes)


def make_notification(
    kind: str,
    subtype: str | None = None,
    transaction: dict[str, Any] | None = None,
    renewal: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a notification; `changes` are fields of it, `data` changes those of its data."""
    data = {
        "environment": "Production",
        "appAppleId": 1230000000,
        "bundleId": "com.example.reader",
        "bundleVersion": "42",
        "status": 1,
        "signedTransactionInfo": make_transaction() if transaction is None else transaction,
        "signedRenewalInfo": {
            "originalTransactionId": FIRST,
            "autoRenewProductId": "reader.pro.monthly",
            "productId": "reader.pro.monthly",
            "autoRenewStatus": 1,
            "isInBillingRetryPeriod": False,
            "signedDate": to_millis(NOW),
            "environment": "Production",
            "renewalDate": to_millis(MONTH),
            "renewalPrice": 9990,
            "currency": "EUR",
            **(renewal or {}),
        },
        **(changes.pop("data", None) or {}),
    }
    fields = {
        "notificationType": kind,
        "subtype": subtype,
        "notificationUUID": f"0c4f8a10-0000-4000-8000-{len(kind):04}{len(subtype or ''):08}",
        "data": data,
        "version": "2.0",
        "signedDate": to_millis(NOW),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def make_bare(kind: str, subtype: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a notification that has `fields` in place of the data of a subscription."""
    payload = make_notification(kind, subtype, **fields)
    return {name: value for name, value in payload.items() if name != "data"} | fields


def sign(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a notification with its transaction and renewal as Apple sends them.

    The signatures are not real: the module reads them only inside a verified notification.
    """
    if "data" not in payload:
        return payload
    data = dict(payload["data"])
    for name in ("signedTransactionInfo", "signedRenewalInfo"):
        if isinstance(data.get(name), dict):
            data[name] = make_jws(data[name])
    return {**payload, "data": data}


def make_jws(body: dict[str, Any]) -> str:
    parts = [{"alg": "ES256", "x5c": ["bGVhZg=="]}, body]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(text.rstrip("=") for text in texts), "c2lnbmF0dXJl"])


def make_state(**facts: Any) -> dict[str, Any]:
    """Return a stored state of two days before."""
    about = {
        "key": f"app_store:{FIRST}",
        "at": to_text(NOW - timedelta(days=2)),
        "event": "0c4f8a10-0000-4000-8000-00000000aaaa",
        "before": {},
        "handled": ["0c4f8a10-0000-4000-8000-00000000aaaa"],
    }
    return {**about, **facts}


TRIAL = make_state(user=TOKEN, status="trial", auto_renew=True)
UNPAID = make_state(user=TOKEN, status="issue", auto_renew=True)
PAID = make_state(user=TOKEN, status="active", auto_renew=True, paid_by=FIRST)
ISSUE = make_state(user=TOKEN, status="issue", auto_renew=True, paid_by=FIRST)
ENDED = make_state(user=TOKEN, status="ended", auto_renew=False, paid_by=FIRST)

COMMON: dict[str, object] = {
    "plan_id": "reader.pro.monthly",
    "price": Decimal("9.99"),
    "currency": "EUR",
    "transaction_id": SECOND,
    "store": "app_store",
}
FREE = {**COMMON, "price": Decimal(0), "transaction_id": FIRST}
NO_PRICE = {name: COMMON[name] for name in ("plan_id", "transaction_id", "store")}
PERIOD = {**COMMON, "current_period_ends_at": to_text(MONTH)}
FAILED = {name: value for name, value in COMMON.items() if name != "transaction_id"}
TRIAL_ENDS = {**FREE, "trial_ends_at": to_text(WEEK)}
STARTED = {**TRIAL_ENDS, "trial_length_days": 7}
MEMBER = {**PERIOD, "access_source": "self_subscription"}
FAMILY = {
    **NO_PRICE,
    "access_source": "family_share",
    "is_resubscribe": False,
    "current_period_ends_at": to_text(MONTH),
}
PURCHASE = make_transaction(transactionReason="PURCHASE")
USER_OF = {"user_of": {FIRST: "user_8842"}.get}
STATUS = "DID_CHANGE_RENEWAL_STATUS"
PREFERENCE = "DID_CHANGE_RENEWAL_PREF"
REVOKED = {"status": 5}
DAY_AGO = to_millis(NOW - timedelta(days=1))


def key(transaction: str, *events: str) -> dict[str, str]:
    return {event: f"app_store:{transaction}:{event}" for event in events}


STARTS = [
    Case(
        "a first purchase with a free trial starts a trial",
        make_notification("SUBSCRIBED", "INITIAL_BUY", make_trial()),
        {"trial_started": STARTED},
        occurrences=key(FIRST, "trial_started"),
    ),
    Case(
        "a trial of a month has the days between its dates",
        make_notification(
            "SUBSCRIBED",
            "INITIAL_BUY",
            make_trial(offerPeriod="P1M", expiresDate=to_millis(MONTH)),
        ),
        {"trial_started": {**STARTED, "trial_length_days": 30, "trial_ends_at": to_text(MONTH)}},
    ),
    Case(
        "a trial of a week in the sandbox is minutes long and has 7 days",
        make_notification(
            "SUBSCRIBED",
            "INITIAL_BUY",
            make_trial(expiresDate=to_millis(START + timedelta(minutes=3))),
            data={"environment": "Sandbox"},
        ),
        {
            "trial_started": {
                **STARTED,
                "trial_ends_at": to_text(START + timedelta(minutes=3)),
            }
        },
    ),
    Case(
        "an offer of a free trial wins a former member back as a trial",
        make_notification("SUBSCRIBED", "RESUBSCRIBE", make_trial(offerType=4)),
        {"trial_started": STARTED},
        previous=ENDED,
    ),
    Case(
        "a first purchase without a free trial starts a membership",
        make_notification("SUBSCRIBED", "INITIAL_BUY", PURCHASE),
        {"membership_started": {**MEMBER, "is_resubscribe": False}},
        occurrences=key(SECOND, "membership_started"),
    ),
    Case(
        "a purchase after the end is a resubscription",
        make_notification("SUBSCRIBED", "RESUBSCRIBE", PURCHASE),
        {"membership_started": {**MEMBER, "is_resubscribe": True}},
        previous=ENDED,
    ),
    Case(
        "an introductory price that is paid is no trial",
        make_notification(
            "SUBSCRIBED",
            "INITIAL_BUY",
            make_transaction(price=990, offerType=1, offerDiscountType="PAY_AS_YOU_GO"),
        ),
        {"membership_started": {**MEMBER, "is_resubscribe": False, "price": Decimal("0.99")}},
    ),
    Case(
        "a price in yen has thousandths too",
        make_notification(
            "SUBSCRIBED", "INITIAL_BUY", make_transaction(price=1200000, currency="JPY")
        ),
        {
            "membership_started": {
                **MEMBER,
                "is_resubscribe": False,
                "price": Decimal(1200),
                "currency": "JPY",
            }
        },
    ),
    Case(
        "a family member becomes a member without a price",
        make_notification("SUBSCRIBED", "INITIAL_BUY", make_family()),
        {"membership_started": FAMILY},
        arguments=USER_OF,
    ),
    Case(
        "a family member of a purchaser in a trial becomes a member",
        make_notification("SUBSCRIBED", "INITIAL_BUY", make_family(offerDiscountType="FREE_TRIAL")),
        {"membership_started": FAMILY},
        arguments=USER_OF,
    ),
    Case(
        "an offer that was redeemed for a first purchase is a start in its older form",
        make_notification("OFFER_REDEEMED", "INITIAL_BUY", make_trial(offerType=3)),
        {"trial_started": STARTED},
    ),
    Case(
        "an offer that brings a former member back is a resubscription in its older form",
        make_notification("OFFER_REDEEMED", "RESUBSCRIBE", PURCHASE),
        {"membership_started": {**MEMBER, "is_resubscribe": True}},
    ),
    Case(
        "the renewal has the token where the transaction has none",
        make_notification(
            "SUBSCRIBED",
            "INITIAL_BUY",
            make_transaction(appAccountToken=None),
            {"appAccountToken": TOKEN},
        ),
        {"membership_started": {**MEMBER, "is_resubscribe": False}},
    ),
    Case(
        "user_of finds the user by the original transaction",
        make_notification("SUBSCRIBED", "INITIAL_BUY", make_transaction(appAccountToken=None)),
        {"membership_started": {**MEMBER, "is_resubscribe": False}},
        arguments=USER_OF,
    ),
    Case(
        "a start without a user is skipped",
        make_notification("SUBSCRIBED", "INITIAL_BUY", make_transaction(appAccountToken=None)),
        reason="no user in appAccountToken, and user_of is not given",
    ),
]

PERIODS = [
    Case(
        "a renewal without a state is a renewal",
        make_notification("DID_RENEW"),
        {"renewal_succeeded": PERIOD},
        occurrences=key(SECOND, "renewal_succeeded"),
    ),
    Case(
        "a renewal of a paying member is a renewal",
        make_notification("DID_RENEW"),
        {"renewal_succeeded": PERIOD},
        previous=PAID,
    ),
    Case(
        "the first renewal after a trial is a conversion",
        make_notification("DID_RENEW"),
        {"trial_converted": PERIOD},
        previous=TRIAL,
        occurrences=key(SECOND, "trial_converted"),
    ),
    Case(
        "a payment that works again is a recovery and a renewal",
        make_notification("DID_RENEW", "BILLING_RECOVERY"),
        {"renewal_succeeded": PERIOD, "billing_recovered": COMMON},
        occurrences=key(SECOND, "renewal_succeeded", "billing_recovered"),
    ),
    Case(
        "the first payment after a trial that works at last is a recovery and a conversion",
        make_notification("DID_RENEW", "BILLING_RECOVERY"),
        {"trial_converted": PERIOD, "billing_recovered": COMMON},
        previous=UNPAID,
    ),
    Case(
        "a renewal after a known issue is a recovery too",
        make_notification("DID_RENEW"),
        {"renewal_succeeded": PERIOD, "billing_recovered": COMMON},
        previous=ISSUE,
    ),
    Case(
        "a free period of an offer is no renewal",
        make_notification(
            "DID_RENEW", None, make_transaction(price=0, offerDiscountType="FREE_TRIAL")
        ),
        reason="the new period is free",
    ),
    Case(
        "an upgrade out of a trial is a conversion",
        make_notification(PREFERENCE, "UPGRADE", PURCHASE),
        {"trial_converted": PERIOD},
        previous=TRIAL,
    ),
    Case(
        "an upgrade of a paying member is no event",
        make_notification(PREFERENCE, "UPGRADE", PURCHASE),
        reason="a paying subscriber changes the plan",
        previous=PAID,
    ),
    Case(
        "an upgrade without a state is skipped",
        make_notification(PREFERENCE, "UPGRADE", PURCHASE),
        reason="whether it ends a trial is not known: there is no previous state",
    ),
    Case(
        "a downgrade begins at the next renewal",
        make_notification(PREFERENCE, "DOWNGRADE"),
        reason="an active subscription changes",
    ),
    Case(
        "a downgrade that is taken back is no event",
        make_notification(PREFERENCE),
        reason="an active subscription changes",
    ),
    Case(
        "an offer with an upgrade out of a trial is a conversion",
        make_notification("OFFER_REDEEMED", "UPGRADE", PURCHASE),
        {"trial_converted": PERIOD},
        previous=TRIAL,
    ),
    Case(
        "an offer for an active subscription starts nothing",
        make_notification("OFFER_REDEEMED", None, make_trial(offerType=2)),
        reason="an active subscription changes",
    ),
    Case(
        "an offer of a family's purchaser is not the member's",
        make_notification("OFFER_REDEEMED", None, make_family()),
        reason="a family member",
        arguments=USER_OF,
    ),
]

CHANGES = [
    Case(
        "a cancellation in a trial",
        make_notification(STATUS, "AUTO_RENEW_DISABLED", make_trial(), {"autoRenewStatus": 0}),
        {"trial_auto_renew_disabled": TRIAL_ENDS},
    ),
    Case(
        "a cancellation in a free period of a paying member is no cancellation of a trial",
        make_notification(STATUS, "AUTO_RENEW_DISABLED", make_trial(), {"autoRenewStatus": 0}),
        {"auto_renew_disabled": {**FREE, "access_ends_at": to_text(WEEK)}},
        previous=PAID,
    ),
    Case(
        "a cancellation of a paying member",
        make_notification(STATUS, "AUTO_RENEW_DISABLED", renewal={"autoRenewStatus": 0}),
        {"auto_renew_disabled": {**COMMON, "access_ends_at": to_text(MONTH)}},
    ),
    Case(
        "a cancellation without a subtype is read from the renewal",
        make_notification(STATUS, None, None, {"autoRenewStatus": 0, "expirationIntent": 3}),
        {
            "auto_renew_disabled": {
                **COMMON,
                "access_ends_at": to_text(MONTH),
                "store_cancel_reason": "price_increase",
            }
        },
    ),
    Case(
        "a cancellation with months that are still due has no end of access",
        make_notification(
            STATUS,
            "AUTO_RENEW_DISABLED",
            make_transaction(billingPlanType="MONTHLY", commitmentInfo={"billingPeriodNumber": 2}),
        ),
        {"auto_renew_disabled": COMMON},
    ),
    Case(
        "a cancellation that is taken back",
        make_notification(STATUS, "AUTO_RENEW_ENABLED"),
        {"auto_renew_enabled": COMMON},
    ),
    Case(
        "a change of the renewal that does not say which is skipped",
        make_notification(STATUS, renewal={"autoRenewStatus": None}),
        reason="neither the subtype nor autoRenewStatus",
    ),
    Case(
        "a cancellation of a family's purchaser is not the member's",
        make_notification(STATUS, "AUTO_RENEW_DISABLED", make_family()),
        reason="a family member",
        arguments=USER_OF,
    ),
    Case(
        "a failed payment without a grace period",
        make_notification(
            "DID_FAIL_TO_RENEW",
            transaction=make_transaction(expiresDate=DAY_AGO),
            renewal={"isInBillingRetryPeriod": True, "renewalPrice": 11990},
            data={"status": 3},
        ),
        {"billing_issue_started": {**FAILED, "price": Decimal("11.99"), "has_access": False}},
        occurrences=key(SECOND, "billing_issue_started"),
    ),
    Case(
        "a failed payment with a grace period",
        make_notification(
            "DID_FAIL_TO_RENEW",
            "GRACE_PERIOD",
            make_transaction(expiresDate=DAY_AGO),
            {"gracePeriodExpiresDate": to_millis(WEEK)},
            data={"status": 4},
        ),
        {
            "billing_issue_started": {
                **FAILED,
                "has_access": True,
                "grace_ends_at": to_text(WEEK),
            }
        },
    ),
    Case(
        "a failed payment of a family's purchaser is not the member's",
        make_notification("DID_FAIL_TO_RENEW", None, make_family()),
        reason="a family member",
        arguments=USER_OF,
    ),
    Case(
        "the end of a grace period is not the end",
        make_notification("GRACE_PERIOD_EXPIRED", data={"status": 3}),
        reason="Apple retries the payment",
    ),
]

ENDS = [
    *(
        Case(
            f"a subscription expires: {subtype or intent}",
            make_notification("EXPIRED", subtype, None, {"expirationIntent": intent}),
            {"membership_ended": {**COMMON, "end_reason": reason}},
            occurrences=key(SECOND, "membership_ended"),
        )
        for subtype, intent, reason in (
            ("VOLUNTARY", 1, "voluntary"),
            ("BILLING_RETRY", 2, "billing"),
            ("PRICE_INCREASE", 3, "price_increase"),
            ("PRODUCT_NOT_FOR_SALE", 4, "product_unavailable"),
            (None, 1, "voluntary"),
            (None, 5, "other"),
            (None, None, "other"),
        )
    ),
    Case(
        "a family member loses access",
        make_notification("REVOKE", None, make_family(revocationDate=to_millis(NOW)), data=REVOKED),
        {"membership_ended": {**NO_PRICE, "end_reason": "other"}},
        arguments=USER_OF,
    ),
    Case(
        "a family member loses access by a refund",
        make_notification("REVOKE", None, make_family(revocationType="REFUND_FULL")),
        {"membership_ended": {**NO_PRICE, "end_reason": "refund"}},
        arguments=USER_OF,
    ),
    Case(
        "a refund of the current period ends the membership",
        make_notification("REFUND", data=REVOKED),
        {"refund_granted": COMMON, "membership_ended": {**COMMON, "end_reason": "refund"}},
        occurrences=key(SECOND, "refund_granted", "membership_ended"),
    ),
    Case(
        "a refund of an earlier period ends nothing",
        make_notification("REFUND", None, make_transaction(expiresDate=DAY_AGO)),
        {"refund_granted": COMMON},
        previous=PAID,
    ),
    Case(
        "a refund after the end does not end again",
        make_notification("REFUND", None, make_transaction(expiresDate=DAY_AGO), data=REVOKED),
        {"refund_granted": COMMON},
    ),
    Case(
        "a refund of a part has the amount of the part",
        make_notification(
            "REFUND",
            None,
            make_transaction(revocationType="REFUND_PRORATED", revocationPercentage=67932),
        ),
        {"refund_granted": {**COMMON, "price": Decimal("6.79")}},
    ),
    Case(
        "a refund of all has the price",
        make_notification(
            "REFUND",
            None,
            make_transaction(revocationType="REFUND_FULL", revocationPercentage=100000),
        ),
        {"refund_granted": COMMON},
    ),
    Case(
        "a refund of an unknown part has no amount",
        make_notification("REFUND", None, make_transaction(revocationType="REFUND_PRORATED")),
        {"refund_granted": {**NO_PRICE, "currency": "EUR"}},
    ),
    Case(
        "a refund of what is no subscription is skipped",
        make_notification("REFUND", None, make_transaction(type="Consumable", expiresDate=None)),
        reason="no subscription",
    ),
    Case(
        "an end after the refund that ended it is skipped",
        make_notification("EXPIRED", "VOLUNTARY", make_transaction(revocationDate=DAY_AGO)),
        reason="the refund of this period ended the membership before",
        previous=ENDED,
    ),
]

OTHERS = [
    *(
        Case(f"{kind} {subtype or ''} is no event", make_notification(kind, subtype), reason=reason)
        for kind, subtype, reason in (
            ("CONSUMPTION_REQUEST", None, "REFUND tells if it is granted"),
            ("METADATA_UPDATE", None, "the metadata changed"),
            ("MIGRATION", None, "Advanced Commerce API"),
            ("ONE_TIME_CHARGE", None, "no subscription"),
            ("PRICE_CHANGE", None, "a change of the price is announced"),
            ("PRICE_INCREASE", "PENDING", "a change of the price is announced"),
            ("REFUND_DECLINED", None, "no refund was granted"),
            ("REFUND_REVERSED", None, "a refund is taken back"),
            ("RENEWAL_EXTENDED", None, "you extended the period"),
            ("RENEWAL_EXTENSION", "FAILURE", "you asked to extend periods"),
            ("SOMETHING_NEW", None, "no notification that this version knows"),
        )
    ),
    *(
        Case(f"{kind} has no data", make_bare(kind, subtype, **fields), reason=reason)
        for kind, subtype, fields, reason in (
            ("TEST", None, {"data": {"environment": "Sandbox"}}, "a test notification"),
            ("EXTERNAL_PURCHASE_TOKEN", "UNREPORTED", {"externalPurchaseToken": {}}, "a token"),
            ("RENEWAL_EXTENSION", "SUMMARY", {"summary": {}}, "you asked to extend periods"),
            ("RESCIND_CONSENT", None, {"appData": {}}, "a parent withdrew consent"),
            ("DID_RENEW", None, {}, "no transaction can be read"),
            ("DID_RENEW", None, {"data": {"signedTransactionInfo": "a.b"}}, "no transaction can"),
        )
    ),
    Case(
        "the body of the request is not verified",
        {"signedPayload": make_jws(make_notification("DID_RENEW"))},
        reason="not yet verified",
    ),
    Case(
        "a notification of version 1 is another format",
        {"notification_type": "DID_RENEW", "unified_receipt": {}},
        reason="version 1",
    ),
    Case(
        "a notification without an id is skipped",
        {"notificationType": "DID_RENEW", "signedDate": to_millis(NOW)},
        reason="notificationUUID or signedDate is missing",
    ),
    Case(
        "a notification that is in the state beside newer ones means nothing any more",
        make_notification("DID_RENEW", notificationUUID="0c4f8a10-0000-4000-8000-00000000bbbb"),
        reason="a newer webhook of this subscription was handled since",
        previous=make_state(
            at=to_text(NOW + timedelta(minutes=1)),
            handled=["0c4f8a10-0000-4000-8000-00000000bbbb"],
        ),
    ),
]

CASES = [*STARTS, *PERIODS, *CHANGES, *ENDS, *OTHERS]
