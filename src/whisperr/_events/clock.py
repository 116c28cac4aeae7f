"""Produces the timestamp and the message id of each event.

Threads: any thread may call any method, even in a signal handler. No locks, no waiting.
"""

from __future__ import annotations

import os
import time

from whisperr._contract import MAX_AGE_DAYS
from whisperr._process.counter import Counter
from whisperr._process.imports import first_use
from whisperr._process.interruption import is_interruption
from whisperr.errors import InvalidEvent

from .general import to_plain_datetime
from .redaction import get_type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# The server accepts 5 minutes and enforces that itself, because this machine cannot know whose
# clock is wrong. A time more than a day ahead is the caller's mistake.
_MAX_AHEAD_DAYS = 1

_SECOND, _MILLI = 1_000_000_000, 1_000_000  # nanoseconds

# URL-safe Base64 (RFC 4648, section 5): 16 characters of 6 random bits. The id is stored and sent
# with its event; hex digits would take eight bytes more.
_RANDOM_BYTES = 12
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class MessageIds:
    """Generates ids from 96 random bits and a counter; only `renew` reads the system's randomness.

    Belongs to one process: a forked child that kept it would generate its parent's ids.
    """

    __slots__ = ("_encode", "_source")

    def __init__(self) -> None:
        with first_use():
            from binascii import b2a_base64
        self._encode = b2a_base64
        self.renew()

    def renew(self) -> None:
        """Draw new random bits, so that a copy of this process generates other ids from now on."""
        text = self._encode(os.urandom(_RANDOM_BYTES), newline=False)
        # One immutable pair, so that no number is used twice with the same bits.
        self._source = (text.translate(_URL_SAFE).decode(), Counter().next)

    def next(self) -> str:
        """Return an id that no other call returns."""
        random, number = self._source
        return f"{random}{number()}"


class Clock:
    """Formats times as the contract requires, and reuses the text of the last call if it can.

    `each_second` is called whenever an event falls into another second than the one before. This
    detects a virtual machine that resumes from a snapshot: its clock has jumped.
    """

    __slots__ = ("_each_second", "_millisecond", "_now", "_second")

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        each_second: Callable[[], object] = lambda: None,
    ) -> None:
        self._now = now_ns
        self._each_second = each_second
        # The start of the last second and of the last millisecond (nanoseconds), with their texts.
        self._second = (-_SECOND, "")
        self._millisecond = (-_SECOND, "")

    def format_now(self) -> str:
        """Return the current time as RFC 3339 in UTC, truncated to milliseconds (CONTRACT)."""
        now = self._now()
        start, text = self._millisecond  # one read: another thread may replace the pair
        # Subtracting gives a small integer, which is cheaper than dividing a large one.
        if 0 <= now - start < _MILLI:  # in a burst, a hundred events share a millisecond
            return text
        start, prefix = self._second  # one read, likewise
        if not 0 <= now - start < _SECOND:
            start, prefix = self._start_second(now)
        milli = (now - start) // _MILLI
        text = f"{prefix}{milli:03d}Z"
        self._millisecond = (start + milli * _MILLI, text)
        return text

    def _start_second(self, now: int) -> tuple[int, str]:
        second = now // _SECOND
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        self._each_second()
        self._second = started = (second * _SECOND, prefix)
        return started

    def format_time(self, moment: object) -> str:
        """Return an aware `datetime` in the format of `format_now`; else raise InvalidEvent."""
        from datetime import datetime, timezone

        if not isinstance(moment, datetime):
            raise InvalidEvent(
                f"occurred_at: must be an aware datetime, got {get_type_name(moment)}"
            )
        try:
            plain = to_plain_datetime(moment)  # a subclass may override isoformat()
            offset = plain.utcoffset()
            utc = plain if offset is None else plain.astimezone(timezone.utc)
        except OverflowError:
            raise InvalidEvent(f"occurred_at: {plain.isoformat()} is not a time in UTC") from None
        except Exception as error:
            if is_interruption(error):
                raise
            raise InvalidEvent(
                f"occurred_at: a {get_type_name(moment)} cannot be read ({get_type_name(error)})"
            ) from error
        if offset is None:
            raise InvalidEvent(
                "occurred_at: must be an aware datetime, got a naive one; "
                "add tzinfo, for example datetime.now(timezone.utc)"
            )
        now = self._now()
        if not 0 <= now - self._second[0] < _SECOND:
            self._start_second(now)
        days = now / 86_400e9 - utc.timestamp() / 86_400
        if not -_MAX_AHEAD_DAYS <= days <= MAX_AGE_DAYS:
            raise InvalidEvent(
                f"occurred_at: {utc.isoformat()} is outside what the server accepts, "
                f"{MAX_AGE_DAYS} days ago to 5 minutes ahead"
            )
        text: str = utc.isoformat(timespec="milliseconds")
        return text[:-6] + "Z"
