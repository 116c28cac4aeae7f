"""`manage.py whisperr_outbox`: what is in the outbox, and what to do with dead letters."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from django.core.management.base import BaseCommand, CommandError

from whisperr.django.conf import get_outbox_database
from whisperr.django.outbox import dead_letters
from whisperr.django.outbox.tables import check_tables

if TYPE_CHECKING:
    from typing import Any

    from django.core.management.base import CommandParser

_LISTED = 20


class Command(BaseCommand):
    """Shows figures; with options, also dead letters, which it can requeue or delete."""

    help: str = "Show what waits in the outbox and what was refused; requeue or delete the latter."
    requires_system_checks: tuple[str, ...] = ()  # it uses tables, not settings

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        add = parser.add_argument
        add("--using", metavar="ALIAS", help="as for whisperr_relay")
        add("--json", action="store_true", help="print one JSON object")
        text = "list the newest N dead letters, without their content (%(const)s)"
        add("--dead", type=int, nargs="?", const=_LISTED, metavar="N", help=text)
        text = "put these dead letters at the end of the outbox, or all with --all"
        add("--requeue", type=int, nargs="*", metavar="ID", help=text)
        add("--all", action="store_true", help="with --requeue")
        text = "delete dead letters that were refused more than so many days ago"
        add("--prune", type=float, metavar="DAYS", help=text)

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Do what the options ask for, then show the figures."""
        _check(given)
        alias = check_tables(given["using"] or get_outbox_database())
        result: dict[str, Any] = {}
        if given["requeue"] is not None:
            ids = None if given["all"] else given["requeue"]
            result["requeued"] = dead_letters.requeue(alias, ids)
        if given["prune"] is not None:
            result["pruned"] = dead_letters.prune(alias, given["prune"])
        result |= dead_letters.get_figures(alias)._asdict()
        if given["dead"] is not None:
            result["letters"] = dead_letters.get_newest(alias, given["dead"])
        as_json = given["json"]
        self.stdout.write(json.dumps(result, default=str) if as_json else _to_text(result))


def _check(given: dict[str, Any]) -> None:
    """Raise CommandError for options that do not fit together."""
    if given["all"] == bool(given["requeue"]) and (given["all"] or given["requeue"] is not None):
        raise CommandError("--requeue: name the ids of dead letters, or say --all")
    if given["all"] and given["requeue"] is None:
        raise CommandError("--all: only with --requeue")
    for name in ("prune", "dead"):
        if given[name] is not None and given[name] < 0:
            raise CommandError(f"--{name} {given[name]:g}: must not be below 0")


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
