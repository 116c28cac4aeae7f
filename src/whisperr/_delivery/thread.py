"""Beside step 4: who calls the worker: the background thread, or the caller where none can run.

Threads: any thread may call any method, also from a signal handler or from `on_error`. Waiting
happens here and only here, always with a bound that the caller or the worker sets.
"""

from __future__ import annotations

import _thread
import sys
import time

from whisperr._process.imports import first_use
from whisperr._process.logger import logger
from whisperr._process.uwsgi import get_obstacle_here

from .scheduler import NEVER
from .wake_up import WakeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from .scheduler import Scheduler

THREAD_NAME = "whisperr-delivery"


class DeliveryThread:
    """Drive one worker in one process, and let others wait for what it does."""

    def __init__(self, worker: Scheduler) -> None:
        # Not when the package is imported, where it would be a third of the time; and not when the
        # thread is started, maybe by one that `threading` would then take for the main thread.
        with first_use():
            import threading
        self._threading = threading
        self._worker = worker
        self._gate = WakeUp()
        self._turn = _thread.allocate_lock()  # held by whoever is in `worker.step`
        self._in_step: int | None = None
        self._waiting: set[WakeUp] = set()
        self._starting = _thread.allocate_lock()
        self._thread: Thread | None = None
        self._told = False

    @property
    def started(self) -> bool:
        """Whether the thread was started and not ended by somebody."""
        return self._thread is not None

    @property
    def in_step(self) -> bool:
        """Whether any thread is inside the worker, where it may be telling a report."""
        return self._in_step is not None

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is inside the worker: in `on_error`, or interrupting it."""
        return self._in_step == _thread.get_ident()

    def wake(self) -> None:
        """Call the worker soon: there may be something to do. Returns at once."""
        worker = self._worker
        if worker.closed:
            worker.abandon()
            return
        worker.wake_at = sys.maxsize  # once is enough, until the worker has looked
        if not self._ensure_thread():
            worker.settle()  # nobody will look: the next event tries again
        self._gate.open()

    def wait_until(
        self, passed: Callable[[], bool], stuck: Callable[[], bool], deadline: float
    ) -> bool:
        """Wait until `passed()`; False when `stuck()` or at `deadline` (monotonic, seconds).

        Where no thread can run, at exit, the calling thread does the work itself.
        """
        gate = WakeUp()
        self._waiting.add(gate)
        try:
            while not passed():
                left = deadline - time.monotonic()
                if stuck() or left <= 0 or self.is_mine:
                    return passed()
                if self._ensure_thread():
                    gate.wait(left)
                else:
                    self._drive(gate, left)
            return True
        finally:
            self._waiting.discard(gate)

    def _drive(self, gate: WakeUp, left: float) -> None:
        """Do one round of the worker's in the calling thread, or wait for who does."""
        next_step = self._step()
        if next_step is None:
            gate.wait(left)
        else:
            self._gate.wait(min(next_step - time.monotonic(), left))

    def _step(self) -> float | None:
        """Take the turn and one step; None when another thread has the turn."""
        if not self._turn.acquire(blocking=False):
            return None
        self._in_step = _thread.get_ident()
        try:
            next_step = self._worker.step()
            self._worker.settle()
            return 0.0 if self._worker.has_news else next_step
        finally:
            self._in_step = None
            self._turn.release()
            self._open_all()

    def _open_all(self) -> None:
        for gate in tuple(self._waiting):
            gate.open()

    def _ensure_thread(self) -> bool:
        """Start the thread unless it runs; False where no thread can be started any more."""
        if self._thread is not None and self._thread.is_alive():
            return True
        # The main thread counts as ended from the moment the interpreter begins to wait for the
        # others. From there on a new thread is refused (3.12) or may hang its starter (3.11).
        main = self._threading.main_thread()
        if self._worker.closed or sys.is_finalizing() or not main.is_alive():
            return False
        obstacle = get_obstacle_here()
        if obstacle is not None:
            self._tell_once(obstacle)
            return False
        if not self._starting.acquire(blocking=False):
            return True  # somebody else is starting it
        try:
            # Made again for this thread: gevent may have replaced all locks since the client was
            # made. Nothing is missed by it: the thread looks before it waits.
            self._gate = WakeUp()
            thread = self._threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError as error:  # 3.12 and later: not while the interpreter shuts down
            self._tell_once(error)
            return False
        finally:
            self._starting.release()
        return True

    def _tell_once(self, obstacle: object) -> None:
        if not self._told:
            self._told = True
            logger().warning("%s; events wait for flush() or the exit", obstacle)

    def _run(self) -> None:
        while not self._worker.closed:
            try:
                next_step = self._step()
            except Exception:  # noqa: BLE001  # a mistake of ours must not end delivery
                logger().exception("a mistake in the client; delivery pauses")
                self._worker.recover()
                continue
            except BaseException as error:  # noqa: BLE001  # somebody ends this thread, and may
                logger().warning(
                    "%s ended the delivery; the next event or flush starts it again",
                    type(error).__name__,
                )
                self._thread = None
                self._worker.recover()
                self._open_all()
                return
            if next_step is None or next_step > time.monotonic():
                left = NEVER if next_step is None else next_step - time.monotonic()
                self._gate.wait(left)
        self._worker.disconnect()
