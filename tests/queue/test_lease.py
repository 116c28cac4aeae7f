"""Leases: how long they keep other processes from claiming, and when those try again."""

from __future__ import annotations

import pytest

from whisperr._queue.sqlite.rows import State
from whisperr._queue.store import LONGEST_CLAIM, get_claim_wait, get_lease_end

ME, OTHER = 1, 2


def make_lease(token: int | None, since: float, until: float) -> State:
    return State(0, 0, token, since, until, 0, 0, 0, 0)


class TestLease:
    @pytest.mark.parametrize(
        ("lease", "now", "left"),
        [
            (make_lease(None, 0.0, 0.0), 100.0, 0.0),
            (make_lease(ME, 100.0, 115.0), 101.0, 0.0),
            (make_lease(OTHER, 100.0, 115.0), 100.0, 15.0),
            (make_lease(OTHER, 100.0, 115.0), 114.5, 0.5),
            (make_lease(OTHER, 100.0, 115.0), 115.0, 0.0),
            (make_lease(OTHER, 100.0, 115.0), 9_999.0, 0.0),
        ],
        ids=["free", "mine", "new", "nearly over", "over", "long over"],
    )
    def test_it_keeps_other_processes_from_claiming_until_it_ends(
        self, lease: State, now: float, left: float
    ) -> None:
        assert lease.seconds_left(ME, now) == left

    def test_a_lease_that_begins_in_the_future_is_ignored(self) -> None:
        assert make_lease(OTHER, 5_000.0, 5_015.0).seconds_left(ME, 100.0) == 0.0

    def test_a_lease_longer_than_the_longest_is_ignored(self) -> None:
        assert make_lease(OTHER, 100.0, 9e15).seconds_left(ME, 101.0) == 0.0
        assert make_lease(OTHER, 100.0, 100.0 + LONGEST_CLAIM).seconds_left(ME, 100.0) > 0.0

    def test_no_extension_is_longer_than_that(self) -> None:
        assert get_lease_end(100.0, 1e9, 15.0) == 100.0 + LONGEST_CLAIM

    def test_it_is_extended_for_the_wait_and_a_third_of_itself(self) -> None:
        assert get_lease_end(100.0, 10.0, 15.0) == 115.0


class TestRest:
    def test_it_is_short_at_first_and_grows_to_half_a_second(self) -> None:
        rests = [get_claim_wait(misses, 60.0) for misses in range(8)]
        assert rests == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5]

    def test_it_is_never_longer_than_the_lease(self) -> None:
        assert get_claim_wait(7, 0.3) == 0.3

    def test_a_very_long_wait_stays_bounded(self) -> None:
        assert get_claim_wait(1_000_000, 60.0) == 0.5
