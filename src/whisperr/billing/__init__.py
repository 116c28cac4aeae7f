"""Billing events, and what makes them of the webhooks of billing providers.

`BillingEvent` has the names of the reserved events, and a typed dictionary for each event has its
properties with their allowed values. They help editors and type checkers; the client accepts any
event with any properties.

A module for each provider has a function `signals(payload)`, which returns what a webhook means as
`Signals`: send each with `Whisperr.track_signal`. None of them needs the provider's package. None
verifies a signature: do that first, with the provider's package.

Send billing events only if no billing source is connected to Whisperr, and register their names
first: the server does not store a billing event whose name is not registered for your app.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  # for get_type_hints
from typing import Final, Literal, TypedDict

from ._signals import Signal, Signals, Skipped, State

__all__ = [
    "AccessSource",
    "AutoRenewDisabled",
    "AutoRenewEnabled",
    "BillingEvent",
    "BillingIssueStarted",
    "BillingProperties",
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


class BillingProperties(TypedDict, total=False):
    """Properties that any billing event may have; all are optional.

    Attributes:
        plan_id: Your name of the plan, such as `"pro_monthly"`.
        price: The price in major units, such as `9.99`, as a `float`, an `int` or a `Decimal`.
        currency: ISO 4217 in upper case, such as `"EUR"`.
        transaction_id: Your id of the payment, any string.
        store: Your name of the store, such as `"app_store"`.

    .. versionadded:: 1.0
    """

    plan_id: str
    price: float | Decimal
    currency: str
    transaction_id: str
    store: str


class TrialStarted(BillingProperties, total=False):
    """Properties of `trial_started`: a free trial starts.

    Attributes:
        trial_length_days: The length of the trial in days.
        trial_ends_at: When the trial ends, RFC 3339 with a zone.
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.

    .. versionadded:: 1.0
    """

    trial_length_days: int
    trial_ends_at: str
    plan_period: str


class TrialConverted(BillingProperties, total=False):
    """Properties of `trial_converted`: the trial becomes the first paid period.

    Attributes:
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.
        current_period_ends_at: When the paid period ends, RFC 3339 with a zone.

    .. versionadded:: 1.0
    """

    plan_period: str
    current_period_ends_at: str


class TrialAutoRenewDisabled(BillingProperties, total=False):
    """Properties of `trial_auto_renew_disabled`: the user cancels during the trial.

    Attributes:
        trial_ends_at: When the trial ends, RFC 3339 with a zone.
        store_cancel_reason: Why the renewal was cancelled.

    .. versionadded:: 1.0
    """

    trial_ends_at: str
    store_cancel_reason: StoreCancelReason


class MembershipStarted(BillingProperties, total=False):
    """Properties of `membership_started`: a paid membership starts.

    It is never for a renewal or a change of plan.

    Attributes:
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.
        is_resubscribe: Whether the user was a member before.
        is_first_ever: Whether it is the first membership of the user.
        access_source: Where the membership comes from.
        entitlements: Names of what the user has access to.
        current_period_ends_at: When the paid period ends, RFC 3339 with a zone.

    .. versionadded:: 1.0
    """

    plan_period: str
    is_resubscribe: bool
    is_first_ever: bool
    access_source: AccessSource
    entitlements: list[str]
    current_period_ends_at: str


class RenewalSucceeded(BillingProperties, total=False):
    """Properties of `renewal_succeeded`: a paid period renews.

    Attributes:
        paid_periods_count: How many periods were paid so far.
        current_period_ends_at: When the paid period ends, RFC 3339 with a zone.

    .. versionadded:: 1.0
    """

    paid_periods_count: int
    current_period_ends_at: str


class AutoRenewDisabled(BillingProperties, total=False):
    """Properties of `auto_renew_disabled`: the user cancels and keeps access until the period ends.

    Attributes:
        access_ends_at: When access ends, RFC 3339 with a zone.
        store_cancel_reason: Why the renewal was cancelled.

    .. versionadded:: 1.0
    """

    access_ends_at: str
    store_cancel_reason: StoreCancelReason


class AutoRenewEnabled(BillingProperties, total=False):
    """Properties of `auto_renew_enabled`: the user withdraws the cancellation.

    .. versionadded:: 1.0
    """


class MembershipEnded(BillingProperties, total=False):
    """Properties of `membership_ended`: access ends.

    Attributes:
        end_reason: Why the membership ended.
        plan_period: The billing period as an ISO 8601 duration, such as `"P1M"`.
        paid_periods_count: How many periods were paid so far.

    .. versionadded:: 1.0
    """

    end_reason: EndReason
    plan_period: str
    paid_periods_count: int


class BillingIssueStarted(BillingProperties, total=False):
    """Properties of `billing_issue_started`: a payment fails.

    Attributes:
        has_access: Whether the user has access for the time being.
        grace_ends_at: When the grace period ends, RFC 3339 with a zone.

    .. versionadded:: 1.0
    """

    has_access: bool
    grace_ends_at: str


class BillingRecovered(BillingProperties, total=False):
    """Properties of `billing_recovered`: the payment works again.

    .. versionadded:: 1.0
    """


class RefundGranted(BillingProperties, total=False):
    """Properties of `refund_granted`: a refund is granted.

    .. versionadded:: 1.0
    """
