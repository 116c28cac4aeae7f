"""The gate: opened once, it lets one wait through, whoever comes first."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from whisperr._delivery.wake_up import WakeUp

SOON = 5.0  # the bound of every wait in here: reached only when a test fails


class TestGate:
    def test_it_is_closed_at_first(self) -> None:
        assert not WakeUp().wait(0.0)

    def test_an_open_gate_does_not_make_wait(self) -> None:
        gate = WakeUp()
        gate.open()
        assert gate.wait(SOON)

    def test_a_wait_that_succeeds_closes_it_again(self) -> None:
        gate = WakeUp()
        gate.open()
        assert [gate.wait(0.0), gate.wait(0.0)] == [True, False]

    def test_opened_twice_it_lets_one_through(self) -> None:
        gate = WakeUp()
        gate.open()
        gate.open()
        assert [gate.wait(0.0), gate.wait(0.0)] == [True, False]

    def test_it_can_be_opened_again_and_again(self) -> None:
        gate = WakeUp()
        seen = []
        for _ in range(3):
            gate.open()
            seen += [gate.wait(0.0), gate.wait(0.0)]
        assert seen == [True, False] * 3

    @pytest.mark.parametrize("timeout", [0.0, -1.0, float("-inf"), 1e-9])
    def test_a_time_that_is_over_is_no_wait(self, timeout: float) -> None:
        assert not WakeUp().wait(timeout)

    @pytest.mark.parametrize("timeout", [float("inf"), 1e300, threading.TIMEOUT_MAX * 2])
    def test_endless_is_a_time_to_wait_like_any_other(self, timeout: float) -> None:
        gate = WakeUp()
        gate.open()
        assert gate.wait(timeout)

    def test_a_closed_gate_makes_wait_for_the_given_time(self) -> None:
        before = time.monotonic()
        assert not WakeUp().wait(0.02)
        assert time.monotonic() - before >= 0.015


class TestThreads:
    def test_another_thread_lets_a_wait_through(self) -> None:
        gate = WakeUp()
        opener = threading.Thread(target=gate.open)
        opener.start()
        assert gate.wait(SOON)
        opener.join(SOON)
        assert not opener.is_alive()

    def test_one_opening_lets_one_of_many_through(self) -> None:
        gate, passed = WakeUp(), threading.Semaphore(0)
        count = []

        def walk() -> None:
            if gate.wait(SOON):
                count.append(1)
                passed.release()

        walkers = [threading.Thread(target=walk) for _ in range(4)]
        for walker in walkers:
            walker.start()
        for expected in range(1, 5):
            gate.open()
            assert passed.acquire(timeout=SOON)
            assert len(count) == expected
        for walker in walkers:
            walker.join(SOON)
        assert not gate.wait(0.0)

    @pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
    def test_a_signal_handler_may_open_what_its_own_thread_waits_for(self) -> None:
        gate = WakeUp()
        before = signal.signal(signal.SIGALRM, lambda *_: gate.open())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            assert gate.wait(SOON)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
