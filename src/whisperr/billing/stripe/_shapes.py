"""Reads what Stripe's versions write in different places: by where it is, in each version.

The version is in `api_version` of the event, which some sources leave out. A field has one meaning
wherever it is, so that its place decides. Since 2025-03-31 ("basil"), the period of a subscription
is in its items, the subscription of an invoice is in `parent`, and the price of an invoice's line
is in `pricing`: see "Adds subscription item-level billing periods and removes subscription-level
periods" and "Invoicing resources now specify how they were generated" in Stripe's changelog,
https://docs.stripe.com/changelog.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from whisperr.billing._fields import Fields, read_payload
from whisperr.billing._money import from_minor, get_exponent, to_currency
from whisperr.billing._periods import to_period

if TYPE_CHECKING:
    from whisperr.billing._collector import Collector
    from whisperr.billing._history import History

# Stripe's decimals where they are not those of ISO 4217: "Supported currencies", its sections
# "Zero-decimal currencies" and "Special cases", https://docs.stripe.com/currencies.
_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0}


class Webhook(NamedTuple):
    """One event: its object, and what the object was before, as far as it changed."""

    type: str
    object: Fields
    before: Fields
    history: History
    found: Collector


def read_event(payload: object) -> Fields:
    """Return the fields of an event; also of an `Event` of dj-stripe, which is a Django model."""
    stored = getattr(payload, "stripe_data", None)
    if isinstance(stored, Mapping) and isinstance(stored.get("data"), Mapping):
        return read_payload(stored)
    data = getattr(payload, "data", None)
    if isinstance(data, Mapping) and hasattr(payload, "djstripe_created"):
        return Fields(_read_model(payload, data))
    return read_payload(payload)


def _read_model(model: object, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a model of dj-stripe before 2.10, which has fields of its own."""
    created = getattr(model, "created", None)
    seconds = int(created.timestamp()) if isinstance(created, datetime) else None
    return {
        "id": getattr(model, "id", None),
        "type": getattr(model, "type", None),
        "livemode": getattr(model, "livemode", None),
        "created": seconds,
        "data": dict(data),
    }


def get_id(fields: Fields, *names: str) -> str | None:
    """Return the id of another object, which is a text, or the object itself if expanded."""
    return fields.text(*names) or fields.text(*names, "id")


def get_subscription(invoice: Fields) -> str | None:
    """Return the id of the subscription of an invoice."""
    parent = get_id(invoice, "parent", "subscription_details", "subscription")
    return parent or get_id(invoice, "subscription")


def get_item(subscription: Fields) -> Fields:
    """Return the first item of a subscription: the plan, by the convention of most programs."""
    items = subscription.objects("items", "data")
    return items[0] if items else Fields({})


def get_period(subscription: Fields) -> tuple[datetime | None, datetime | None]:
    """Return the current period of a subscription.

    Items may have periods of different lengths. `cancel_at_period_end` ends a subscription at the
    earliest end ("Adds helpers to cancel subscriptions for billing periods with mixed intervals").
    """
    items = subscription.objects("items", "data")
    ends = [end for one in items if (end := one.seconds("current_period_end"))]
    starts = [start for one in items if (start := one.seconds("current_period_start"))]
    return (
        max(starts) if starts else subscription.seconds("current_period_start"),
        min(ends) if ends else subscription.seconds("current_period_end"),
    )


def get_plan(item: Fields, *, with_period: bool = False) -> dict[str, object]:
    """Return the plan of a subscription's item, or of an invoice's line.

    The id is that of the price. A lookup key would be better to read, but an invoice has none, and
    the events of one subscription should name one plan.
    """
    price = item.object("price") if item.has("price", "id") else item.object("plan")
    named = get_id(item, "pricing", "price_details", "price")
    plan: dict[str, object] = {"plan_id": price.text("id") or named, "store": "stripe"}
    if with_period:
        cycle = price.object("recurring") if price.has("recurring", "interval") else price
        plan["plan_period"] = to_period(cycle.text("interval"), cycle.integer("interval_count"))
    return plan


def get_lines(invoice: Fields) -> list[Fields]:
    """Return the lines of an invoice that are for a period of its subscription.

    Others are prorations and single charges.
    """
    return [line for line in invoice.objects("lines", "data") if _is_for_period(line)]


def _is_for_period(line: Fields) -> bool:
    details = line.object("parent", "subscription_item_details")
    if line.value("parent") is not None:
        return bool(details.to_dict()) and details.boolean("proration") is not True
    return line.text("type") == "subscription" and line.boolean("proration") is not True


def get_latest(lines: list[Fields]) -> Fields:
    """Return the line whose period begins last: usage is billed for the period before."""
    found = [line for line in lines if line.seconds("period", "start")]
    return max(found, key=lambda line: line.integer("period", "start") or 0, default=Fields({}))


def get_price(amount: int | None, currency: str | None) -> dict[str, object]:
    """Return the price and the currency of an amount in minor units; neither if one is missing."""
    code = to_currency(currency)
    if amount is None or amount <= 0 or code is None:
        return {}
    exponent = _EXPONENTS.get(code, get_exponent(code))
    return {"price": from_minor(amount, exponent), "currency": code}
