"""The clock for the time limits of waits, which runs on where tests replace the clock.

freezegun replaces `time.monotonic` in all modules, and time-machine may replace it in C. A time
limit on a clock that stands still never passes. Neither replaces `clock_gettime` for this clock.
The times of events come from `time.time_ns`, which tests replace on purpose.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":

    def monotonic(read: Callable[[], float] = time.monotonic) -> float:
        """Return the seconds since a fixed moment. No test tool replaces a default argument."""
        return read()

else:

    def monotonic() -> float:
        """Return the seconds since a fixed moment."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)
