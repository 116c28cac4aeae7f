"""The delivery thread calls the scheduler; where no thread can run, a waiting thread does.

Threads: any thread may call any method, also from a signal handler or from `on_error`. Threads wait
here and nowhere else, always with a bound that the caller or the scheduler sets. A step that fails,
because of a bug of ours or of a plugged-in part, is followed by a wait that nothing cuts short, so
that a step that fails every time neither spins nor fills a log.
"""

from __future__ import annotations

import _thread
import os
import sys

from whisperr._foreign import printable
from whisperr._process import threads
from whisperr._process.imports import first_use
from whisperr._process.interruption import (
    belongs_to_caller,
    enter_own_thread,
    leave_own_thread,
)
from whisperr._process.logger import log
from whisperr._process.mutex import Mutex
from whisperr._process.real_clock import monotonic
from whisperr._process.signals import block_in_this_thread, get_thread_id
from whisperr._process.wake_up import WakeUp

from .scheduler import AFTER_A_BUG, NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from .scheduler import Scheduler

_LONGEST_TEXT = 300
_NO_THREAD = "the delivery thread cannot be started"
_TOO_LATE = "this client was made after the exit has ended the clients of the process"
_NEXT = "call flush() where events must not wait"
THREAD_NAME = f"{threads.NAMES}delivery"


