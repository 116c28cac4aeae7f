"""One process of the simulated fleet: the real worker, buffer and ledger with a clock that is told.

Only the thread, the socket and the time are not real. What decides about retries, pauses and
drops is imported, so what the simulation shows is what the package does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._delivery.accounting import Accounting
from whisperr._delivery.reporter import Reporter
from whisperr._delivery.scheduler import Scheduler
from whisperr._queue.memory import QUEUE_FULL, MemoryQueue

if TYPE_CHECKING:
    import random

    from benchmarks.fleet_server import Server
    from whisperr._contract import Answer, Request

_EVENT = b'{"event_type":"payment_failed"}'
_MAX_BYTES = 1 << 30  # the bound by bytes is not the subject
_REQUEST_SECONDS = 0.05


class Process:
    """One process that tracks now and then."""

    def __init__(self, server: Server, random: random.Random, queue: int) -> None:
        self.now = 0.0
        self._server = server
        self.buffer = MemoryQueue(queue, _MAX_BYTES)
        self.accounting = Accounting(Reporter(None), lambda _: None)
        self.worker = Scheduler(
            self.buffer,
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
        """Stand for the transport: the request takes its time, and the server answers."""
        answer = self._server.answer(self.now)
        self.now += _REQUEST_SECONDS
        return answer

    def close(self) -> None:
        """Stand for the transport: there is no connection."""

    def track(self) -> bool:
        """Put one event; say whether the worker wants to be woken for it."""
        self.accounting.accept()
        self.accounting.lost(self.buffer.put(_EVENT), "queue_full", QUEUE_FULL)
        return len(self.buffer) >= self.worker.wake_at

    def step(self, now: float) -> float:
        """Let the worker do what is due; return when it wants to be called again."""
        self.now = max(now, self.now)
        next_step = self.worker.step()
        self.worker.settle()
        return max(next_step, self.now)

    def end(self, now: float) -> None:
        """Shut down as a process does that is told to: one attempt for what is held, then gone."""
        self.now = max(now, self.now)
        self.worker.close(self.now + 10.0)
        while not self.worker.ended:
            self.now = max(self.now, self.worker.step())
