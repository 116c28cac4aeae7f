"""`manage.py whisperr_relay`: deliver what is in the outbox, until it is told to stop."""

from __future__ import annotations

import signal
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from whisperr._contract import MAX_BATCH_EVENTS
from whisperr._delivery.thread import WakeUp
from whisperr._process.exit import EXIT_TIMEOUT
from whisperr._queue.lease import LEASE, LONGEST_LEASE, SHORTEST_LEASE
from whisperr.django.conf import DISABLED, new_client
from whisperr.django.outbox.buffer import alias_of
from whisperr.django.outbox.claims import Claims
from whisperr.django.outbox.relay import RelayBuffer
from whisperr.django.outbox.tables import check_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from django.core.management.base import CommandParser

    from whisperr import Whisperr

INTERVAL = 1.0
_LEAST_INTERVAL, _LONGEST_INTERVAL = 0.01, 3_600.0
# With `--once` a stop is noticed after so many seconds, and an outbox that fails so often in a row
# is given up.
_ROUND = 0.5
_MOST_MISSES = 5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Command(BaseCommand):
    """Runs the client of the project's settings with the table as its buffer."""

    help: str = (
        "Deliver the events of the outbox until SIGTERM or SIGINT. Several may run, also on "
        "several machines."
    )
    requires_system_checks: tuple[str, ...] = ()  # what matters to it is found here, and quicker
    tell_every: float = 60.0  # seconds after which it says what it did, if it did something

    def add_arguments(self, parser: CommandParser) -> None:
        """Describe the options."""
        parser.add_argument(
            "--once", action="store_true", help="deliver everything that is there, then end"
        )
        parser.add_argument(
            "--batch", type=int, default=MAX_BATCH_EVENTS, metavar="N",
            help="claim and send at most so many events at once, 1 to 500 (%(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--interval", type=float, default=INTERVAL, metavar="SECONDS",
            help="look into an empty table so often (%(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--using", metavar="ALIAS", help="the database; else WHISPERR_OUTBOX_DATABASE"
        )
        parser.add_argument(
            "--lease", type=float, default=LEASE, metavar="SECONDS",
            help="others take over from a relay that died after so many seconds (%(default)s)",
        )  # fmt: skip

    def handle(self, *_: Any, **given: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Deliver; fails when it cannot begin, and with `--once` when it could not deliver all."""
        _check("--batch", given["batch"], 1, MAX_BATCH_EVENTS)
        _check("--interval", given["interval"], _LEAST_INTERVAL, _LONGEST_INTERVAL)
        _check("--lease", given["lease"], SHORTEST_LEASE, LONGEST_LEASE)
        self._loud = given["verbosity"] > 0
        alias = alias_of(given["using"])
        check_tables(alias)
        relay = RelayBuffer(
            Claims(alias), batch=given["batch"], interval=given["interval"], lease=given["lease"]
        )
        gate = WakeUp()

        def stop(*_: object) -> None:
            relay.stop()
            gate.set()

        with _Signals(stop):
            client = _client(relay, given["batch"])
            self._say(f"relaying from database {alias!r}, {given['batch']} events at most")
            try:
                if given["once"]:
                    problem = _until_empty(client, relay)
                else:
                    problem = None
                    connections[alias].close()  # from now on only the thread that delivers has one
                    self._run(relay, gate)
            finally:
                relay.stop()
                client.shutdown(EXIT_TIMEOUT)
        self._say(f"stopped: {_summary(relay)}")
        if problem is not None:
            raise CommandError(f"not everything was delivered: {problem}")

    def _run(self, relay: RelayBuffer, gate: WakeUp) -> None:
        told = _summary(relay)
        while not relay.stopping:
            gate.wait(self.tell_every)
            now = _summary(relay)
            if now != told and not relay.stopping:
                self._say(now)
                told = now

    def _say(self, line: str) -> None:
        if self._loud:
            self.stdout.write(line)
            self.stdout.flush()


class _Signals:
    """Calls `stop` for a signal, while it is entered; only in the main thread, which gets them."""

    def __init__(self, stop: Callable[..., None]) -> None:
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if current_thread() is main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in _SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


def _client(relay: RelayBuffer, batch: int) -> Whisperr:
    try:
        client = new_client(buffer=relay, flush_at=1, max_batch_size=batch)
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    if not client.ready:
        raise CommandError(f"{DISABLED} = True: nothing is delivered; set it to False here")
    return client


def _until_empty(client: Whisperr, relay: RelayBuffer) -> str | None:
    """Deliver until nothing is left that is free; return why that could not be done."""
    while not relay.stopping and not client.flush(_ROUND):
        stats = client.stats()
        if relay.misses >= _MOST_MISSES or (stats.state == "paused" and relay.problem is None):
            return stats.problem or "delivery pauses"
    return None


def _summary(relay: RelayBuffer) -> str:
    dead = ", ".join(f"{reason} {count:,}" for reason, count in sorted(relay.buried.items()))
    letters = sum(relay.buried.values())
    return f"delivered {relay.delivered:,}, dead letters {letters:,}" + (f" ({dead})" * bool(dead))


def _check(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise CommandError(f"{option} {value:g}: must be from {least:g} to {most:g}")
