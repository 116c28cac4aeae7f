"""The buffer of a relay: the leased queue over the table of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._process.logger import logger
from whisperr._queue.durable import LeasedQueue

if TYPE_CHECKING:
    from whisperr.protocols import Accounting

    from .store import TableStore


class RelayBuffer:
    """Opens the queue of a relay; an idle relay looks into the table every `interval` seconds."""

    def __init__(self, store: TableStore, interval: float) -> None:
        self._store = store
        self._interval = interval

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> RelayQueue:
        """Return the queue of this process; the client calls it."""
        return RelayQueue(
            self._store, max_events, max_bytes, accounting, poll_interval=self._interval
        )


class RelayQueue(LeasedQueue):
    """The leased queue of a relay. It puts nothing, so that no event ever is in memory only."""

    name = "the outbox"
    first_retry, longest_retry = 0.1, 5.0

    def report_problem(self, message: str, count: int) -> None:  # noqa: ARG002  # nothing is in memory
        """Log that the table cannot be used."""
        logger().warning("%s; trying again", message)
