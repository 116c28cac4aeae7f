"""Wakes a waiting thread, also from a signal handler.

`Event`, `Condition` and `queue.Queue` hold a lock of their own for a moment. A signal handler that
interrupts them in that moment would wait for itself forever.

On Windows no signal interrupts a wait for a lock: Ctrl-C would have no effect until the time limit.
So the main thread, in which Python runs signal handlers, waits in slices there.
"""

from __future__ import annotations

import _thread
import sys
from _thread import TIMEOUT_MAX

from whisperr._platform import WINDOWS

_SLICE = 0.1  # seconds, after which Ctrl-C ends a wait on Windows


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
        left = min(max(timeout, 0.0), TIMEOUT_MAX)
        if WINDOWS and _is_main_thread():
            while left > _SLICE:  # counted down, not by a clock that tests replace
                if self._lock.acquire(timeout=_SLICE):
                    return True
                left -= _SLICE
        return self._lock.acquire(timeout=left)


def _is_main_thread() -> bool:
    threading = sys.modules.get("threading")  # where it is not loaded, no other thread was started
    return threading is None or threading.main_thread().ident == _thread.get_ident()
