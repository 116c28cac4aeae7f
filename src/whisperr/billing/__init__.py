"""Billing events, and what makes them of the webhooks of billing providers.

A class for each reserved event has its properties with their allowed values, for editors, type
checkers and strict clients. `BillingEvent` has the names of the events, for properties that are a
dictionary: the client accepts any event with any properties.

Example::

    from whisperr.billing import MembershipEnded

    whisperr.track("user_8842", MembershipEnded(end_reason="billing", price=49.0, currency="EUR"))

A module for each provider has a function `signals(payload)`, which returns what a webhook means as
`Signals`: send each with `Whisperr.track_signal`. None of them needs the provider's package. None
verifies a signature: do that first, with the provider's package.

Send billing events only if no billing source is connected to Whisperr, and register their names
first: the server does not store a billing event whose name is not registered for your app.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  # strict clients resolve the annotations
from decimal import Decimal  # noqa: TC003  # likewise
from typing import Final, Literal

from whisperr.events import Event

from ._signals import Signal, Signals, Skipped, State

__all__ = [
    "AccessSource",
    "AutoRenewDisabled",
    "AutoRenewEnabled",
    "BillingEvent",
    "BillingIssueStarted",
    "BillingRecovered",
    "EndReason",
    "MembershipEnded",
    "MembershipStarted",
    "RefundGranted",
    "RenewalSucceeded",
    "Signal",
    "Signals",
    "Skipped",
    "State",
    "StoreCancelReason",
    "SubscriptionEvent",
    "TrialAutoRenewDisabled",
    "TrialConverted",
    "TrialStarted",
]

StoreCancelReason = Literal[
    "unsubscribe",
    "billing_error",
    "developer_initiated",
    "price_increase",
    "customer_support",
    "unknown",
]
"""Why a renewal was cancelled.

.. versionadded:: 1.0
"""
EndReason = Literal[
    "voluntary",
    "billing",
    "price_increase",
    "product_unavailable",
    "developer_initiated",
    "refund",
    "other",
]
"""Why a membership ended.

.. versionadded:: 1.0
"""
AccessSource = Literal[
    "self_subscription", "lifetime", "family_share", "promotional", "sponsored", "web_other"
]
"""Where a membership comes from.

