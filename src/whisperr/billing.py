"""The reserved billing events, for backends without a connected billing source (CONTRACT).

Names are constants; properties are typed dictionaries with their allowed values. They help editors
and type checkers only: the client accepts any event with any properties. The names have to be
registered with Whisperr first; docs/billing/events.md is the guide, which a test compares.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict

StoreCancelReason = Literal[
    "unsubscribe",
    "billing_error",
    "developer_initiated",
    "price_increase",
    "customer_support",
    "unknown",
]
EndReason = Literal[
    "voluntary",
    "billing",
    "price_increase",
    "product_unavailable",
    "developer_initiated",
    "refund",
    "other",
]
AccessSource = Literal[
    "self_subscription", "lifetime", "family_share", "promotional", "sponsored", "web_other"
]


class BillingEvent:
    """The names of the reserved billing events."""

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

    - `price`: a number in major units, such as `9.99`. `currency`: ISO 4217, upper case.
    - `plan_id`, `transaction_id`, `store`: your own strings.

    Of the events below: `plan_period` is an ISO 8601 duration such as `P1M`; the names that end in
    `_ends_at` are RFC 3339 with a zone.
    """

    plan_id: str
    price: float
    currency: str
    transaction_id: str
    store: str


class TrialStarted(BillingProperties, total=False):
    """Properties of `trial_started`: a free trial starts."""

    trial_length_days: int
    trial_ends_at: str
    plan_period: str


class TrialConverted(BillingProperties, total=False):
    """Properties of `trial_converted`: the trial becomes the first paid period."""

    plan_period: str
    current_period_ends_at: str


class TrialAutoRenewDisabled(BillingProperties, total=False):
    """Properties of `trial_auto_renew_disabled`: the user cancels during the trial."""

    trial_ends_at: str
    store_cancel_reason: StoreCancelReason


class MembershipStarted(BillingProperties, total=False):
    """Properties of `membership_started`: a paid membership starts.

    It is never for a renewal or a change of plan.
    """

    plan_period: str
    is_resubscribe: bool
    is_first_ever: bool
    access_source: AccessSource
    entitlements: list[str]
    current_period_ends_at: str


class RenewalSucceeded(BillingProperties, total=False):
    """Properties of `renewal_succeeded`: a paid period renews."""

    paid_periods_count: int
    current_period_ends_at: str


class AutoRenewDisabled(BillingProperties, total=False):
    """Properties of `auto_renew_disabled`: the user cancels; access goes on until its end."""

    access_ends_at: str
    store_cancel_reason: StoreCancelReason


class AutoRenewEnabled(BillingProperties, total=False):
    """Properties of `auto_renew_enabled`: the user takes the cancellation back."""


class MembershipEnded(BillingProperties, total=False):
    """Properties of `membership_ended`: access ends."""

    end_reason: EndReason
    plan_period: str
    paid_periods_count: int


class BillingIssueStarted(BillingProperties, total=False):
    """Properties of `billing_issue_started`: a payment fails."""

    has_access: bool
    grace_ends_at: str


class BillingRecovered(BillingProperties, total=False):
    """Properties of `billing_recovered`: the payment works again."""


class RefundGranted(BillingProperties, total=False):
    """Properties of `refund_granted`: a refund is granted."""
