"""The clock that decides which events are too old: the wall clock, once it has run steadily.

A wall clock may be wrong for some minutes: while a machine starts, or while an administrator or a
time server corrects it. An event that is dropped for its age is lost forever, so a single reading
is not enough. Until the clock is trusted, no event is too old: it is sent, and the server decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whisperr._contract import MAX_AGE_DAYS

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds for which the wall clock must have kept pace with the monotonic clock. Time servers
# correct a clock within the first minutes.
TRUST_AFTER = 600.0
# Seconds. Clocks that a time server slows down or speeds up drift less between two readings.
_MAX_DRIFT = 5.0
# At this time no event is too old: it would have to be from before 1970.
_NEVER_TOO_OLD = MAX_AGE_DAYS * 86_400.0


class ExpiryClock:
    """Returns the time for decisions that cannot be undone."""

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._start: tuple[float, float] | None = None  # wall and monotonic time; None: not read
        self.get_now()

    def get_now(self) -> float:
        """Return the wall clock in seconds, or a time at which no event is too old."""
        wall, steady = self._wall_clock(), self._monotonic()
        start = self._start
        if start is None or abs((wall - start[0]) - (steady - start[1])) > _MAX_DRIFT:
            self._start = start = (wall, steady)
        if steady - start[1] < TRUST_AFTER:
            return _NEVER_TOO_OLD
        self._start = (wall - TRUST_AFTER, steady - TRUST_AFTER)  # compare the next with this one
        return wall

    def trust(self) -> None:
        """Trust the clock from now on; for tests."""
        self._start = (self._wall_clock() - TRUST_AFTER, self._monotonic() - TRUST_AFTER)
