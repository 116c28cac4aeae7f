"""Wakes a waiting thread, also from a signal handler.

`Event`, `Condition` and `queue.Queue` hold a lock inside for a while; a signal handler that
interrupts them at the wrong instruction waits for itself for ever.
"""

from __future__ import annotations

import _thread
from _thread import TIMEOUT_MAX


class WakeUp:
    """Wakes one waiting thread: a binary semaphore on a raw lock. `set` never waits.

    Under gevent, locks that were made before it patched the standard library stop all greenlets
    at once. So `allocate_lock` is looked up when a wake-up is made, not when this is imported.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let one `wait` return, now or later. Any thread, also from a signal handler."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is set already

    def wait(self, timeout: float) -> bool:
        """Wait for `set`, `timeout` seconds at most; return whether it came, and reset it."""
        return self._lock.acquire(timeout=min(max(timeout, 0.0), TIMEOUT_MAX))
