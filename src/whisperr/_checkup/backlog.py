"""Describes what waits in a store, and says whether that is usual. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import MAX_AGE_DAYS
from whisperr._foreign import printable

from .findings import Finding, find, to_count, to_duration, to_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whisperr._options import Config

# The longest pause after giving up is two minutes: what waits for longer is not delivered.
_LATE = 300.0
_INTERVALS = 10
_LONGEST_TEXT = 200
_NEARLY_FULL = 0.9
_DAYS_BEFORE_REFUSAL = 3
_NEARLY_TOO_OLD = (MAX_AGE_DAYS - _DAYS_BEFORE_REFUSAL) * 86_400.0


class Backlog(NamedTuple):
    """What waits: how many events, their bytes, the age of the oldest.

    - `since`: what the age counts from. `is_claimed`: whether a process holds a lease now.
    """

    events: int
    size: int | None
    age: float | None
    since: str
    is_claimed: bool


def inspect_dead_letters(count: int, reasons: Mapping[str, int] | None = None) -> Finding:
    """Return the finding about what the server refused and the store kept, by reason if known."""
    if not count:
        return Finding("dead letters", "ok", "none")
    parts = ", ".join(f"{reason} {number:,}" for reason, number in sorted((reasons or {}).items()))
    return find(
        "kept_refused", f"{count:,}{': ' if parts else ''}{printable(parts, _LONGEST_TEXT)}"
    )


def inspect_backlog(backlog: Backlog, config: Config) -> Finding:
    """Return the finding about what waits."""
    if not backlog.events:
        return Finding("backlog", "ok", "nothing waits")
    text = to_count(backlog.events, "event")
    if backlog.size is not None:
        text += f", {to_size(backlog.size)}"
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
