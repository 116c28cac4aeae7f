"""Checks the time limit that a call was given, before the call does anything."""

from __future__ import annotations

UNBOUNDED = float("inf")
_LONGEST = 40  # characters of a wrong value that its error shows


def parse_timeout(timeout: object, name: str = "timeout") -> float:
    """Return a time limit in seconds, UNBOUNDED for None.

    Raises TypeError if it is not a number, and ValueError for a negative number or NaN. Both errors
    show the value and say what is allowed.
    """
    if timeout is None:
        return UNBOUNDED
    # Numbers of other libraries have `__float__`, and text does not.
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(
            f"{name} must be a number of seconds or None, got {type(timeout).__name__}: "
            f"{_shorten(timeout)}"
        )
    seconds = float(timeout)
    if not seconds >= 0:  # NaN compares as False
        raise ValueError(f"{name} must be 0 seconds or more, or None, got {_shorten(timeout)}")
    return seconds


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
