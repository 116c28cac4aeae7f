"""Runs a relay until a signal, or until nothing is left, for `whisperr relay` and manage.py.

The command makes the client, with the table as its buffer. Threads: the calling thread, and the
delivery thread of the client.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, NamedTuple

from whisperr._client import get_pipeline
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._delivery.backoff import get_backoff
from whisperr._process.exit import EXIT_TIMEOUT
from whisperr._process.signals import ENDING
from whisperr._process.wake_up import WakeUp
from whisperr._queue.store import LEASE, LONGEST_LEASE, SHORTEST_LEASE
from whisperr._queue.table.store import RelayBuffer, RelayQueue, TableStore

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from typing import Any

    from whisperr._client import Whisperr
    from whisperr._queue.table.claims import Claims

INTERVAL = 1.0
_LEAST_INTERVAL, _LONGEST_INTERVAL = 0.01, 3_600.0
# With `--once`: seconds between two checks whether the relay is done, and how many failures of the
# database in a row end it.
_CHECK_INTERVAL = 0.05
_MOST_FAILURES = 5
_MOST_COUNTED = 1_000  # retries whose waits are added up: more than eight hours of them
REPORT_INTERVAL = 60.0  # seconds between two lines about what was delivered


class RelayError(Exception):
    """Says in one line why a relay cannot work."""


class RelayOptions(NamedTuple):
    """The checked options of a relay."""

    once: bool
    batch: int
    interval: float
    lease: float

    def get_client_options(self, store: TableStore) -> dict[str, Any]:
        """Return the options of `Whisperr` that make its client deliver from the table."""
        buffer = RelayBuffer(store, self.interval)
        return {"buffer": buffer, "flush_at": 1, "max_batch_size": self.batch}


def add_relay_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every relay has."""
    add = parser.add_argument
    add("--once", action="store_true", help="deliver everything, then end")
    text = "most events per request, from 1 to 500 (default: %(default)s)"
    add("--batch", type=int, default=MAX_BATCH_EVENTS, metavar="N", help=text)
    text = "how often to poll an empty table (default: %(default)s)"
    add("--interval", type=float, default=INTERVAL, metavar="SECONDS", help=text)
    text = "time after which other relays take over from one that died (default: %(default)s)"
    add("--lease", type=float, default=LEASE, metavar="SECONDS", help=text)


def parse_relay_options(*, once: bool, batch: int, interval: float, lease: float) -> RelayOptions:
    """Return the options; raises RelayError for one that is out of range."""
    _check("--batch", batch, 1, MAX_BATCH_EVENTS)
    _check("--interval", interval, _LEAST_INTERVAL, _LONGEST_INTERVAL)
    _check("--lease", lease, SHORTEST_LEASE, LONGEST_LEASE)
    return RelayOptions(once, batch, interval, lease)


class Relay:
    """Delivers from the tables of one database.

    - `make_client`: takes options and returns the client that delivers.
    - `report`: prints a line.
    - `max_retries`: the option of that client, to say how long `--once` tries.
    """

    def __init__(
        self,
        claims: Claims,
        options: RelayOptions,
        make_client: Callable[[dict[str, Any]], Whisperr],
        report: Callable[[str], None],
        max_retries: int,
        report_interval: float = REPORT_INTERVAL,
    ) -> None:
        self._tools = claims.tools
        self._options = options
        self._make_client = make_client
        self._report = report
        self._max_retries = max_retries
        self._report_interval = report_interval
        self._store = TableStore(claims, batch=options.batch, lease=options.lease)
        self._wake_up = WakeUp()

    def run(self, source: str) -> None:
        """Deliver until a signal, or with `once` until nothing is left.

        `source` describes the database. Raises RelayError if the relay cannot start, and with
        `once` if not everything was delivered.
        """
        with _handle_signals(self._stop):
            client = self._make_client(self._options.get_client_options(self._store))
            _check_no_capture(client)
            self._report(f"relaying from {source}, {self._options.batch} events at most")
            problem = None
            try:
                if self._options.once:
                    problem = self._wait_until_empty(client)
                else:
                    self._report_until_stopped()
            finally:
                self._store.stop()
                client.shutdown(EXIT_TIMEOUT)
        last = client.stats().problem
        self._report(f"stopped: {_summarize(self._store)}" + f"; last problem: {last}" * bool(last))
        if problem is not None:
            raise RelayError(f'not everything was delivered: {problem}; run "{self._tools.check}"')

    def _stop(self, *_: object) -> None:
        self._store.stop()
        self._wake_up.set()

    def _report_until_stopped(self) -> None:
        store = self._store
        reported = _summarize(store)
        while not store.stopping:
            self._wake_up.wait(self._report_interval)
            now = _summarize(store)
            if now != reported and not store.stopping:
                self._report(now)
                reported = now

    def _wait_until_empty(self, client: Whisperr) -> str | None:
        """Wait until no free row is left; return why not everything could be delivered."""
        store = self._store
        is_reported = False
        while not (store.stopping or store.rounds):
            self._wake_up.wait(_CHECK_INTERVAL)
            stats = client.stats()
            if store.failures >= _MOST_FAILURES or (stats.state == "paused" and not store.failures):
                return stats.problem or "delivery pauses"
            # Without rows under way, the problem is about rows that the server has refused.
            if stats.problem and store.under_way and not (is_reported or store.stopping):
                is_reported = True
                patience = _describe_patience(self._max_retries)
                self._report(f"not delivered yet: {stats.problem}; {patience}")
        return None if store.rounds else client.stats().problem or "a signal stopped it"


@contextmanager
def _handle_signals(stop: Callable[..., None]) -> Iterator[None]:
    """Call `stop` on SIGTERM and SIGINT, if this is the main thread, which receives them."""
    before: dict[int, Any] = {}
    if current_thread() is main_thread():
        before = {one: signal.signal(one, stop) for one in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_no_capture(client: Whisperr) -> None:
    pipeline = get_pipeline(client)
    if pipeline is None or not isinstance(pipeline.queue, RelayQueue):
        raise RelayError("whisperr.testing captures events now, so a relay cannot deliver")


def _describe_patience(max_retries: int) -> str:
    """Return how long `once` tries, in words."""
    counted = range(1, min(max_retries, _MOST_COUNTED) + 1)
    waits = sum(get_backoff(failures, _get_longest) for failures in counted)
    return (
        f"trying up to {max_retries:,} more times, which takes at most {waits:,.0f} s of waiting; "
        "Ctrl-C ends the relay and keeps the rows"
    )


def _get_longest() -> float:
    return 1.0


def _summarize(store: TableStore) -> str:
    dead = ", ".join(f"{reason} {count:,}" for reason, count in sorted(store.dead_letters.items()))
    total = sum(store.dead_letters.values())
    return f"delivered {store.delivered:,}, dead letters {total:,}" + (f" ({dead})" * bool(dead))


def _check(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise RelayError(f"{option} {value:g}: must be from {least:g} to {most:g}")
