"""What a notification of the App Store says of its subscription, and the state after it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ._money import from_minor, get_exponent, to_currency
from ._periods import count_days

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from ._collector import Collector
    from ._fields import Fields
    from ._history import History

NOT_SUBSCRIPTIONS = ("Consumable", "Non-Consumable")

_DAYS = re.compile("P([0-9]{1,4})([DW])")
_FULL = 100_000  # "revocationPercentage" is in thousandths of a percent
_DIVISOR = 1000 * _FULL  # of milliunits times that percentage

# By "status", a field of "data".
_STATUSES = {1: "active", 2: "ended", 3: "issue", 4: "issue", 5: "ended"}
_STATUSES_AFTER = {
    "DID_FAIL_TO_RENEW": "issue",
    "DID_RENEW": "active",
    "EXPIRED": "ended",
    "GRACE_PERIOD_EXPIRED": "issue",
    "REVOKE": "ended",
    "SUBSCRIBED": "active",
}
# They report an end. Others of the same moment have its status, too, and may come before it.
_ENDS = ("EXPIRED", "REFUND", "REVOKE")
# Their transaction may be one of a period long ago.
_ABOUT_ANY_PERIOD = ("CONSUMPTION_REQUEST", "REFUND", "REFUND_DECLINED", "REFUND_REVERSED")


class Notification(NamedTuple):
    """A notification with its transaction, its renewal and the state before it."""

    kind: str
    subtype: str
    at: datetime
    data: Fields
    transaction: Fields
    renewal: Fields
    history: History
    found: Collector

    @property
    def is_free(self) -> bool:
        """Whether the period of the transaction is free."""
        return self.transaction.text("offerDiscountType") == "FREE_TRIAL"

    @property
    def is_family(self) -> bool:
        """Whether the subscription is another family member's."""
        return self.transaction.text("inAppOwnershipType") == "FAMILY_SHARED"

    @property
    def is_start(self) -> bool:
        """Whether a subscription starts."""
        return self.subtype in ("INITIAL_BUY", "RESUBSCRIBE") or self.kind == "SUBSCRIBED"

    @property
    def is_trial(self) -> bool:
        """Whether the period is a trial: a paying subscriber may have free periods as well."""
        if self.is_family or not self.is_free or self.is_start:
            return self.is_free and not self.is_family
        status = self.history.get("status")
        if status in ("trial", "issue"):
            return self.history.get("paid_by") is None
        return status != "active" and self.transaction.text("transactionReason") != "RENEWAL"

    @property
    def auto_renew(self) -> bool | None:
        """Whether the subscription renews; None if the notification does not say it."""
        subtypes = {"AUTO_RENEW_ENABLED": True, "AUTO_RENEW_DISABLED": False}
        number = self.renewal.integer("autoRenewStatus")
        return subtypes.get(self.subtype, None if number is None else number == 1)


def is_conversion(one: Notification) -> bool:
    """Return whether the period of the transaction is the first paid one after a trial.

    The state says it, also a newer one if the notification is late.
    """
    if one.history.get_lasting("paid_by") == one.transaction.text("transactionId"):
        return True
    return one.history.get("status") in ("trial", "issue") and one.history.get("paid_by") is None


def get_facts(one: Notification) -> dict[str, object]:
    """Return what the state has to remember of a notification."""
    facts: dict[str, object] = {}
    before = one.history.get("status")
    status = _STATUSES_AFTER.get(one.kind) or _STATUSES.get(one.data.integer("status") or 0)
    is_told = status != "ended" or one.kind in _ENDS
    if not is_told:
        status = None
    if one.kind in _ABOUT_ANY_PERIOD:
        # What was not known before stays unknown, so that it is not taken for an unpaid trial.
        if status == "ended" or (status is not None and before is not None):
            facts["status"] = "trial" if (status, before) == ("active", "trial") else status
        return facts
    if one.auto_renew is not None:
        facts["auto_renew"] = one.auto_renew
    if is_told and (status is not None or before is None):
        is_trial = one.is_trial and status in ("active", None)
        facts["status"] = "trial" if is_trial else status or "active"
    if not one.is_family:
        facts["paid_by"] = _get_first_payment(one)
    return facts


def _get_first_payment(one: Notification) -> str | None:
    """Return the transaction of the first paid period after a trial; None in a trial.

    It is the original transaction if there was no trial, or none that is known.
    """
    if one.is_trial:
        return None
    was: str | None = None if one.is_start else one.history.get("paid_by")
    if was is not None:
        return was
    is_first = not one.is_start and not one.is_free and is_conversion(one)
    return one.transaction.text("transactionId" if is_first else "originalTransactionId")


def get_money(fields: Fields, name: str) -> tuple[Decimal | None, str | None]:
    """Return a price in major units and its currency; Apple writes it in thousandths.

    It is the price for all of the `quantity` ("price").
    """
    millis = fields.integer(name)
    price = None if millis is None or millis < 0 else from_minor(millis, 3)
    return price, to_currency(fields.text("currency"))


def get_refund(transaction: Fields) -> Decimal | None:
    """Return the amount of a refund, to the minor unit; None if the payload does not say it."""
    price, currency = get_money(transaction, "price")
    share = transaction.integer("revocationPercentage")
    if share is None:
        return None if transaction.text("revocationType") == "REFUND_PRORATED" else price
    if share == _FULL or price is None:
        return price
    if currency is None or not 0 <= share < _FULL:
        return None
    exponent = get_exponent(currency)
    product = (transaction.integer("price") or 0) * share * 10**exponent
    return from_minor((2 * product + _DIVISOR) // (2 * _DIVISOR), exponent)


def get_trial_days(transaction: Fields) -> int | None:
    """Return the length of a trial in days.

    `offerPeriod` has it, or has months: then the dates decide. The dates of the sandbox are minutes
    apart.
    """
    match = _DAYS.fullmatch(transaction.text("offerPeriod") or "")
    if match is not None:
        return int(match[1]) * {"D": 1, "W": 7}[match[2]]
    return count_days(transaction.millis("purchaseDate"), transaction.millis("expiresDate")) or None
