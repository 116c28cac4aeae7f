"""Measure what `track()` costs its thread with each buffer; write the table of docs/durability.md.

Needs the extras `test` and `django-test` for Redis and PostgreSQL, which are left out where no
server can be started.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the servers are those of the tests

from tests import postgres_server, redis_server  # noqa: E402  # the path comes first
from tests.outbox.relays import get_environment, manage  # noqa: E402  # likewise

from whisperr import Whisperr  # noqa: E402  # likewise

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

PAGE = ROOT / "docs" / "durability.md"
START = "<!-- costs: written by `python scripts/buffer_costs.py` -->\n"
END = "<!-- /costs -->"
EVENTS = 5_000
PROPERTIES = {"amount_cents": 4900, "currency": "EUR", "reason": "card_declined", "attempt": 2}


def measure_buffer(buffer: str | None) -> list[float]:
    """Return the seconds of each call, shortest first; nothing is delivered meanwhile."""
    client = Whisperr(
        "wrk_costs",
        base_url="http://127.0.0.1:9",
        buffer=buffer,
        flush_at=10 * EVENTS,
        flush_interval=3_600,
        max_queue_size=10 * EVENTS,
    )
    seconds = measure_calls(client)
    client.shutdown(0)
    return seconds


def measure_calls(client: Whisperr) -> list[float]:
    """Return the seconds of each call, shortest first; ends when one was not accepted."""
    seconds = []
    for number in range(EVENTS):
        began = time.perf_counter()
        client.track(f"user_{number}", "payment_failed", PROPERTIES)
        seconds.append(time.perf_counter() - began)
    held = client.stats().held
    if held < EVENTS:
        sys.exit(f"{client}: {held} of {EVENTS} are held")
    return sorted(seconds)


def measure_outbox(home: Path) -> list[tuple[str, list[float]]]:
    """Return the costs of a row in a PostgreSQL, in a transaction and outside of any."""
    server = postgres_server.PostgresServer(home)
    try:
        database = server.database()
        manage(database, "migrate", "--verbosity", "0")
        os.environ.update(get_environment(database), WHISPERR_BUFFER="django")
        import django

        django.setup()
        from django.db import connections, transaction

        from whisperr.django import get_client

        block: AbstractContextManager[object]
        costs = []
        for name, block in (("in", transaction.atomic()), ("outside of", nullcontext())):
            with block:
                costs.append(
                    (f"Django, PostgreSQL, {name} a transaction", measure_calls(get_client()))
                )
        connections.close_all()
        return costs
    finally:
        server.stop()


def format_row(name: str, seconds: list[float]) -> str:
    """Return one line of the table, in microseconds."""
    shares = [seconds[int(len(seconds) * share)] for share in (0.5, 0.99, 0.999)]
    return f"| {name} | " + " | ".join(f"{value * 1e6:,.0f} µs" for value in shares) + " |"


def make_table() -> str:
    """Measure all buffers."""
    lines = ["| buffer | p50 | p99 | p99.9 |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as home:
        lines.append(format_row("memory", measure_buffer(None)))
        for synchronous in ("NORMAL", "FULL"):
            url = f"sqlite:///{home}/{synchronous}.db?synchronous={synchronous}"
            lines.append(format_row(f"SQLite, `{synchronous}`", measure_buffer(url)))
        if redis_server.why_not() is None:
            redis = redis_server.RedisServer(Path(home))
            lines.append(
                format_row(
                    "Redis on the same machine", measure_buffer(redis.url("costs", timeout=5))
                )
            )
            redis.stop()
        if postgres_server.why_not() is None:
            Path(home).chmod(0o755)  # it runs as another user if we are root
            lines += [format_row(*cost) for cost in measure_outbox(Path(home))]
    machine = f"{os.cpu_count()} shared cores, {platform.system()}, {platform.machine()}"
    load = f"load average {os.getloadavg()[0]:.1f}: the work of other processes is in these figures"
    python = f"Python {platform.python_version()}"
    return "\n".join([*lines, "", f"{EVENTS:,} events each; {machine}, {python}; {load}.", ""])


def main() -> None:
    """Measure, and write the table into the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    after = rest.split(END, 1)[1]
    PAGE.write_text(f"{before}{START}\n{make_table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
