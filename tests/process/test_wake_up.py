"""A wake-up: set once, it lets one wait return, whichever comes first."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.facilities import needs_timer
from whisperr._process.wake_up import WakeUp

SOON = 5.0  # the bound of every wait in here: reached only when a test fails


class TestWakeUp:
    def test_it_is_not_set_at_first(self) -> None:
        assert not WakeUp().wait(0.0)

    def test_a_set_one_does_not_wait(self) -> None:
        wake_up = WakeUp()
        wake_up.set()
        assert wake_up.wait(SOON)

    def test_a_wait_that_succeeds_resets_it(self) -> None:
        wake_up = WakeUp()
        wake_up.set()
        assert [wake_up.wait(0.0), wake_up.wait(0.0)] == [True, False]

    def test_set_twice_it_lets_one_wait_return(self) -> None:
        wake_up = WakeUp()
        wake_up.set()
        wake_up.set()
        assert [wake_up.wait(0.0), wake_up.wait(0.0)] == [True, False]

    def test_it_can_be_set_again_and_again(self) -> None:
        wake_up = WakeUp()
        seen = []
        for _ in range(3):
            wake_up.set()
            seen += [wake_up.wait(0.0), wake_up.wait(0.0)]
        assert seen == [True, False] * 3

    @pytest.mark.parametrize("timeout", [0.0, -1.0, float("-inf"), 1e-9])
    def test_a_time_that_is_over_is_no_wait(self, timeout: float) -> None:
        assert not WakeUp().wait(timeout)

    @pytest.mark.parametrize("timeout", [float("inf"), 1e300, threading.TIMEOUT_MAX * 2])
    def test_endless_is_a_time_to_wait_like_any_other(self, timeout: float) -> None:
        wake_up = WakeUp()
        wake_up.set()
        assert wake_up.wait(timeout)

    def test_one_that_is_not_set_waits_for_the_given_time(self) -> None:
        before = time.monotonic()
        assert not WakeUp().wait(0.02)
        assert time.monotonic() - before >= 0.015


class TestThreads:
    def test_another_thread_lets_a_wait_return(self) -> None:
        wake_up = WakeUp()
        setter = threading.Thread(target=wake_up.set)
        setter.start()
        assert wake_up.wait(SOON)
        setter.join(SOON)
        assert not setter.is_alive()

    def test_one_set_lets_one_of_many_return(self) -> None:
        wake_up, passed = WakeUp(), threading.Semaphore(0)
        count = []

        def walk() -> None:
            if wake_up.wait(SOON):
                count.append(1)
                passed.release()

        walkers = [threading.Thread(target=walk) for _ in range(4)]
        for walker in walkers:
            walker.start()
        for expected in range(1, 5):
            wake_up.set()
            assert passed.acquire(timeout=SOON)
            assert len(count) == expected
        for walker in walkers:
            walker.join(SOON)
        assert not wake_up.wait(0.0)

    @needs_timer
    def test_a_signal_handler_may_set_what_its_own_thread_waits_for(self) -> None:
        wake_up = WakeUp()
        before = signal.signal(signal.SIGALRM, lambda *_: wake_up.set())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            assert wake_up.wait(SOON)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
