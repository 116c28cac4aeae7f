"""Decides when failing delivery is reported, and when that it works again. Pure: no clock.

One failure may heal by itself before anybody can look, so some kinds are reported only after
several in a row. One outage is one report, and not one for each retry.

Used by one caller at a time, in the methods for the delivery thread.
"""

from __future__ import annotations

# Seconds between the reports of two outages: a server that fails every other request is one
# problem.
_BETWEEN_OUTAGES = 60.0
# Seconds between two reports of one outage. With the default options delivery gives up long before,
# and each time it does is a report of its own.
_BETWEEN_REPORTS = 600.0


class Delay:
    """Since when every attempt has failed, and whether that was reported."""

    __slots__ = ("_failures", "_is_reported", "_reported_at", "_since")

    def __init__(self) -> None:
        self._failures = 0  # in a row
        self._since = 0.0
        self._is_reported = False
        self._reported_at: float | None = None

    def note_failure(self, patience: int, now: float) -> bool:
        """Count a failed attempt; return whether to report it.

        `patience`: at how many failures in a row this kind is reported. `now`: monotonic, seconds.
        """
        if not self._failures:
            self._since = now
        self._failures += 1
        if self._failures < patience:
            return False
        least = _BETWEEN_REPORTS if self._is_reported else _BETWEEN_OUTAGES
        return self._reported_at is None or now - self._reported_at >= least

    def note_report(self, now: float) -> None:
        """Note that the failure was reported, in whatever way."""
        self._is_reported = True
        self._reported_at = now

    def note_success(self, now: float) -> float | None:
        """Note that the server answers; return the seconds that it took, None if no report said so.

        The time counts from the end of the first attempt that failed.
        """
        was_reported, self._is_reported = self._is_reported, False
        self._failures = 0
        return now - self._since if was_reported else None
