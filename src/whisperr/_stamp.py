"""Step 2, the event's own marks: when it happened and its id.

Threads: any thread may call anything here, also from a signal handler. Nothing waits.
"""

from __future__ import annotations

import os
import time

from ._imports import first_use
from .errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# CONTRACT: accepted from 30 days ago. The other end of the window (5 minutes ahead) is left to
# the server: which of two clocks is wrong cannot be told here, and a day ahead is a mistake.
MAX_AGE_DAYS = 30
MAX_AHEAD_DAYS = 1

# A call that makes a block costs a few microseconds more: few enough that none stands out.
_IDS_PER_BLOCK = 16
# Base64 (RFC 4648, section 5: `-` and `_`): 22 characters of 6 random bits, where a UUID has 122 in
# 36. An id is held with its event and sent with it: hex digits would be ten bytes more.
_ID_CHARACTERS = 22
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class MessageIds:
    """Ids of 132 random bits as 22 characters; one system call makes 16 of them.

    Belongs to one process: a forked child must make its own, or both would hand out the same.
    """

    __slots__ = ("_block", "_encode")

    def __init__(self) -> None:
        with first_use():
            from binascii import b2a_base64
        self._encode = b2a_base64
        self._block: list[str] = []

    def next(self) -> str:
        """Return an id that nobody else got: `list.pop` is atomic, with and without a GIL."""
        try:
            return self._block.pop()
        except IndexError:
            random = os.urandom(_ID_CHARACTERS * _IDS_PER_BLOCK * 6 // 8)
            text = self._encode(random, newline=False).translate(_URL_SAFE).decode()
            block = [text[at : at + _ID_CHARACTERS] for at in range(0, len(text), _ID_CHARACTERS)]
            mine = block.pop()
            self._block = block
            return mine


class Clock:
    """Say the present as the contract wants it; what the last call made is used again if it can."""

    __slots__ = ("_last", "_now", "_second")

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now = now_ns
        self._second = (0, "")
        self._last = (0, "")

    def stamp(self) -> str:
        """Return RFC 3339 in UTC with three fraction digits, truncated (CONTRACT, Event)."""
        moment = self._now() // 1_000_000
        known, stamp = self._last  # one read: another thread may replace the pair
        if known == moment:  # in a burst a hundred events share a millisecond
            return stamp
        second, milli = divmod(moment, 1000)
        known, text = self._second  # likewise
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = (second, text)
        stamp = f"{text}{milli:03d}Z"
        self._last = (moment, stamp)
        return stamp

    def stamp_of(self, moment: object) -> str:
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
        days = self._now() / 86_400e9 - utc.timestamp() / 86_400
        if not -MAX_AHEAD_DAYS <= days <= MAX_AGE_DAYS:
            raise InvalidEvent(
                f"occurred_at: {utc.isoformat()} is outside what the server accepts, "
                f"{MAX_AGE_DAYS} days ago to 5 minutes ahead"
            )
        return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"
