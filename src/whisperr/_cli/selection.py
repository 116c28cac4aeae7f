"""Selects the dead letters of a command: by ids, and by the filters of `whisperr tail`."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from whisperr._events.layout import is_identify
from whisperr._foreign import printable

from .command import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from whisperr._queue.dead_letters import DeadLetter
    from whisperr.dev._ingest.model import Arrival, ArrivalKind

REASONS = ("rejected", "refused_in_batch", "too_large", "expired")
_LONGEST_SHOWN = 60
# 17 in a file, 1795867200000-0 in a stream, 1795867200000-0@3 in one of several.
_ID = re.compile(r"[0-9]{1,18}(-[0-9]{1,18}(@[0-9]{1,3})?)?")
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WHEN = "such as 2h, 3d, 2026-11-28 or 2026-11-28T12:00"


class Selection(NamedTuple):
    """The selection of a command: ids, a predicate, and whether there are filters."""

    ids: list[str]
    filters: bool
    passes: Callable[[DeadLetter], bool]

    def has(self, one: DeadLetter) -> bool:
        """Return whether a dead letter is selected."""
        return (not self.ids or one.id in self.ids) and self.passes(one)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the filter options, and the words that are ids or filter terms."""
    add = parser.add_argument
    add("--user", metavar="ID", help="only this user")
    add("--type", metavar="NAME", help="only this event type; * matches any text")
    add("--kind", choices=("event", "identify"), help="only events, or only identifies")
    add("--reason", choices=REASONS, help="only dead letters with this reason")
    text = f"only dead letters since then, {_WHEN}; without a time zone it is local time"
    add("--since", metavar="TIME", help=text)
    add("--before", metavar="TIME", help="only dead letters before then")
    parser.set_defaults(rest_to="words")
    text = "the id of a dead letter, or a term of the filter, as on the page of whisperr dev"
    add("words", nargs="*", metavar="ID | FILTER", help=text)


def select(arguments: argparse.Namespace) -> Selection:
    """Return the selection of the words and options. Raises UsageError for invalid ones."""
    from whisperr.dev._memory.filter import FilterError, make_filter  # not for every command

    ids = [word for word in arguments.words if _ID.fullmatch(word)]
    terms = " ".join(word for word in arguments.words if not _ID.fullmatch(word))
    now = time.time()
    since = _parse_time("--since", arguments.since, now)
    before = _parse_time("--before", arguments.before, now)
    about = {name: getattr(arguments, name) for name in ("user", "type", "kind")}
    try:
        matches = make_filter(terms, after=-1, **about)  # they have no number
    except FilterError as error:
        raise UsageError(f"the filter '{printable(terms, _LONGEST_SHOWN)}': {error}") from None
    looks_inside = bool(terms) or any(value is not None for value in about.values())

    def passes(one: DeadLetter) -> bool:
        at = one.refused_at
        return (
            arguments.reason in {None, one.reason}
            and (since is None or (at is not None and at >= since))
            and (before is None or (at is not None and at < before))
            and (not looks_inside or matches(_to_arrival(one)))
        )

    others = (arguments.reason, since, before)
    return Selection(
        list(dict.fromkeys(ids)), looks_inside or any(one is not None for one in others), passes
    )


def _to_arrival(one: DeadLetter) -> Arrival:
    """Return a dead letter in the form that the filters use."""
    from whisperr.dev._ingest.model import Problem, to_arrival

    try:
        body = json.loads(one.data)
    except (ValueError, RecursionError):
        body = None
    kind: ArrivalKind = "identify" if is_identify(one.data) else "event"
    return to_arrival(kind, body, [Problem("", one.reason, "")], now=one.refused_at or 0.0)


def _parse_time(option: str, text: str | None, now: float) -> float | None:
    """Return a time in seconds since 1970; without a time zone it is local time."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text)).timestamp()
    except (ValueError, OverflowError, OSError):
        shown = printable(text, _LONGEST_SHOWN)
        raise UsageError(f"{option} '{shown}': must be a time, {_WHEN}") from None
