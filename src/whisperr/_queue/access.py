"""Serialises the calls on a store, and suspends use of a store that fails.

A store with a separate connection for adding has two locks, one for adding and one for everything
else, so that neither waits for the other. Both share one record of failures.

Threads: any. A call is refused if it interrupts another one of its own thread (in a signal
handler), or if it waits too long for another thread. Reports run foreign code, so none is made
here: the caller checks `changed` and reports without the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._foreign import printable
from whisperr._process.interruption import is_interruption
from whisperr._process.mutex import Mutex
from whisperr.errors import NotNow, StoreError

from .store import StoreFullError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# How long a call of `track()` waits at most for another thread of its process, in seconds.
PATIENCE = 0.25
# A failure is reported once in this many seconds, even if it comes and goes.
_REPORT_INTERVAL = 60.0
_MOST_DOUBLINGS = 10
_LONGEST_MESSAGE = 300
_BUSY, _FAILED = range(2)


class StoreAccess:
    """The locks of one store in one process, and the record of its failures.

    - `mutex`: for all calls but those that add. `adding`: for those; may be the same lock.
    - `problem`: what is wrong with the store; None when it works.
    - `failures`: the failures in a row. `failed_at`: when the first of them happened.
    - `retry_at`: when the store is used again. `full`: whether it only lacks room.
    - `recovered`: whether it works again and that is not logged yet.
    - `changed`: whether there is something to report.
    """

    def __init__(
        self, first_retry: float, longest_retry: float, *, concurrent: bool = False
    ) -> None:
        self.mutex = Mutex()
        self.adding = Mutex() if concurrent else self.mutex
        self.problem: str | None = None
        self.failures = 0
        self.failed_at = 0.0
        self.retry_at = 0.0
        self.full = False
        self.recovered = False
        self.changed = False
        self._first_retry = first_retry
        self._longest_retry = longest_retry
        # When the next report of each kind is due, so that "busy" does not suppress a failure.
        self._report_at = [0.0, 0.0]
        self._unreported: str | None = None

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds a lock, so that it must not run foreign code."""
        return self.mutex.is_mine or self.adding.is_mine

    def use(
        self,
        act: Callable[[], T],
        otherwise: T,
        now: float,
        *,
        anyway: bool = False,
        adds: bool = False,
        proves: Callable[[T], bool] | None = None,
    ) -> T:
        """Call `act` under a lock; return `otherwise` if the lock or the store is unavailable.

        - `anyway`: try the store even soon after a failure.
        - `adds`: use the lock for adding.
        - `proves`: returns whether a result shows that the store works again.
        """
        if not anyway and now < self.retry_at:
            return otherwise
        mutex = self.adding if adds else self.mutex
        # Waiting for the adding lock says nothing about the store.
        refused = mutex.is_mine or mutex is not self.mutex

        def try_act() -> T:
            nonlocal refused
            refused = True  # the lock was free
            return self._try(act, otherwise, now, proves)

        result = mutex.run(try_act, otherwise, PATIENCE)
        if not refused:
            self._note(_BUSY, f"the store was busy for longer than {PATIENCE:g} s", now)
        return result

    def acquire_all(self, timeout: float) -> bool:
        """Take both locks for a fork; return False, with neither taken, after `timeout` seconds."""
        if not self.mutex.acquire(timeout):
            return False
        if self.adding is self.mutex or self.adding.acquire(timeout):
            return True
        self.mutex.release()
        return False

    def release_all(self) -> None:
        """Release what `acquire_all` took."""
        if self.adding is not self.mutex:
            self.adding.release()
        self.mutex.release()

    def take_report(self) -> str | None:
        """Return the message to report now, once."""
        message, self._unreported = self._unreported, None
        return message

    def _try(
        self, act: Callable[[], T], otherwise: T, now: float, proves: Callable[[T], bool] | None
    ) -> T:
        try:
            result = act()
        except NotNow:
            raise
        except StoreError as error:
            self._fail(str(error), now, full=isinstance(error, StoreFullError))
            return otherwise
        except Exception as error:
            if is_interruption(error):
                raise
            # Data that no store of ours writes and that passed the stores' own checks.
            self._fail(f"{type(error).__name__}: {error}", now, full=False)
            return otherwise
        if self.failures and proves is not None and proves(result):
            self.failures = 0
            self.retry_at = 0.0
            self.problem = None
            self.full = False
            self.recovered = self.changed = True
        return result

    def _fail(self, message: str, now: float, *, full: bool) -> None:
        doublings = min(self.failures, _MOST_DOUBLINGS)
        self.retry_at = now + min(self._first_retry * 2.0**doublings, self._longest_retry)
        if not self.failures:
            self.failed_at = now
        self.failures += 1
        self.full = full
        self.problem = printable(message, _LONGEST_MESSAGE)
        self._note(_FAILED, self.problem, now)
        self.changed = True

    def _note(self, kind: int, message: str, now: float) -> None:
        if now >= self._report_at[kind]:
            self._report_at[kind] = now + _REPORT_INTERVAL
            self._unreported = message
            self.changed = True
