"""Amounts in minor units become exact amounts in major units."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr.billing._money import from_minor, get_exponent, to_currency


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (999, "EUR", "9.99"),
        (5, "USD", "0.05"),
        (0, "EUR", "0.00"),
        (-999, "EUR", "-9.99"),
        (1200, "JPY", "1200"),
        (1234, "KWD", "1.234"),
        (12345, "CLF", "1.2345"),
        (999, "XXX", "9.99"),  # a currency that the list does not name has 2
    ],
)
def test_a_currency_has_its_decimals(amount: int, currency: str, expected: str) -> None:
    assert str(from_minor(amount, get_exponent(currency))) == expected


@given(amount=st.integers(), exponent=st.integers(0, 4))
def test_an_amount_of_any_size_is_exact(amount: int, exponent: int) -> None:
    found = from_minor(amount, exponent)
    whole, part = divmod(abs(amount), 10**exponent)
    text = f"{whole}.{part:0{exponent}d}" if exponent else str(whole)
    assert format(found, "f") == ("-" if amount < 0 else "") + text


@given(amount=st.integers(10**30, 10**200), exponent=st.integers(0, 4))
def test_no_digit_of_a_huge_amount_is_rounded(amount: int, exponent: int) -> None:
    # The context of `decimal` keeps 28 digits in calculations.
    assert from_minor(amount, exponent).as_tuple().digits == Decimal(amount).as_tuple().digits


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *(("eur", "EUR"), (" usd ", "USD"), ("JPY", "JPY"), ("", None), (None, None)),
        *(("euro", None), ("E1R", None), ("€", None), ("ÉUR", None), ("EUR\nUSD", None)),
    ],
)
def test_a_currency_is_three_letters_in_upper_case(code: str | None, expected: str | None) -> None:
    assert to_currency(code) == expected


@given(code=st.text())
def test_no_text_raises(code: str) -> None:
    found = to_currency(code)
    assert found is None or (len(found) == 3 and found.isascii() and found.isupper())
