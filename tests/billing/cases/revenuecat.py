"""The webhooks of RevenueCat."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.billing.cases import NOW, Case

USER = "user_8842"
ANONYMOUS = "$RCAnonymousID:0a1b2c3d4e5f60718293a4b5c6d7e8f9"
FIRST = "700000000000001"
TRANSACTION = "700000000000002"
PLAN = "pro_monthly"
DAY = timedelta(days=1)
ENDS = NOW + 30 * DAY
KEY = f"revenuecat:app_store:{FIRST}"


def millis(time: datetime) -> int:
    """Return a time as RevenueCat writes it."""
    return int(time.timestamp() * 1000)


def out(time: datetime) -> str:
    """Return a time as it is in the properties."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def webhook(event_type: str, **changes: Any) -> dict[str, Any]:
    """Return a webhook of a monthly subscription of the App Store that happened at NOW."""
    event = {
        "type": event_type,
        "id": "7D1A0B5C-0000-4000-8000-000000000001",
        "app_id": "app0123456",
        "event_timestamp_ms": millis(NOW),
        "app_user_id": USER,
        "original_app_user_id": ANONYMOUS,
        "aliases": [ANONYMOUS, USER],
        "subscriber_attributes": {"$email": {"value": "ada@example.com", "updated_at_ms": 1}},
        "product_id": PLAN,
        "entitlement_id": None,
        "entitlement_ids": ["pro"],
        "period_type": "NORMAL",
        "purchased_at_ms": millis(NOW),
        "expiration_at_ms": millis(ENDS),
        "store": "APP_STORE",
        "environment": "PRODUCTION",
        "presented_offering_id": "standard",
        "price": 9.71,
        "currency": "EUR",
        "price_in_purchased_currency": 8.99,
        "tax_percentage": 0.1597,
        "commission_percentage": 0.2521,
        "transaction_id": TRANSACTION,
        "original_transaction_id": FIRST,
        "is_family_share": False,
        "country_code": "DE",
        "offer_code": None,
        "renewal_number": 2,
    }
    return {"api_version": "1.0", "event": {**event, **changes}}


def cancellation(reason: str | None, **changes: Any) -> dict[str, Any]:
    """Return a cancellation: its price is 0 if nothing was refunded."""
    money = {"price": 0.0, "price_in_purchased_currency": 0.0, "cancel_reason": reason}
    return webhook("CANCELLATION", **{**money, **changes})


def state(**facts: Any) -> dict[str, Any]:
    """Return a stored state of a day before the webhooks."""
    about = {"key": KEY, "at": out(NOW - DAY), "event": "earlier", "before": {}}
    return {**about, "handled": ["earlier"], "user": USER, **facts}


TRIAL = {
    "period_type": "TRIAL",
    "expiration_at_ms": millis(NOW + 14 * DAY),
    "price": 0,
    "price_in_purchased_currency": 0,
}
TRIAL_ENDS = out(NOW + 14 * DAY)
REFUND = {"price": -9.71, "price_in_purchased_currency": -8.99}
PURCHASE = {"plan_id": PLAN, "transaction_id": TRANSACTION, "store": "app_store"}
PAID = {**PURCHASE, "price": Decimal("8.99"), "currency": "EUR"}
PERIOD = {**PAID, "current_period_ends_at": out(ENDS)}
MEMBER = {**PERIOD, "access_source": "self_subscription", "entitlements": ["pro"]}
NOT_RENEWED = {**PURCHASE, "access_ends_at": out(ENDS)}
OCCURRENCE = f"app_store:{TRANSACTION}"


def in_store(store: str, transaction: str) -> dict[str, Any]:
    """Return a renewal of another store."""
    return webhook("RENEWAL", store=store, transaction_id=transaction)


def renewed(store: str, transaction: str) -> dict[str, Any]:
    """Return what a renewal of another store means."""
    return {"renewal_succeeded": {**PERIOD, "store": store, "transaction_id": transaction}}


