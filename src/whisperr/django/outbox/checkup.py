"""Checks the outbox with read-only queries: its tables, waiting rows, whether a relay runs.

Raises nothing: an error of the database becomes a finding.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from whisperr._checkup.findings import Finding, find, to_count, to_duration
from whisperr.errors import StoreError

from .buffer import alias_problem, app_problem, get_alias
from .dead_letters import get_figures
from .tables import check_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._integrations.outbox_report import Figures

    from .buffer import OutboxBuffer

# A relay looks for rows every second, unless `--interval` changes that.
_LONGEST_UNCLAIMED = 60.0
# Longer than any pause of a relay after a give-up.
_LATE = 300.0
_LABEL = "whisperr"
_MIGRATIONS = "whisperr.django.migrations"


def inspect_outbox(buffer: OutboxBuffer) -> Iterator[Finding]:
    """Yield the findings about the outbox of this project."""
    problem = app_problem() or alias_problem(buffer.using)
    if problem is not None:
        yield find("outbox_unset", problem)
        return
    try:
        alias = get_alias(buffer.using)
        trouble = _inspect_tables(alias)
        if trouble is not None:
            yield trouble
            return
        vendor = connections[alias].vendor
        yield Finding("buffer", "ok", f"the outbox, tables of the database {alias!r} ({vendor})")
        yield from _inspect_rows(alias)
    except StoreError as error:  # of a router
        yield find("database_away", str(error))
    except (Error, ImproperlyConfigured) as error:
        # Only the first line, because the others may show a row.
        reason = str(error).partition("\n")[0]
        yield find("database_away", f"{type(error).__name__}: {reason}")


def _inspect_tables(alias: str) -> Finding | None:
    """Return what is wrong with the tables, None if nothing is."""
    try:
        check_tables(alias)
    except CommandError as error:
        text = str(error).partition(": run ")[0]
        code = "tables_missing" if "no tables" in text else "database_away"
        return find(code, text, alias=alias)
    missing = _find_missing_migrations(alias)
    if missing:
        text = f"the database {alias!r} has not run the migration {', '.join(missing)}"
        return find("tables_missing", text, alias=alias)
    return None


def _find_missing_migrations(alias: str) -> list[str]:
    """Return our migrations that were not run, none if the project has its own instead."""
    package, _ = MigrationLoader.migrations_module(_LABEL)
    if package != _MIGRATIONS:
        return []
    applied = MigrationRecorder(connections[alias]).applied_migrations()
    names = [module.name for module in iter_modules(import_module(_MIGRATIONS).__path__)]
    return [name for name in names if (_LABEL, name) not in applied]


def _inspect_rows(alias: str) -> Iterator[Finding]:
    figures = get_figures(alias)
    yield _inspect_backlog(figures)
    yield _inspect_relay(figures)
    dead = sum(figures.dead.values())
    if dead:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in figures.dead.items())
        yield find("dead_letters", f"{dead:,}: {reasons}")
    else:
        yield Finding("dead letters", "ok", "none")


def _inspect_backlog(figures: Figures) -> Finding:
    if not figures.waiting + figures.claimed:
        return Finding("backlog", "ok", "nothing waits")
    verb = "waits" if figures.waiting == 1 else "wait"
    text = f"{to_count(figures.waiting, 'row')} {verb}, {figures.claimed:,} claimed by relays"
    if figures.oldest is not None:
        text += f"; the oldest was added {to_duration(figures.oldest)} ago"
        if figures.claimed and figures.oldest > _LATE:
            return find("relay_late", text)
    return Finding("backlog", "ok", text)


def _inspect_relay(figures: Figures) -> Finding:
    """Return whether a relay runs, which the rows show if it has claimed some."""
    if figures.claimed:
        return Finding("relay", "ok", f"a relay has claimed {to_count(figures.claimed, 'row')}")
    if not figures.waiting:
        return Finding("relay", "skipped", "a relay cannot be seen while nothing waits")
    if (figures.oldest or 0.0) > _LONGEST_UNCLAIMED:
        return find("no_relay", "no relay has claimed a row that waits")
    return Finding("relay", "skipped", "rows have waited less than a minute: run this again later")
