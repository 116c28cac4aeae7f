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

from ._events import (
    AccessSource,
    AutoRenewDisabled,
    AutoRenewEnabled,
    BillingEvent,
    BillingIssueStarted,
    BillingProperties,
    BillingRecovered,
    EndReason,
    MembershipEnded,
    MembershipStarted,
    RefundGranted,
    RenewalSucceeded,
    StoreCancelReason,
    TrialAutoRenewDisabled,
    TrialConverted,
    TrialStarted,
)
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
