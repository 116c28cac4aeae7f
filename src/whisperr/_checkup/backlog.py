"""Describes the events that wait in a store and its logs, and whether that is usual. Pure."""

from __future__ import annotations

import time
from calendar import timegm
from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import MAX_AGE_DAYS
from whisperr._events.layout import get_time
from whisperr._foreign import printable

from .findings import Finding, find, to_count, to_duration, to_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whisperr._options import Config

# The longest pause after a give-up is two minutes: events that wait longer are not delivered.
_LATE = 300.0
_INTERVALS = 10
_LONGEST_TEXT = 200
_NEARLY_FULL = 0.9
_DAYS_BEFORE_REFUSAL = 3
_NEARLY_TOO_OLD = (MAX_AGE_DAYS - _DAYS_BEFORE_REFUSAL) * 86_400.0


class Backlog(NamedTuple):
    """The waiting events: their number, their bytes, the age of the oldest.

    - `since`: what the age counts from. `is_claimed`: whether a process holds a lease now.
    - `places`: where the events are, if some of them are in logs.
    """

    events: int
    size: int | None
    age: float | None
    since: str
    is_claimed: bool
    places: str = ""


NOTHING = Backlog(0, None, None, "", is_claimed=False)


class LogContent(NamedTuple):
    """The waiting events of one file of a log.

    - `log`: the number of the log, which all its files share. `is_running`: its process is alive.
    - `source`, `first`: the oldest event as stores identify it, unless no store can have it.
    - `sizes`: bytes of each event, in order. `age`: seconds, of the oldest event that has a time.
    """

    log: int
    is_running: bool
    source: int
    first: int
    sizes: list[int]
    age: float | None


def add_logs(backlog: Backlog, store: str, logs: Sequence[LogContent]) -> Backlog:
    """Return the backlog of a store together with its logs; `store` is its name in a sentence."""
    logs = [one for one in logs if one.sizes]
    if not logs:
        return backlog
    places = [f"{backlog.events:,} in {store}"] if backlog.events else []
    places += _count(logs, is_running=True, one="a running process", many="running processes")
    places += _count(
        logs, is_running=False, one="a process that has ended", many="processes that have ended"
    )
    size = (backlog.size or 0) + sum(sum(one.sizes) for one in logs)
    age, since = backlog.age, backlog.since
    oldest = max((one.age for one in logs if one.age is not None), default=None)
    if oldest is not None and (age is None or oldest > age):
        age, since = oldest, "happened"
    events = backlog.events + sum(len(one.sizes) for one in logs)
    return Backlog(events, size, age, since, backlog.is_claimed, ", ".join(places))


def _count(logs: Sequence[LogContent], *, is_running: bool, one: str, many: str) -> list[str]:
    logs = [log for log in logs if log.is_running is is_running]
    events, processes = sum(len(log.sizes) for log in logs), len({log.log for log in logs})
    if processes > 1:
        return [f"{events:,} in the logs of {processes:,} {many}"]
    return [f"{events:,} in the log of {one}"] if events else []


def get_age(data: object, now: float) -> float | None:
    """Return how long ago an event happened, in seconds; None for anything but an event."""
    text = get_time(data) if type(data) is bytes else None
    if text is None:
        return None
    try:
        moment = time.strptime(text.decode("ascii", "replace")[:19], "%Y-%m-%dT%H:%M:%S")
        return max(now - timegm(moment), 0.0)
    except (ValueError, OverflowError):
        return None


def inspect_dead_letters(count: int, reasons: Mapping[str, int] | None = None) -> Finding:
    """Return the finding about dead letters, with their number by reason if that is known."""
    if not count:
        return Finding("dead letters", "ok", "none")
    parts = ", ".join(f"{reason} {number:,}" for reason, number in sorted((reasons or {}).items()))
    return find(
        "kept_refused", f"{count:,}{': ' if parts else ''}{printable(parts, _LONGEST_TEXT)}"
    )


def inspect_backlog(backlog: Backlog, config: Config) -> Finding:
    """Return the finding about the waiting events."""
    if not backlog.events:
        return Finding("backlog", "ok", "nothing waits")
    text = to_count(backlog.events, "event")
    if backlog.size is not None:
        text += f", {to_size(backlog.size)}"
    if backlog.places:
        text += f": {backlog.places}"
    if backlog.age is not None:
        text += f"; the oldest {backlog.since} {to_duration(backlog.age)} ago"
    by = "a process delivers now" if backlog.is_claimed else "no process delivers at this moment"
    text = f"{text}; {by}"
    age = backlog.age or 0.0
    if age > _NEARLY_TOO_OLD:
        return find("backlog_old", text)
    if backlog.events >= _NEARLY_FULL * config.max_queue_size:
        return find("backlog_large", f"{text}; room for {config.max_queue_size:,}")
    if age > max(_LATE, _INTERVALS * config.flush_interval):
        return find("backlog_late", text)
    return Finding("backlog", "ok", text)
