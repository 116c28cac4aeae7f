"""What `google_play` reads: the notifications of Google Play, and the purchases they are about."""

from __future__ import annotations

import base64
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ._fields import Fields, PayloadError, read_payload
from ._money import from_minor, get_exponent, to_currency
from ._signals import MAX_KEY_CHARS

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

_TYPES = {
    1: "SUBSCRIPTION_RECOVERED",
    2: "SUBSCRIPTION_RENEWED",
    3: "SUBSCRIPTION_CANCELED",
    4: "SUBSCRIPTION_PURCHASED",
    5: "SUBSCRIPTION_ON_HOLD",
    6: "SUBSCRIPTION_IN_GRACE_PERIOD",
    7: "SUBSCRIPTION_RESTARTED",
    8: "SUBSCRIPTION_PRICE_CHANGE_CONFIRMED",
    9: "SUBSCRIPTION_DEFERRED",
    10: "SUBSCRIPTION_PAUSED",
    11: "SUBSCRIPTION_PAUSE_SCHEDULE_CHANGED",
    12: "SUBSCRIPTION_REVOKED",
    13: "SUBSCRIPTION_EXPIRED",
    17: "SUBSCRIPTION_ITEMS_CHANGED",
    18: "SUBSCRIPTION_CANCELLATION_SCHEDULED",
    19: "SUBSCRIPTION_PRICE_CHANGE_UPDATED",
    20: "SUBSCRIPTION_PENDING_PURCHASE_CANCELED",
    22: "SUBSCRIPTION_PRICE_STEP_UP_CONSENT_UPDATED",
}
_NO_SUBSCRIPTION = {
    "testNotification": "a test notification of the Play Console",
    "oneTimeProductNotification": "a purchase of a one-time product is no change of a subscription",
    "pendingRefundReviewNotification": "a refund is under review: a granted one is voided later",
}
_VOIDED = "voidedPurchaseNotification"
_SUBSCRIPTION_PRODUCT = 1
_NANOS = 9


class Notification(NamedTuple):
    """A real-time developer notification.

    - `number`: its type; 0 if it is not about a change of a subscription.
    - `order`: the order that was voided.
    - `reason`: why it can mean nothing; "" if it can.
    """

    id: str
    type: str
    at: datetime
    token: str
    number: int = 0
    order: str | None = None
    reason: str = ""


def read_notification(payload: object) -> Notification:
    """Return the notification in the body of a Pub/Sub request, in a message, or as it is.

    Raises PayloadError if there is none.
    """
    body, message_id, published = _unwrap(payload)
    kind = next((one for one in (*_NO_SUBSCRIPTION, _VOIDED) if body.has(one)), "")
    inner = body.object(kind or "subscriptionNotification")
    at = body.millis("eventTimeMillis") or published
    if at is None:
        raise PayloadError("the payload has no eventTimeMillis: pass the body of the Pub/Sub push")
    token, number = inner.text("purchaseToken"), inner.integer("notificationType")
    order = inner.text("orderId")
    # Pub/Sub delivers a message again with the same id; a bare notification has none.
    origin = message_id or _hash(body.text("packageName"), at, kind, number, token, order)
    if kind in _NO_SUBSCRIPTION:
        return Notification(origin, kind, at, "", reason=_NO_SUBSCRIPTION[kind])
    if token is None:
        raise PayloadError("the payload has no purchaseToken: pass the body of the Pub/Sub push")
    if kind:
        is_subscription = inner.integer("productType") == _SUBSCRIPTION_PRODUCT
        reason = "" if is_subscription else "the voided purchase is no subscription"
        return Notification(origin, kind, at, token, order=order, reason=reason)
    if number is None or number <= 0:
        raise PayloadError("the payload has no notificationType: pass the body of the Pub/Sub push")
    name = _TYPES.get(number, "SUBSCRIPTION")
    return Notification(origin, name, at, token, number)


