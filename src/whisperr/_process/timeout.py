"""Checks the seconds that a call may take, before anything happens."""

from __future__ import annotations

UNBOUNDED = float("inf")
_LONGEST = 40  # characters of a wrong value that its error shows


def parse_timeout(timeout: object, name: str = "timeout") -> float:
    """Return a time limit in seconds; None is UNBOUNDED.

    Raises TypeError for what is no number, ValueError for a negative one or NaN; both name the
    value and what is allowed.
    """
    if timeout is None:
        return UNBOUNDED
    # A text has no `__float__`; numbers of other libraries have it.
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
