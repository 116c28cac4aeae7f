"""`manage.py whisperr_outbox`: what is in the outbox, and what to do with dead letters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.core.management.base import BaseCommand, CommandError

from whisperr.django.outbox import dead_letters as letters
from whisperr.django.outbox.buffer import alias_of
from whisperr.django.outbox.tables import check_tables

if TYPE_CHECKING:
    from typing import Any

    from django.core.management.base import CommandParser

_SHOWN = 20


class Command(BaseCommand):
    """Shows figures; with options, also dead letters, which it can requeue or delete."""

    help: str = "Show what waits in the outbox and what was refused; requeue or delete the latter."
    requires_system_checks: tuple[str, ...] = ()  # it looks at tables, not at settings

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        parser.add_argument("--using", metavar="ALIAS", help="as for whisperr_relay")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--dead", type=int, nargs="?", const=_SHOWN, metavar="N",
            help="list the newest N dead letters, without their content (%(const)s)",
        )  # fmt: skip
        parser.add_argument(
            "--requeue", type=int, nargs="*", metavar="ID",
            help="put these dead letters at the end of the outbox, or all with --all",
        )  # fmt: skip
        parser.add_argument("--all", action="store_true", help="with --requeue")
        parser.add_argument(
            "--prune", type=float, metavar="DAYS",
            help="delete dead letters that were refused more than so many days ago",
        )  # fmt: skip

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Do what was asked for, then show how it is."""
        _check(given)
        alias = alias_of(given["using"])
        check_tables(alias)
        shown: dict[str, Any] = {}
        if given["requeue"] is not None:
            shown["requeued"] = letters.requeue(alias, None if given["all"] else given["requeue"])
        if given["prune"] is not None:
            shown["pruned"] = letters.prune(alias, given["prune"])
        shown |= letters.figures(alias)._asdict()
        if given["dead"] is not None:
            shown["letters"] = [one._asdict() for one in letters.newest(alias, given["dead"])]
        if given["json"]:
            self.stdout.write(json.dumps(shown, default=str))
        else:
            self.stdout.write("\n".join(_lines(shown)))


def _check(given: dict[str, Any]) -> None:
    """Raise CommandError for options that do not fit together."""
    if given["all"] == bool(given["requeue"]) and (given["all"] or given["requeue"] is not None):
        raise CommandError("--requeue: name the ids of dead letters, or say --all")
    if given["all"] and given["requeue"] is None:
        raise CommandError("--all: only with --requeue")
    for name in ("prune", "dead"):
        if given[name] is not None and given[name] < 0:
            raise CommandError(f"--{name} {given[name]:g}: must not be below 0")


def _lines(shown: dict[str, Any]) -> list[str]:
    lines = [f"{name:<9} {shown[name]:,}" for name in ("requeued", "pruned") if name in shown]
    age = "" if shown["oldest"] is None else f", the oldest row for {shown['oldest']:,.0f} s"
    dead = ", ".join(f"{reason} {count:,}" for reason, count in shown["dead"].items())
    lines += [
        f"waiting   {shown['waiting']:,}{age}",
        f"claimed   {shown['claimed']:,}",
        f"dead      {sum(shown['dead'].values()):,}" + (f": {dead}" if dead else ""),
    ]
    for one in shown.get("letters", ()):
        status = "" if one["status"] is None else f" {one['status']}"
        moment = one["refused_at"].isoformat(sep=" ", timespec="seconds")
        lines.append(
            f"  {one['id']}  {moment}  {one['kind']}  {one['reason']}{status}: {one['message']}"
        )
    return lines
