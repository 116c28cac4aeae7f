"""`manage.py whisperr_relay`: delivers what is in the outbox until it is stopped."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from whisperr._client import get_pipeline
from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._delivery.backoff import get_backoff
from whisperr._options import OPTIONS
from whisperr._process.exit import EXIT_TIMEOUT
from whisperr._process.wake_up import WakeUp
from whisperr._queue.store import LEASE, LONGEST_LEASE, SHORTEST_LEASE
from whisperr.django.conf import DISABLED, SETTINGS, get_outbox_database, new_client
from whisperr.django.outbox.relay import RelayBuffer, RelayQueue, TableStore
from whisperr.django.outbox.tables import Claims, check_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from django.core.management.base import CommandParser

    from whisperr import Whisperr

INTERVAL = 1.0
_LEAST_INTERVAL, _LONGEST_INTERVAL = 0.01, 3_600.0
# With `--once`: seconds between two checks whether it has ended; so many failures of the database
# in a row end it.
_CHECK_INTERVAL = 0.05
_MOST_FAILURES = 5
_MOST_COUNTED = 1_000  # retries whose waits are added up: more than eight hours of them


class Command(BaseCommand):
    """Runs the client of the project's settings with the table as its buffer."""

    help: str = (
        "Deliver the events of the outbox until SIGTERM or SIGINT. Several may run, also on "
        "several machines."
    )
    requires_system_checks: tuple[str, ...] = ()  # it checks what it needs itself, and faster
    report_interval: float = 60.0  # seconds between two lines about what was delivered

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        add = parser.add_argument
        add("--once", action="store_true", help="deliver everything that is there, then end")
        text = "claim and send at most so many events at once, 1 to 500 (%(default)s)"
        add("--batch", type=int, default=MAX_BATCH_EVENTS, metavar="N", help=text)
        text = "look into an empty table so often (%(default)s)"
        add("--interval", type=float, default=INTERVAL, metavar="SECONDS", help=text)
        add("--using", metavar="ALIAS", help="the database; else WHISPERR_OUTBOX_DATABASE")
        text = "others take over from a relay that died after so many seconds (%(default)s)"
        add("--lease", type=float, default=LEASE, metavar="SECONDS", help=text)

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Deliver; fails when it cannot begin, and with `--once` when it could not deliver all."""
        _check("--batch", given["batch"], 1, MAX_BATCH_EVENTS)
        _check("--interval", given["interval"], _LEAST_INTERVAL, _LONGEST_INTERVAL)
        _check("--lease", given["lease"], SHORTEST_LEASE, LONGEST_LEASE)
        self._verbose = given["verbosity"] > 0
        alias = check_tables(given["using"] or get_outbox_database())
        wake_up = WakeUp()
        store = TableStore(Claims(alias), batch=given["batch"], lease=given["lease"])

        def stop(*_: object) -> None:
            store.stop()
            wake_up.set()

        with _handle_signals(stop):
            client = _make_client(store, given["interval"], given["batch"])
            _check_no_capture(client)
            self._print(f"relaying from database {alias!r}, {given['batch']} events at most")
            problem = None
            try:
                if given["once"]:
                    problem = self._wait_until_empty(client, store, wake_up)
                else:
                    self._report_until_stopped(store, wake_up)
            finally:
                store.stop()
                client.shutdown(EXIT_TIMEOUT)
        last = client.stats().problem
        self._print(f"stopped: {_summarize(store)}" + f"; last problem: {last}" * bool(last))
        if problem is not None:
            raise CommandError(
                f'not everything was delivered: {problem}; run "manage.py whisperr_check"'
            )

    def _report_until_stopped(self, store: TableStore, wake_up: WakeUp) -> None:
        reported = _summarize(store)
        while not store.stopping:
            wake_up.wait(self.report_interval)
            now = _summarize(store)
            if now != reported and not store.stopping:
                self._print(now)
                reported = now

    def _wait_until_empty(self, client: Whisperr, store: TableStore, wake_up: WakeUp) -> str | None:
        """Wait until no free row is left; return why not everything could be delivered."""
        is_told = False
        while not (store.stopping or store.rounds):
            wake_up.wait(_CHECK_INTERVAL)
            stats = client.stats()
            if store.failures >= _MOST_FAILURES or (stats.state == "paused" and not store.failures):
                return stats.problem or "delivery pauses"
            if stats.problem and not (is_told or store.stopping):
                is_told = True
                self._print(f"not delivered yet: {stats.problem}; {_describe_patience()}")
        return None if store.rounds else client.stats().problem or "a signal stopped it"

    def _print(self, line: str) -> None:
        if self._verbose:
            self.stdout.write(line)
            self.stdout.flush()


@contextmanager
def _handle_signals(stop: Callable[..., None]) -> Iterator[None]:
    """Call `stop` for a signal; only in the main thread, which gets them."""
    before: dict[signal.Signals, Any] = {}
    if current_thread() is main_thread():
        before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make_client(store: TableStore, interval: float, batch: int) -> Whisperr:
    try:
        client = new_client(
            "whisperr_relay",
            buffer=RelayBuffer(store, interval),
            flush_at=1,
            max_batch_size=batch,
        )
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    if not client.ready:
        where = "in the settings or in the environment"
        raise CommandError(f"{DISABLED} is on, {where}: nothing is delivered; remove it here")
    return client


def _check_no_capture(client: Whisperr) -> None:
    pipeline = get_pipeline(client)
    if pipeline is None or not isinstance(pipeline.queue, RelayQueue):
        raise CommandError("a capture is on (whisperr.testing): events are no rows, and not sent")


def _describe_patience() -> str:
    """Return for how long `--once` tries, in words."""
    (option,) = (option for option in OPTIONS if option.name == "max_retries")
    retries: int = SETTINGS.read().get(option.name, option.default)
    counted = range(1, min(retries, _MOST_COUNTED) + 1)
    waits = sum(get_backoff(failures, _get_longest) for failures in counted)
    return (
        f"up to {retries:,} more attempts, with {waits:,.0f} s of waits at most in all; Ctrl-C "
        "ends it, and keeps the rows"
    )


def _get_longest() -> float:
    return 1.0


def _summarize(store: TableStore) -> str:
    dead = ", ".join(f"{reason} {count:,}" for reason, count in sorted(store.dead_letters.items()))
    total = sum(store.dead_letters.values())
    return f"delivered {store.delivered:,}, dead letters {total:,}" + (f" ({dead})" * bool(dead))


def _check(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise CommandError(f"{option} {value:g}: must be from {least:g} to {most:g}")
