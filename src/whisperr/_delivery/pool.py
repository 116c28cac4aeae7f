"""The delivery threads of a process, which serve all of its clients, one step at a time.

One thread is enough while no client blocks it. Before a thread may block, in a request or in
`on_error`, it has another thread stand by if other clients have work meanwhile. The standby thread
leaves due clients to the first one, and serves a client that is late by `PATIENCE`, or at once if a
calling thread waits for it. So quick servers share one thread, and each server that hangs occupies
one of `MOST_THREADS`. Clients whose last request was slow occupy at most `MOST_SLOW` of them, so
that others are served.

Invariant: while a client has work, an unblocked thread runs, unless there are `MOST_THREADS` or the
system refuses another. To ensure this, each side writes before it reads what the other wrote: a
client is marked as woken before it calls `serves`; a thread is marked as blocked before it checks
for waiting clients, and leaves `_threads` before it checks whether it may end.

Threads: any, even in a signal handler. Only the threads of the pool wait here.
"""

from __future__ import annotations

import _thread

from whisperr._process import exit as process_exit
from whisperr._process import threads
from whisperr._process.identity import get_process
from whisperr._process.imports import first_use
from whisperr._process.interruption import enter_own_thread, leave_own_thread
from whisperr._process.logger import log
from whisperr._process.mutex import Mutex
from whisperr._process.real_clock import monotonic
from whisperr._process.signals import block_in_this_thread, get_thread_id
from whisperr._process.wake_up import WakeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol, TypeVar

    class Candidate(Protocol):
        """The part of a client that `choose` needs."""

        slow: bool  # whether its last blocking step took `SLOW` or longer

        @property
        def ready_at(self) -> float:
            """When its next step is due (monotonic, seconds)."""

        @property
        def in_step(self) -> bool:
            """Whether a thread serves it."""

        @property
        def urgent(self) -> bool:
            """Whether a calling thread waits for it, or it is shutting down."""

    class Member(Candidate, Protocol):
        """The part of a client that the threads need."""

        @property
        def ended(self) -> bool: ...
        @property
        def holds_events(self) -> bool: ...
        def serve(self, thread: PoolThread) -> bool: ...
        def let_go(self) -> None: ...
        def wake_waiting(self) -> None: ...

    C = TypeVar("C", bound=Candidate)

THREAD_NAME = f"{threads.NAMES}delivery"
NEVER = float("inf")
# Enough for ten servers that hang at once; a waiting thread takes about 50 kB.
MOST_THREADS = 16
MOST_SLOW = 8
# Seconds. A request takes about a tenth of a second, and events wait for ten. So a client that is
# late by this is behind a slow one, or the thread is overloaded.
PATIENCE = 0.25
SLOW = 1.0
# A standby thread ends after this many seconds without need. Longer than the time between two
# deliveries of a client with few events, so that these do not start a thread each.
LINGER = 15.0


def choose(
    candidates: Iterable[C], now: float, *, rested: bool, busy: bool, slow_full: bool
) -> tuple[C | None, float]:
    """Return the client that a thread should serve now, or None, and when to choose again.

    The client that has waited longest comes first. `rested`: whether the thread has waited, and not
    just served another client. `busy`: whether another thread serves a client, and so may be free
    in a moment. `slow_full`: whether slow clients occupy all threads that they may have.
    """
    best: C | None = None
    best_at = look_at = NEVER
    for one in candidates:
        ready_at = one.ready_at
        if ready_at >= best_at or one.in_step or (slow_full and one.slow):
            continue
        at = ready_at + PATIENCE if rested and busy and not one.urgent else ready_at
        if at <= now:
            best, best_at = one, ready_at
        else:
            look_at = min(look_at, at)
    return best, look_at


def plan_rest(
    now: float, look_at: float, *, resting: int, needed_at: float, kept_until: float
) -> float | None:
    """Return until when a thread without work should wait; None if it should end.

    `resting`: how many other threads wait. `needed_at`: when a thread last had to stand by.
    `kept_until`: until when threads are kept for the exit.
    """
    if not resting:
        return look_at
    until = max(needed_at + LINGER, kept_until)
    if now >= until or (resting > 1 and now >= kept_until):
        return None
    return min(until, look_at + PATIENCE)


