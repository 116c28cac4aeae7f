"""Case 9: what each buffer costs the caller, and how fast it is emptied."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.case import HIGH, Case, Figure, Row, Variant
from benchmarks.event import make_properties
from benchmarks.latency import flush_within, get_percentiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

EVENTS = 5_000
_STARTS_WITHIN = 10.0


def measure(adapter: Any, url: str, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # it takes options
    """Track everything in a row, timing each call, and flush."""
    with _make_buffer(given["row"]) as (buffer, problem):
        if problem:
            return {"unavailable": problem}
        options = {} if buffer is None else {"buffer": buffer}
        try:
            client = adapter.start(url, 2 * given["events"], **options)
        except ValueError as error:
            return {"unavailable": f"not in this checkout ({error})"}
        first_ns = time.monotonic_ns()
        times = []
        for number in range(given["events"]):
            properties = make_properties(number)
            began = time.perf_counter_ns()
            client.track(properties)
            times.append(time.perf_counter_ns() - began)
        flush_within(client, 60.0)
    return {**get_percentiles(times), "expected": given["events"], "first_ns": first_ns}


def finish(figures: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Add the rate until the last acknowledgement."""
    return {"rate": counts["unique"] / ((counts["last_ns"] - figures["first_ns"]) / 1e9)}


@contextmanager
def _make_buffer(row: str) -> Iterator[tuple[str | None, str]]:
    """Make a store and yield its URL, else the reason why that is not possible."""
    with tempfile.TemporaryDirectory() as folder:
        if row == "memory":
            yield None, ""
        elif row == "SQLite":
            yield f"sqlite:///{folder}/events.db", ""
        elif program := shutil.which("redis-server"):
            with _redis(program, folder) as url:
                yield url, ""
        else:
            yield None, "redis-server is not installed"


@contextmanager
def _redis(program: str, folder: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:  # noqa: PERF203  # it tries again
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def rows() -> tuple[Row, ...]:
    """Return a row per buffer, all of this checkout."""
    return tuple(Row(name, "buffers", "whisperr_now") for name in ("memory", "SQLite", "Redis"))


CASE = Case(
    title="Buffers",
    about="5,000 events in a row with each buffer, the call timed in the caller's thread.",
    figures=(
        Figure("p50", "p50", "µs"),
        Figure("p99", "p99", "µs"),
        Figure("max", "maximum", "µs", digits=0),
        Figure("rate", "events per second", "", HIGH, digits=0),
    ),
    full={"": Variant({"events": EVENTS})},
    quick={"": Variant({"events": 1_000})},
    rows=rows(),
)
