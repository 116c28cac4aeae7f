"""The events of the shop. `whisperr events billing.events` prints them as a tracking plan.

Two properties of every event are not fields, because no call gives them: `tenant` comes from a
scope, and `region` from the settings.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from whisperr import Event

from .plans import Plan


class LoggedIn(Event):
    """A user logs in."""

    method: Literal["password"]


class PlanUpgraded(Event):
    """A user moves to a larger plan, and the charge succeeds.

    Attributes:
        plan: The new plan.
        before: The plan that it replaces.
        price: Per month, in euros.
    """

    plan: Plan
    before: Plan
    price: Decimal


class UpgradeFailed(Event):
    """A user wanted a larger plan and did not get it.

    Attributes:
        plan: The plan that the user wanted.
    """

    plan: Plan
    reason: Literal["card_declined"]


class ReportExported(Event):
    """A user downloads a report."""

    format: Literal["csv"]


class TrialExpired(Event):
    """A trial ends without a purchase.

    Attributes:
        ended: The end that the trial had from its start.
    """

    ended: datetime
