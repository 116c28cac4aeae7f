"""Moves events into stores across a network in its own thread, so that no call waits for it.

One thread serves all queues of a process. The first event starts it, and it ends with the last
queue. A queue is scheduled once, however many events are added before the thread moves them.

Threads: any thread may call `schedule` and `leave`, even in a signal handler; neither waits.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from weakref import WeakSet

from whisperr._process import threads
from whisperr._process.identity import get_process
from whisperr._process.imports import first_use
from whisperr._process.interruption import enter_own_thread, leave_own_thread
from whisperr._process.logger import log
from whisperr._process.mutex import Mutex
from whisperr._process.real_clock import monotonic
from whisperr._process.signals import block_in_this_thread, get_thread_id
from whisperr._process.wake_up import WakeUp

if TYPE_CHECKING:
    from threading import Thread
    from typing import Protocol

    class Pending(Protocol):
        """A queue with events to move into its store."""

        def store_pending(self) -> float | None:
            """Move its events; return the seconds until the next attempt, None when all are moved.

            Only the storer's thread calls this.
            """


# Seconds for which events are gathered, so that one call of the store moves many.
GATHER = 0.002
NAME = f"{threads.NAMES}storage"
_LONGEST_WAIT = 60.0  # seconds
# Seconds after an internal error, so that one that recurs every time does not spin.
_AFTER_A_BUG = 1.0


class Storer:
    """Runs `store_pending` of the queues of one process in a thread."""

    def __init__(self) -> None:
        self._members: WeakSet[Pending] = WeakSet()
        self._scheduled: set[Pending] = set()
        self._retry_at: dict[Pending, float] = {}
        self._wake_up = WakeUp()
        self._starting = Mutex()
        self._thread: Thread | None = None

    def schedule(self, queue: Pending) -> bool:
        """Have a queue's events moved within milliseconds; return False if no thread can run."""
        self._members.add(queue)
        self._scheduled.add(queue)
        if self._thread is None or not self._thread.is_alive():
            if not _may_start():
                return False
            self._starting.run(self._start, None)
        self._wake_up.set()
        return self._thread is not None

    def leave(self, queue: Pending) -> None:
        """Forget a queue that has ended; the thread ends after the last of them."""
        self._members.discard(queue)
        self._scheduled.discard(queue)
        self._retry_at.pop(queue, None)
        self._wake_up.set()

    def _start(self) -> None:
        with first_use():
            import threading
        try:
            # A new one for this thread: gevent may have replaced all locks meanwhile.
            self._wake_up = WakeUp()
            self._thread = threading.Thread(
                target=self._run, args=(get_thread_id(),), name=NAME, daemon=True
            )
            self._thread.start()
        except RuntimeError:  # a limit of the system, or the interpreter shuts down
            self._thread = None

    def _run(self, starter: int | None) -> None:
        block_in_this_thread(starter)
        enter_own_thread()
        mine = self._thread
        try:
            while self._thread is mine:
                self._run_while_needed()
                self._thread = None
                if self._members and self._thread is None:
                    self._thread = mine  # a queue joined meanwhile, and relies on this thread
        finally:
            leave_own_thread()

    def _run_while_needed(self) -> None:
        pause = WakeUp()  # never set: it only waits
        while self._members:
            self._wake_up.wait(self._get_wait())
            if self._scheduled or self._retry_at:
                pause.wait(GATHER)
                self._store_all()

    def _get_wait(self) -> float:
        if self._scheduled:
            return 0.0
        next_retry = min(self._retry_at.copy().values(), default=None)
        return _LONGEST_WAIT if next_retry is None else max(next_retry - monotonic(), 0.0)

    def _store_all(self) -> None:
        """Move the events of every queue that is scheduled or due for another attempt."""
        now = monotonic()
        due = {queue for queue, at in self._retry_at.copy().items() if at <= now}
        for queue in self._scheduled.copy() | due:
            self._scheduled.discard(queue)
            self._retry_at.pop(queue, None)
            try:
                seconds = queue.store_pending()
            except Exception as error:  # noqa: BLE001  # a bug of ours must not end the others
                text = "internal error in the storage thread: %s; events wait; next attempt in 1 s"
                log("error", text, type(error).__name__)
                seconds = _AFTER_A_BUG
            if seconds is not None and queue in self._members:
                self._retry_at[queue] = monotonic() + seconds


def _may_start() -> bool:
    if not threads.may_start() or threads.get_obstacle() is not None:
        return False
    if "uwsgi" not in sys.modules:  # other programs do not pay for the import
        return True
    from whisperr._process.uwsgi import get_problem

    return get_problem(sys.modules) is None


class _OfProcess:
    """The storer of this process."""

    def __init__(self) -> None:
        self._process: object = None
        self._storer = Storer()

    def get(self) -> Storer:
        """Return the storer; a forked child gets its own."""
        if self._process != get_process():
            self._process, self._storer = get_process(), Storer()
        return self._storer


_current = _OfProcess()


def get_storer() -> Storer:
    """Return the storer that all queues of this process share."""
    return _current.get()
