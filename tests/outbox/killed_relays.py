"""Delivers a full table by relays of which one after the other is killed, and counts what arrives.

The server that answers is that of the benchmarks: it keeps what arrives and counts later, so that
it is not what limits the relays. It counts by message id, as the service does.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, cast

from benchmarks.server_process import run_server

from tests.outbox.relays import relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.server_process import ServerProcess

    from tests.hosts.host import Host
    from tests.postgres_server import Database
    from whisperr.dev import LocalServer

TABLE = "whisperr_outboxevent"
# As `track` encodes them; the message ids are what the server counts by.
_ADD = f"""
INSERT INTO {TABLE} (data, token) SELECT convert_to(
    '{{"event_type":"payment_failed","external_user_id":"user_' || n
    || '","occurred_at":"' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS".000Z"')
    || '","properties":{{"amount_cents":4900,"currency":"EUR","reason":"card_declined","n":' || n
    || '}},"context":{{"$message_id":"mark' || lpad(n::text, 8, '0')
    || '","sdk_name":"whisperr-python","sdk_version":"1.0.0"}}}}', 'UTF8'), ''
FROM generate_series(1, %s) n"""
# Seconds between two looks at what has arrived.
_INTERVAL = 0.25


class Sample(NamedTuple):
    """How many different events had arrived after so many seconds."""

    seconds: float
    arrived: int


class Outcome(NamedTuple):
    """What became of the rows.

    - `unique`: different message ids that arrived. `doubled`: events that arrived again.
    - `seconds`: until all had arrived, `emptied` until the table was empty.
    - `sizes`: the table with its index in bytes, before and after. `dead`: deleted rows in it.
    """

    rows: int
    unique: int
    doubled: int
    kills: int
    seconds: float
    emptied: float
    samples: list[Sample]
    sizes: tuple[int, int]
    dead: int

    def get_rate(self, begin: float, end: float) -> float:
        """Return the events per second between two shares of all events."""
        first = next(one for one in self.samples if one.arrived >= begin * self.rows)
        last = next(one for one in self.samples if one.arrived >= end * self.rows)
        return (last.arrived - first.arrived) / max(last.seconds - first.seconds, 1e-9)


def add_rows(database: Database, rows: int) -> None:
    """Add so many rows that wait, numbered from 1."""
    database.query(_ADD, rows)
    database.query(f"ANALYZE {TABLE}")


def get_size(database: Database) -> int:
    """Return the size of the table with its index, in bytes."""
    return int(database.query(f"SELECT pg_total_relation_size('{TABLE}')")[0][0])


class _Fleet:
    """Relays, one of which is killed now and then, and started again."""

    def __init__(
        self, stack: ExitStack, database: Database, server: ServerProcess, options: tuple[str, ...]
    ) -> None:
        self._stack = stack
        url = cast("LocalServer", server)  # a relay only needs its address
        self._start: Callable[[], Host] = lambda: relay(database, url, "--verbosity", "0", *options)
        self.running: list[Host] = []
        self.kills = 0

    def add(self) -> None:
        """Start one more relay."""
        self.running.append(self._stack.enter_context(self._start()))

    def kill(self) -> None:
        """Kill the relay that runs for the longest time, and start another one."""
        oldest = self.running.pop(0)
        oldest.send(signal.SIGKILL)
        assert oldest.wait() == -signal.SIGKILL, oldest.text
        self.kills += 1
        self.add()


def deliver(
    database: Database,
    rows: int,
    relays: int,
    is_due: Callable[[float, int], bool],
    *options: str,
    limit: float,
) -> Outcome:
    """Deliver the rows; `is_due` gets the seconds and the events since the last kill.

    Raises AssertionError after `limit` seconds, or when a relay has ended by itself with an error.
    """
    before = get_size(database)
    pause = threading.Event()
    samples = [Sample(0.0, 0)]
    with run_server() as server, ExitStack() as stack:
        fleet = _Fleet(stack, database, server, options)
        for _ in range(relays):
            fleet.add()
        began = time.monotonic()
        last, finished = samples[0], 0.0
        while True:
            pause.wait(_INTERVAL)
            counts = server.summary()
            now = Sample(time.monotonic() - began, counts["unique"])
            samples.append(now)
            if now.arrived >= rows:
                finished = finished or now.seconds
                if is_empty(database):
                    break
            elif is_due(now.seconds - last.seconds, now.arrived - last.arrived):
                fleet.kill()
                last = now
            assert now.seconds < limit, f"{counts}, {fleet.running[0].text}"
        emptied = time.monotonic() - began
        codes = [one.stop() for one in fleet.running]
        assert not any(codes), [one.text for one in fleet.running]
        counts = server.summary()
    return Outcome(
        rows,
        counts["unique"],
        counts["doubled"],
        fleet.kills,
        finished,
        emptied,
        samples,
        (before, get_size(database)),
        count_dead(database),
    )


def is_empty(database: Database) -> bool:
    """Return whether no row is left."""
    return database.query(f"SELECT 1 FROM {TABLE} LIMIT 1") == []


def count_dead(database: Database) -> int:
    """Return how many deleted rows are still in the table, by the statistics of the server."""
    found = database.query("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = %s", TABLE)
    return int(found[0][0])
