"""The one way in which threads wait for each other here: a binary semaphore on a raw lock.

`Event`, `Condition` and `queue.Queue` hold a lock inside for a while; a signal handler that
interrupts them at the wrong instruction waits for itself for ever. Opening a gate never waits.

Under gevent, locks that were made before it patched the standard library stop all greenlets at
once. So nothing here binds `allocate_lock` when it is imported: a gate is of the world as it is
when the gate is made.
"""

from __future__ import annotations

import _thread
from _thread import TIMEOUT_MAX


class WakeUp:
    """Closed until somebody opens it; a wait that succeeds closes it again."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let one wait through, now or later. Any thread, also from a signal handler."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is open already

    def wait(self, timeout: float) -> bool:
        """Wait until the gate opens, for `timeout` seconds at most; say whether it did."""
        return self._lock.acquire(timeout=min(max(timeout, 0.0), TIMEOUT_MAX))