STARTS = [
    Case(
        "a trial starts",
        webhook("INITIAL_PURCHASE", **TRIAL),
        {"trial_started": {**PURCHASE, "trial_length_days": 14, "trial_ends_at": TRIAL_ENDS}},
        occurrences={"trial_started": f"{OCCURRENCE}:trial_started"},
    ),
    Case(
        "a paid membership starts",
        webhook("INITIAL_PURCHASE"),
        {"membership_started": MEMBER},
        occurrences={"membership_started": f"{OCCURRENCE}:membership_started"},
    ),
    Case(
        "an introductory price is paid, and no trial",
        webhook("INITIAL_PURCHASE", period_type="INTRO", price_in_purchased_currency=0.99),
        {"membership_started": {**MEMBER, "price": Decimal("0.99")}},
    ),
    Case(
        "the event alone means the same as the body",
        webhook("INITIAL_PURCHASE")["event"],
        {"membership_started": MEMBER},
    ),
    Case(
        "a former member buys again",
        webhook("INITIAL_PURCHASE"),
        {"membership_started": {**MEMBER, "is_resubscribe": True}},
        previous=state(status="ended", paid_by=FIRST),
    ),
    Case(
        "after a trial that ended unpaid, the user was no member before",
        webhook("INITIAL_PURCHASE"),
        {"membership_started": MEMBER},
        previous=state(status="ended"),
    ),
    Case(
        "a purchase that the family shares",
        webhook("INITIAL_PURCHASE", is_family_share=True, price_in_purchased_currency=0),
        {
            "membership_started": {
                **PURCHASE,
                "access_source": "family_share",
                "entitlements": ["pro"],
                "current_period_ends_at": out(ENDS),
            }
        },
    ),
    Case(
        "a grant of RevenueCat",
        webhook(
            "NON_RENEWING_PURCHASE",
            store="PROMOTIONAL",
            period_type="PROMOTIONAL",
            currency=None,
            price_in_purchased_currency=0,
        ),
        {
            "membership_started": {
                **PURCHASE,
                "store": "promotional",
                "access_source": "promotional",
                "entitlements": ["pro"],
                "current_period_ends_at": out(ENDS),
            }
        },
    ),
    Case(
        "access for good",
        webhook("NON_RENEWING_PURCHASE", expiration_at_ms=None),
        {"membership_started": {**PAID, "access_source": "lifetime", "entitlements": ["pro"]}},
    ),
    Case(
        "a purchase without an entitlement",
        webhook("NON_RENEWING_PURCHASE", entitlement_ids=None),
        reason="gives no access",
    ),
    Case(
        "a purchase that is a trial or not",
        webhook("INITIAL_PURCHASE", period_type=None),
        reason="no period_type",
    ),
]

RENEWALS = [
    Case(
        "a trial becomes a paid period",
        webhook("RENEWAL", is_trial_conversion=True),
        {"trial_converted": PERIOD},
        occurrences={"trial_converted": f"{OCCURRENCE}:trial_converted"},
    ),
    Case(
        "an older webhook does not say whether it was a trial, but the state does",
        webhook("RENEWAL"),
        {"trial_converted": PERIOD},
        previous=state(status="trial"),
    ),
    Case(
        "a paid period renews",
        webhook("RENEWAL", is_trial_conversion=False),
        {"renewal_succeeded": PERIOD},
        occurrences={"renewal_succeeded": f"{OCCURRENCE}:renewal_succeeded"},
    ),
    Case(
        "the webhook knows better than the state whether it was a trial",
        webhook("RENEWAL", is_trial_conversion=False),
        {"renewal_succeeded": PERIOD},
        previous=state(status="trial"),
    ),
    Case(
        "a payment works again in the grace period",
        webhook("RENEWAL", is_trial_conversion=False),
        {"renewal_succeeded": PERIOD, "billing_recovered": PURCHASE},
        previous=state(status="issue", paid_by=FIRST),
        occurrences={"billing_recovered": f"{OCCURRENCE}:billing_recovered"},
    ),
    Case(
        "a payment works again after the access ended",
        webhook("RENEWAL", is_trial_conversion=False),
        {"membership_started": {**MEMBER, "is_resubscribe": True}, "billing_recovered": PURCHASE},
        previous=state(status="ended", end_reason="billing", paid_by=FIRST),
    ),
    Case(
        "the first payment after a trial fails and then works",
        webhook("RENEWAL", is_trial_conversion=True),
        {"trial_converted": PERIOD, "billing_recovered": PURCHASE},
        previous=state(status="issue"),
    ),
    Case(
        "a former member comes back by a renewal",
        webhook("RENEWAL", is_trial_conversion=False),
        {"membership_started": {**MEMBER, "is_resubscribe": True}},
        previous=state(status="ended", end_reason="voluntary", paid_by=FIRST),
    ),
    Case(
        "the trial ended long ago, and the user pays now",
        webhook("RENEWAL", is_trial_conversion=True),
        {"trial_converted": PERIOD},
        previous=state(status="ended", end_reason="voluntary"),
    ),
    Case(
        "a renewal that was handled before newer ones",
        webhook("RENEWAL", id="earlier", event_timestamp_ms=millis(NOW - 2 * DAY)),
        reason="a newer webhook of this subscription was handled since",
        previous=state(event="newest", handled=["earlier", "newest"]),
    ),
    Case(
        "a renewal for nothing",
        webhook("RENEWAL", is_trial_conversion=False, price=0, price_in_purchased_currency=0),
        reason="a renewal of 0",
    ),
    Case(
        "a purchase that the family shares renews",
        webhook("RENEWAL", is_family_share=True, price_in_purchased_currency=0),
        {"renewal_succeeded": {**PURCHASE, "current_period_ends_at": out(ENDS)}},
    ),
    Case(
        "the price is what was paid and not the dollars",
        webhook("RENEWAL", currency="jpy", price=6.12, price_in_purchased_currency=980),
        {"renewal_succeeded": {**PERIOD, "price": Decimal(980), "currency": "JPY"}},
    ),
    Case(
        "without a currency there is no price",
        webhook("RENEWAL", currency=None),
        {"renewal_succeeded": {**PURCHASE, "current_period_ends_at": out(ENDS)}},
    ),
    Case(
        "an unknown price is no price of 0",
        webhook("RENEWAL", price=None, price_in_purchased_currency=None),
        {"renewal_succeeded": {**PURCHASE, "current_period_ends_at": out(ENDS)}},
    ),
    Case(
        "an order of Google Play has the name that Google gives it",
        in_store("PLAY_STORE", "GPA.3300-1111-2222-33333..1"),
        renewed("google_play", "GPA.3300-1111-2222-33333..1"),
        occurrences={
            "renewal_succeeded": "google_play:GPA.3300-1111-2222-33333..1:renewal_succeeded"
        },
    ),
    Case(
        "an invoice of Stripe has the name that Stripe gives it",
        in_store("STRIPE", "in_billing0001"),
        renewed("stripe", "in_billing0001"),
        occurrences={"renewal_succeeded": "stripe:in_billing0001:renewal_succeeded"},
    ),
    Case(
        "another id of Stripe names no occurrence",
        in_store("STRIPE", "sub_billing0001"),
        renewed("stripe", "sub_billing0001"),
    ),
    Case(
        "the Mac has the same App Store",
        in_store("MAC_APP_STORE", TRANSACTION),
        renewed("app_store", TRANSACTION),
    ),
    Case(
        "another store keeps its name",
        in_store("RC_BILLING", "rcb_1"),
        renewed("rc_billing", "rcb_1"),
    ),
]

