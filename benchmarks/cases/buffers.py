"""Case 9: what each buffer costs the caller, and how fast it is emptied."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from benchmarks import stores
from benchmarks.case import HIGH, Case, Figure, Variant
from benchmarks.event import NAME, USER, make_properties
from benchmarks.latency import flush_within, get_percentiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from benchmarks.client import Client

EVENTS = 20_000
LIMIT = 60.0
_EVENTS_IN_A_TRANSACTION = 10
_WARM_UP = 99_999_999  # the number of the event that is not timed


def measure(adapter: Any, url: str, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # it takes options
    """Track everything in a row, timing each call, and flush; the first event is not timed."""
    events = int(given["events"] * given["share"])
    try:
        with stores.run_store(given["row"]) as store:
            if store.url == "django":
                times = _track_rows(events, alone=given["row"] == stores.ROW_ALONE)
                return {**get_percentiles(times), "expected": 0}
            client = make_client(adapter, url, 2 * events, store.url)
            warm_up(client)
            first_ns = time.monotonic_ns()
            times = _track(client.track, 0, events)
            flush_within(client, LIMIT)
    except stores.NoStoreError as reason:
        return {"unavailable": str(reason)}
    except ValueError as error:
        return {"unavailable": f"not in this checkout ({error})"}
    figures = {**get_percentiles(times), "expected": events + 1, "first_ns": first_ns}
    return {**figures, "at_once": True}  # the store has ended, and the client would wait for it


def make_client(adapter: Any, url: str, capacity: int, buffer: str | None) -> Client:  # noqa: ANN401  # likewise
    """Make a client with a buffer; raises ValueError where the package does not know it."""
    client: Client = adapter.start(url, capacity, **({} if buffer is None else {"buffer": buffer}))
    return client


def warm_up(client: Client) -> None:
    """Deliver one event: other cases measure the imports and the connection of the first."""
    client.track(make_properties(_WARM_UP))
    flush_within(client, LIMIT)


def _track(track: Callable[[dict[str, object]], object], first: int, events: int) -> list[int]:
    """Return the nanoseconds of each call."""
    times = []
    for number in range(first, first + events):
        properties = make_properties(number)
        began = time.perf_counter_ns()
        track(properties)
        times.append(time.perf_counter_ns() - began)
    return times


def _track_rows(events: int, *, alone: bool) -> list[int]:
    """Return the nanoseconds of each call that writes a row; no relay runs to deliver it."""
    from django.db import connections, transaction

    from whisperr.django import get_client

    client, times = get_client(), []

    def track(properties: dict[str, object]) -> object:
        return client.track(USER, NAME, properties)

    for first in range(0, events, _EVENTS_IN_A_TRANSACTION):
        with nullcontext() if alone else transaction.atomic():
            times += _track(track, first, _EVENTS_IN_A_TRANSACTION)
    connections.close_all()
    return times


def finish(figures: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Add the rate until the last acknowledgement; none for rows, which a relay delivers."""
    if "first_ns" not in figures:
        return {}
    return {"rate": counts["unique"] / ((counts["last_ns"] - figures["first_ns"]) / 1e9)}


FIGURES = (
    Figure("p50", "p50", "µs"),
    Figure("p99", "p99", "µs"),
    Figure("p999", "p99.9", "µs", digits=0),
    Figure("max", "maximum", "µs", digits=0),
    Figure("rate", "end to end", "events per s", HIGH, digits=0),
)
CASE = Case(
    title="Buffers",
    about=(
        f"{EVENTS:,} events in a row with each buffer, until the server has acknowledged the last "
        "one; a quarter of them where each call waits for a disk or a database. Each call is timed "
        "in the calling thread. The stores run on this machine: Redis with its append-only file, "
        "and PostgreSQL for Django. There, each transaction writes "
        f"{_EVENTS_IN_A_TRANSACTION} events, and no relay runs to deliver them."
    ),
    figures=FIGURES,
    full={"": Variant({"events": EVENTS})},
    quick={"": Variant({"events": 4_000})},
    rows=stores.get_rows(
        *(stores.MEMORY, stores.SQLITE, stores.SQLITE_FULL, stores.REDIS, stores.REDIS_LOG),
        *(stores.ROW, stores.ROW_ALONE),
    ),
    rounds=3,
    baseline=stores.MEMORY,
)
