"""The delivery threads: which client is next, when threads are started, and when they end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import LIMIT
from whisperr._delivery.pool import (
    LINGER,
    MOST_SLOW,
    MOST_THREADS,
    NEVER,
    PATIENCE,
    DeliveryThreads,
    PoolThread,
    choose,
    plan_rest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_000.0


@dataclass
class Client:
    """The state of a client at one moment."""

    ready_at: float = NEVER
    in_step: bool = False
    slow: bool = False
    urgent: bool = False


DUE = Client(NOW - 0.01)
LATE = Client(NOW - PATIENCE)
LATER = Client(NOW + 5.0)
BEFORE_LATER = Client(NOW + 3.0)
SERVED = Client(NOW - 1.0, in_step=True)
WAITED_FOR = Client(NOW, urgent=True)
SLOW = Client(NOW - 2.0, slow=True)


@pytest.mark.parametrize(
    ("clients", "chosen", "look_at"),
    [
        ([], None, NEVER),
        ([Client()], None, NEVER),
        ([DUE], DUE, None),
        ([LATER], None, LATER.ready_at),
        ([LATER, BEFORE_LATER], None, BEFORE_LATER.ready_at),
        ([LATER, DUE, LATE], LATE, None),
        ([LATE, DUE, LATER], LATE, None),
        ([SERVED], None, NEVER),
        ([SERVED, DUE], DUE, None),
        ([SERVED, LATER], None, LATER.ready_at),
    ],
)
def test_the_client_that_has_waited_longest_is_next(
    clients: list[Client], chosen: Client | None, look_at: float | None
) -> None:
    for rested in (True, False):
        found, until = choose(clients, NOW, rested=rested, busy=False, slow_full=False)
        assert found is chosen
        assert look_at is None or until == look_at


@pytest.mark.parametrize(
    ("clients", "chosen", "look_at"),
    [
        ([DUE], None, DUE.ready_at + PATIENCE),
        ([LATE], LATE, None),
        ([LATER], None, LATER.ready_at + PATIENCE),
        ([DUE, WAITED_FOR], WAITED_FOR, None),
        ([DUE, LATE], LATE, None),
    ],
)
def test_a_standby_thread_leaves_clients_that_are_not_late_to_the_busy_thread(
    clients: list[Client], chosen: Client | None, look_at: float | None
) -> None:
    found, until = choose(clients, NOW, rested=True, busy=True, slow_full=False)
    assert found is chosen
    assert look_at is None or until == look_at
    # One that has just served a client goes on with the next.
    assert choose(clients, NOW, rested=False, busy=True, slow_full=False)[0] is not None or (
        clients == [LATER]
    )


def test_slow_clients_wait_while_others_of_them_have_their_share_of_threads() -> None:
    for clients in ([SLOW, DUE], [DUE, SLOW]):
        assert choose(clients, NOW, rested=False, busy=True, slow_full=True)[0] is DUE
        assert choose(clients, NOW, rested=False, busy=True, slow_full=False)[0] is SLOW
    # No time is given for them: the thread that ends one of them looks again.
    assert choose([SLOW], NOW, rested=True, busy=True, slow_full=True) == (None, NEVER)


@pytest.mark.parametrize(
    ("resting", "needed", "kept", "until"),
    [
        (0, -NEVER, -NEVER, NOW + 30.0),  # the only one that waits stays
        (1, NOW - 1.0, -NEVER, NOW - 1.0 + LINGER),  # one stands by for a while
        (1, NOW - LINGER, -NEVER, None),
        (2, NOW, -NEVER, None),  # no more than one does
        (5, NOW, NOW + 3.0, NOW + LINGER),  # but those that were started for the exit
        (5, NOW - LINGER, NOW, None),
    ],
)
def test_a_thread_without_work_waits_or_ends(
    resting: int, needed: float, kept: float, until: float | None
) -> None:
    planned = plan_rest(NOW, NOW + 30.0, resting=resting, needed_at=needed, kept_until=kept)
    assert planned == until


def test_a_standby_thread_serves_a_client_that_is_late() -> None:
    planned = plan_rest(NOW, NOW + 2.0, resting=1, needed_at=NOW, kept_until=-NEVER)
    assert planned == NOW + 2.0 + PATIENCE


class FakeMember:
    """A client whose steps block until the test releases them."""

    def __init__(self, pool: DeliveryThreads, *, takes: threading.Event | None = None) -> None:
        self._pool = pool
        self._takes = takes  # a step blocks until this is set
        self._lock = threading.Lock()
        self.in_step = False
        self.ready_at = NEVER
        self.urgent = self.ended = self.slow = False
        self.holds_events = True
        self.dies = False
        self.steps = 0
        self.entered = threading.Event()
        self.served = threading.Event()
        self.gone = threading.Event()

    def serve(self, thread: PoolThread) -> bool:
        if not self._lock.acquire(blocking=False):
            return True
        self.in_step = True
        self.ready_at = NEVER
        thread.about_to_block(LIMIT)
        self.entered.set()
        if self._takes is not None:
            self._takes.wait(LIMIT)
        self.steps += 1
        thread.is_back()
        self.in_step = False
        self._lock.release()
        self.served.set()
        return not self.dies

    def let_go(self) -> None:
        self.gone.set()

    def wake_waiting(self) -> None:
        return

    # -- what the client itself does

    def wake(self, at: float | None = None) -> None:
        self._pool.join(self)  # first: a thread that ends this client now leaves nothing behind
        self.ready_at = time.monotonic() if at is None else at
        if not self._pool.serves(self):
            self._pool.add_thread()
        self._pool.wake()

    def end(self) -> None:
        self.ended = True
        self.wake()


class Scene:
    """Delivery threads with their clients."""

    def __init__(self) -> None:
        self.pool = DeliveryThreads()
        self.members: list[FakeMember] = []
        self.free = threading.Event()  # ends the steps of those that hang

    def add(self, count: int, *, hanging: bool = False) -> list[FakeMember]:
        takes = self.free if hanging else None
        made = [FakeMember(self.pool, takes=takes) for _ in range(count)]
        self.members += made
        return made

    @property
    def threads(self) -> list[threading.Thread]:
        return [one.thread for one in [*self.pool._threads] if one.thread.ident is not None]

    def end(self) -> list[threading.Thread]:
        """End all clients, then all threads."""
        self.free.set()
        threads = self.threads
        for member in self.members:
            member.end()
        for member in self.members:
            assert member.gone.wait(LIMIT)
        deadline = time.monotonic() + LIMIT
        while self.pool.alive and time.monotonic() < deadline:
            threads += self.threads  # one may just have been started
            for thread in threads:
                thread.join(LIMIT)
        for thread in threads:
            thread.join(LIMIT)
        return threads


@pytest.fixture
def scene() -> Iterator[Scene]:
    one = Scene()
    yield one
    for thread in one.end():
        assert not thread.is_alive()
    assert not one.pool.alive


def test_clients_whose_steps_do_not_overlap_are_served_by_one_thread(scene: Scene) -> None:
    for member in scene.add(60):
        member.wake()
        assert member.served.wait(LIMIT)
        assert len(scene.threads) == 1


def test_a_client_that_waits_for_a_far_moment_has_no_thread_stand_by(scene: Scene) -> None:
    far, other = scene.add(2)
    far.wake(time.monotonic() + 10 * LIMIT)
    other.wake()
    assert other.served.wait(LIMIT)
    assert len(scene.threads) == 1


def test_while_one_client_blocks_another_thread_serves_the_others(scene: Scene) -> None:
    (hanging,) = scene.add(1, hanging=True)
    hanging.wake()
    assert hanging.entered.wait(LIMIT)
    for member in scene.add(20):
        member.wake()
        assert member.served.wait(LIMIT)
    assert len(scene.threads) <= 3
    assert not hanging.served.is_set()


def test_what_a_client_planned_before_another_blocks_is_done_in_time(scene: Scene) -> None:
    """No call wakes a thread then: one must stand by."""
    (planned,) = scene.add(1)
    (hanging,) = scene.add(1, hanging=True)
    planned.wake(time.monotonic() + 0.2)
    hanging.wake()
    assert hanging.entered.wait(LIMIT)
    assert planned.served.wait(LIMIT / 2)
    assert not hanging.served.is_set()


def test_a_thread_that_stands_by_looks_earlier_when_a_client_plans_an_earlier_moment(
    scene: Scene,
) -> None:
    late, early = scene.add(2)
    (hanging, another) = scene.add(2, hanging=True)
    late.wake(time.monotonic() + LIMIT / 2)
    hanging.wake()
    assert hanging.entered.wait(LIMIT)  # the second thread waits for `late` now
    early.wake(time.monotonic() + 0.5)
    another.wake()
    assert another.entered.wait(LIMIT)
    assert early.served.wait(LIMIT / 2)
    assert not late.served.is_set()


def test_ten_clients_that_hang_do_not_delay_the_others(scene: Scene) -> None:
    hanging, others = scene.add(10, hanging=True), scene.add(50)
    for member in hanging + others:
        member.wake()
    for member in others:
        assert member.served.wait(LIMIT)
    assert not any(member.served.is_set() for member in hanging)


def test_there_are_no_more_threads_than_the_bound(scene: Scene) -> None:
    hanging = scene.add(MOST_THREADS + 10, hanging=True)
    for member in hanging:
        member.urgent = True
        member.wake()
    for member in hanging[:MOST_THREADS]:
        assert member.entered.wait(LIMIT)
    assert len(scene.threads) == MOST_THREADS
    scene.free.set()
    for member in hanging:
        assert member.served.wait(LIMIT)


def test_clients_that_were_slow_leave_threads_to_the_others(scene: Scene) -> None:
    slow = scene.add(MOST_THREADS + 10, hanging=True)
    for member in slow:
        member.slow = member.urgent = True
        member.wake()
    (quick,) = scene.add(1)
    quick.wake()
    assert quick.served.wait(LIMIT)
    assert sum(member.entered.is_set() for member in slow) <= MOST_SLOW


def test_an_exception_that_ends_the_thread_of_one_client_does_not_affect_the_others(
    scene: Scene,
) -> None:
    dying, planned = scene.add(2)
    planned.wake(time.monotonic() + 0.3)
    dying.dies = True
    dying.wake()
    assert dying.served.wait(LIMIT)
    assert planned.served.wait(LIMIT)
    dying.dies = False


def test_the_exit_finds_a_thread_for_each_client_that_holds_events(scene: Scene) -> None:
    members = scene.add(5, hanging=True)
    for member in members:
        member.wake(time.monotonic() + 10 * LIMIT)
    members[0].holds_events = False
    scene.pool.prepare_exit()
    assert len(scene.threads) == len(members) - 1
    for member in members:
        member.urgent = True
        member.wake()
    for member in members[1:]:
        member.entered.wait(LIMIT)
    assert sum(member.in_step for member in members) >= len(members) - 1


def test_an_exit_with_one_client_that_holds_events_starts_no_further_thread(scene: Scene) -> None:
    members = scene.add(3)
    for member in members:
        member.holds_events = member is members[0]
        member.wake(time.monotonic() + 10 * LIMIT)
    scene.pool.prepare_exit()
    assert len(scene.threads) == 1


def test_a_thread_ends_with_the_last_client_and_the_next_one_starts_another(scene: Scene) -> None:
    for _ in range(3):
        (member,) = scene.add(1)
        member.wake()
        assert member.served.wait(LIMIT)
        (thread,) = scene.threads
        member.end()
        thread.join(LIMIT)
        assert not thread.is_alive()
        scene.members.clear()


class WakingThread(PoolThread):
    """A thread that waits, and wakes up as soon as another one has looked at it."""

    __slots__ = ("moments",)

    @property
    def wakes_at(self) -> float | None:
        return self.moments.pop() if self.moments else None

    @wakes_at.setter
    def wakes_at(self, until: float | None) -> None:
        self.moments = [] if until is None else [until]


def test_a_thread_that_wakes_up_while_another_looks_for_one_to_stand_by_does_no_harm() -> None:
    pool = DeliveryThreads()
    waking, looking = WakingThread(pool), PoolThread(pool)
    waking.thread = threading.current_thread()
    waking.wakes_at = time.monotonic()
    pool._threads.add(waking)
    served, due = FakeMember(pool), FakeMember(pool)
    for member in (served, due):
        pool.join(member)
    due.ready_at = time.monotonic()
    looking.member = served
    looking.about_to_block(LIMIT)
    assert [*pool._threads] == [waking]


@pytest.mark.parametrize("times", range(5))
def test_clients_that_come_and_go_at_once_are_all_served(scene: Scene, times: int) -> None:
    def come_and_go(members: list[FakeMember]) -> None:
        for member in members:
            member.wake()
            assert member.served.wait(LIMIT)
            member.end()
            assert member.gone.wait(LIMIT)

    groups = [scene.add(20) for _ in range(4)]
    callers = [
        threading.Thread(target=come_and_go, args=(members,), daemon=True) for members in groups
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LIMIT)
    assert all(member.gone.is_set() for member in scene.members), times
