"""Measure how many events relays deliver from a real PostgreSQL; write it into docs/durability.md.

The local server answers on the same machine, and its work is in the figures. Ends with 1 if an
event was lost or came twice. Needs the extra `django-test`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the PostgreSQL server is that of the tests

from tests.outbox.relays import events, manage, relay  # noqa: E402  # the path comes first
from tests.postgres_server import PostgresServer, why_not  # noqa: E402  # likewise

from whisperr.dev import LocalServer  # noqa: E402  # likewise

PAGE = ROOT / "docs" / "durability.md"
START = "<!-- relays: written by `python scripts/outbox_throughput.py --write` -->\n"
END = "<!-- /relays -->"
LIMIT = 600.0


def measure(postgres: PostgresServer, template: str, rows: int, relays: int) -> float:
    """Return the events per second of so many relays, from the commit to the last event."""
    database = postgres.database(template=template)
    with LocalServer(keep=10 * rows) as server:
        with ExitStack() as stack:
            running = [stack.enter_context(relay(database, server)) for _ in range(relays)]
            for one in running:
                one.wait_for_output("relaying")
            database.add(events(rows))
            began = time.monotonic()
            server.wait(rows, timeout=LIMIT)
            seconds = time.monotonic() - began
            codes = [one.stop() for one in running]
        summary = server.summary()
        numbers = {a.body["properties"]["n"] for a in server.arrivals(status="accepted")}
        left = database.count()
    print(f"{relays} relays, {rows} rows: {seconds:.1f} s, {summary['requests']} requests")
    if any(codes) or left or summary["duplicates"] or numbers != set(range(rows)):
        sys.exit(f"codes {codes}, {left} rows left, {summary}, {len(numbers)} different events")
    return rows / seconds


def main() -> None:
    """Measure 1, 2 and 4 relays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    asked = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(reason)
    lines = ["| relays | events per second |", "|---|---|"]
    with tempfile.TemporaryDirectory(prefix="whisperr-postgres-") as home:
        postgres = PostgresServer(Path(home))
        try:
            template = postgres.database()
            manage(template, "migrate", "--verbosity", "0")
            for relays in (1, 2, 4):
                rate = measure(postgres, template.name, asked.rows, relays)
                lines.append(f"| {relays} | {rate:,.0f} |")
        finally:
            postgres.stop()
    where = f"{os.cpu_count()} cores, {platform.system()}, {platform.machine()}"
    lines += [
        "",
        f"{asked.rows:,} rows, 0 lost, 0 sent twice. The relays, PostgreSQL and the server",
    ]
    lines += [f"that answers share {where}; Python {platform.python_version()}."]
    text = "\n".join(lines)
    print(text)
    if asked.write:
        page = PAGE.read_text("utf-8")
        before, _, rest = page.partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
