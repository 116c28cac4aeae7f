"""The time by which events are too old: the wall clock, once it has proven steady.

A wall clock may be wrong for some minutes: at the start of a machine, or while an administrator or
a time server corrects it. An event that is dropped for its age is lost for ever, so one look at the
clock does not suffice for that. Until the clock is trusted no event is too old: it is sent, and the
server decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from whisperr._contract import MAX_AGE_DAYS

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds for which the wall clock must have run alike with the monotonic clock. Time servers
# correct a clock within the first minutes.
TRUST_AFTER = 600.0
# Clocks that are slowed down or sped up by a time server drift less between two looks (seconds).
_MAX_DRIFT = 5.0
# At this time nothing is too old: that would have to be from before 1970.
_NEVER_TOO_OLD = MAX_AGE_DAYS * 86_400.0


class ExpiryClock:
    """Tells the time for decisions that cannot be taken back."""

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._start: tuple[float, float] | None = None  # wall and monotonic time; None: no look yet
        self.get_now()

    def get_now(self) -> float:
        """Return the wall clock in seconds, or a time at which no event is too old."""
        wall, steady = self._wall_clock(), self._monotonic()
        start = self._start
        if start is None or abs((wall - start[0]) - (steady - start[1])) > _MAX_DRIFT:
            self._start = start = (wall, steady)
        if steady - start[1] < TRUST_AFTER:
            return _NEVER_TOO_OLD
        self._start = (wall - TRUST_AFTER, steady - TRUST_AFTER)  # compared with this look, next
        return wall

    def trust(self) -> None:
        """Take the clock for steady from now on; for tests."""
        self._start = (self._wall_clock() - TRUST_AFTER, self._monotonic() - TRUST_AFTER)
