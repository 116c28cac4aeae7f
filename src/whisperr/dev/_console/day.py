"""A day of a SaaS product as a list of calls, for the demo. Pure: one seed makes one day."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from whisperr.billing import BillingEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

_DAY = timedelta(hours=23)
_FEATURES = ("report_exported", "teammate_invited", "dashboard_opened", "api_key_created")
_SOURCES = ("search", "referral", "newsletter", "ads")
_DECLINES = ("card_declined", "insufficient_funds", "expired_card")
_PLANS = {"starter": 19.0, "pro": 49.0, "scale": 199.0}


@dataclass(frozen=True)
class DayCall:
    """One call to make: `name` is the event type, None for an identify with `values` as traits."""

    user: str
    at: datetime
    name: str | None
    values: dict[str, Any] = field(default_factory=dict)
    email: str | None = None


def make_day(users: int, seed: int, end: datetime) -> list[DayCall]:
    """Return the calls of a day that ends at `end`, in order of time.

    Each user signs up, tries the product, then subscribes, hesitates or leaves.
    """
    random = Random(seed)  # noqa: S311  # an invented day, to be repeated
    calls = []
    for number in range(users):
        user = f"user_{8000 + number}"
        at = end - _DAY * (0.2 + 0.8 * random.random())
        plan = random.choice(list(_PLANS))
        traits = {"plan": "trial", "country": random.choice(["DE", "FR", "US"])}
        calls.append(DayCall(user, at, None, traits, f"{user}@example.com"))
        for name, values in _make_events(plan, random):
            at += timedelta(seconds=random.randint(20, 1200))
            calls.append(DayCall(user, at, name, values))
    return sorted((call for call in calls if call.at <= end), key=lambda call: call.at)


def _make_events(plan: str, random: Random) -> Iterator[tuple[str | None, dict[str, Any]]]:
    price = {"plan_id": plan, "price": _PLANS[plan], "currency": "EUR"}
    yield "account_created", {"source": random.choice(_SOURCES)}
    yield BillingEvent.TRIAL_STARTED, {"plan_id": plan, "trial_length_days": 14}
    for _ in range(random.randint(2, 6)):
        yield random.choice(_FEATURES), {"duration_ms": random.randint(40, 4000)}
    outcome = random.random()
    if outcome < 0.35:  # noqa: PLR2004  # shares of an invented day, here and below
        yield BillingEvent.TRIAL_CONVERTED, {**price, "plan_period": "P1M"}
        yield None, {"plan": plan}
    elif outcome < 0.6:  # noqa: PLR2004
        yield from _fail_payment(price, random)
    elif outcome < 0.8:  # noqa: PLR2004
        yield "cancel_page_viewed", {"from": "settings"}
        yield BillingEvent.TRIAL_AUTO_RENEW_DISABLED, {"store_cancel_reason": "unsubscribe"}
    else:
        yield "usage_dropped", {"percent": random.randint(30, 90), "window_days": 7}


def _fail_payment(
    price: dict[str, Any], random: Random
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    cents = round(price["price"] * 100)
    yield "payment_failed", {"amount_cents": cents, "reason": random.choice(_DECLINES)}
    yield BillingEvent.BILLING_ISSUE_STARTED, {"has_access": True, **price}
    if random.random() < 0.6:  # noqa: PLR2004
        yield BillingEvent.BILLING_RECOVERED, price
    else:
        yield "payment_failed", {"amount_cents": cents, "reason": random.choice(_DECLINES)}
        yield BillingEvent.MEMBERSHIP_ENDED, {"end_reason": "billing", **price}
        yield None, {"plan": "none"}
