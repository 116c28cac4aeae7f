"""The clock for decisions that cannot be undone: trusted once it has run steadily."""

from __future__ import annotations

import pytest

from whisperr._events.layout import get_oldest_time, is_expired
from whisperr._queue.clock import TRUST_AFTER, ExpiryClock

DAY = 86_400.0
EVENT = b'{"event_type":"x","external_user_id":"u","occurred_at":"2026-06-14T12:00:00.000Z"}'
RIGHT = 1_781_524_800.0 + 12 * 3_600  # a moment on 2026-06-15


class Clocks:
    """A wall clock, a monotonic clock, and the expiry clock that reads them."""

    def __init__(self, wall: float = RIGHT) -> None:
        self.wall, self.steady = wall, 50.0
        self.clock = ExpiryClock(lambda: self.wall, lambda: self.steady)

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    @property
    def is_too_old(self) -> bool:
        return is_expired(EVENT, get_oldest_time(self.clock.get_now()))


def test_a_clock_that_jumps_ahead_for_a_moment_makes_nothing_too_old() -> None:
    clocks = Clocks()
    clocks.run(TRUST_AFTER)
    assert not clocks.is_too_old
    clocks.wall += 31 * DAY
    seen = []
    for _ in range(5):
        seen.append(clocks.is_too_old)
        clocks.run(60)
    clocks.wall -= 31 * DAY
    seen.append(clocks.is_too_old)
    clocks.run(TRUST_AFTER)
    assert [*seen, clocks.is_too_old] == [False] * 7


def test_a_clock_that_is_wrong_when_the_process_starts_makes_nothing_too_old() -> None:
    clocks = Clocks(RIGHT + 31 * DAY)
    assert not clocks.is_too_old
    clocks.run(TRUST_AFTER - 1)
    assert not clocks.is_too_old


@pytest.mark.parametrize("step", [1.0, 5.0, 600.0, DAY])
def test_a_clock_that_ran_steadily_is_believed(step: float) -> None:
    clocks = Clocks(RIGHT + 31 * DAY)
    clocks.run(TRUST_AFTER)
    for _ in range(3):
        assert clocks.is_too_old
        clocks.run(step)


def test_a_slow_correction_by_a_time_server_is_no_jump() -> None:
    clocks = Clocks(RIGHT + 31 * DAY)
    clocks.run(TRUST_AFTER)
    for _ in range(100):
        assert clocks.is_too_old
        clocks.run(60)
        clocks.wall += 0.5


def test_a_machine_that_slept_is_watched_again() -> None:
    clocks = Clocks()
    clocks.run(TRUST_AFTER)
    clocks.wall += 31 * DAY  # the monotonic clock stood still
    assert not clocks.is_too_old
    clocks.run(TRUST_AFTER)
    assert clocks.is_too_old
