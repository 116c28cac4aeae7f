"""A lock that is released whatever a signal handler raises while a call holds it.

`lock.acquire()` followed by `try:` leaves a gap: if a signal handler raises between the two, the
lock stays taken forever. So each call creates a token, and the lock is a dictionary with the token
of the call that holds it. `dict.setdefault` takes the lock in one step. The `finally` releases the
lock if it has the call's token, even if the call never learned that it had taken the lock. CPython
runs signal handlers only after calls, at the start of functions and at the end of loops, so none
runs between the two statements of the release.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    Token = list[int]

# Seconds after which a waiting thread tries again, in case an interruption swallowed the signal.
_LOOK_AGAIN = 0.02
# Seconds that count for a wait that was signalled, so that waiting for a busy lock ends, too.
_LEAST_WAIT = 0.001


class Mutex:
    """Lets one call run at a time, and refuses a call that interrupts another one in its thread.

    Under gevent, a lock that was made before gevent patched the standard library blocks all
    greenlets. So the functions of `_thread` are looked up when they are used.
    """

    __slots__ = ("_free", "_holder")

    def __init__(self) -> None:
        self._holder: dict[int, Token] = {}
        self._free = _thread.allocate_lock()  # a semaphore that each ending call releases
        self._free.acquire()

    def run(self, act: Callable[[], T], otherwise: T, timeout: float = 0.0) -> T:
        """Return `act()`, run under the lock; `otherwise` if it is not free in `timeout` seconds.

        Returns `otherwise` at once in a signal handler that interrupts an `act` of its thread.
        """
        token = [_thread.get_ident()]
        try:
            return act() if self._take(token, timeout) else otherwise
        finally:
            holder = self._holder
            try:
                if holder[0] is token:
                    del holder[0]
            except KeyError:  # it was never taken
                pass
            self._signal()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the lock, in `run` or through `acquire`."""
        token = self._holder.get(0)
        return token is not None and token[0] == _thread.get_ident()

    @property
    def is_taken(self) -> bool:
        """Whether any thread holds the lock."""
        return bool(self._holder)

    def acquire(self, timeout: float) -> bool:
        """Take the lock beyond this call, for fork hooks; return False after `timeout` seconds."""
        return self._take([_thread.get_ident()], timeout)

    def release(self) -> None:
        """Release what `acquire` took."""
        self._holder.pop(0, None)
        self._signal()

    def _take(self, token: Token, timeout: float) -> bool:
        if self._holder.setdefault(0, token) is token:
            return True
        if timeout <= 0 or self.is_mine:
            return False
        left = timeout  # counted down by the waits, because tests may replace a clock
        while self._holder.setdefault(0, token) is not token:
            if left <= 0:
                return False
            signalled = self._free.acquire(timeout=_LOOK_AGAIN)
            left -= _LEAST_WAIT if signalled else _LOOK_AGAIN
        return True

    def _signal(self) -> None:
        try:
            self._free.release()
        except RuntimeError:
            return  # no thread waits for it
