"""What values of other types stand for; see also the tables of `test_options.py`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr._conversion import ALLOWED_WORDS, same, to_flag, to_number, to_whole

if TYPE_CHECKING:
    from collections.abc import Callable

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
CONVERSIONS: list[Callable[[object], object]] = [same, to_flag, to_number, to_whole]


@pytest.mark.parametrize("word", ALLOWED_WORDS.replace(" or ", ", ").split(", "))
def test_every_word_that_errors_name_is_a_flag(word: str) -> None:
    assert to_flag(word) is to_flag(f" {word.upper()}\n") is (word in {"1", "true", "yes", "on"})


@SAME_EACH_TIME
@given(st.text() | st.text("0123456789.eE+-_ ") | st.floats() | st.integers() | st.binary())
def test_nothing_raises_and_nothing_becomes_another_type_than_that_of_the_option(
    value: object,
) -> None:
    kind = type(value)
    assert type(to_flag(value)) in {bool, kind}
    assert type(to_number(value)) in {float, kind}
    assert type(to_whole(value)) in {int, float, kind}


@pytest.mark.parametrize("convert", CONVERSIONS)
@pytest.mark.parametrize("value", [object(), b"1", [], (), {}, 2, -1, "two", sys.maxsize])
def test_what_stands_for_no_other_value_stays_the_same(
    convert: Callable[[object], object], value: object
) -> None:
    assert convert(value) is value


@pytest.mark.parametrize("digits", ["9" * 5_000, "1e999", "-inf"])
def test_a_number_out_of_all_bounds_is_no_whole_number(digits: str) -> None:
    assert isinstance(to_whole(digits), float)
