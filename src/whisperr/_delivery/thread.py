"""Connects one client to the delivery threads; if none can run, a waiting thread does their work.

Threads: any thread may call any method, even in a signal handler or in `on_error`. Threads wait
only here, always with a bound that the caller or the scheduler sets. After a step that fails,
because of a bug of ours or in a custom part, comes a wait that no wake-up ends. So a step that
always fails neither spins nor fills the log.
"""

from __future__ import annotations

import _thread
import sys

from whisperr._foreign import printable
from whisperr._process import threads
from whisperr._process.imports import first_use
from whisperr._process.interruption import belongs_to_caller
from whisperr._process.logger import log
from whisperr._process.mutex import Mutex
from whisperr._process.real_clock import monotonic
from whisperr._process.wake_up import WakeUp

from .pool import PATIENCE, get_pool
from .scheduler import AFTER_A_BUG, NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .pool import DeliveryThreads, PoolThread
    from .scheduler import Scheduler

_LONGEST_TEXT = 300
_NO_THREAD = "the delivery thread cannot be started"
_TOO_LATE = "this client was created after the exit had closed the clients of the process"
_NEXT = "call flush() where events must not wait"


class DeliveryThread:
    """Has the delivery threads run one scheduler, and lets other threads wait for its results.

    It joins the threads at its first wake-up, and leaves them when its scheduler has ended.
    """

    def __init__(self, scheduler: Scheduler, load: Callable[[], object] = bool) -> None:
        """`load` imports what delivery needs; the delivery thread calls it first."""
        # Not when the package is imported, where it would be a third of the time. Not when the
        # thread is started either: `threading` would take the importing thread for the main one.
        with first_use():
            import threading
        self._threading = threading
        self._scheduler = scheduler
        self._load: Callable[[], object] | None = load
        self._pool: DeliveryThreads | None = None
        self._wake_up = WakeUp()  # for a waiting thread that does the work
        self._turn = Mutex()  # held by the thread that is in `scheduler.step`
        self._waiting: set[WakeUp] = set()
        self._warned = False
        self._calls_deliver = False  # no thread can start, but other threads still track events
        # When the next step is due: as the last step returned, or since when it was woken.
        self._due_at = NEVER
        self._woken_at = NEVER
        self._blocked_until = 0.0  # after a step that failed
        self.slow = False

    @property
    def started(self) -> bool:
        """Whether it has joined the delivery threads and has not left them."""
        return self._pool is not None

    @property
    def in_step(self) -> bool:
        """Whether any thread is in the scheduler, maybe emitting a report."""
        return self._turn.is_taken

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is in the scheduler: in `on_error` or a signal handler."""
        return self._turn.is_mine

    def wake(self, *, interrupted: bool = False) -> None:
        """Have the scheduler called soon, because a step may be due.

        Returns at once, except where calls deliver; with `interrupted`, this call does not.
        """
        scheduler = self._scheduler
        if scheduler.abandoned:
            scheduler.abandon()
            return
        try:
            # So that further puts do not wake the thread again; `set_wake_at` resets it.
            scheduler.wake_at = sys.maxsize
            self._set_woken()
            if not self._ensure_thread():
                scheduler.set_wake_at()  # no thread does it, so the next event tries again
                if self._calls_deliver and not interrupted:
                    self._deliver_in_call()
        except BaseException:  # an interruption
            scheduler.wake_at = 1
            self._signal()
            raise
        self._signal()

    def release(self) -> None:
        """Wake all threads that wait for a scheduler that was abandoned."""
        self._set_woken()  # so that a delivery thread closes the connection
        self._signal()
        self.wake_waiting()

    def wait_until(
        self, done: Callable[[], bool], stuck: Callable[[], bool], deadline: float
    ) -> bool:
        """Wait until `done()`; return False if `stuck()` or at `deadline` (monotonic, seconds).

        The calling thread does the work itself if no thread can run, as at exit, or if all delivery
        threads serve other clients and no further one can start.
        """
        wake_up = WakeUp()
        try:
            self._waiting.add(wake_up)
            pool = self._pool
            if pool is not None and pool.shared:
                pool.wake()  # a standby thread serves a client with a waiting thread at once
            while not done():
                left = deadline - monotonic()
                if stuck() or left <= 0 or self.is_mine:
                    return done()
                if not self._ensure_thread() or self._is_held_up():
                    self._work_here(wake_up, left)
                    continue
                # Other clients may block all threads meanwhile.
                longest = left if self._is_alone() else min(left, PATIENCE)
                if not wake_up.wait(longest) and longest == left:
                    return done()  # the time has passed, even if a test's clock stands still
            return True
        finally:
            self._waiting.discard(wake_up)

    def _set_woken(self) -> None:
        if self._woken_at == NEVER:
            self._woken_at = monotonic()

    def _signal(self) -> None:
        pool = self._pool
        if self._waiting:
            self._wake_up.set()
        if pool is not None:
            pool.wake()

    def _is_alone(self) -> bool:
        pool = self._pool
        return pool is None or not pool.shared

    def _is_held_up(self) -> bool:
        """Return whether all delivery threads serve other clients, so that this one must wait."""
        pool = self._pool
        return not (pool is None or self.in_step or pool.starting or pool.serves(self))

    def _deliver_in_call(self) -> None:
        """Do one step in a call such as `track`; the next event does another one."""
        try:
            self._step()
        except BaseException as error:  # a bug has been reported, and a wait follows
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
        finally:
            pool = self._pool
            if pool is not None:
                pool.wake()  # the delivery threads skipped this client during the step
        if next_step is None:
            wake_up.wait(left)
        else:
            self._wake_up.wait(min(next_step - monotonic(), left))

    def _step(self, longest: float = NEVER) -> float | None:
        """Do one step and return when the next is due; None if another thread is in a step."""
        try:
            return self._turn.run(lambda: self._step_alone(longest, bool), None)
        finally:
            self.wake_waiting()

    def _step_alone(self, longest: float, about_to_block: Callable[[float], object]) -> float:
        scheduler = self._scheduler
        self._woken_at = NEVER
        try:
            next_step = scheduler.step(longest, about_to_block)
        except BaseException as error:
            if belongs_to_caller(error):
                self._due_at = 0.0
                scheduler.resume()
            else:
                self._due_at = self._blocked_until = monotonic() + AFTER_A_BUG
                scheduler.recover(error)
            raise
        scheduler.set_wake_at()
        if scheduler.must_wake:
            next_step = 0.0
        # Not before now, so that a client that always has work takes turns with the others.
        self._due_at = max(next_step, monotonic())
        return next_step

    def wake_waiting(self) -> None:
        """Wake all waiting threads, so that they check their condition."""
        for wake_up in [*self._waiting]:
            wake_up.set()

    # -- for the delivery threads

    @property
    def ready_at(self) -> float:
        """When the next step is due (monotonic, seconds)."""
        return max(min(self._due_at, self._woken_at), self._blocked_until)

    @property
    def urgent(self) -> bool:
        """Whether a thread waits for this client, or the client is shutting down."""
        return bool(self._waiting) or self._scheduler.closing

    @property
    def ended(self) -> bool:
        """Whether the delivery threads have no more work for this client."""
        return self._scheduler.abandoned

    @property
    def holds_events(self) -> bool:
        """Whether events of this process wait or are being sent."""
        return self._scheduler.holds_events

    def serve(self, thread: PoolThread) -> bool:
        """Do one step in a delivery thread; return False if an exception must end that thread."""
        try:
            self._turn.run(lambda: self._serve_alone(thread), None)
        except Exception:  # noqa: BLE001  # a bug, which was reported, must not end delivery
            return True
        except BaseException:  # noqa: BLE001  # raised to end this thread, which then ends
            self._due_at = NEVER
            self._scheduler.wake_at = 1  # the next event has it served again
            return False
        finally:
            self.wake_waiting()
        return True

    def _serve_alone(self, thread: PoolThread) -> None:
        try:
            if self._load is not None:
                load, self._load = self._load, None
                load()
            if not self.ended:
                self._step_alone(NEVER, thread.about_to_block)
        finally:
            thread.is_back()

    def let_go(self) -> None:
        """Close the connection: the delivery threads do not serve this client any more.

        Here and not after the last step, because another thread may end the client after it.
        """
        self._pool = None
        self._turn.run(self._scheduler.disconnect, None)
        self.wake_waiting()

    def _ensure_thread(self) -> bool:
        """Have a thread serve this client; return False if none runs and none can start."""
        pool = self._pool
        if pool is not None and pool.serves(self):
            return True
        if self._scheduler.abandoned:
            return False
        if not threads.may_start():
            if threads.is_after_exit():
                self._warn_once(_TOO_LATE, "only flush() delivers its events")
            return pool is not None and pool.alive
        obstacle = threads.get_obstacle()
        if obstacle is not None:
            self._warn_once(obstacle)
            return False
        return self._start()

    def _start(self) -> bool:
        pool = self._pool
        if pool is None or not pool.alive:
            if pool is not None:
                pool.leave(self)
            pool = get_pool()
        pool.join(self)  # first, so that an interruption cannot leave it without a pool
        self._pool = pool
        if self._scheduler.abandoned:  # since the last look, and maybe let go before it joined
            self._set_woken()
            pool.wake()  # so that a thread lets it go
        try:
            pool.add_thread()
        except RuntimeError as error:  # a limit of the system, or the interpreter shuts down
            if pool.alive:
                return True
            pool.leave(self)
            self._pool = None
            self._refuse(error)
            return False
        return True

    def _refuse(self, error: RuntimeError) -> None:
        """Report why no thread starts, and decide which threads deliver instead."""
        if "shutdown" not in str(error):
            self._warn_once(f"{_NO_THREAD}: {error}")
        elif self._threading.main_thread().ident != _thread.get_ident():
            # 3.12.0 and 3.12.1 refuse once the main thread has ended, while others still run.
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