CANCELLATIONS = [
    Case(
        "the user cancels in the trial",
        cancellation("UNSUBSCRIBE", **TRIAL),
        {
            "trial_auto_renew_disabled": {
                **PURCHASE,
                "trial_ends_at": TRIAL_ENDS,
                "store_cancel_reason": "unsubscribe",
            }
        },
    ),
    *(
        Case(
            f"a cancellation with the reason {reason}",
            cancellation(reason),
            {"auto_renew_disabled": {**NOT_RENEWED, "store_cancel_reason": reason.lower()}},
        )
        for reason in ("UNSUBSCRIBE", "DEVELOPER_INITIATED", "PRICE_INCREASE", "UNKNOWN")
    ),
    Case(
        "a cancellation beside BILLING_ISSUE",
        cancellation("BILLING_ERROR"),
        reason="BILLING_ISSUE comes beside it",
    ),
    Case(
        "a cancellation beside BILLING_ISSUE in a trial",
        cancellation("BILLING_ERROR", **TRIAL),
        reason="BILLING_ISSUE comes beside it",
    ),
    Case(
        "a refund is a positive amount and turns no renewal off",
        cancellation("CUSTOMER_SUPPORT", **REFUND),
        {"refund_granted": PAID},
        occurrences={"refund_granted": f"{OCCURRENCE}:refund_granted"},
    ),
    Case(
        "a refund whose amount is not said",
        cancellation("CUSTOMER_SUPPORT"),
        {"refund_granted": PURCHASE},
    ),
    Case(
        "a refund in a trial",
        cancellation("CUSTOMER_SUPPORT", **TRIAL),
        reason="a user who paid nothing",
    ),
    Case(
        "a refund of what the family shares",
        cancellation("CUSTOMER_SUPPORT", is_family_share=True),
        reason="a user who paid nothing",
    ),
    Case("a cancellation without a reason", cancellation(None), reason="it may be a refund"),
    Case(
        "a cancellation of a trial or not",
        cancellation("UNSUBSCRIBE", period_type=None),
        reason="no period_type",
    ),
    *(
        Case(
            f"a cancellation of what does not renew: {period}",
            cancellation("DEVELOPER_INITIATED", period_type=period),
            reason="does not renew",
        )
        for period in ("PROMOTIONAL", "PREPAID")
    ),
    Case(
        "a cancellation is withdrawn",
        webhook("UNCANCELLATION"),
        {"auto_renew_enabled": PURCHASE},
    ),
]

