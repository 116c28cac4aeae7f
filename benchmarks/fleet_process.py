"""One process of the simulated fleet: the real scheduler, queue and accounting with a fake clock.

Only the thread, the socket and the time are simulated. The package's own code decides about
retries, pauses and drops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._delivery.accounting import ClientAccounting
from whisperr._delivery.reporter import Reporter
from whisperr._delivery.scheduler import Scheduler
from whisperr._queue.memory import QUEUE_FULL, MemoryQueue

if TYPE_CHECKING:
    import random

    from benchmarks.fleet_server import Server
    from whisperr._contract import Answer, Request

_EVENT = b'{"event_type":"payment_failed"}'
_MAX_BYTES = 1 << 30  # so that only the number of events limits the queue
_REQUEST_SECONDS = 0.05


class Process:
    """One process that tracks at random times."""

    def __init__(self, server: Server, random: random.Random, queue: int) -> None:
        self.now = 0.0
        self._server = server
        self.queue = MemoryQueue(queue, _MAX_BYTES)
        self.accounting = ClientAccounting(Reporter(None))
        self.scheduler = Scheduler(
            self.queue,
            self,
            self.accounting,
            flush_at=20,
            flush_interval=10.0,
            max_batch_size=500,
            max_retries=6,
            request_timeout=10.0,
            clock=lambda: self.now,
            random=random.random,
            wall_clock=lambda: self.now,
        )

    def send(self, _request: Request, _timeout: float) -> Answer:
        """Stand in for the transport: the request takes some time, and the server answers."""
        answer = self._server.answer(self.now)
        self.now += _REQUEST_SECONDS
        return answer

    def close(self) -> None:
        """Stand in for the transport: there is no connection."""

    def track(self) -> bool:
        """Add one event; return whether the scheduler must be called for it."""
        dropped = self.queue.put(_EVENT)
        self.accounting.lost(dropped, "queue_full", QUEUE_FULL)
        return len(self.queue) >= self.scheduler.wake_at

    def step(self, now: float) -> float:
        """Call the scheduler; return when to call it again."""
        self.now = max(now, self.now)
        next_step = self.scheduler.step()
        self.scheduler.set_wake_at()
        return max(next_step, self.now)

    def end(self, now: float) -> None:
        """Shut down as at SIGTERM: one attempt for what is held."""
        self.now = max(now, self.now)
        self.scheduler.close(self.now + 10.0)
        while not self.scheduler.ended:
            self.now = max(self.now, self.scheduler.step())
