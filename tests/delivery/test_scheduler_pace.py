"""The pace: a busy queue fills for a moment after a request; a quiet one never waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.delivery.rig import Rig, answer
from whisperr._delivery.holds import get_full_at

PACE = 0.1


def busy(**options: Any) -> Rig:
    """A rig that has just delivered enough events."""
    rig = Rig(**{"flush_at": 2, "flush_interval": 10.0, **options})
    rig.track(1, 2)
    rig.advance()
    assert rig.batches == [[1, 2]]
    return rig


def test_enough_events_soon_after_a_request_wait_for_more() -> None:
    rig = busy()
    rig.track(3, 4)
    rig.advance(PACE * 0.9)
    assert rig.batches == [[1, 2]]
    rig.track(5)
    rig.advance(PACE)
    assert rig.batches == [[1, 2], [3, 4, 5]]
    assert rig.times[1] == pytest.approx(PACE)


def test_enough_events_after_a_quiet_moment_are_sent_at_once() -> None:
    rig = busy()
    rig.advance(PACE * 2)
    rig.track(3, 4)
    rig.advance()
    assert rig.times[1] == pytest.approx(PACE * 2)


def test_the_pace_counts_from_the_answer() -> None:
    rig = Rig(flush_at=2)
    rig.transport.takes = 3.0
    rig.track(1, 2)
    rig.advance()
    rig.track(3, 4)
    rig.advance(1)
    assert rig.times == [0.0, pytest.approx(3.0 + PACE)]


def test_what_fills_a_request_does_not_wait() -> None:
    rig = busy(max_batch_size=3)
    rig.track(3, 4)
    rig.advance(PACE / 5)
    rig.track(5)
    rig.advance()
    assert rig.batches == [[1, 2], [3, 4, 5]]
    assert rig.times[1] == pytest.approx(PACE / 5)


def test_what_could_fill_the_queue_does_not_wait() -> None:
    rig = busy(max_queue_size=6, full_at=3)
    rig.track(3, 4, 5)
    rig.advance()
    assert rig.batches == [[1, 2], [3, 4, 5]]


def test_single_events_wake_no_thread_meanwhile() -> None:
    rig = busy()
    assert rig.scheduler.wake_at == 500
    rig.advance(PACE)
    assert rig.scheduler.wake_at == 1


def test_an_event_that_woke_no_thread_is_sent_within_the_interval() -> None:
    rig = busy()
    rig.advance(PACE * 0.6)
    rig.track(3)
    rig.advance(10.0)
    assert rig.batches == [[1, 2], [3]]
    assert rig.times[1] <= PACE * 0.6 + 10.0


def test_a_flush_does_not_wait() -> None:
    rig = busy()
    rig.track(3)
    rig.flush()
    rig.advance()
    assert rig.batches == [[1, 2], [3]]
    assert rig.times[1] == 0.0


def test_the_end_does_not_wait() -> None:
    rig = busy()
    rig.track(3)
    rig.close(5.0)
    rig.advance()
    assert rig.batches == [[1, 2], [3]]
    assert rig.scheduler.ended


def test_a_pause_is_not_cut_short_by_it() -> None:
    rig = Rig(answer(401), flush_at=2)
    rig.track(1, 2)
    rig.advance(PACE * 3)
    rig.track(3, 4)
    rig.advance(30)
    assert len(rig.sent) == 1


def test_after_it_an_idle_scheduler_wants_no_call_before_the_connection_is_closed() -> None:
    rig = busy()
    rig.advance(PACE)
    assert rig._next_step > rig.clock.now + 10


@pytest.mark.parametrize(
    ("batch", "size", "queue_bytes", "expected"),
    [
        (500, 10_000, 64 << 20, 500),
        (500, 100, 64 << 20, 50),
        (500, 10_000, 1 << 20, 128),
        (50, 10_000, 64 << 20, 50),
    ],
)
def test_half_of_a_bound_ends_it(batch: int, size: int, queue_bytes: int, expected: int) -> None:
    config: Any = SimpleNamespace(
        max_batch_size=batch, max_queue_size=size, max_queue_bytes=queue_bytes
    )
    assert get_full_at(config) == expected
