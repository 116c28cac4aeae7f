"""A counter gives each call a number of its own, whatever threads and signal handlers do."""

from __future__ import annotations

import sys
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from tests.interrupting import Tracer, interrupt_everywhere
from whisperr._process.counter import Counter

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS, CALLS = 8, 2_000
BOUND = 60


@pytest.fixture(params=[True, False], ids=["with the interpreter's lock", "without"])
def counter(request: pytest.FixtureRequest) -> Counter:
    return Counter(has_gil=request.param)


def test_it_counts_from_0(counter: Counter) -> None:
    assert [counter.next() for _ in range(3)] == [0, 1, 2]
    assert counter.value == 3


def test_no_two_threads_get_the_same_number(counter: Counter) -> None:
    start = Barrier(THREADS)
    numbers: list[list[int]] = []

    def run() -> None:
        start.wait(BOUND)
        numbers.append([counter.next() for _ in range(CALLS)])

    threads = [Thread(target=run, daemon=True) for _ in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(BOUND)
    found = [number for one in numbers for number in one]
    assert len(found) == THREADS * CALLS
    assert sorted(found) == [*range(THREADS * CALLS)]
    assert counter.value == THREADS * CALLS


def test_an_interruption_leaves_it_usable() -> None:
    def story(interrupt: Callable[[Callable[[], object]], Tracer]) -> None:
        counter = Counter(has_gil=False)
        before = counter.next()
        interrupt(counter.next)
        assert counter.next() > before
        assert counter.value in {2, 3}

    assert interrupt_everywhere(story) > 0


def test_what_a_signal_handler_counts_has_a_number_of_its_own() -> None:
    count_points = Tracer(None)
    interrupt_with(Counter(has_gil=False), count_points)
    assert count_points.points > 0
    for at in range(1, count_points.points + 1):
        counter = Counter(has_gil=False)
        inside: list[int] = []
        tracer = Tracer(at, lambda: inside.append(counter.next()))  # noqa: B023  # called in this round
        outside = interrupt_with(counter, tracer)
        assert {outside, *inside} == {0, 1}, tracer.where


def interrupt_with(counter: Counter, tracer: Tracer) -> int:
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 asks for it when tracing begins
    sys.settrace(tracer.trace)
    try:
        return counter.next()
    finally:
        sys.settrace(before)
