"""Compares this machine's clock with the server's when the server refuses events. Pure.

Events are stamped with this machine's clock, and the server refuses those that are too old or in
its future. So a wrong clock loses every event, although each of them looks right.
"""

from __future__ import annotations

from whisperr._contract import MAX_AGE_DAYS

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# CONTRACT, Event: accepted from 30 days ago to 5 minutes ahead.
_MOST_AHEAD = 5 * _MINUTE
_MOST_BEHIND = MAX_AGE_DAYS * _DAY
_DAYS = ("Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE_CHARS = len("Sun, 06 Nov 1994 08:49:37 GMT")
# A server with a date outside of these years has no working clock.
_YEARS = range(2020, 2101)
SET_CLOCK = "set this machine's clock, by NTP if possible"


def parse_date(text: str | None) -> float | None:
    """Return the time of a Date header in seconds since 1970; None if it has another format.

    Only the format that servers must send (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    """
    if text is None or len(text) != _DATE_CHARS or not text.isascii():
        return None
    weekday, day, month, year, clock, zone = (*text.split(" "), *[""] * 6)[:6]
    hours, minutes, seconds, *more = (*clock.split(":"), "", "", "")[:4]
    numbers = (year, day, hours, minutes, seconds)
    if zone != "GMT" or month not in _MONTHS or any(more) or not all(map(str.isdigit, numbers)):
        return None
    if int(year) not in _YEARS:
        return None
    from datetime import datetime, timezone

    try:
        moment = datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hours),
            int(minutes),
            int(seconds),
            tzinfo=timezone.utc,
        )
    except ValueError:
        return None
    return moment.timestamp() if _DAYS[moment.weekday()] == weekday else None


def describe_skew(date: str | None, now: float) -> str | None:
    """Return how wrong this machine's clock is; None if that cannot explain the refusal.

    `date`: the Date header of the refusal. `now`: this machine's wall clock in seconds.
    """
    theirs = parse_date(date)
    if theirs is None:
        return None
    ahead = now - theirs
    if -_MOST_BEHIND <= ahead <= _MOST_AHEAD:
        return None
    direction = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {_to_text(abs(ahead))} {direction} the server's"


def _to_text(seconds: float) -> str:
    for size, unit in ((_DAY, "days"), (_HOUR, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / _MINUTE:.0f} minutes"
