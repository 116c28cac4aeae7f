"""Lets one call at a time use a store, and leaves a store that fails alone for a while.

A store that is added to over a connection of its own has two locks: one for adding and one for all
else, so that neither waits for the other. What is known of its failures is one.

Threads: any. A call that interrupts another one of its thread (in a signal handler) is refused, and
so is one that waits too long for another thread. Nothing is reported from here, since reports run
foreign code: `changed` says that there is something to report, without a lock.
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

# The longest that a call of `track()` waits for another thread of its process, in seconds.
PATIENCE = 0.25
# A lasting failure is reported once in this many seconds, also if it comes and goes.
_REPORT_INTERVAL = 60.0
_MOST_DOUBLINGS = 10
_LONGEST_MESSAGE = 300
_BUSY, _FAILED = range(2)


class StoreAccess:
    """The locks of one store in one process, and what is known of its failures.

    - `mutex`: for all calls but those that add; `adding`: for those, the same one if they share.
    - `problem`: what is wrong with the store; None when it works.
    - `failures`: how many there were in a row; `failed_at`: when the first of them was.
    - `retry_at`: when the store is used again. `full`: it only has no room for more.
    - `recovered`: it works again, which is not logged yet.
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
        # When the next report may be made: that it was busy does not keep a failure from the log.
        self._report_at = [0.0, 0.0]
        self._unreported: str | None = None

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread uses the store, so that no foreign code may run in it."""
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
        """Call `act` under a lock; return `otherwise` when the store or the lock is not free.

        Soon after a failure it is not even tried, unless `anyway`. `adds`: under the lock for that.
        `proves` says of a result whether it shows that the store works again.
        """
        if not anyway and now < self.retry_at:
            return otherwise
        mutex = self.adding if adds else self.mutex
        # That another thread is adding over a connection of its own is no trouble of the store.
        refused = mutex.is_mine or mutex is not self.mutex

        def try_act() -> T:
            nonlocal refused
            refused = True  # nothing to say about the lock
            return self._try(act, otherwise, now, proves)

        result = mutex.run(try_act, otherwise, PATIENCE)
        if not refused:
            self._note(_BUSY, f"the store was busy for longer than {PATIENCE:g} s", now)
        return result

    def acquire_all(self, timeout: float) -> bool:
        """Take both locks, for a fork; False, and neither taken, after `timeout` seconds each."""
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
        """Return what is to be reported now, once."""
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
            # Content that no store of ours writes: the last net under the checks of the stores.
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