class PoolThread:
    """One delivery thread, and its state for the other threads."""

    __slots__ = ("_pool", "blocked", "member", "rested", "since", "thread", "wakes_at")

    def __init__(self, pool: DeliveryThreads) -> None:
        self._pool = pool
        self.member: Member | None = None  # the client that it serves
        self.since = 0.0  # when that began
        self.blocked = False  # whether it may be in a request, a store, or a call of `on_error`
        self.rested = True
        self.wakes_at: float | None = None  # None: it does not wait; others read this only once
        # A daemon thread does not keep the process alive.
        self.thread = pool.threading.Thread(
            target=pool.run, args=(self, get_thread_id()), name=THREAD_NAME, daemon=True
        )

    @property
    def is_free(self) -> bool:
        """Whether it waits for work, or will choose a client in a moment."""
        return not self.blocked and self.thread.is_alive()

    def about_to_block(self, longest: float) -> None:
        """Have another thread stand by for clients with work within `longest` seconds."""
        self.blocked = True
        self._pool.stand_in(self, longest)

    def is_back(self) -> None:
        """Note that this thread is not blocked any more; called before others may serve."""
        if self.blocked:
            if self.member is not None:
                self.member.slow = monotonic() - self.since >= SLOW
            self.blocked = False


class DeliveryThreads:
    """Serves the clients that have joined, with as few threads as possible."""

    def __init__(self) -> None:
        with first_use():
            import threading
        self.threading = threading
        self._allocate_lock = _thread.allocate_lock
        self._wake_up = WakeUp()
        self._starting = Mutex()
        self._wanted = False  # whether a thread was requested since one was last started
        self._threads: set[PoolThread] = set()
        self._members: dict[Member, None] = {}
        self._needed_at = -LINGER
        self._kept_until = -LINGER

    # -- for clients

    def join(self, member: Member) -> None:
        """Serve a client from now on, until it has ended."""
        self._members[member] = None

    def leave(self, member: Member) -> None:
        """Stop serving a client."""
        self._members.pop(member, None)

    def wake(self) -> None:
        """Have a thread check which clients have work."""
        self._wake_up.set()

    def serves(self, member: Member) -> bool:
        """Return whether a thread serves a client, or will check it soon."""
        for one in [*self._threads]:
            if (not one.blocked or one.member is member) and one.thread.is_alive():
                return True
        return False

    @property
    def alive(self) -> bool:
        """Whether any thread runs, blocked or not."""
        return any(one.thread.is_alive() for one in [*self._threads])

    @property
    def starting(self) -> bool:
        """Whether a thread is being started."""
        return self._starting.is_taken

    @property
    def shared(self) -> bool:
        """Whether there is more than one client."""
        return len(self._members) > 1

    def add_thread(self, *, spare: bool = False) -> bool:
        """Start a thread if all are blocked, or with `spare` in any case; False if none may start.

        Raise RuntimeError if the system refuses.
        """
        self._wanted = result = True
        while self._wanted:
            if self._starting.is_taken:
                return True  # the thread in `run` checks `_wanted` again
            result = self._starting.run(lambda: self._add_thread(spare=spare), otherwise=True)
        return result

    def _add_thread(self, *, spare: bool) -> bool:
        self._wanted = False
        if _thread.allocate_lock is not self._allocate_lock:
            return False  # gevent has replaced all locks since; these would block all greenlets
        for one in [*self._threads]:
            if not one.thread.is_alive():  # an interruption prevented its start
                self._threads.discard(one)
        alive = [*self._threads]
        if len(alive) >= MOST_THREADS:
            return False
        if alive and not spare and not self._is_short(alive):
            return True  # another calling thread was faster
        one = PoolThread(self)
        # Before it runs: an interruption of `start` cannot undo it.
        self._threads.add(one)
        try:
            one.thread.start()
        except RuntimeError:
            self._threads.discard(one)
            raise
        return True

    def _is_short(self, alive: Iterable[PoolThread]) -> bool:
        """Return whether a client has work while all threads are blocked by others."""
        return all(one.blocked for one in alive) and any(
            other.ready_at < NEVER and not other.in_step for other in [*self._members]
        )

    def prepare_exit(self) -> None:
        """Start a thread for each client that holds events, while threads may still start.

        At exit all clients share one time limit, which a single hanging server would use up.
        """
        holding = sum(1 for member in [*self._members] if member.holds_events)
        missing = min(holding, MOST_THREADS) - len(self._threads)
        if missing <= 0 or not threads.may_start():
            return
        self._kept_until = monotonic() + process_exit.EXIT_TIMEOUT
        try:
            for _ in range(missing):
                self.add_thread(spare=True)
        except RuntimeError as error:  # 3.12.0 and 3.12.1 start none at that time
            log("debug", "no further thread for the exit: %s", type(error).__name__)

    # -- for its threads

    def run(self, one: PoolThread, starter: int | None) -> None:
        """Serve clients until none is left, or until this thread is not needed."""
        block_in_this_thread(starter)
        enter_own_thread()
        try:
            self._threads.add(one)  # an interruption of `start` may have removed it
            while self._go_on(one):
                pass
        finally:
            leave_own_thread()
            self._threads.discard(one)

    def _go_on(self, one: PoolThread) -> bool:
        """Serve a client or wait; return False if this thread must end."""
        now = monotonic()
        busy = slow = 0
        for other in [*self._threads]:
            member = other.member
            if member is not None and other is not one:
                busy += 1
                slow += member.slow or now >= other.since + SLOW
        chosen, look_at = choose(
            [*self._members],
            now,
            rested=one.rested,
            busy=busy > 0,
            slow_full=slow >= MOST_SLOW,
        )
        if chosen is None:
            return self._rest(one, now, look_at)
        return self._serve(one, chosen, now)

    def _serve(self, one: PoolThread, member: Member, now: float) -> bool:
        one.since, one.rested = now, False
        one.member = member
        goes_on = member.serve(one)
        one.member = None
        if member.ended:
            self.leave(member)
            member.let_go()
        if not goes_on:
            self._threads.discard(one)
            member.wake_waiting()
            if any(other.ready_at < NEVER for other in [*self._members]):
                self._add_another()  # for the others
        return goes_on

    def _add_another(self) -> None:
        """Start a thread in place of one that blocks or ends, if possible."""
        if threads.may_start():
            try:
                self.add_thread()
            except RuntimeError as error:
                log("debug", "no further delivery thread: %s", type(error).__name__)

    def _rest(self, one: PoolThread, now: float, look_at: float) -> bool:
        """Wait until there may be work; return False if this thread is not needed."""
        until = None
        if self._members:
            until = plan_rest(
                now,
                look_at,
                resting=self._count_resting(one),
                needed_at=self._needed_at,
                kept_until=self._kept_until,
            )
        if until is None:
            return not self._end(one)
        one.rested = True
        one.wakes_at = until
        self._wake_up.wait(until - now)
        one.wakes_at = None
        return True

    def _count_resting(self, one: PoolThread) -> int:
        return sum(
            1 for other in [*self._threads] if other is not one and other.wakes_at is not None
        )

    def _end(self, one: PoolThread) -> bool:
        """End a thread; return False if it is needed after all."""
        self._threads.discard(one)
        if not self._members:
            self._wake_up.set()  # so that the next one ends as well
        # Checked again, because a client that relies on this thread may have joined, and another
        # thread that waited may serve a client now.
        if not self._members or self._count_resting(one):
            return True
        self._threads.add(one)
        return False

    def stand_in(self, one: PoolThread, longest: float) -> None:
        """Ensure that another thread serves clients in time while `one` may be blocked."""
        if not self.shared:
            return
        others = [other for other in [*self._members] if other is not one.member]
        first = min((other.ready_at for other in others if not other.in_step), default=NEVER)
        now = monotonic()
        if first >= now + longest:
            return
        self._needed_at = now
        free = [other for other in [*self._threads] if other.is_free]
        if any((other.wakes_at or NEVER) <= first + PATIENCE for other in free):
            return
        if free:
            self._wake_up.set()
        else:
            self._add_another()


_pools: dict[tuple[object, object], DeliveryThreads] = {}


def get_pool() -> DeliveryThreads:
    """Return the threads of this process; new ones once gevent has replaced threads and locks.

    Earlier threads continue with the clients that they have.
    """
    key = get_process(), _thread.allocate_lock
    pool = _pools.get(key)
    if pool is None:
        pool = _pools.setdefault(key, DeliveryThreads())
        for other in [*_pools]:
            if other[0] != key[0]:  # inherited from the parent process
                _pools.pop(other, None)
    return pool


def _prepare_exit() -> None:
    for (process, _), pool in [*_pools.items()]:
        if process == get_process():
            pool.prepare_exit()


process_exit.call_first(_prepare_exit)