.. versionadded:: 1.0
"""


class BillingEvent:
    """The names of the reserved billing events. Each is a plain string.

    Attributes:
        TRIAL_STARTED: A free trial starts.
        TRIAL_CONVERTED: The trial becomes the first paid period.
        TRIAL_AUTO_RENEW_DISABLED: The user cancels during the trial.
        MEMBERSHIP_STARTED: A paid membership starts; never for a renewal or a change of plan.
        RENEWAL_SUCCEEDED: A paid period renews.
        AUTO_RENEW_DISABLED: The user cancels and keeps access until the period ends.
        AUTO_RENEW_ENABLED: The user withdraws the cancellation.
        MEMBERSHIP_ENDED: Access ends.
        BILLING_ISSUE_STARTED: A payment fails.
        BILLING_RECOVERED: The payment works again.
        REFUND_GRANTED: A refund is granted.
    """

    TRIAL_STARTED: Final = "trial_started"
    TRIAL_CONVERTED: Final = "trial_converted"
    TRIAL_AUTO_RENEW_DISABLED: Final = "trial_auto_renew_disabled"
    MEMBERSHIP_STARTED: Final = "membership_started"
    RENEWAL_SUCCEEDED: Final = "renewal_succeeded"
    AUTO_RENEW_DISABLED: Final = "auto_renew_disabled"
    AUTO_RENEW_ENABLED: Final = "auto_renew_enabled"
    MEMBERSHIP_ENDED: Final = "membership_ended"
    BILLING_ISSUE_STARTED: Final = "billing_issue_started"
    BILLING_RECOVERED: Final = "billing_recovered"
    REFUND_GRANTED: Final = "refund_granted"


class SubscriptionEvent(Event, abstract=True):
    """The base class of the billing events, with what any of them may have; all is optional.

    Attributes:
        plan_id: Your name of the plan, such as `"pro_monthly"`.
        price: The price in major units, such as `9.99`, as a `float`, an `int` or a `Decimal`.
        currency: ISO 4217 in upper case, such as `"EUR"`.
        transaction_id: Your id of the payment, any string.
        store: Your name of the store, such as `"app_store"`.

    .. versionadded:: 1.0
    """

    plan_id: str | None = None
    price: float | Decimal | None = None
    currency: str | None = None
    transaction_id: str | None = None
    store: str | None = None


class TrialStarted(SubscriptionEvent):
    """A free trial starts.

    Attributes:
        trial_length_days: The length of the trial in days.
        trial_ends_at: When the trial ends: an aware `datetime`, or RFC 3339.
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.

    .. versionadded:: 1.0
    """

    trial_length_days: int | None = None
    trial_ends_at: datetime | str | None = None
    plan_period: str | None = None


class TrialConverted(SubscriptionEvent):
    """The trial becomes the first paid period.

    Attributes:
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.
        current_period_ends_at: When the paid period ends: an aware `datetime`, or RFC 3339.

    .. versionadded:: 1.0
    """

    plan_period: str | None = None
    current_period_ends_at: datetime | str | None = None


class TrialAutoRenewDisabled(SubscriptionEvent):
    """The user cancels during the trial.

    Attributes:
        trial_ends_at: When the trial ends: an aware `datetime`, or RFC 3339.
        store_cancel_reason: Why the renewal was cancelled.

    .. versionadded:: 1.0
    """

    trial_ends_at: datetime | str | None = None
    store_cancel_reason: StoreCancelReason | None = None


class MembershipStarted(SubscriptionEvent):
    """A paid membership starts.

    It is never for a renewal or a change of plan.

    Attributes:
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.
        is_resubscribe: Whether the user was a member before.
        is_first_ever: Whether it is the first membership of the user.
        access_source: Where the membership comes from.
        entitlements: Names of what the user has access to.
        current_period_ends_at: When the paid period ends: an aware `datetime`, or RFC 3339.

    .. versionadded:: 1.0
    """

    plan_period: str | None = None
    is_resubscribe: bool | None = None
    is_first_ever: bool | None = None
    access_source: AccessSource | None = None
    entitlements: list[str] | None = None
    current_period_ends_at: datetime | str | None = None


class RenewalSucceeded(SubscriptionEvent):
    """A paid period renews.

    Attributes:
        paid_periods_count: How many periods were paid so far.
        current_period_ends_at: When the paid period ends: an aware `datetime`, or RFC 3339.

    .. versionadded:: 1.0
    """

    paid_periods_count: int | None = None
    current_period_ends_at: datetime | str | None = None


class AutoRenewDisabled(SubscriptionEvent):
    """The user cancels and keeps access until the period ends.

    Attributes:
        access_ends_at: When access ends: an aware `datetime`, or RFC 3339.
        store_cancel_reason: Why the renewal was cancelled.

    .. versionadded:: 1.0
    """

    access_ends_at: datetime | str | None = None
    store_cancel_reason: StoreCancelReason | None = None


class AutoRenewEnabled(SubscriptionEvent):
    """The user withdraws the cancellation.

    .. versionadded:: 1.0
    """


class MembershipEnded(SubscriptionEvent):
    """Access ends.

    Attributes:
        end_reason: Why the membership ended.
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.
        paid_periods_count: How many periods were paid so far.

    .. versionadded:: 1.0
    """

    end_reason: EndReason | None = None
    plan_period: str | None = None
    paid_periods_count: int | None = None


class BillingIssueStarted(SubscriptionEvent):
    """A payment fails.

    Attributes:
        has_access: Whether the user has access for the time being.
        grace_ends_at: When the grace period ends: an aware `datetime`, or RFC 3339.

    .. versionadded:: 1.0
    """

    has_access: bool | None = None
    grace_ends_at: datetime | str | None = None


class BillingRecovered(SubscriptionEvent):
    """The payment works again.

    .. versionadded:: 1.0
    """


class RefundGranted(SubscriptionEvent):
    """A refund is granted.

    .. versionadded:: 1.0
    """
