"""A lock that a call can be interrupted in: it is released whatever a signal handler raises.

`lock.acquire()` followed by `try:` leaves a gap: a signal handler that raises between the two keeps
the lock taken for ever. Here the lock is taken inside of the `try`, and the first thing that the
`finally` calls is the release. CPython runs signal handlers after calls, at the start of functions
and at the end of loops, so neither step can be cut in half.
"""

from __future__ import annotations

from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class Mutex:
    """Lets one call run at a time; a call that interrupts another one of its thread is refused."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = RLock()  # it knows its thread: only that one can release it

    def run(self, act: Callable[[], T], otherwise: T, timeout: float = 0.0) -> T:
        """Return `act()`, run alone; `otherwise` when the lock is not free for `timeout` seconds.

        Also `otherwise`, at once, in a signal handler that interrupts an `act` of the same thread.
        """
        lock = self._lock
        if self.is_mine:
            return otherwise
        try:
            return act() if lock.acquire(timeout=timeout) else otherwise
        finally:
            try:  # noqa: SIM105  # `suppress` would be called before the release
                lock.release()
            except RuntimeError:  # this thread does not have it
                pass

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is in `run`, or has acquired the lock."""
        mine: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001  # as `threading.Condition` asks
        return mine

    def acquire(self, timeout: float) -> bool:
        """Take the lock for longer than a call, as fork hooks do; False after `timeout` seconds."""
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        """Release what `acquire` took; RuntimeError when this thread does not have it."""
        self._lock.release()
