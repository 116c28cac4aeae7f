"""Real-time developer notifications of Google Play, with what they mean."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from tests.billing.cases import NOW, Case

TOKEN = "opaque-token-1"
OLD_TOKEN = "opaque-token-0"
ORDER = "GPA.3301-1000-2000-30001"
USER = "user_8842"
STORE = {"plan_id": "pro:monthly", "store": "google_play"}
FIRST = {**STORE, "transaction_id": ORDER}
RENEWAL = {**STORE, "transaction_id": f"{ORDER}..0"}
PRICE = {"price": Decimal("9.99"), "currency": "EUR"}


def to_text(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


ENDS = NOW + timedelta(days=30)
ENDS_AT = to_text(ENDS)
AGO = to_text(NOW - timedelta(days=1))


def build(
    number: int = 0,
    *,
    at: datetime = NOW,
    token: str = TOKEN,
    **notification: Any,
) -> dict[str, Any]:
    """Return the decoded notification of a number, or another one."""
    if number:
        about = {"version": "1.0", "notificationType": number, "purchaseToken": token}
        notification = {"subscriptionNotification": about}
    return {
        "version": "1.0",
        "packageName": "com.example.pro",
        "eventTimeMillis": str(int(at.timestamp() * 1000)),
        **notification,
    }


def push(number: int = 0, *, message_id: str = "136969346945", **given: Any) -> dict[str, Any]:
    """Return the body of the push request with a notification."""
    data = json.dumps(build(number, **given)).encode()
    return {
        "message": {
            "data": base64.b64encode(data).decode(),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": to_text(NOW),
        },
        "subscription": "projects/example/subscriptions/play",
    }


def void(**changes: Any) -> dict[str, Any]:
    about = {"purchaseToken": TOKEN, "orderId": f"{ORDER}..0", "productType": 1, "refundType": 1}
    return push(voidedPurchaseNotification={**about, **changes})


def buy(
    phase: str | None = "basePrice",
    *,
    state: str = "ACTIVE",
    order: str = ORDER,
    ends: datetime = ENDS,
    item: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a purchase as `purchases.subscriptionsv2.get` does."""
    price = {"currencyCode": "EUR", "units": "9", "nanos": 990_000_000}
    offer = {"basePlanId": "monthly"}
    if phase in {"freeTrial", "introductoryPrice"}:
        offer["offerId"] = "welcome"
    return {
        "kind": "androidpublisher#subscriptionPurchaseV2",
        "startTime": to_text(NOW),
        "regionCode": "DE",
        "subscriptionState": f"SUBSCRIPTION_STATE_{state}",
        "latestOrderId": order,
        "acknowledgementState": "ACKNOWLEDGEMENT_STATE_ACKNOWLEDGED",
        "externalAccountIdentifiers": {"obfuscatedExternalAccountId": USER},
        "lineItems": [
            {
                "productId": "pro",
                "expiryTime": to_text(ends),
                "latestSuccessfulOrderId": order,
                "autoRenewingPlan": {
                    "autoRenewEnabled": True,
                    "recurringPrice": price,
                    **(plan or {}),
                },
                "offerDetails": offer,
                **({"offerPhase": {phase: {}}} if phase else {}),
                **(item or {}),
            }
        ],
        **changes,
    }


def cancel(kind: str, phase: str | None = "basePrice", **changes: Any) -> dict[str, Any]:
    """Return a purchase that was cancelled, or has expired because of it."""
    context: dict[str, Any] = {f"{kind}Cancellation": {}}
    given = {"state": "CANCELED", "canceledStateContext": context, **changes}
    return buy(phase, **given)


def renew(phase: str | None = "basePrice", **changes: Any) -> dict[str, Any]:
    return buy(phase, **{"order": f"{ORDER}..0", **changes})


def know(token: str = TOKEN, **facts: Any) -> dict[str, Any]:
    """Return a state with these facts, of a day before."""
    return {
        "key": f"google_play:{token}",
        "at": AGO,
        "event": "136969346000",
        "before": {},
        "handled": ["136969346000"],
        "user": USER,
        **facts,
    }


