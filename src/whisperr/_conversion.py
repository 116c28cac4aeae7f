"""Converts values of options: the environment has only text, and settings are often read from it.

A value that stands for no other is returned as it is; whether it is allowed is checked afterwards.
Pure.
"""

from __future__ import annotations

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
ALLOWED_WORDS = "1, true, yes, on, 0, false, no or off"


def same(value: object) -> object:
    """Return the value itself: for options that take one kind of value only."""
    return value


def to_flag(value: object) -> object:
    """Return True or False for a word, in any case, and for 1 or 0.

    False also for None and for empty text: an unset variable is read as one of the two.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        return _WORDS.get(text, value) if text else False
    is_bit = isinstance(value, (int, float)) and value in (0, 1)
    return bool(value) if is_bit or value is None else value


def to_number(value: object) -> object:
    """Return the number that a text is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def to_whole(value: object) -> object:
    """Return the whole number that a text is, or a float without a fraction."""
    number = to_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number
