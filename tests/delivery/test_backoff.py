"""The length of backoffs and pauses, and the parsing of Retry-After."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whisperr._delivery.backoff import get_backoff, get_pause, get_wait, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
NOW = datetime(2026, 6, 14, 12, 0, 0, tzinfo=timezone.utc)
NOW_SECONDS = NOW.timestamp()
LOWEST = 0.0
HIGHEST = 1.0 - 2**-53

randoms = st.floats(0.0, HIGHEST)


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test in a process whose local time is the zone of the parameter."""
    if not hasattr(time, "tzset"):
        pytest.skip("this platform fixes the zone of a process")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


def seconds(value: str | None) -> float | None:
    return parse_retry_after(value, NOW_SECONDS)


class TestBackoff:
    @pytest.mark.parametrize(
        ("failures", "longest"),
        [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (6, 30.0), (7, 30.0), (10_000, 30.0)],
    )
    def test_it_doubles_up_to_thirty_seconds(self, failures: int, longest: float) -> None:
        assert get_backoff(failures, lambda: LOWEST) == longest / 2
        assert get_backoff(failures, lambda: HIGHEST) == pytest.approx(longest)

    @SAME_EACH_TIME
    @given(st.integers(1, 100), randoms)
    def test_jitter_goes_down_to_half_and_never_over(self, failures: int, face: float) -> None:
        longest = min(30.0, 2.0 ** (failures - 1))
        assert longest / 2 <= get_backoff(failures, lambda: face) <= longest

    def test_it_is_spread_evenly_over_the_upper_half(self) -> None:
        faces = iter([0.0, 0.25, 0.5, 0.75])
        waits = [get_backoff(3, lambda: next(faces)) for _ in range(4)]
        assert waits == [2.0, 2.5, 3.0, 3.5]

    def test_two_clients_that_fail_together_do_not_return_together(self) -> None:
        assert get_backoff(5, lambda: 0.1) != get_backoff(5, lambda: 0.9)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "wait"),
        [
            ("0", 0.0),
            ("1", 1.0),
            ("59", 59.0),
            ("60", 60.0),
            ("61", 60.0),
            ("3600", 60.0),
            ("999999999", 60.0),
            ("9" * 5_000, 60.0),
            ("  7\t", 7.0),
            ("00000030", 30.0),
        ],
    )
    def test_seconds_are_used_up_to_a_minute(self, value: str, wait: float) -> None:
        assert seconds(value) == wait

    @pytest.mark.parametrize(
        ("value", "wait"),
        [
            ("Sun, 14 Jun 2026 12:00:30 GMT", 30.0),
            ("Sunday, 14-Jun-26 12:00:30 GMT", 30.0),
            ("Sun, 14 Jun 2026 14:00:30 +0200", 30.0),
            ("Sun, 14 Jun 2026 12:00:00 GMT", 0.0),
            ("Sun, 14 Jun 2026 11:59:59 GMT", 0.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("Sun, 14 Jun 2026 12:01:00 GMT", 60.0),
            ("Sun, 14 Jun 2026 12:01:01 GMT", 60.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ],
    )
    def test_a_date_is_the_time_until_then(self, value: str, wait: float) -> None:
        assert seconds(value) == wait

    @pytest.mark.parametrize("zone", ["UTC", "XST+5", "XST-9"], indirect=True)
    @pytest.mark.parametrize(
        "value", ["Sun Jun 14 12:00:30 2026", "Sun, 14 Jun 2026 12:00:30 -0000"]
    )
    @pytest.mark.usefixtures("zone")
    def test_a_date_without_a_zone_is_utc_wherever_the_process_runs(self, value: str) -> None:
        assert seconds(value) == 30.0

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "   ",
            "soon",
            "-5",
            "+5",
            "1.5",
            "5 s",
            "0x10",
            "1e3",
            "\u0663",
            "\u00b2",
            "inf",
            "nan",
            "Sun, 99 Jun 2026 12:00:30 GMT",
            "Sun, 14 Jun 2026 25:00:30 GMT",
            "Sun, 14 Jun 99999 12:00:30 GMT",
            "2026-06-14T12:00:30Z",
        ],
    )
    def test_an_unreadable_value_counts_as_absent(self, value: str | None) -> None:
        assert seconds(value) is None

    @SAME_EACH_TIME
    @given(st.integers(0, 10**12))
    def test_any_number_of_seconds_is_at_most_a_minute(self, number: int) -> None:
        assert seconds(str(number)) == min(number, 60)

    @SAME_EACH_TIME
    @given(st.integers(-(10**6), 10**6))
    def test_any_date_waits_neither_backwards_nor_over_a_minute(self, ahead: int) -> None:
        value = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True)
        assert seconds(value) == min(max(ahead, 0), 60)

    @SAME_EACH_TIME
    @given(
        st.one_of(
            st.text(max_size=40),
            st.text("0123456789 ,:+-./SunJGMT", max_size=40),
            st.lists(
                st.sampled_from(
                    ["Sun,", "14", "Jun", "2026", "12:00:30", "GMT", "-", "+", ":", "9"]
                ),
                max_size=8,
            ).map(" ".join),
        )
    )
    @example("Sun, 14 Jun 2026 12:00:30 +9999")
    @example("1 Jan 0001 00:00:00 +2359")
    def test_no_header_can_break_it(self, value: str) -> None:
        wait = seconds(value)
        assert wait is None or 0.0 <= wait <= 60.0


class TestWait:
    @pytest.mark.parametrize("asked", [0.0, 0.5, 45.0, 60.0])
    def test_retry_after_replaces_the_backoff(self, asked: float) -> None:
        assert get_wait(3, asked, lambda: LOWEST) == asked

    @SAME_EACH_TIME
    @given(st.integers(1, 50), randoms)
    def test_without_it_the_backoff_decides(self, failures: int, face: float) -> None:
        assert get_wait(failures, None, lambda: face) == get_backoff(failures, lambda: face)


class TestPause:
    @pytest.mark.parametrize(
        ("error_type", "least", "most"), [("auth", 60.0, 120.0), ("retry_exhausted", 30.0, 60.0)]
    )
    def test_giving_up_pauses_for_at_least_the_minimum(
        self, error_type: str, least: float, most: float
    ) -> None:
        assert get_pause(error_type, lambda: LOWEST) == least
        assert least < get_pause(error_type, lambda: HIGHEST) <= most
