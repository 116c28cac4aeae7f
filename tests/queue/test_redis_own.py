"""The pure parts of the store: where own events are in a stream, and which have ended."""

from __future__ import annotations

import pytest

from whisperr._queue.memory import Foreign
from whisperr._queue.redis.entries import Entry, count_others, parse_entries
from whisperr._queue.redis.own import OwnEvents
from whisperr._queue.redis.stream import Run, Stream, Sums, parse_id, parse_runs
from whisperr._queue.store import LOST_IN_STORE


class CountingNumbers(dict[int, int]):
    """Numbers of live events that count how often they are looked up."""

    looks = 0

    def __contains__(self, number: object) -> bool:
        self.looks += 1
        return super().__contains__(number)


def to_list(runs: list[Run]) -> list[tuple[bytes, int]]:
    return [(run.get_id(at), number) for run in runs for at, number in enumerate(run.numbers)]


class TestRuns:
    @pytest.mark.parametrize(
        ("numbers", "text", "ids", "gone"),
        [
            (range(5, 8), b"10-3", [b"10-3", b"10-4", b"10-5"], []),
            ([5], b"10-3", [b"10-3"], []),
            ([5], b"-", [], [5]),
            ([5, 7, 9], b"10-3", [b"10-3", b"10-4", b"10-5"], []),
            (range(3), b"10-3 10-4 11-0", [b"10-3", b"10-4", b"11-0"], []),
            (range(4), b"- 10-4 - 11-0", [b"10-4", b"11-0"], [0, 2]),
            (range(2), b"- -", [], [0, 1]),
        ],
    )
    def test_they_are_what_the_script_has_added(
        self, numbers: range | list[int], text: bytes, ids: list[bytes], gone: list[int]
    ) -> None:
        runs, found_gone = parse_runs(numbers, text)
        left = [number for number in numbers if number not in gone]
        assert (to_list(runs), found_gone) == ([*zip(ids, left, strict=True)], gone)

    @pytest.mark.parametrize(
        ("id_", "count"),
        [((9, 99), 0), ((10, 3), 0), ((10, 4), 1), ((10, 6), 3), ((10, 99), 3), ((11, 0), 3)],
    )
    def test_it_counts_events_with_lower_ids(self, id_: tuple[int, int], count: int) -> None:
        assert Run(range(3), (10, 3)).count_before(id_) == count

    @pytest.mark.parametrize(
        ("text", "id_"), [(b"10-3", (10, 3)), (b"", (0, 0)), (b"abc", (0, 0)), (b"1-x", (0, 0))]
    )
    def test_an_invalid_id_is_lower_than_all(self, text: bytes, id_: tuple[int, int]) -> None:
        assert parse_id(text) == id_


def make_stream(groups: int, size: int) -> tuple[Stream, CountingNumbers]:
    stream = Stream("s", 7)
    for at in range(groups):
        stream.runs.append(Run(range(at * size, (at + 1) * size), (100 + at, 0)))
    return stream, CountingNumbers((number, number) for number in range(groups * size))


class TestFirst:
    def test_it_is_found_without_iterating_over_ended_events(self) -> None:
        stream, live = make_stream(1_000, 100)
        assert stream.get_first(live) == 0
        for number in range(99_950):
            del live[number]
        assert stream.get_first(live) == 99_950
        live.looks = 0
        for _ in range(100):
            assert stream.get_first(live) == 99_950
        assert live.looks == 100

    def test_there_is_none_when_all_have_ended(self) -> None:
        stream, _ = make_stream(3, 2)
        assert stream.get_first({}) == float("inf")
        assert not stream.runs

    def test_the_oldest_are_named_with_their_ids(self) -> None:
        stream, live = make_stream(3, 2)
        del live[2]
        assert stream.get_oldest(3, live, {0}) == ([1, 3, 4], b"100-1 1 101-1 3 102-0 4")

    def test_those_before_an_id_are_gone_together(self) -> None:
        stream, _ = make_stream(4, 3)
        assert stream.get_before(b"102-1", {1}) == [0, 2, 3, 4, 5, 6]
        assert stream.get_before(b"0-0", set()) == []


