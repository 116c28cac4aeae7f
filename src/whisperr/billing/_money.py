"""Amounts of money as providers write them, as `Decimal` in major units, with all digits."""

from __future__ import annotations

import re
from decimal import Decimal

_CODE = re.compile("[A-Z]{3}")

_NO_DECIMALS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND"),
    *("VUV", "XAF", "XOF", "XPF"),
)
# The currencies of ISO 4217 whose minor unit is not a hundredth.
_EXPONENTS = {
    **dict.fromkeys(_NO_DECIMALS, 0),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


def get_exponent(currency: str) -> int:
    """Return the decimals of a currency by ISO 4217: 2 for most, 0 for JPY, 3 for KWD."""
    return _EXPONENTS.get(currency, 2)


def from_minor(amount: int, exponent: int) -> Decimal:
    """Return an amount in minor units, such as cents, in major units: 999 with 2 is 9.99."""
    digits = Decimal(amount).as_tuple()
    return Decimal((digits.sign, digits.digits, -exponent))


def to_currency(code: str | None) -> str | None:
    """Return a currency code in upper case; None for what is no code."""
    found = (code or "").strip().upper()
    return found if _CODE.fullmatch(found) else None