def _unwrap(payload: object) -> tuple[Fields, str | None, datetime | None]:
    """Return a notification, with the id and the time of the message that it was in."""
    message = getattr(payload, "message", payload)  # a message that was pulled has its own around
    data = getattr(message, "data", None)
    if isinstance(data, bytes):
        found = getattr(message, "message_id", None)
        return read_payload(data), found if isinstance(found, str) and found else None, None
    body = read_payload(payload)
    inner = body.object("message") if body.has("message") else body
    if not inner.has("data"):
        return body, None, None
    try:
        decoded = base64.b64decode(inner.text("data") or "", validate=True)
    except ValueError:
        raise PayloadError(
            "message.data is not base64: pass the body of the webhook unchanged"
        ) from None
    found = inner.text("messageId") or inner.text("message_id")
    return read_payload(decoded), found, inner.time("publishTime")


def get_key(token: str) -> str:
    """Return the key of the state of a purchase; a long token is hashed."""
    key = f"google_play:{token}"
    return key if len(key) <= MAX_KEY_CHARS else f"google_play:{_hash(token)}"


def _hash(*parts: object) -> str:
    text = "\n".join(str(one) for one in parts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Purchase:
    """A resource of `purchases.subscriptionsv2`, which may be newer than the notification.

    A subscription with add-ons has several line items. Its plan is the first one.
    """

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        items = fields.objects("lineItems")
        # An item of a deferred change of plan is not owned yet, and has no expiryTime.
        self._items = [one for one in items if one.text("expiryTime")] or items
        self._item = self._items[0] if self._items else Fields({})
        self._state = (fields.text("subscriptionState") or "").removeprefix("SUBSCRIPTION_STATE_")

    @property
    def users(self) -> dict[str, object]:
        """What may have the user: set by the app, or by it for a subscription that expired."""
        name = "obfuscatedExternalAccountId"
        expired = ("outOfAppPurchaseContext", "expiredExternalAccountIdentifiers", name)
        return {
            name: self._fields.value("externalAccountIdentifiers", name),
            "expiredExternalAccountIdentifiers": self._fields.value(*expired),
        }

    @property
    def is_test(self) -> bool:
        """Whether a license tester bought it."""
        return self._fields.value("testPurchase") is not None

    @property
    def is_pending(self) -> bool:
        """Whether it waits for its first payment, or never had it."""
        return self._state in {"PENDING", "PENDING_PURCHASE_CANCELED"}

    @property
    def is_active(self) -> bool:
        """Whether it is paid."""
        return self._state == "ACTIVE"

    @property
    def has_access(self) -> bool:
        """Whether it gives access and renews."""
        return self._state in {"ACTIVE", "IN_GRACE_PERIOD"}

    @property
    def starts_at(self) -> datetime | None:
        """When it was granted."""
        return self._fields.time("startTime")

    @cached_property
    def ends_at(self) -> datetime | None:
        """When access ends, unless it renews."""
        times = [one.time("expiryTime") for one in self._items]
        return max((one for one in times if one is not None), default=None)

    @property
    def plan_id(self) -> str | None:
        """The product and its base plan, such as `"pro:monthly"`, as RevenueCat writes it."""
        product, plan = self._item.text("productId"), self._item.text("offerDetails", "basePlanId")
        return f"{product}:{plan}" if product and plan else product

    @property
    def renews(self) -> bool:
        """Whether it is no prepaid plan."""
        return self._item.value("prepaidPlan") is None

    @property
    def is_installment(self) -> bool:
        """Whether the user has committed to several payments."""
        return self._item.value("autoRenewingPlan", "installmentDetails") is not None

    @property
    def order(self) -> str | None:
        """The last order that succeeded."""
        return self._item.text("latestSuccessfulOrderId") or self._fields.text("latestOrderId")

    @property
    def first_order(self) -> str | None:
        """The order of the purchase: `GPA.1` of the renewal `GPA.1..0`."""
        return self.order.partition("..")[0] or None if self.order else None

    @property
    def is_renewed(self) -> bool:
        """Whether the last order is one of a renewal: `GPA.1..0` is the first."""
        return ".." in (self.order or "")

    @property
    def has_offer(self) -> bool:
        """Whether it was bought with an offer: only an offer has a free trial."""
        return any(one.text("offerDetails", "offerId") for one in self._items)

    @property
    def has_phase(self) -> bool:
        """Whether the current phase of the offer is known."""
        return bool(self._item.object("offerPhase").to_dict())

    @property
    def is_trial(self) -> bool:
        """Whether all of it is in a free trial now."""
        items = self._items
        return bool(items) and all(
            one.value("offerPhase", "freeTrial") is not None for one in items
        )

    @property
    def is_replacement(self) -> bool:
        """Whether it replaces another purchase that had not ended."""
        has_replaced = any(one.value("itemReplacement") is not None for one in self._items)
        return has_replaced or self._fields.text("linkedPurchaseToken") is not None

    @property
    def is_resubscribe(self) -> bool:
        """Whether the user bought an expired subscription again in the Play Store."""
        return self._fields.value("outOfAppPurchaseContext") is not None

    @property
    def replaced_tokens(self) -> list[str]:
        """The tokens of the purchases before it: the replaced one and the expired one."""
        linked = self._fields.text("linkedPurchaseToken")
        expired = self._fields.text("outOfAppPurchaseContext", "expiredPurchaseToken")
        return [one for one in (linked, expired) if one]

    @property
    def is_replaced(self) -> bool:
        """Whether another purchase replaced it."""
        return self._cancellation == "replacementCancellation"

    @property
    def cancel_reason(self) -> str | None:
        """Why it was cancelled: a `StoreCancelReason`."""
        if self._cancellation == "systemInitiatedCancellation":
            return "price_increase" if self._has_refused_price else "billing_error"
        return {
            "userInitiatedCancellation": "unsubscribe",
            "developerInitiatedCancellation": "developer_initiated",
        }.get(self._cancellation)

    @property
    def end_reason(self) -> str | None:
        """Why it ended, as far as its cancellation says so: an `EndReason`."""
        reason = self.cancel_reason or ""
        return {"unsubscribe": "voluntary", "billing_error": "billing"}.get(reason, reason) or None

    @property
    def _cancellation(self) -> str:
        context = self._fields.object("canceledStateContext").to_dict()
        return next((name for name, one in context.items() if one is not None), "")

    @property
    def _has_refused_price(self) -> bool:
        """Whether the user had not accepted a higher price: Google cancels then."""
        plan = self._item.object("autoRenewingPlan")
        change = plan.object("priceChangeDetails")
        is_open = change.text("priceChangeState") == "OUTSTANDING"
        has_step = plan.text("priceStepUpConsentDetails", "state") == "PENDING"
        return (is_open and change.text("priceChangeMode") == "PRICE_INCREASE") or has_step

    def get_price(self) -> tuple[Decimal | None, str | None]:
        """Return what a period costs, and the currency.

        `recurringPrice` is the full price without discounts, so it is what is paid in the phase of
        the base price only, and of one item only.
        """
        item = self._item
        if len(self._items) != 1 or item.value("offerPhase", "basePrice") is None:
            return None, None
        price = item.object("autoRenewingPlan", "recurringPrice")
        currency = to_currency(price.text("currencyCode"))
        # JSON leaves out what is 0.
        units = price.decimal("units") if price.has("units") else 0
        nanos = price.integer("nanos") if price.has("nanos") else 0
        if currency is None or units is None or nanos is None:
            return None, None
        if units != int(units) or units < 0 or not 0 <= nanos < 10**_NANOS:
            return None, None
        amount, exponent = int(units) * 10**_NANOS + nanos, _NANOS
        while exponent > get_exponent(currency) and amount % 10 == 0:
            amount, exponent = amount // 10, exponent - 1
        return (from_minor(amount, exponent), currency) if amount else (None, None)
