"""The clock of every bound of waiting, which keeps going where tests replace the clock.

freezegun replaces `time.monotonic` in all modules, and time-machine may replace it in C: a bound on
a clock that stands still is none. Neither replaces `clock_gettime` for this clock. The times of
events come from `time.time_ns`, which tests do mean to replace.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":

    def monotonic(read: Callable[[], float] = time.monotonic) -> float:
        """Return the seconds since some moment. A default argument is not replaced."""
        return read()

else:

    def monotonic() -> float:
        """Return the seconds since some moment."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)
