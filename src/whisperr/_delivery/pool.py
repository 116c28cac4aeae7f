"""The delivery threads of a process serve all of its clients, one step of one client at a time.

One thread is enough as long as no client blocks it. A thread that is about to block, in a request
or in `on_error`, has another one stand by if other clients have something to do meanwhile. That one
leaves what falls due to the first, and takes it when it is late by `PATIENCE`, or at once if a
calling thread waits for it. So quick servers share one thread, and each that hangs takes one of its
own, of `MOST_THREADS`. Clients whose last request was slow have `MOST_SLOW` of them at most, so
that the others have their turn.

Invariant: while a client has something to do, a thread runs that is not blocked, unless there are
`MOST_THREADS` or the system refuses another. Each side writes before it reads what the other wrote:
a client is marked as woken before `serves` is asked, a thread is marked as blocked before it looks
whether clients wait, and it leaves `_threads` before it looks whether it may end.

Threads: any, also in a signal handler. None waits here but those of the pool.
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
        """A client, as the choice of the next one sees it."""

        slow: bool  # whether its last blocking step took `SLOW` or longer

        @property
        def ready_at(self) -> float:
            """When it has something to do (monotonic, seconds)."""

        @property
        def in_step(self) -> bool:
            """Whether a thread is with it."""

        @property
        def urgent(self) -> bool:
            """Whether a thread waits for it, or its end has a deadline."""

    class Member(Candidate, Protocol):
        """A client, as the threads see it."""

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
# Enough for ten servers that hang at once; a thread that waits takes some 50 kB.
MOST_THREADS = 16
MOST_SLOW = 8
# Seconds. A request takes about a tenth of one, and events wait for ten: so a client that is late
# by this is behind one that is slow, or the thread has more to do than it can.
PATIENCE = 0.25
SLOW = 1.0
# A thread that stands by ends when for so long none was needed: longer than the pause between two
# deliveries of a client with few events, so that threads are not started for each of them.
LINGER = 15.0


def choose(
    candidates: Iterable[C], now: float, *, rested: bool, busy: bool, slow_full: bool
) -> tuple[C | None, float]:
    """Return the client that a thread serves now, or None and when it has to look again.

    What has waited longest comes first. `rested`: the thread has waited and not just served
    another client. `busy`: another thread serves one, and may be free in a moment. `slow_full`:
    slow clients have all the threads they may have; one of these looks again when it is free.
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
    """Return until when a thread without work waits; None when it is not needed and ends.

    `resting`: how many others wait. `needed_at`: when a thread last had to stand by.
    `kept_until`: until then the exit has threads kept for it.
    """
    if not resting:
        return look_at
    until = max(needed_at + LINGER, kept_until)
    if now >= until or (resting > 1 and now >= kept_until):
        return None
    return min(until, look_at + PATIENCE)


class PoolThread:
    """One delivery thread, and what the others know about it."""

    __slots__ = ("_pool", "blocked", "member", "rested", "since", "thread", "wakes_at")

    def __init__(self, pool: DeliveryThreads) -> None:
        self._pool = pool
        self.member: Member | None = None  # whom it serves
        self.since = 0.0  # from when on
        self.blocked = False  # whether it may be in a request, a store, or a call of `on_error`
        self.rested = True
        self.wakes_at: float | None = None  # None: it does not wait
        # A daemon keeps no process alive.
        self.thread = pool.threading.Thread(
            target=pool.run, args=(self, get_thread_id()), name=THREAD_NAME, daemon=True
        )

    @property
    def is_free(self) -> bool:
        """Whether it looks after the clients: it waits, or will look in a moment."""
        return not self.blocked and self.thread.is_alive()

    def about_to_block(self, longest: float) -> None:
        """Have another thread stand by for clients that have something to do within `longest`."""
        self.blocked = True
        self._pool.stand_in(self, longest)

    def is_back(self) -> None:
        """Note that this thread does not block any more; called before others may serve."""
        if self.blocked:
            if self.member is not None:
                self.member.slow = monotonic() - self.since >= SLOW
            self.blocked = False


