"""Computes the figures of a simulated scenario. Pure."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fleet_run import Result

# The steady state: after the first intervals, before anything happens.
STEADY = (60, 120)
# Seconds; a server's own queue evens out so much. A single second of a fleet is noise.
WINDOW = 5
_DRAINED = 1.1  # of what is held in the steady state


class Figures(NamedTuple):
    """Requests per second (steady, peak during and after the trouble), and seconds to drain."""

    steady: float
    peak_during: float
    peak_after: float
    drained_after: int | None
    shed: int
    lost_at_restart: int

    @property
    def ratio(self) -> float:
        """The peak after the trouble against the steady rate."""
        return self.peak_after / self.steady


def windows(requests: Sequence[int]) -> list[float]:
    """Return the mean of each window that ends with a second."""
    return [
        mean(requests[max(0, second - WINDOW + 1) : second + 1]) for second in range(len(requests))
    ]


def get_figures(result: Result) -> Figures:
    """Return the figures of one result."""
    evened = windows(result.requests)
    over = result.scenario.over
    begins = STEADY[1]
    held = mean(result.held[slice(*STEADY)])
    drained = next(
        (at - over for at in range(over, len(result.held)) if result.held[at] <= held * _DRAINED),
        None,
    )
    return Figures(
        steady=mean(result.requests[slice(*STEADY)]),
        peak_during=max(evened[begins:over], default=0.0),
        peak_after=max(evened[over:]),
        drained_after=drained,
        shed=result.shed,
        lost_at_restart=result.lost_at_restart,
    )
