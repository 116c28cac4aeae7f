"""Step 2, the event's own marks: when it happened and its id.

Threads: any thread may call anything here, also from a signal handler. Nothing waits.
"""

from __future__ import annotations

import os
import time
from itertools import count

from whisperr._process.imports import first_use
from whisperr.errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# CONTRACT: accepted from 30 days ago. The other end of the window (5 minutes ahead) is left to
# the server: which of two clocks is wrong cannot be told here, and a day ahead is a mistake.
MAX_AGE_DAYS = 30
MAX_AHEAD_DAYS = 1

_SECOND, _MILLI = 1_000_000_000, 1_000_000  # nanoseconds

# Base64 (RFC 4648, section 5: `-` and `_`): 16 characters of 6 random bits. An id is held with its
# event and sent with it: hex digits would be eight bytes more.
_RANDOM_BYTES = 12
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class MessageIds:
    """Ids of 96 random bits and a number. Most calls do not wait for the system's random.

    Belongs to one process: a forked child must make its own, or both would hand out the same.
    """

    __slots__ = ("_encode", "_source")

    def __init__(self) -> None:
        with first_use():
            from binascii import b2a_base64
        self._encode = b2a_base64
        self.renew()

    def renew(self) -> None:
        """Draw new bits: from here on no copy of this process has the same ids."""
        text = self._encode(os.urandom(_RANDOM_BYTES), newline=False)
        # A pair that nothing changes, so that no number is used twice with the same bits. Counting
        # is one step in C: no two threads get the same number.
        self._source = (text.translate(_URL_SAFE).decode(), count().__next__)

    def next(self) -> str:
        """Return an id that nobody else got."""
        random, number = self._source
        return f"{random}{number()}"


class Clock:
    """Say the present as the contract wants it; what the last call made is used again if it can.

    `each_second` is called when the second is another one than at the last event. A copy of a
    running machine goes on from a snapshot at a later time: that is how it is noticed.
    """

    __slots__ = ("_each_second", "_milli", "_now", "_second")

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        each_second: Callable[[], object] = lambda: None,
    ) -> None:
        self._now = now_ns
        self._each_second = each_second
        # From when on (nanoseconds), and the text for it.
        self._second = (-_SECOND, "")
        self._milli = (-_SECOND, "")

    def stamp(self) -> str:
        """Return RFC 3339 in UTC with three fraction digits, truncated (CONTRACT, Event)."""
        now = self._now()
        began, stamp = self._milli  # one read: another thread may replace the pair
        # A difference is a small number, which costs less than dividing a large one.
        if 0 <= now - began < _MILLI:  # in a burst a hundred events share a millisecond
            return stamp
        began, text = self._second  # likewise
        if not 0 <= now - began < _SECOND:
            began, text = self._begin(now)
        milli = (now - began) // _MILLI
        stamp = f"{text}{milli:03d}Z"
        self._milli = (began + milli * _MILLI, stamp)
        return stamp

    def _begin(self, now: int) -> tuple[int, str]:
        second = now // _SECOND
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        self._each_second()
        self._second = begun = (second * _SECOND, text)
        return begun

    def format(self, moment: object) -> str:
        """Return the stamp of an aware `datetime`; raises InvalidEvent for anything else."""
        from datetime import datetime, timezone

        if not isinstance(moment, datetime):
            raise InvalidEvent(
                f"occurred_at: must be an aware datetime, got {type(moment).__name__}"
            )
        if moment.utcoffset() is None:
            raise InvalidEvent(
                "occurred_at: must be an aware datetime, got a naive one; "
                "add tzinfo, for example datetime.now(timezone.utc)"
            )
        try:
            utc = moment.astimezone(timezone.utc)
        except OverflowError:
            raise InvalidEvent(f"occurred_at: {moment.isoformat()} is not a time in UTC") from None
        now = self._now()
        if not 0 <= now - self._second[0] < _SECOND:
            self._begin(now)
        days = now / 86_400e9 - utc.timestamp() / 86_400
        if not -MAX_AHEAD_DAYS <= days <= MAX_AGE_DAYS:
            raise InvalidEvent(
                f"occurred_at: {utc.isoformat()} is outside what the server accepts, "
                f"{MAX_AGE_DAYS} days ago to 5 minutes ahead"
            )
        return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"
