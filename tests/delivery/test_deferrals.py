"""Deferred events are counted, and share the bounds of the queue."""

from __future__ import annotations

import gc
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.interrupting import interrupt_everywhere
from whisperr._delivery.deferrals import Deferrals

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 100


class Event:
    """An event that waits."""

    counted_bytes = 0


def make(max_events: int = 10, max_bytes: int = 1_000, wake: Any = int) -> Deferrals:
    return Deferrals(max_events, max_bytes, wake)


def test_a_waiting_event_is_counted_until_its_wait_ends_once() -> None:
    deferrals, event = make(), Event()
    assert deferrals.admit(event, SIZE, 0, 0)
    assert (deferrals.count, deferrals.bytes, deferrals.accepted) == (1, SIZE, 1)
    assert deferrals.release(event)
    assert not deferrals.release(event)
    assert (deferrals.count, deferrals.bytes, deferrals.accepted) == (0, 0, 0)


@pytest.mark.parametrize(
    ("queued", "queued_bytes", "size", "admitted"),
    [
        (8, 0, SIZE, True),
        (9, 0, SIZE, False),
        (0, 1_000 - 2 * SIZE, SIZE, True),
        (0, 1_000 - 2 * SIZE + 1, SIZE, False),
        (0, 0, 1_001, False),
    ],
)
def test_it_shares_the_bounds_of_the_queue(
    queued: int, queued_bytes: int, size: int, admitted: bool
) -> None:
    deferrals = make()
    assert deferrals.admit(Event(), SIZE, 0, 0)
    assert deferrals.admit(Event(), size, queued, queued_bytes) is admitted
    assert deferrals.lost == (not admitted)
    assert deferrals.accepted == 2


def test_a_tenth_of_the_bounds_is_reserved_for_deferred_events() -> None:
    deferrals = make(100, 10_000)
    assert [deferrals.admit(Event(), SIZE, 100, 10_000) for _ in range(11)] == [True] * 10 + [False]
    deferrals = make(1_000_000, 10_000)
    assert [deferrals.admit(Event(), 400, 0, 10_000) for _ in range(3)] == [True, True, False]


def test_events_given_up_are_lost_and_can_no_longer_be_released() -> None:
    deferrals, event = make(), Event()
    deferrals.admit(event, SIZE, 0, 0)
    assert deferrals.give_up() == 1
    assert deferrals.give_up() == 0
    assert not deferrals.release(event)
    assert not deferrals.admit(Event(), SIZE, 0, 0)
    assert (deferrals.count, deferrals.bytes, deferrals.lost) == (0, 0, 2)


def test_the_end_of_the_last_wait_calls_when_empty() -> None:
    woken: list[int] = []
    deferrals = make(wake=lambda: woken.append(1))
    events = [Event(), Event()]
    for event in events:
        deferrals.admit(event, SIZE, 0, 0)
    deferrals.release(events[0])
    assert woken == []
    deferrals.release(events[1])
    assert woken == [1]


def test_threads_lose_no_count() -> None:
    deferrals = make(1_000_000, 1_000_000_000)

    def work() -> None:
        for _ in range(2_000):
            event = Event()
            deferrals.admit(event, SIZE, 0, 0)
            deferrals.release(event)
        deferrals.admit(Event(), SIZE, 0, 0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (deferrals.count, deferrals.bytes) == (4, 4 * SIZE)


def test_an_interruption_leaves_the_counts_right_and_the_lock_free() -> None:
    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        deferrals, event = make(), Event()

        def act() -> None:
            deferrals.admit(event, SIZE, 0, 0)
            deferrals.release(event)

        interrupt(act)
        assert (deferrals.count, deferrals.bytes) == (
            bool(event.counted_bytes),
            event.counted_bytes,
        )
        assert deferrals._lock.acquire(blocking=False)
        other = threading.Thread(target=lambda: deferrals.admit(Event(), SIZE, 0, 0))
        deferrals._lock.release()
        other.start()
        other.join(30)
        assert not other.is_alive()

    assert interrupt_everywhere(story) > 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_child_does_not_wait_for_a_lock_of_its_parent() -> None:
    deferrals, event = make(), Event()
    deferrals.admit(event, SIZE, 0, 0)
    taken, end = threading.Event(), threading.Event()

    def keep_lock() -> None:
        with deferrals._lock:
            taken.set()
            end.wait(30)

    thread = threading.Thread(target=keep_lock)
    thread.start()
    assert taken.wait(30)
    gc.collect()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # its default action ends a child that waits forever
        os._exit(0 if deferrals.release(event) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    end.set()
    thread.join(30)
