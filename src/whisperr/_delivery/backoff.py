"""Computes the wait before an attempt and the pause after a give-up. Pure: no clock, no random."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Random = Callable[[], float]

_MAX_BACKOFF = 30.0
_MAX_RETRY_AFTER = 60.0  # CONTRACT: capped at 60 s
_AUTH_PAUSE = 60.0
_EXHAUSTED_PAUSE = 30.0


def get_backoff(failures: int, random: Random) -> float:
    """Return the seconds to wait after this many failures in a row: min(30, 2**(failures - 1)).

    Jitter takes off up to half, so that clients that failed together do not return together.
    """
    return float(min(_MAX_BACKOFF, 2.0 ** min(failures - 1, 16))) * (0.5 + random() / 2)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header, at most 60; None if absent or unreadable.

    RFC 9110, 10.2.3: a number of seconds or an HTTP date. `now` is the wall clock in seconds.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _MAX_RETRY_AFTER)
    from datetime import timezone
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:  # the obsolete asctime form has no zone and is UTC
            moment = moment.replace(tzinfo=timezone.utc)
        left = moment.timestamp() - now
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(left, 0.0), _MAX_RETRY_AFTER)


def get_wait(failures: int, retry_after: float | None, random: Random) -> float:
    """Return the seconds until the next attempt: the server's Retry-After, else the backoff."""
    return get_backoff(failures, random) if retry_after is None else retry_after


def get_pause(error_type: str, random: Random) -> float:
    """Return the seconds without automatic delivery after giving up.

    After a refused key one to two minutes, else half a minute to a minute; random, because all
    clients give up at the same time.
    """
    least = _AUTH_PAUSE if error_type == "auth" else _EXHAUSTED_PAUSE
    return least * (1.0 + random())
