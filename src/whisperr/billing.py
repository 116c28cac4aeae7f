"""The reserved billing events, for backends without a connected billing source (CONTRACT).

Names are constants; properties are typed dictionaries with their allowed values. They help editors
and type checkers only: the client accepts any event with any properties.
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
    """Properties that any billing event may have. `price` is in major units: 9.99."""

    plan_id: str
    price: float
    currency: str
    transaction_id: str
    store: str


class TrialStarted(BillingProperties, total=False):
    """Properties of `trial_started`; `plan_period` is an ISO 8601 duration such as `P1M`."""

    trial_length_days: int
    trial_ends_at: str
    plan_period: str


class TrialConverted(BillingProperties, total=False):
    """Properties of `trial_converted`."""

    plan_period: str
    current_period_ends_at: str


class TrialAutoRenewDisabled(BillingProperties, total=False):
    """Properties of `trial_auto_renew_disabled`."""

    trial_ends_at: str
    store_cancel_reason: StoreCancelReason


class MembershipStarted(BillingProperties, total=False):
    """Properties of `membership_started`: a paid start, never a renewal."""

    plan_period: str
    is_resubscribe: bool
    is_first_ever: bool
    access_source: AccessSource
    entitlements: list[str]
    current_period_ends_at: str


class RenewalSucceeded(BillingProperties, total=False):
    """Properties of `renewal_succeeded`."""

    paid_periods_count: int
    current_period_ends_at: str


class AutoRenewDisabled(BillingProperties, total=False):
    """Properties of `auto_renew_disabled`: access continues until `access_ends_at`."""

    access_ends_at: str
    store_cancel_reason: StoreCancelReason


class AutoRenewEnabled(BillingProperties, total=False):
    """Properties of `auto_renew_enabled`."""


class MembershipEnded(BillingProperties, total=False):
    """Properties of `membership_ended`."""

    end_reason: EndReason
    plan_period: str
    paid_periods_count: int


class BillingIssueStarted(BillingProperties, total=False):
    """Properties of `billing_issue_started`."""

    has_access: bool
    grace_ends_at: str


class BillingRecovered(BillingProperties, total=False):
    """Properties of `billing_recovered`."""


class RefundGranted(BillingProperties, total=False):
    """Properties of `refund_granted`."""
