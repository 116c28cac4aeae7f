"""Decides when to report that delivery fails, and that it works again. Pure: no clock.

A single failure may heal by itself, so some kinds are reported only after several in a row. One
outage gives one report, not one for each retry.

Used by one caller at a time, in the scheduler's methods for the delivery thread.
"""

from __future__ import annotations

# Seconds between the reports of two outages: a server that fails every other request is one
# problem.
_BETWEEN_OUTAGES = 60.0
# Seconds between two reports of one outage. With the default options delivery gives up much
# earlier, and each give-up is reported anyway.
_BETWEEN_REPORTS = 600.0


class Delay:
    """Tracks since when every attempt has failed, and whether that was reported."""

    __slots__ = ("_failures", "_is_reported", "_reported_at", "_since")

    def __init__(self) -> None:
        self._failures = 0  # in a row
        self._since = 0.0
        self._is_reported = False
        self._reported_at: float | None = None

    def note_failure(self, patience: int, now: float) -> bool:
        """Count a failed attempt; return whether to report it.

        `patience`: after how many failures in a row to report this kind. `now`: monotonic, seconds.
        """
        if not self._failures:
            self._since = now
        self._failures += 1
        if self._failures < patience:
            return False
        least = _BETWEEN_REPORTS if self._is_reported else _BETWEEN_OUTAGES
        return self._reported_at is None or now - self._reported_at >= least

    def note_report(self, now: float) -> None:
        """Note that the failure was reported, also as a give-up or an internal error."""
        self._is_reported = True
        self._reported_at = now

    def note_success(self, now: float) -> float | None:
        """Note that delivery works; return the length of the outage in seconds if it was reported.

        It counts from the end of the first failed attempt. None: no report to follow up.
        """
        was_reported, self._is_reported = self._is_reported, False
        self._failures = 0
        return now - self._since if was_reported else None
