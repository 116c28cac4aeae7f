"""Summarises several rounds, and computes percentiles of one round. Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(NamedTuple):
    """The values of all rounds as three figures: median, least and most."""

    median: float
    least: float
    most: float


def get_spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(median(values), min(values), max(values))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the ordered values do not exceed (nearest rank)."""
    rank = max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))
    return ordered[rank]


def ratio(value: float, to: float | None) -> float | None:
    """Return value / to; None when there is nothing to compare with."""
    return value / to if to else None
