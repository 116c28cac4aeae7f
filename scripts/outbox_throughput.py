"""Measures how many events relays deliver from a real PostgreSQL, for docs/delivery/outboxes.md.

    python scripts/outbox_throughput.py --write          all that the page shows, for minutes
    python scripts/outbox_throughput.py --relays 4 --rows 1000000 --kill-every 5 --old-snapshot

The server is on the same machine. It keeps what arrives and counts by message id. The script exits
with 1 if an event is missing. It needs the extra `django-test`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the PostgreSQL server is that of the tests

from tests.outbox.killed_relays import Outcome, add_rows, deliver  # noqa: E402  # the path comes first
from tests.outbox.relays import manage  # noqa: E402  # likewise
from tests.postgres_server import PostgresServer, why_not  # noqa: E402  # likewise

if TYPE_CHECKING:
    from tests.postgres_server import Database

PAGE = ROOT / "docs" / "delivery" / "outboxes.md"
START = "<!-- relays: written by `python scripts/outbox_throughput.py --write` -->\n"
END = "<!-- /relays -->"
LIMIT = 1_800.0
RELAYS = (1, 2, 4)
ROWS, MANY_ROWS = 200_000, 1_000_000
KILL_EVERY = 5.0
# Rates are measured between these shares of the rows: overall, at the start, at the end. Below
# them the relays are still starting; above them the leases of killed relays run out.
STEADY, FIRST, LAST = (0.1, 0.9), (0.02, 0.2), (0.75, 0.93)


class Bench:
    """A PostgreSQL, and a database in it with tables to copy."""

    def __init__(self, home: str) -> None:
        self.server = PostgresServer(Path(home))
        self._template = self.server.database()
        manage(self._template, "migrate", "--verbosity", "0")

    def run(
        self, relays: int, rows: int, kill_every: float | None = None, *, old_snapshot: bool = False
    ) -> Outcome:
        """Deliver this many rows; with `old_snapshot`, an older transaction stays open."""
        database = self.server.database(template=self._template.name)
        with ExitStack() as stack:
            if old_snapshot:
                hold_snapshot(stack, database)
            add_rows(database, rows)
            outcome = deliver(
                database,
                rows,
                relays,
                lambda seconds, _: kill_every is not None and seconds >= kill_every,
                "--interval",
                "1",
                limit=LIMIT,
            )
        report(outcome, f"{relays} relays" + ", old snapshot" * old_snapshot)
        self.server.drop(database)
        return outcome


def hold_snapshot(stack: ExitStack, database: Database) -> None:
    """Open a transaction that sees the table as it is now, and close it with the stack."""
    import psycopg

    connection = stack.enter_context(closing(psycopg.connect(database.address)))
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SELECT count(*) FROM whisperr_outboxevent")


def report(outcome: Outcome, name: str) -> None:
    """Print one outcome; exit if an event is missing."""
    before, after = (size / 1e6 for size in outcome.sizes)
    rate, first, last = (outcome.get_rate(*part) for part in (STEADY, FIRST, LAST))
    print(
        f"{name}, {outcome.rows:,} rows: {rate:,.0f} events/s "
        f"({first:,.0f} at the start, {last:,.0f} at the end), "
        f"all after {outcome.seconds:.1f} s, empty after {outcome.emptied:.1f} s, "
        f"{outcome.kills} kills, {outcome.doubled:,} sent again, {before:.0f} MB before, "
        f"{after:.0f} MB after with {outcome.dead:,} deleted rows",
        flush=True,
    )
    if outcome.unique != outcome.rows:
        sys.exit(f"{outcome.rows - outcome.unique} events are missing")


def make_tables(bench: Bench) -> str:
    """Return the tables of the page, measured now."""
    lines = ["| relays | events per second |", "|---|---|"]
    for relays in RELAYS:
        rate = bench.run(relays, ROWS).get_rate(*STEADY)
        lines.append(f"| {relays} | {rate:,.0f} |")
    killed = [bench.run(4, MANY_ROWS, KILL_EVERY, old_snapshot=old) for old in (False, True)]
    lines += [
        "",
        f"{ROWS:,} rows wait when the relays start. In a second run, {MANY_ROWS:,} rows wait for",
        f"four relays, one of which is killed (`SIGKILL`) every {KILL_EVERY:g} s, with and without",
        "another transaction that stays open:",
        "",
        "| | no other transaction | one stays open |",
        "|---|---|---|",
    ]
    cells = {
        "events per second, at the start": lambda one: f"{one.get_rate(*FIRST):,.0f}",
        "events per second, at the end": lambda one: f"{one.get_rate(*LAST):,.0f}",
        "relays killed": lambda one: f"{one.kills}",
        "different events that arrived": lambda one: f"{one.unique:,}",
        "sent again, and dropped by the server by message id": lambda one: f"{one.doubled:,}",
        "table and index before, MB": lambda one: f"{one.sizes[0] / 1e6:,.0f}",
        "table and index after, MB": lambda one: f"{one.sizes[1] / 1e6:,.0f}",
        "deleted rows that are still in the table": lambda one: f"{one.dead:,}",
    }
    lines += [f"| {name} | {' | '.join(map(cell, killed))} |" for name, cell in cells.items()]
    where = f"{os.cpu_count()} cores, {platform.system()}, {platform.machine()}"
    python, load = platform.python_version(), os.getloadavg()[0]
    lines += [
        "",
        f"The relays, PostgreSQL and the server share {where}, Python {python}.",
        f"The load average at the end was {load:.1f}. Above the number of cores, programs wait for",
        "each other:",
        "the rates are lower, and those of different numbers of relays cannot be compared.",
    ]
    return "\n".join(lines)


def positive(text: str) -> int:
    """Return a number of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def main() -> None:
    """Measure one case, or all of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relays", type=positive, default=4)
    parser.add_argument("--rows", type=positive, default=ROWS)
    parser.add_argument("--kill-every", type=positive, metavar="SECONDS", help="kill one so often")
    parser.add_argument("--old-snapshot", action="store_true", help="with a transaction open")
    parser.add_argument("--write", action="store_true", help="measure all, write it into the page")
    asked = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="whisperr-postgres-") as home:
        bench = Bench(home)
        try:
            if not asked.write:
                bench.run(
                    asked.relays, asked.rows, asked.kill_every, old_snapshot=asked.old_snapshot
                )
                return
            text = make_tables(bench)
        finally:
            bench.server.stop()
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