def replace(**facts: Any) -> dict[str, Any]:
    """Return the arguments of a purchase that replaces one with these facts."""
    bought = buy(order="GPA.3302-1000-2000-30002", linkedPurchaseToken=OLD_TOKEN)
    state = know(OLD_TOKEN, **facts)
    return {"purchase": bought, "previous": {state["key"]: state}.get}


def case(sentence: str, payload: Any, expected: Any = None, reason: str = "", **rest: Any) -> Case:
    purchase = rest.pop("purchase", None)
    arguments = {**({"purchase": purchase} if purchase else {}), **rest.pop("arguments", {})}
    return Case(sentence, payload, expected or {}, reason, arguments=arguments, **rest)


EXPIRED: dict[str, Any] = {"state": "EXPIRED", "ends": NOW - timedelta(minutes=1)}
GRACE: dict[str, Any] = {"state": "IN_GRACE_PERIOD", "ends": NOW + timedelta(days=3)}
REPLACED = "another purchase replaced this one"
PERIOD = {"current_period_ends_at": ENDS_AT}
COMMITTED = {"installmentDetails": {"remainingCommittedPaymentsCount": 5}}

STARTS = [
    case(
        "a purchase in a free trial starts a trial",
        push(4),
        {"trial_started": {**FIRST, "trial_length_days": 30, "trial_ends_at": ENDS_AT}},
        purchase=buy("freeTrial"),
        occurrences={"trial_started": f"google_play:{ORDER}:trial_started"},
    ),
    case(
        "a purchase at the full price starts a membership",
        push(4),
        {"membership_started": {**FIRST, **PRICE, **PERIOD}},
        purchase=buy(),
        occurrences={"membership_started": f"google_play:{ORDER}:membership_started"},
    ),
    case(
        "recurringPrice is not what an introductory price costs",
        push(4),
        {"membership_started": {**FIRST, **PERIOD}},
        purchase=buy("introductoryPrice"),
    ),
    case(
        "a prepaid plan starts a membership",
        push(4),
        {"membership_started": {**FIRST, **PERIOD}},
        purchase=buy(item={"autoRenewingPlan": None, "prepaidPlan": {}}),
    ),
    case(
        "a bare notification has the id of its content",
        build(4),
        {"membership_started": {**FIRST, **PRICE, **PERIOD}},
        purchase=buy(),
    ),
    case(
        "a subscription that had expired is bought again in the Play Store",
        push(4),
        {"membership_started": {**FIRST, **PRICE, **PERIOD, "is_resubscribe": True}},
        purchase=buy(
            externalAccountIdentifiers=None,
            outOfAppPurchaseContext={
                "expiredPurchaseToken": OLD_TOKEN,
                "expiredExternalAccountIdentifiers": {"obfuscatedExternalAccountId": USER},
            },
        ),
    ),
    case(
        "the first period of a purchase without an offer was paid, even if it renewed since",
        push(4),
        {"membership_started": FIRST},
        purchase=renew(),
    ),
    case(
        "a purchase with an offer that renewed since may have begun with a trial",
        push(4),
        reason="it may have begun with a free trial",
        purchase=renew("introductoryPrice"),
    ),
    case(
        "an offer without a phase may be a free trial",
        push(4),
        reason="no offerPhase",
        purchase=buy(None, item={"offerDetails": {"offerId": "welcome"}}),
    ),
    case("a pending purchase", push(4), reason="pending", purchase=buy(state="PENDING")),
    case(
        "the price of several items is not one price",
        push(4),
        {"membership_started": {**FIRST, **PERIOD}},
        purchase=buy(lineItems=buy()["lineItems"] * 2),
    ),
    case(
        "a price without an amount is left out",
        push(4),
        {"membership_started": {**FIRST, **PERIOD}},
        purchase=buy(plan={"recurringPrice": {"currencyCode": "EUR"}}),
    ),
    case(
        "with several items, one that is paid starts a membership, and the last end counts",
        push(4),
        {"membership_started": {**FIRST, **PERIOD}},
        purchase=buy(
            lineItems=[
                *buy("freeTrial", ends=ENDS - timedelta(days=7))["lineItems"],
                *buy()["lineItems"],
            ]
        ),
    ),
    case(
        "an item without an end and an order of its own",
        push(4),
        {"membership_started": {**FIRST, **PRICE}},
        purchase=buy(item={"expiryTime": None, "latestSuccessfulOrderId": None}),
    ),
    case(
        "a purchase that never was paid",
        push(4),
        reason="pending",
        purchase=buy(state="PENDING_PURCHASE_CANCELED"),
    ),
    case(
        "an item that waits for the end of the old plan is not owned yet",
        push(4),
        {"membership_started": {**FIRST, **PRICE, **PERIOD}},
        purchase=buy(lineItems=[{"productId": "max"}, *buy()["lineItems"]]),
    ),
]
REPLACEMENTS = [
    case(
        "a change of plan is no start",
        push(4),
        reason="a change of plan",
        arguments=replace(status="active", auto_renew=True),
    ),
    case(
        "a purchase after a cancellation withdraws it",
        push(4),
        {"auto_renew_enabled": STORE},
        arguments=replace(status="active", auto_renew=False),
    ),
    case(
        "a purchase instead of a failed payment solves the issue",
        push(4),
        {"billing_recovered": STORE},
        arguments=replace(status="issue", auto_renew=True),
    ),
    case(
        "a prepaid plan after a cancellation does not renew",
        push(4),
        reason="a change of plan",
        purchase=None,
        arguments={
            **replace(auto_renew=False, status="active"),
            "purchase": buy(
                item={"autoRenewingPlan": None, "prepaidPlan": {}}, linkedPurchaseToken=OLD_TOKEN
            ),
        },
    ),
    case(
        "a purchase after the end starts again",
        push(4),
        {
            "membership_started": {
                **STORE,
                **PRICE,
                **PERIOD,
                "is_resubscribe": True,
                "transaction_id": "GPA.3302-1000-2000-30002",
            }
        },
        arguments=replace(status="ended", auto_renew=False),
    ),
    case(
        "without the state of the old purchase, nothing is certain",
        push(4),
        reason="pass a function as previous=",
        purchase=buy(linkedPurchaseToken=OLD_TOKEN),
    ),
    case(
        "a state that does not say whether the old purchase renews decides nothing",
        push(4),
        reason="the previous state does not say it",
        arguments=replace(status="active"),
    ),
    case(
        "an item that replaced another is a change of plan",
        push(4),
        reason="a purchase that replaces another",
        purchase=buy(item={"itemReplacement": {"productId": "basic"}}),
    ),
]
PAYMENTS = [
    case(
        "a renewal without a state is a renewal",
        push(2),
        {"renewal_succeeded": {**RENEWAL, **PRICE, **PERIOD}},
        purchase=renew(),
        occurrences={"renewal_succeeded": f"google_play:{ORDER}..0:renewal_succeeded"},
    ),
    case(
        "a renewal after a trial is the conversion",
        push(2),
        {"trial_converted": {**RENEWAL, **PRICE, **PERIOD}},
        purchase=renew(),
        previous=know(status="trial"),
    ),
    case(
        "a renewal after a grace period is also the recovery",
        push(2),
        {"renewal_succeeded": {**RENEWAL, **PRICE, **PERIOD}, "billing_recovered": STORE},
        purchase=renew(),
        previous=know(status="issue"),
    ),
    case(
        "a trial whose first payment failed converts when it succeeds",
        push(1),
        {"trial_converted": {**RENEWAL, **PRICE, **PERIOD}, "billing_recovered": STORE},
        purchase=renew(),
        previous=know(status="issue", unpaid=True),
    ),
    case(
        "a payment that another webhook reported",
        push(2),
        reason="reported by an earlier webhook",
        purchase=renew(),
        previous=know(status="active", paid_by=f"{ORDER}..0"),
    ),
    case(
        "a purchase that was fetched before its renewal has neither order nor price of it",
        push(2),
        {"renewal_succeeded": STORE},
        purchase=buy(),
    ),
    case(
        "a purchase that ended since has no current period",
        push(2),
        {"renewal_succeeded": {**RENEWAL, **PRICE}},
        purchase=renew(**EXPIRED),
    ),
    case("nothing is paid in a trial", push(2), reason="free trial", purchase=buy("freeTrial")),
    case(
        "a recovery from account hold is also a renewal",
        push(1),
        {"renewal_succeeded": {**RENEWAL, **PRICE, **PERIOD}, "billing_recovered": STORE},
        purchase=renew(),
        previous=know(status="issue"),
    ),
    case(
        "a recovery without a state may be the end of a pause",
        push(1),
        {"renewal_succeeded": {**RENEWAL, **PRICE, **PERIOD}},
        reason="the end of a pause looks the same",
        purchase=renew(),
    ),
    case(
        "a state without a status does not tell a recovery",
        push(1),
        {"renewal_succeeded": {**RENEWAL, **PRICE, **PERIOD}},
        reason="the previous state does not say it",
        purchase=renew(),
        previous=know(auto_renew=True),
    ),
    case(
        "the end of a pause is a renewal",
        push(1),
        {"renewal_succeeded": {**RENEWAL, **PRICE, **PERIOD}},
        purchase=renew(),
        previous=know(status="active"),
    ),
    case(
        "yen have no decimals",
        push(2),
        {"renewal_succeeded": {**RENEWAL, **PERIOD, "price": Decimal(1200), "currency": "JPY"}},
        purchase=renew(plan={"recurringPrice": {"currencyCode": "JPY", "units": "1200"}}),
    ),
    case(
        "an amount that is no number is no price",
        push(2),
        {"renewal_succeeded": {**RENEWAL, **PERIOD}},
        purchase=renew(
            plan={"recurringPrice": {"currencyCode": "EUR", "units": "nine", "nanos": 1}}
        ),
    ),
    case(
        "a price below one unit has no units",
        push(2),
        {
            "renewal_succeeded": {
                **RENEWAL,
                **PERIOD,
                "price": Decimal("0.125"),
                "currency": "KWD",
            }
        },
        purchase=renew(plan={"recurringPrice": {"currencyCode": "KWD", "nanos": 125_000_000}}),
    ),
]
CANCELLATIONS = [
    case(
        "the user cancels",
        push(3),
        {
            "auto_renew_disabled": {
                **STORE,
                "access_ends_at": ENDS_AT,
                "store_cancel_reason": "unsubscribe",
            }
        },
        purchase=cancel("userInitiated"),
    ),
    case(
        "the user cancels in the trial",
        push(3),
        {
            "trial_auto_renew_disabled": {
                **STORE,
                "trial_ends_at": ENDS_AT,
                "store_cancel_reason": "unsubscribe",
            }
        },
        purchase=cancel("userInitiated", "freeTrial"),
    ),
    case(
        "the state knows the trial where the purchase has no phase",
        push(3),
        {
            "trial_auto_renew_disabled": {
                **STORE,
                "trial_ends_at": ENDS_AT,
                "store_cancel_reason": "developer_initiated",
            }
        },
        purchase=cancel("developerInitiated", None),
        previous=know(status="trial"),
    ),
    case(
        "Google cancels in the grace period",
        push(3),
        {
            "auto_renew_disabled": {
                **STORE,
                "access_ends_at": ENDS_AT,
                "store_cancel_reason": "billing_error",
            }
        },
        purchase=cancel("systemInitiated"),
    ),
    case(
        "Google cancels because a higher price was not accepted",
        push(3),
        {
            "auto_renew_disabled": {
                **STORE,
                "access_ends_at": ENDS_AT,
                "store_cancel_reason": "price_increase",
            }
        },
        purchase=cancel(
            "systemInitiated",
            plan={
                "priceChangeDetails": {
                    "priceChangeMode": "PRICE_INCREASE",
                    "priceChangeState": "OUTSTANDING",
                }
            },
        ),
    ),
    case(
        "Google cancels because a higher price after an offer was not consented to",
        push(3),
        {
            "auto_renew_disabled": {
                **STORE,
                "access_ends_at": ENDS_AT,
                "store_cancel_reason": "price_increase",
            }
        },
        purchase=cancel(
            "systemInitiated", plan={"priceStepUpConsentDetails": {"state": "PENDING"}}
        ),
    ),
    case(
        "a price that was accepted is not the reason",
        push(3),
        {
            "auto_renew_disabled": {
                **STORE,
                "access_ends_at": ENDS_AT,
                "store_cancel_reason": "billing_error",
            }
        },
        purchase=cancel(
            "systemInitiated",
            plan={
                "priceChangeDetails": {
                    "priceChangeMode": "PRICE_INCREASE",
                    "priceChangeState": "CONFIRMED",
                }
            },
        ),
    ),
    case(
        "a second cancellation of a plan without instalments counts",
        push(3),
        {
            "auto_renew_disabled": {
                **STORE,
                "access_ends_at": ENDS_AT,
                "store_cancel_reason": "unsubscribe",
            }
        },
        purchase=cancel("userInitiated"),
        previous=know(status="active", auto_renew=False),
    ),
    case(
        "the end of the period is not the end of the commitment",
        push(18),
        {"auto_renew_disabled": {**STORE, "store_cancel_reason": "unsubscribe"}},
        purchase=cancel("userInitiated", plan=COMMITTED),
    ),
    case(
        "a cancellation that was withdrawn since has no reason and no end",
        push(3),
        {"auto_renew_disabled": STORE},
        purchase=buy(),
    ),
    case(
        "a cancellation by a change of plan",
        push(3),
        reason=REPLACED,
        purchase=cancel("replacement"),
    ),
    case(
        "a cancellation after account hold ends it",
        push(3),
        reason="access has ended already",
        purchase=cancel("systemInitiated", ends=NOW - timedelta(days=30)),
    ),
    case(
        "a plan with instalments is cancelled at the end of its commitment",
        push(18),
        {"auto_renew_disabled": STORE},
        purchase=buy(plan=COMMITTED),
    ),
    case(
        "a plan with instalments is cancelled in its trial",
        push(18),
        {"trial_auto_renew_disabled": STORE},
        purchase=buy("freeTrial", plan=COMMITTED),
    ),
    case(
        "the end of the commitment is no second cancellation",
        push(3),
        reason="when it was scheduled",
        purchase=cancel("userInitiated", plan=COMMITTED),
        previous=know(status="active", auto_renew=False),
    ),
    case(
        "the user restores",
        push(7),
        {"auto_renew_enabled": STORE},
        purchase=buy(),
    ),
]
ISSUES = [
    case(
        "a grace period begins an issue, and its end is not known",
        push(6),
        {"billing_issue_started": {**STORE, **PRICE, "has_access": True}},
        purchase=buy(**GRACE),
        occurrences={"billing_issue_started": f"google_play:{ORDER}:billing_issue_started"},
    ),
    case(
        "account hold begins an issue without access",
        push(5),
        {"billing_issue_started": {**STORE, **PRICE, "has_access": False}},
        purchase=buy(state="ON_HOLD", ends=NOW),
        occurrences={"billing_issue_started": f"google_play:{ORDER}:billing_issue_started"},
    ),
    case(
        "account hold after a grace period is the same issue",
        push(5),
        reason="reported by an earlier webhook",
        purchase=buy(state="ON_HOLD", ends=NOW),
        previous=know(status="issue"),
    ),
]
ENDINGS = [
    case(
        "the end after a cancellation",
        push(13),
        {"membership_ended": {**STORE, "end_reason": "voluntary"}},
        purchase=cancel("userInitiated", **EXPIRED),
        occurrences={"membership_ended": f"google_play:{ORDER}:membership_ended"},
    ),
    case(
        "the end after account hold",
        push(13),
        {"membership_ended": {**STORE, "end_reason": "billing"}},
        purchase=cancel("systemInitiated", **EXPIRED),
    ),
    case(
        "the end of an issue that the state knows",
        push(13),
        {"membership_ended": {**STORE, "end_reason": "billing"}},
        purchase=buy(**EXPIRED),
        previous=know(status="issue"),
    ),
    case(
        "the end of a prepaid plan has no reason",
        push(13),
        {"membership_ended": STORE},
        purchase=buy(item={"autoRenewingPlan": None, "prepaidPlan": {}}, **EXPIRED),
    ),
    case(
        "a revoked purchase is refunded",
        push(12),
        {"membership_ended": {**STORE, "end_reason": "refund"}},
        purchase=buy(**EXPIRED),
    ),
    case(
        "a revoked trial is not refunded",
        push(12),
        {"membership_ended": STORE},
        purchase=buy("freeTrial", **EXPIRED),
    ),
    case(
        "a purchase that a change of plan replaced expires",
        push(13),
        reason=REPLACED,
        purchase=cancel("replacement", **EXPIRED),
    ),
    case(
        "a purchase that was revoked expires",
        push(13),
        reason="the end was reported",
        purchase=buy(**EXPIRED),
        previous=know(status="ended"),
    ),
    case("a purchase that gives access", push(13), reason="has not ended", purchase=buy()),
    case(
        "a purchase in its grace period gives access",
        push(13),
        reason="has not ended",
        purchase=buy(**GRACE),
    ),
    case(
        "the order of a renewal was paid, even if the state has the trial only",
        void(),
        {"refund_granted": {**RENEWAL, "plan_id": "pro:monthly"}},
        purchase=renew(),
        previous=know(status="trial"),
    ),
    case(
        "a voided order is a refund without an amount",
        void(),
        {"refund_granted": {**RENEWAL, "plan_id": "pro:monthly"}},
        purchase=renew(),
        occurrences={"refund_granted": f"google_play:{ORDER}..0:refund_granted"},
    ),
    case(
        "a voided order needs no purchase",
        void(),
        {"refund_granted": {"store": "google_play", "transaction_id": f"{ORDER}..0"}},
        previous=know(status="active"),
    ),
    case(
        "the order of a trial cost nothing",
        void(orderId=ORDER),
        reason="nothing was paid",
        purchase=buy("freeTrial"),
    ),
    case("a voided one-time product", void(productType=2), reason="no subscription"),
]
MEANINGLESS = [
    case(f"{name} changes nothing", push(number), reason=reason)
    for number, name, reason in (
        (8, "a confirmed price", "a new price"),
        (9, "a deferral", "deferred"),
        (10, "a pause", "paused"),
        (11, "a planned pause", "schedule of a pause"),
        (17, "a change of items", "a change of plan"),
        (19, "an announced price", "change of price"),
        (20, "a pending purchase that is cancelled", "nothing had started"),
        (22, "the consent to a price", "consent"),
        (99, "an unknown type", "99 is not known"),
    )
]
OTHERS = [
    case("a test of the console", push(testNotification={"version": "1.0"}), reason="a test"),
    case(
        "a one-time product",
        push(oneTimeProductNotification={"notificationType": 1, "purchaseToken": TOKEN}),
        reason="one-time product",
    ),
    case(
        "a refund under review",
        push(pendingRefundReviewNotification={"purchaseToken": TOKEN}),
        reason="under review",
    ),
    case("a notification without its purchase", push(2), reason="pass purchase="),
    case(
        "a purchase without a user",
        push(2),
        reason="no user in obfuscatedExternalAccountId",
        purchase=renew(externalAccountIdentifiers={}),
    ),
    case(
        "the user of the token",
        push(7),
        {"auto_renew_enabled": STORE},
        purchase=buy(externalAccountIdentifiers=None),
        arguments={"user_of": {TOKEN: USER}.get},
    ),
    case(
        "a license tester",
        push(7),
        {"auto_renew_enabled": STORE},
        purchase=buy(testPurchase={}),
    ),
    case(
        "a long token has a short key",
        push(7, token="t" * 1000),
        {"auto_renew_enabled": STORE},
        purchase=buy(),
    ),
]
CASES = [
    *STARTS,
    *REPLACEMENTS,
    *PAYMENTS,
    *CANCELLATIONS,
    *ISSUES,
    *ENDINGS,
    *MEANINGLESS,
    *OTHERS,
]
