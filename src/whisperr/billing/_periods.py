"""Lengths of time as the billing events have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_CODES = {"day": "D", "week": "W", "month": "M", "year": "Y"}
_DAY = 86_400


def to_period(unit: str | None, count: int | None) -> str | None:
    """Return an ISO 8601 duration such as `"P1M"`; None for an unknown unit or no length."""
    code = _CODES.get((unit or "").lower())
    return f"P{count}{code}" if code and count is not None and count > 0 else None


def count_days(start: datetime | None, end: datetime | None) -> int | None:
    """Return the days between two times, rounded; None if one is missing or they are reversed."""
    if start is None or end is None or end < start:
        return None
    return round((end - start).total_seconds() / _DAY)