class DeliveryThreads:
    """Serves the clients that have joined, with as few threads as that takes."""

    def __init__(self) -> None:
        with first_use():
            import threading
        self.threading = threading
        self._allocate_lock = _thread.allocate_lock
        self._wake_up = WakeUp()
        self._starting = Mutex()
        self._wanted = False  # whether a thread was asked for since one was last started
        self._threads: set[PoolThread] = set()
        self._members: dict[Member, None] = {}
        self._needed_at = -LINGER
        self._kept_until = -LINGER

    # -- for clients

    def join(self, member: Member) -> None:
        """Serve a client from now on, until it has ended."""
        self._members[member] = None

    def leave(self, member: Member) -> None:
        """Serve a client no more."""
        self._members.pop(member, None)

    def wake(self) -> None:
        """Have a thread look which client has something to do."""
        self._wake_up.set()

    def serves(self, member: Member) -> bool:
        """Return whether a thread will look after a client soon, or serves it already."""
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
        """Start a thread if all are blocked, or with `spare` in any case; False when none may be.

        Raises RuntimeError when the system refuses.
        """
        self._wanted = result = True
        while self._wanted:
            if self._starting.is_taken:
                return True  # that thread looks again: the new one may be blocked already
            result = self._starting.run(lambda: self._add_thread(spare=spare), otherwise=True)
        return result

    def _add_thread(self, *, spare: bool) -> bool:
        self._wanted = False
        if _thread.allocate_lock is not self._allocate_lock:
            return False  # gevent has replaced all locks since: these would stop all greenlets
        for one in [*self._threads]:
            if not one.thread.is_alive():  # an interruption kept it from being started
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
        """Return whether clients have something to do and all threads are blocked by others."""
        return all(one.blocked for one in alive) and any(
            other.ready_at < NEVER and not other.in_step for other in [*self._members]
        )

    def prepare_exit(self) -> None:
        """Start a thread for each client that holds events, while threads may be started.

        All clients have one time limit at the exit, and a server that hangs takes all of it.
        """
        holding = sum(1 for member in [*self._members] if member.holds_events)
        missing = min(holding, MOST_THREADS) - len(self._threads)
        if missing <= 0 or not threads.may_start():
            return
        self._kept_until = monotonic() + process_exit.EXIT_TIMEOUT
        try:
            for _ in range(missing):
                self.add_thread(spare=True)
        except RuntimeError as error:  # the first Pythons 3.12 start none at that time
            log("debug", "no further thread for the exit: %s", type(error).__name__)

    # -- for its threads

    def run(self, one: PoolThread, starter: int | None) -> None:
        """Serve clients until none is left, or until this thread is not needed."""
        block_in_this_thread(starter)
        enter_own_thread()
        try:
            self._threads.add(one)  # an interruption of `start` may have led to its removal
            while self._go_on(one):
                pass
        finally:
            leave_own_thread()
            self._threads.discard(one)

    def _go_on(self, one: PoolThread) -> bool:
        """Serve a client or wait; False when this thread has to end."""
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
        """Start a thread in other of one that blocks or ends, if that is possible."""
        if threads.may_start():
            try:
                self.add_thread()
            except RuntimeError as error:
                log("debug", "no further delivery thread: %s", type(error).__name__)

    def _rest(self, one: PoolThread, now: float, look_at: float) -> bool:
        """Wait until there may be something to do; False when this thread is not needed."""
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
        """End a thread; False when it is needed after all."""
        self._threads.discard(one)
        if not self._members:
            self._wake_up.set()  # so that the next one ends as well
        # Looked at again: a client may have joined that counts on this thread, and another one
        # that waited may serve a client now.
        if not self._members or self._count_resting(one):
            return True
        self._threads.add(one)
        return False

    def stand_in(self, one: PoolThread, longest: float) -> None:
        """Have a thread that waits look in time, or start one, while `one` may be blocked."""
        if not self.shared:
            return
        others = [other for other in [*self._members] if other is not one.member]
        first = min((other.ready_at for other in others if not other.in_step), default=NEVER)
        now = monotonic()
        if first >= now + longest:
            return
        self._needed_at = now
        free = [other for other in [*self._threads] if other.is_free]
        if any(other.wakes_at is not None and other.wakes_at <= first + PATIENCE for other in free):
            return
        if free:
            self._wake_up.set()
        else:
            self._add_another()


_pools: dict[tuple[object, object], DeliveryThreads] = {}


def get_pool() -> DeliveryThreads:
    """Return the threads of this process; others once gevent has replaced threads and locks.

    Threads that were started before that go on with the clients that they have.
    """
    key = get_process(), _thread.allocate_lock
    pool = _pools.get(key)
    if pool is None:
        pool = _pools.setdefault(key, DeliveryThreads())
        for other in [*_pools]:
            if other[0] != key[0]:  # of the process that this one was forked from
                _pools.pop(other, None)
    return pool


def _prepare_exit() -> None:
    for (process, _), pool in [*_pools.items()]:
        if process == get_process():
            pool.prepare_exit()


process_exit.call_first(_prepare_exit)
