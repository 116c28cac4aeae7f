"""One call at a time, and a lock that no exception of a signal handler leaves taken."""

from __future__ import annotations

import threading

import pytest

from tests.interrupting import interrupt_everywhere
from whisperr._process.mutex import Mutex


def test_it_returns_what_the_call_returns() -> None:
    assert Mutex().run(lambda: "done", "busy") == "done"


def test_a_call_inside_of_a_call_is_refused() -> None:
    mutex = Mutex()

    assert mutex.run(lambda: mutex.run(lambda: "done", "busy", timeout=60), "outer") == "busy"


def test_another_thread_waits_no_longer_than_its_timeout() -> None:
    mutex = Mutex()
    results: list[str] = []

    def run() -> None:
        results.append(mutex.run(lambda: "done", "busy", timeout=0.01))

    def run_in_thread() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    mutex.run(run_in_thread, None)
    run_in_thread()

    assert results == ["busy", "done"]


def test_it_is_free_after_an_exception() -> None:
    mutex = Mutex()
    with pytest.raises(ZeroDivisionError):
        mutex.run(lambda: 1 / 0, 0.0)

    assert not mutex.is_mine
    assert mutex.run(lambda: "done", "busy") == "done"


def test_it_is_free_after_an_interruption_anywhere() -> None:
    def story(interrupt) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # of the test's rig
        mutex = Mutex()
        interrupt(lambda: mutex.run(lambda: "done", "busy"))
        assert not mutex.is_mine

    assert interrupt_everywhere(story) > 3


def test_a_waiting_thread_runs_as_soon_as_the_lock_is_free() -> None:
    mutex = Mutex()
    waits, go_on = threading.Event(), threading.Event()
    results: list[str] = []

    def keep_it() -> None:
        waits.set()
        go_on.wait(60)

    holding = threading.Thread(target=lambda: mutex.run(keep_it, None))
    waiting = threading.Thread(target=lambda: results.append(mutex.run(lambda: "done", "busy", 60)))
    holding.start()
    assert waits.wait(60)
    waiting.start()
    go_on.set()
    for thread in (holding, waiting):
        thread.join(60)

    assert results == ["done"]


def test_what_was_acquired_is_held_until_it_is_released() -> None:
    mutex = Mutex()

    assert mutex.acquire(0)
    assert mutex.is_mine
    assert mutex.run(lambda: "done", "busy", timeout=60) == "busy"
    mutex.release()
    assert mutex.run(lambda: "done", "busy") == "done"