class DeliveryThread:
    """Runs one scheduler in one process, and lets other threads wait for what it does."""

    def __init__(self, scheduler: Scheduler, load: Callable[[], object] = bool) -> None:
        """`load` imports what delivery needs; the thread calls it before all else."""
        # Not when the package is imported, where it would be a third of the time; and not when the
        # thread is started, maybe by one that `threading` would then take for the main thread.
        with first_use():
            import threading
        self._threading = threading
        self._scheduler = scheduler
        self._load = load
        self._wake_up = WakeUp()
        self._turn = Mutex()  # held by the thread that is in `scheduler.step`
        self._waiting: set[WakeUp] = set()
        self._starting = Mutex()
        self._thread: Thread | None = None
        self._warned = False
        self._calls_deliver = False  # no thread can be started, but others go on that track

    @property
    def started(self) -> bool:
        """Whether the thread was started, and nothing has ended it."""
        return self._thread is not None

    @property
    def in_step(self) -> bool:
        """Whether any thread is in the scheduler, where it may be emitting a report."""
        return self._turn.is_taken

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is in the scheduler: in `on_error`, or interrupting it."""
        return self._turn.is_mine

    def wake(self, *, interrupted: bool = False) -> None:
        """Call the scheduler soon: there may be something to do.

        Returns at once, except where calls deliver; a call that is `interrupted` never does.
        """
        scheduler = self._scheduler
        if scheduler.abandoned:
            scheduler.abandon()
            return
        try:
            # So that further puts do not wake the thread again; `set_wake_at` resets it.
            scheduler.wake_at = sys.maxsize
            if not self._ensure_thread():
                scheduler.set_wake_at()  # no thread will: the next event tries again
                if self._calls_deliver and not interrupted:
                    self._deliver_in_call()
        except BaseException:  # an interruption
            scheduler.wake_at = 1
            self._wake_up.set()
            raise
        self._wake_up.set()

    def wait_until(
        self, done: Callable[[], bool], stuck: Callable[[], bool], deadline: float
    ) -> bool:
        """Wait until `done()`; False when `stuck()` or at `deadline` (monotonic, seconds).

        Where no thread can run, at exit, the calling thread does the work itself.
        """
        wake_up = WakeUp()
        try:
            self._waiting.add(wake_up)
            while not done():
                left = deadline - monotonic()
                if stuck() or left <= 0 or self.is_mine:
                    return done()
                if self._ensure_thread():
                    if not wake_up.wait(left):
                        return done()  # so long has passed, whatever a replaced clock says
                else:
                    self._work_here(wake_up, left)
            return True
        finally:
            self._waiting.discard(wake_up)

    def _deliver_in_call(self) -> None:
        """Do one step in a call such as `track`, and have the next event do another one."""
        try:
            self._step()
        except BaseException as error:  # a bug was reported, and is followed by a wait
            if belongs_to_caller(error):
                raise
        finally:
            self._scheduler.wake_at = min(self._scheduler.wake_at, 1)

    def _work_here(self, wake_up: WakeUp, left: float) -> None:
        """Do one step in the calling thread, or wait for the thread that is in one."""
        try:
            next_step = self._step(left)
        except BaseException as error:
            if belongs_to_caller(error):
                raise
            WakeUp().wait(min(AFTER_A_BUG, left))
            return
        if next_step is None:
            wake_up.wait(left)
        else:
            self._wake_up.wait(min(next_step - monotonic(), left))

    def _step(self, longest: float = NEVER) -> float | None:
        """Take the turn and one step; None when another thread has the turn."""
        try:
            return self._turn.run(lambda: self._step_alone(longest), None)
        finally:
            self.wake_waiting()

    def _step_alone(self, longest: float) -> float:
        scheduler = self._scheduler
        try:
            next_step = scheduler.step(longest)
        except BaseException as error:
            if belongs_to_caller(error):
                scheduler.resume()
            else:
                scheduler.recover(error)
            raise
        scheduler.set_wake_at()
        return 0.0 if scheduler.must_wake else next_step

    def wake_waiting(self) -> None:
        """Let all waiting threads look again."""
        for wake_up in tuple(self._waiting):
            wake_up.set()

    def _ensure_thread(self) -> bool:
        """Start the thread unless it runs; False where no thread can be started any more."""
        if self._thread is not None and self._thread.is_alive():
            return True
        if self._scheduler.abandoned:
            return False
        if not threads.may_start():
            if threads.is_after_exit():
                self._warn_once(_TOO_LATE, "nothing but flush() delivers its events")
            return False
        if "uwsgi" in sys.modules:  # only there: other programs do not pay for the import
            from whisperr._process.uwsgi import get_obstacle

            obstacle = get_obstacle(sys.modules, os.getpid())
            if obstacle is not None:
                self._warn_once(obstacle)
                return False
        return self._starting.run(self._start, otherwise=True)  # another thread is starting it

    def _start(self) -> bool:
        try:
            # Made again for this thread: gevent may have replaced all locks since the client was
            # made. Nothing is missed by it: the thread looks before it waits.
            self._wake_up = WakeUp()
            thread = self._threading.Thread(
                target=self._run, args=(get_thread_id(),), name=THREAD_NAME, daemon=True
            )
            # Before it runs: an interruption of `start` cannot undo it. One that never came to
            # run is not alive, so that the next event starts another one.
            self._thread = thread
            thread.start()
        except RuntimeError as error:  # a limit of the system, or the interpreter shuts down
            self._thread = None
            self._refuse(error)
            return False
        return True

    def _refuse(self, error: RuntimeError) -> None:
        """Report why no thread starts, and choose the thread that delivers instead."""
        if "shutdown" not in str(error):
            self._warn_once(f"{_NO_THREAD}: {error}")
        elif self._threading.main_thread().ident != _thread.get_ident():
            # 3.12.0 and 3.12.1 refuse from the end of the main thread on, while others go on.
            self._calls_deliver = True
            self._warn_once(
                f"{_NO_THREAD}: {error}",
                "track() and identify() deliver in the threads that call them",
            )

    def _warn_once(
        self,
        obstacle: object,
        result: str = "events wait for flush() or the exit",
    ) -> None:
        if not self._warned:
            self._warned = True
            log("warning", "%s; %s; %s", printable(str(obstacle), _LONGEST_TEXT), result, _NEXT)

    def _run(self, starter: int | None) -> None:
        block_in_this_thread(starter)
        enter_own_thread()
        try:
            self._load()
            while not self._scheduler.abandoned and self._go_on():
                pass
            self._scheduler.disconnect()
        finally:
            leave_own_thread()
            self.wake_waiting()

    def _go_on(self) -> bool:
        """Do one step and wait for the next; False when something ends this thread."""
        try:
            next_step = self._step()
        except Exception:  # noqa: BLE001  # a bug, which was reported, must not end delivery
            WakeUp().wait(AFTER_A_BUG)
            return True
        except BaseException:  # noqa: BLE001  # raised to end this thread, and it does
            self._thread = None
            self._scheduler.wake_at = 1  # the next event starts another thread
            return False
        if next_step is None or next_step > monotonic():
            left = NEVER if next_step is None else next_step - monotonic()
            self._wake_up.wait(left)
        return True
