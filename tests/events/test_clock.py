"""Step 2, an event's own marks: the time as the contract wants it, and ids that are unique."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr import InvalidEvent
from whisperr._events.clock import Clock, MessageIds

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
NOW = datetime(2026, 6, 14, 12, 0, 0, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def nanoseconds_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


def clock_at(*moments: datetime) -> Clock:
    times = iter([nanoseconds_of(moment) for moment in moments])
    return Clock(lambda: next(times))


def expected_of(moment: datetime) -> str:
    """Write a moment down by another way than the clock does."""
    whole = moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
    return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TestPresent:
    @pytest.mark.parametrize(
        ("microsecond", "fraction"),
        [(0, "000"), (999, "000"), (1_000, "001"), (42_999, "042"), (999_999, "999")],
    )
    def test_it_is_truncated_to_three_digits(self, microsecond: int, fraction: str) -> None:
        stamp = clock_at(NOW.replace(microsecond=microsecond)).format_now()
        assert stamp == f"2026-06-14T12:00:00.{fraction}Z"

    @pytest.mark.parametrize(
        "step",
        [
            timedelta(milliseconds=1),
            timedelta(seconds=1),
            timedelta(days=1),
            timedelta(days=365),
            -timedelta(seconds=1),
        ],
    )
    def test_a_clock_that_moves_is_followed(self, step: timedelta) -> None:
        clock = clock_at(NOW, NOW + step, NOW)
        assert [clock.format_now() for _ in range(3)] == [
            expected_of(moment) for moment in (NOW, NOW + step, NOW)
        ]

    @SAME_EACH_TIME
    @given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1)))
    def test_any_moment_is_written_as_the_contract_wants(self, naive: datetime) -> None:
        moment = naive.replace(tzinfo=timezone.utc)
        stamp = clock_at(moment).format_now()
        assert stamp == expected_of(moment)
        assert RFC_3339.fullmatch(stamp)

    def test_the_real_clock_is_read_by_default(self) -> None:
        before = datetime.now(timezone.utc)
        stamp = Clock().format_now()
        after = datetime.now(timezone.utc)
        assert expected_of(before) <= stamp <= expected_of(after)


class TestGivenTime:
    @SAME_EACH_TIME
    @given(
        st.timedeltas(-timedelta(days=30), timedelta(days=1)),
        st.timedeltas(-timedelta(hours=23), timedelta(hours=23)),
    )
    def test_inside_the_window_it_is_the_same_moment_in_utc(
        self, away: timedelta, offset: timedelta
    ) -> None:
        moment = NOW + away
        stamp = clock_at(NOW).format_time(moment.astimezone(timezone(offset)))
        assert stamp == expected_of(moment)

    @pytest.mark.parametrize(
        ("away", "taken"),
        [
            (-timedelta(days=30), True),
            (-timedelta(days=30, seconds=1), False),
            (-timedelta(days=400), False),
            (timedelta(0), True),
            (timedelta(minutes=5), True),
            (timedelta(days=1), True),
            (timedelta(days=1, seconds=1), False),
            (timedelta(days=400), False),
        ],
    )
    def test_outside_the_window_it_is_refused(self, away: timedelta, taken: bool) -> None:
        clock = clock_at(NOW)
        if taken:
            assert clock.format_time(NOW + away) == expected_of(NOW + away)
        else:
            with pytest.raises(InvalidEvent, match="outside what the server accepts"):
                clock.format_time(NOW + away)

    @pytest.mark.parametrize("value", ["2026-06-14T12:00:00Z", 1_781_438_400, NOW.date(), None])
    def test_what_is_no_datetime_is_refused_by_type_and_not_shown(self, value: object) -> None:
        with pytest.raises(InvalidEvent) as caught:
            clock_at(NOW).format_time(value)
        kind = type(value).__name__
        assert str(caught.value) == f"occurred_at: must be an aware datetime, got {kind}"

    def test_a_naive_time_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(InvalidEvent, match=r"naive one; add tzinfo"):
            clock_at(NOW).format_time(NOW.replace(tzinfo=None))

    @pytest.mark.parametrize(
        "extreme",
        [
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            datetime.max.replace(tzinfo=timezone.utc),
            datetime.min.replace(tzinfo=timezone.utc),
        ],
    )
    def test_the_ends_of_time_are_refused(self, extreme: datetime) -> None:
        with pytest.raises(InvalidEvent, match=r"^occurred_at: "):
            clock_at(NOW).format_time(extreme)


class TestNewSecond:
    def test_it_is_told_once_and_by_a_given_time_too(self) -> None:
        told: list[None] = []
        times = iter([nanoseconds_of(NOW + timedelta(seconds=s)) for s in (0, 0, 1, 1, 2)])
        clock = Clock(lambda: next(times), lambda: told.append(None))
        counts = []
        for call in (clock.format_now, clock.format_now, clock.format_now):
            call()
            counts.append(len(told))
        for _ in range(2):
            clock.format_time(NOW)
            counts.append(len(told))
        assert counts == [1, 1, 2, 2, 3]


class TestMessageIds:
    def test_an_id_is_96_bits_that_need_no_escaping_anywhere_and_a_number(self) -> None:
        ids = MessageIds()
        drawn = []
        for _ in range(200):
            ids.renew()
            drawn += [ids.next(), ids.next()]
        assert all(re.fullmatch("[A-Za-z0-9_-]{16}[01]", one) for one in drawn)
        assert len({character for one in drawn for character in one[:16]}) == 64
        assert len({one[:16] for one in drawn}) == 200

    @pytest.mark.parametrize("count", [1, 255, 256, 257, 1_000])
    def test_they_are_unique(self, count: int) -> None:
        ids = MessageIds()
        assert len({ids.next() for _ in range(count)}) == count

    def test_threads_that_draw_at_once_and_renew_share_none(self) -> None:
        ids = MessageIds()
        drawn: list[list[str]] = [[] for _ in range(4)]

        def draw(mine: list[str]) -> None:
            for turn in range(2_000):
                mine.append(ids.next())
                if turn % 100 == 0:
                    ids.renew()

        threads = [threading.Thread(target=draw, args=(mine,)) for mine in drawn]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({one for mine in drawn for one in mine}) == 8_000

    def test_two_makers_share_none(self) -> None:
        makers = (MessageIds(), MessageIds())
        drawn = {ids.next() for ids in makers for _ in range(300)}
        assert len(drawn) == 600
