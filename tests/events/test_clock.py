"""The time of an event in the format of the contract, and unique message ids."""

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


def to_nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1_000


def make_clock(*moments: datetime) -> Clock:
    times = iter([to_nanoseconds(moment) for moment in moments])
    return Clock(lambda: next(times))


def to_text(moment: datetime) -> str:
    """Return the text of a moment, computed independently of the clock."""
    whole = moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
    return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TestFormatNow:
    @pytest.mark.parametrize(
        ("microsecond", "fraction"),
        [(0, "000"), (999, "000"), (1_000, "001"), (42_999, "042"), (999_999, "999")],
    )
    def test_the_time_is_truncated_to_three_digits(self, microsecond: int, fraction: str) -> None:
        text = make_clock(NOW.replace(microsecond=microsecond)).format_now()
        assert text == f"2026-06-14T12:00:00.{fraction}Z"

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
    def test_a_clock_that_is_set_to_another_time_is_followed(self, step: timedelta) -> None:
        clock = make_clock(NOW, NOW + step, NOW)
        assert [clock.format_now() for _ in range(3)] == [
            to_text(moment) for moment in (NOW, NOW + step, NOW)
        ]

    @SAME_EACH_TIME
    @given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1)))
    def test_any_time_is_written_as_the_contract_wants(self, naive: datetime) -> None:
        moment = naive.replace(tzinfo=timezone.utc)
        text = make_clock(moment).format_now()
        assert text == to_text(moment)
        assert RFC_3339.fullmatch(text)

    def test_the_real_clock_is_read_by_default(self) -> None:
        before = datetime.now(timezone.utc)
        text = Clock().format_now()
        after = datetime.now(timezone.utc)
        assert to_text(before) <= text <= to_text(after)


class TestFormatTime:
    @SAME_EACH_TIME
    @given(
        st.timedeltas(-timedelta(days=30), timedelta(days=1)),
        st.timedeltas(-timedelta(hours=23), timedelta(hours=23)),
    )
    def test_a_time_inside_the_window_is_converted_to_utc(
        self, away: timedelta, offset: timedelta
    ) -> None:
        moment = NOW + away
        text = make_clock(NOW).format_time(moment.astimezone(timezone(offset)))
        assert text == to_text(moment)

    @pytest.mark.parametrize(
        ("away", "accepted"),
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
    def test_a_time_outside_the_window_is_refused(self, away: timedelta, accepted: bool) -> None:
        clock = make_clock(NOW)
        if accepted:
            assert clock.format_time(NOW + away) == to_text(NOW + away)
        else:
            with pytest.raises(InvalidEvent, match="outside what the server accepts"):
                clock.format_time(NOW + away)

    @pytest.mark.parametrize("value", ["2026-06-14T12:00:00Z", 1_781_438_400, NOW.date(), None])
    def test_the_error_for_another_type_names_only_the_type(self, value: object) -> None:
        with pytest.raises(InvalidEvent) as caught:
            make_clock(NOW).format_time(value)
        kind = type(value).__name__
        assert str(caught.value) == f"occurred_at: must be an aware datetime, got {kind}"

    def test_the_error_for_a_naive_time_tells_how_to_fix_it(self) -> None:
        with pytest.raises(InvalidEvent, match=r"naive one; add tzinfo"):
            make_clock(NOW).format_time(NOW.replace(tzinfo=None))

    @pytest.mark.parametrize(
        "extreme",
        [
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            datetime.max.replace(tzinfo=timezone.utc),
            datetime.min.replace(tzinfo=timezone.utc),
        ],
    )
    def test_the_first_and_the_last_datetime_are_refused(self, extreme: datetime) -> None:
        with pytest.raises(InvalidEvent, match=r"^occurred_at: "):
            make_clock(NOW).format_time(extreme)


class TestNewSecond:
    def test_each_second_is_reported_once_also_by_a_given_time(self) -> None:
        calls: list[None] = []
        times = iter([to_nanoseconds(NOW + timedelta(seconds=s)) for s in (0, 0, 1, 1, 2)])
        clock = Clock(lambda: next(times), lambda: calls.append(None))
        counts = []
        for call in (clock.format_now, clock.format_now, clock.format_now):
            call()
            counts.append(len(calls))
        for _ in range(2):
            clock.format_time(NOW)
            counts.append(len(calls))
        assert counts == [1, 1, 2, 2, 3]


class TestMessageIds:
    def test_an_id_is_96_url_safe_bits_and_a_number(self) -> None:
        ids = MessageIds()
        drawn = []
        for _ in range(200):
            ids.renew()
            drawn += [ids.next(), ids.next()]
        assert all(re.fullmatch("[A-Za-z0-9_-]{16}[01]", one) for one in drawn)
        assert len({character for one in drawn for character in one[:16]}) == 64
        assert len({one[:16] for one in drawn}) == 200

    @pytest.mark.parametrize("count", [1, 255, 256, 257, 1_000])
    def test_ids_are_unique(self, count: int) -> None:
        ids = MessageIds()
        assert len({ids.next() for _ in range(count)}) == count

    def test_threads_that_make_ids_and_renew_at_once_share_none(self) -> None:
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

    def test_two_objects_share_no_ids(self) -> None:
        sources = (MessageIds(), MessageIds())
        drawn = {ids.next() for ids in sources for _ in range(300)}
        assert len(drawn) == 600
