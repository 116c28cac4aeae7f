"""A lock that a call can be interrupted in: it is released whatever a signal handler raises.

`lock.acquire()` followed by `try:` leaves a gap: a signal handler that raises between the two keeps
the lock taken for ever. Here every call brings a token of its own, and the lock is a dictionary
that holds the token of the call that runs: taking it is one step in C (`dict.setdefault`), and the
`finally` releases it if it holds that token, whether or not the call ever learned that it has it.
CPython runs signal handlers only after calls, at the start of functions and at the end of loops, so
no interruption comes between the two statements of the release.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    Token = list[int]

# A waiting thread looks again after so many seconds, in case an interruption swallowed the signal.
_LOOK_AGAIN = 0.02
# What a wait that was signalled counts for, so that even a lock that is never free has a bound.
_LEAST_WAIT = 0.001


class Mutex:
    """Lets one call run at a time; a call that interrupts another one of its thread is refused.

    Under gevent, locks that were made before it patched the standard library stop all greenlets at
    once. So the functions of `_thread` are looked up when they are used.
    """

    __slots__ = ("_free", "_holder")

    def __init__(self) -> None:
        self._holder: dict[int, Token] = {}
        self._free = _thread.allocate_lock()  # a semaphore: released by each call that ends
        self._free.acquire()

    def run(self, act: Callable[[], T], otherwise: T, timeout: float = 0.0) -> T:
        """Return `act()`, run alone; `otherwise` when the lock is not free for `timeout` seconds.

        Also `otherwise`, at once, in a signal handler that interrupts an `act` of the same thread.
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
        """Whether the calling thread is in `run`, or has acquired the lock."""
        token = self._holder.get(0)
        return token is not None and token[0] == _thread.get_ident()

    @property
    def is_taken(self) -> bool:
        """Whether any thread has the lock."""
        return bool(self._holder)

    def acquire(self, timeout: float) -> bool:
        """Take the lock for longer than a call, as fork hooks do; False after `timeout` seconds."""
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
        left = timeout  # counted down by waits that timed out, not by a clock that tests replace
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
