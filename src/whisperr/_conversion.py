"""Converts values of options from text, because the environment and many settings have only text.

A value that cannot be converted is returned as it is. Whether it is allowed is checked afterwards.
Pure.
"""

from __future__ import annotations

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
ALLOWED_WORDS = "1, true, yes, on, 0, false, no or off"


def same(value: object) -> object:
    """Return the value unchanged, for options that accept only one type."""
    return value


def to_flag(value: object) -> object:
    """Return True or False for one of the allowed words, in any case, and for 1 or 0.

    Return False for None and for empty text as well, because that is how an unset variable is read.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        return _WORDS.get(text, value) if text else False
    is_bit = isinstance(value, (int, float)) and value in (0, 1)
    return bool(value) if is_bit or value is None else value


def to_number(value: object) -> object:
    """Return the number in a text; any other value as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def to_whole(value: object) -> object:
    """Return a whole number written as text or as a float as an int; other values unchanged."""
    number = to_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number