ENDS_AND_ISSUES = [
    *(
        Case(
            f"access ends with the reason {reason}",
            webhook("EXPIRATION", expiration_reason=reason, expiration_at_ms=millis(NOW)),
            {"membership_ended": {**PURCHASE, "end_reason": end_reason}},
        )
        for reason, end_reason in {
            "UNSUBSCRIBE": "voluntary",
            "BILLING_ERROR": "billing",
            "DEVELOPER_INITIATED": "developer_initiated",
            "PRICE_INCREASE": "price_increase",
            "CUSTOMER_SUPPORT": "refund",
            "UNKNOWN": "other",
            "SUBSCRIPTION_PAUSED": "other",
        }.items()
    ),
    Case(
        "access ends with a reason of the future",
        webhook("EXPIRATION", expiration_reason="MOON_PHASE"),
        {"membership_ended": PURCHASE},
    ),
    Case(
        "a payment fails and a grace period begins",
        webhook(
            "BILLING_ISSUE",
            expiration_at_ms=millis(NOW),
            grace_period_expiration_at_ms=millis(NOW + 16 * DAY),
        ),
        {
            "billing_issue_started": {
                **PURCHASE,
                "has_access": True,
                "grace_ends_at": out(NOW + 16 * DAY),
            }
        },
    ),
    Case(
        "a payment fails without a grace period",
        webhook("BILLING_ISSUE", expiration_at_ms=millis(NOW), grace_period_expiration_at_ms=None),
        {"billing_issue_started": {**PURCHASE, "has_access": False}},
    ),
    Case(
        "a payment fails before the period ends",
        webhook("BILLING_ISSUE", grace_period_expiration_at_ms=None),
        {"billing_issue_started": {**PURCHASE, "has_access": True}},
    ),
    Case(
        "a payment fails, and whether there is a grace period is not said",
        webhook("BILLING_ISSUE", expiration_at_ms=millis(NOW)),
        {"billing_issue_started": PURCHASE},
    ),
]

USERS = [
    Case(
        "the first id of the user is known",
        webhook("UNCANCELLATION", app_user_id=ANONYMOUS, original_app_user_id=USER, aliases=[]),
        {"auto_renew_enabled": PURCHASE},
    ),
    Case(
        "an alias of the user is known",
        webhook("UNCANCELLATION", app_user_id=ANONYMOUS),
        {"auto_renew_enabled": PURCHASE},
    ),
    Case(
        "the state knows the user",
        webhook("UNCANCELLATION", app_user_id=ANONYMOUS, aliases=[ANONYMOUS]),
        {"auto_renew_enabled": PURCHASE},
        previous=state(status="active"),
    ),
    Case(
        "the caller knows the user",
        webhook("UNCANCELLATION", app_user_id=ANONYMOUS, aliases=[ANONYMOUS]),
        {"auto_renew_enabled": PURCHASE},
        arguments={"user_of": {ANONYMOUS: USER}.get},
    ),
    Case(
        "all ids of the user are anonymous",
        webhook("UNCANCELLATION", app_user_id=ANONYMOUS, aliases=[ANONYMOUS]),
        reason="no user in app_user_id and original_app_user_id and aliases",
    ),
    Case(
        "a purchase of the sandbox",
        webhook("UNCANCELLATION", environment="SANDBOX"),
        {"auto_renew_enabled": PURCHASE},
    ),
]

NO_CHANGES = [
    Case(f"{name} is no change of a subscription", webhook(name), reason=reason)
    for name, reason in {
        "TEST": "a test of RevenueCat's dashboard",
        "SUBSCRIPTION_PAUSED": "EXPIRATION follows",
        "PRODUCT_CHANGE": "RENEWAL follows",
        "TRANSFER": "purchases move to another user",
        "SUBSCRIPTION_EXTENDED": "nothing was paid",
        "TEMPORARY_ENTITLEMENT_GRANT": "INITIAL_PURCHASE follows",
        "REFUND_REVERSED": "no billing event",
        "INVOICE_ISSUANCE": "not paid yet",
        "VIRTUAL_CURRENCY_TRANSACTION": "virtual currency",
        "EXPERIMENT_ENROLLMENT": "an experiment",
        "SUBSCRIBER_ALIAS": "another id of the same user",
        "PURCHASE_REDEEMED": "nothing was paid",
        "TEA_TIME": "TEA_TIME is no type that this version knows",
    }.items()
]

BROKEN = [
    Case("a webhook without an id", webhook("RENEWAL", id=None), reason="no id"),
    Case("a webhook without a time", webhook("RENEWAL", event_timestamp_ms=None), reason="no time"),
    Case("a body without an event", {"api_version": "1.0", "event": None}, reason="no type"),
]

CASES = [*STARTS, *RENEWALS, *CANCELLATIONS, *ENDS_AND_ISSUES, *USERS, *NO_CHANGES, *BROKEN]
