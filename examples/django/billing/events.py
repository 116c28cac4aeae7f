"""The events of the shop. `whisperr events billing.events` prints them as a tracking plan."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from whisperr import Event

from .plans import Plan


class ShopEvent(Event, abstract=True):
    """The base class of the events. No call names these two: they are added to every event.

    Attributes:
        tenant: The subdomain of the tenant, from a scope.
        region: Where the shop runs, from WHISPERR_DEFAULT_PROPERTIES.
    """

    tenant: str | None = None
    region: str | None = None


class LoggedIn(ShopEvent):
    """A user logs in."""

    method: Literal["password"]


class PlanUpgraded(ShopEvent):
    """A user moves to a larger plan, and the charge succeeds.

    Attributes:
        plan: The new plan.
        before: The plan that it replaces.
        price: Per month, in euros.
    """

    plan: Plan
    before: Plan
    price: Decimal


class UpgradeFailed(ShopEvent):
    """A user wanted a larger plan and did not get it.

    Attributes:
        plan: The plan that the user wanted.
    """

    plan: Plan
    reason: Literal["card_declined"]


class ReportExported(ShopEvent):
    """A user downloads a report."""

    format: Literal["csv"]


class TrialExpired(ShopEvent):
    """A trial ends without a purchase.

    Attributes:
        ended: The end that the trial had from its start.
    """

    ended: datetime
