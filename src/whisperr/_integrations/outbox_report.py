"""Reports what is in an outbox and handles its dead letters, for `whisperr outbox` and manage.py.

Threads: that of the command.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any, Protocol

    class DeadLetters(Protocol):
        """The tables of one outbox, as the commands use them."""

        def get_figures(self) -> Figures:
            """Count what is in the outbox."""
            ...

        def get_newest(self, count: int) -> list[dict[str, object]]:
            """Return the newest dead letters, newest first: no payload, no user."""
            ...

        def requeue(self, ids: Sequence[int] | None) -> int:
            """Put dead letters (None: all) at the end of the outbox; return how many."""
            ...

        def prune(self, days: float) -> int:
            """Delete dead letters that were refused more than `days` ago; return how many."""
            ...


LISTED = 20
_LARGEST_ID = 2**63 - 1
_MOST = 1_000_000  # dead letters in a list; or days, because a calendar ends not much later


class Figures(NamedTuple):
    """The outbox at one moment.

    - `waiting`: rows that any relay may claim. `claimed`: rows that a relay has claimed.
    - `oldest`: the age of the oldest of these rows in seconds; None without rows, or if its date is
      damaged.
    - `dead`: the number of dead letters by reason.
    """

    waiting: int
    claimed: int
    oldest: float | None
    dead: dict[str, int]


def add_outbox_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that both commands have."""
    add = parser.add_argument
    add("--json", action="store_true", help="print one JSON object")
    text = "list the newest N dead letters, without their content (default: %(const)s)"
    add("--dead", type=int, nargs="?", const=LISTED, metavar="N", help=text)
    text = "put these dead letters at the end of the outbox again; all of them with --all"
    add("--requeue", type=int, nargs="*", metavar="ID", help=text)
    add("--all", action="store_true", help="with --requeue: all dead letters")
    text = "delete dead letters that were refused more than DAYS days ago"
    add("--prune", type=float, metavar="DAYS", help=text)


def check_outbox_options(given: dict[str, Any]) -> None:
    """Raise ValueError for options that contradict each other or are out of range."""
    if given["all"] == bool(given["requeue"]) and (given["all"] or given["requeue"] is not None):
        raise ValueError("--requeue: name the ids of dead letters, or add --all")
    if given["all"] and given["requeue"] is None:
        raise ValueError("--all: only with --requeue")
    for wrong in (one for one in given["requeue"] or () if not 0 < one <= _LARGEST_ID):
        raise ValueError(f"--requeue {wrong}: is not the id of a dead letter; --dead lists them")
    for name in ("prune", "dead"):
        value = given[name]
        if value is not None and not value >= 0:  # also NaN
            raise ValueError(f"--{name} {value:g}: must not be below 0")
        if value is not None and value > _MOST:
            raise ValueError(f"--{name} {value:g}: must not be above {_MOST:,}")


def run_outbox(tables: DeadLetters, given: dict[str, Any]) -> str:
    """Do what the options ask for, then return the figures of the outbox as text to print."""
    result: dict[str, Any] = {}
    if given["requeue"] is not None:
        result["requeued"] = tables.requeue(None if given["all"] else given["requeue"])
    if given["prune"] is not None:
        result["pruned"] = tables.prune(given["prune"])
    result |= tables.get_figures()._asdict()
    if given["dead"] is not None:
        result["letters"] = tables.get_newest(given["dead"])
    return json.dumps(result, default=str) if given["json"] else _to_text(result)


def _to_text(result: dict[str, Any]) -> str:
    lines = [f"{name:<9} {result[name]:,}" for name in ("requeued", "pruned") if name in result]
    age = "" if result["oldest"] is None else f", the oldest row for {result['oldest']:,.0f} s"
    dead = ", ".join(f"{reason} {count:,}" for reason, count in result["dead"].items())
    lines += [
        f"waiting   {result['waiting']:,}{age}",
        f"claimed   {result['claimed']:,}",
        f"dead      {sum(result['dead'].values()):,}" + (f": {dead}" if dead else ""),
    ]
    for one in result.get("letters", ()):
        status = "" if one["status"] is None else f" {one['status']}"
        moment = one["refused_at"]
        if isinstance(moment, datetime):
            moment = moment.isoformat(sep=" ", timespec="seconds")
        lines.append(
            f"  {one['id']}  {moment}  {one['kind']}  {one['reason']}{status}: {one['message']}"
        )
    return "\n".join(lines)