class TestSums:
    def test_of_two_answers_the_one_with_the_newer_entry_counts(self) -> None:
        stream = Stream("s", 7)
        before = stream.sums
        added, polled = Sums(2, newest=b"10-1"), Sums(1, newest=b"10-0")
        stream.update(added, before, has_added=True)
        stream.update(polled, before, has_added=False)
        assert stream.sums is added

    def test_with_the_same_one_that_of_the_delivering_thread_counts(self) -> None:
        for order in ((True, False), (False, True)):
            stream = Stream("s", 7)
            before = stream.sums
            for has_added in order:
                rows = 5 if has_added else 3
                stream.update(Sums(rows, newest=b"10-1"), before, has_added=has_added)
            assert stream.sums.rows == 3

    def test_an_answer_that_nothing_came_between_counts_always(self) -> None:
        stream = Stream("s", 7)
        stream.update(Sums(5, newest=b"99-1"), stream.sums, has_added=True)
        stream.update(Sums(1, newest=b"10-1"), stream.sums, has_added=True)
        assert stream.sums.rows == 1


class TestOutcomes:
    def test_those_of_two_weeks_are_added_up_once(self) -> None:
        stream = Stream("s", 7)
        seen = []
        for first, second in (
            (b"2", None),
            (b"2", b"1"),
            (b"3", b"1"),
            (None, b"4"),  # the first week is over
            (b"1", b"4"),  # and its turn has come again
            (b"x", b"-1"),
            (b"9" * 20, b"5"),
        ):
            counts, changes = stream.count_endings([[first], [second]])
            stream.endings = counts
            seen.append(changes.total())
        assert seen == [2, 1, 1, 3, 1, 0, 5]


def make_own(count: int) -> OwnEvents:
    own = OwnEvents(b"7")
    own.begin_append(range(count))
    own.commit(range(count), [], [])
    own.end_append(range(count), has_failed=False)
    return own


def make_entry(number: int, source: bytes = b"7", *, is_own: bool = False) -> Entry:
    return Entry(b"%d-0" % number, source, number, b"{}", is_own)


class TestOwnEvents:
    def test_of_two_entries_with_one_number_the_first_is_own(self) -> None:
        is_own = make_own(2).get_marker()
        numbers = [(b"7", 0), (b"7", 0), (b"8", 1), (b"7", 1), (b"7", 2)]
        assert [is_own(*one) for one in numbers] == [True, False, False, True, False]

    def test_what_is_dropped_counts_where_it_was_added(self) -> None:
        dropped = make_own(1).drop([make_entry(0), make_entry(0), make_entry(0, b"8")])
        assert [type(data) for data in dropped] == [bytes, Foreign, Foreign]

    def test_what_is_gone_and_has_no_outcome_is_lost_once(self) -> None:
        own = make_own(3)
        own.unmatched["delivered"] = 1
        own.miss([0, 1], own.appends)
        own.miss([1], own.appends)
        assert own.settle(own.take_gone()) == {"delivered": 1, LOST_IN_STORE: 1}
        assert own.settle(own.take_gone()) == {}
        assert [*own.live] == [2]

    def test_while_an_append_runs_what_is_gone_waits_for_its_answer(self) -> None:
        own = make_own(2)
        own.begin_append(range(2, 3))
        own.miss([0, 1], own.appends)
        assert own.settle(own.take_gone()) == {}
        dropped = own.commit(range(2, 3), [], [make_entry(0)])
        assert [type(data) for data in dropped] == [bytes]
        own.end_append(range(2, 3), has_failed=False)
        assert own.settle(own.take_gone()) == {LOST_IN_STORE: 1}

    def test_after_a_failure_it_is_not_known_where_they_are(self) -> None:
        own = make_own(1)
        own.begin_append(range(1, 3))
        own.end_append(range(1, 3), has_failed=True)
        assert [*own.live] == [0]
        own.note_ends([make_entry(1)], ["delivered"])
        own.begin_append(range(1, 3))
        assert [*own.live] == [0, 2]
        own.commit(range(1, 3), [1], [])
        assert own.settle(own.take_gone()) == {"delivered": 1}

    def test_an_outcome_that_the_caller_has_counted_itself_is_forgotten(self) -> None:
        own = make_own(1)
        own.begin_append(range(1, 2))
        own.end_append(range(1, 2), has_failed=True)
        own.note_ends([make_entry(1)], ["delivered"])
        for at in (2, 3):  # the caller has delivered number 1 from memory
            own.begin_append(range(at, at + 1))
            own.commit(range(at, at + 1), [], [])
        assert own.settle(own.take_gone()) == {}
        assert not own._early


def test_entries_are_parsed_as_the_scripts_return_them() -> None:
    entries = parse_entries(b"1-0 7:0 2 1-1 8:5 3", b"{}abc")
    assert entries == [Entry(b"1-0", b"7", 0, b"{}"), Entry(b"1-1", b"8", 5, b"abc")]
    assert parse_entries(b"", b"") == []
    assert [*count_others(entries, ["delivered", "rejected"], b"7")] == [b"8", "rejected", 1]
