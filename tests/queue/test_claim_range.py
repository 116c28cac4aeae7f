"""Where a relay scans for free rows: after its last claim, or in the whole table."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from whisperr._queue.table.range import FULL_SCAN_INTERVAL, ClaimRange


class Row(NamedTuple):
    id: int


class Table:
    """The free rows of a table; a full scan takes time on the test's clock."""

    def __init__(self, *ids: int, full_scan_takes: float = 0.0) -> None:
        self.free = set(ids)
        self.full_scan_takes = full_scan_takes
        self.now = 0.0
        self.scans: list[int | None] = []
        self.range = ClaimRange(lambda: self.now)

    def _claim(self, last: int | None) -> list[Row]:
        self.scans.append(last)
        if last is None:
            self.now += self.full_scan_takes
        found = sorted(one for one in self.free if last is None or one > last)[:3]
        self.free.difference_update(found)
        return [Row(one) for one in found]

    def claim(self) -> list[int]:
        """Claim three rows."""
        return [row.id for row in self.range.scan(self._claim, 3)]


@pytest.fixture
def table() -> Table:
    return Table(*range(1, 11))


def test_the_first_scan_is_full_and_later_ones_continue_after_the_last_claim(
    table: Table,
) -> None:
    assert [table.claim() for _ in range(3)] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert table.scans == [None, 3, 6]


def test_a_row_with_a_lower_id_is_claimed_within_a_second(table: Table) -> None:
    table.claim()
    table.free.add(1)  # its transaction has committed late
    table.now += FULL_SCAN_INTERVAL - 0.01
    assert table.claim() == [4, 5, 6]
    table.now += 0.01
    assert table.claim() == [1, 7, 8]
    assert table.claim() == [9, 10]


def test_a_relay_continues_after_the_lower_ids_that_it_found(table: Table) -> None:
    table.free = {100, 101, 102, 103}
    table.claim()
    table.free |= {1, 2, 3, 4, 5}
    table.now += FULL_SCAN_INTERVAL
    assert [table.claim() for _ in range(3)] == [[1, 2, 3], [4, 5, 103], []]


def test_nothing_above_the_last_claim_makes_a_full_scan_at_once(table: Table) -> None:
    table.free = {7, 8, 9}
    table.claim()
    table.free = {1}
    assert table.claim() == [1]
    assert table.scans == [None, 9, None]


def test_after_a_scan_that_found_few_the_next_is_a_full_one() -> None:
    table = Table(7, 8, 9, 10)
    table.claim()
    assert table.claim() == [10]
    table.free = {1, 11}
    assert table.claim() == [1, 11]
    assert table.scans == [None, 9, None]


def test_only_a_full_scan_that_found_few_shows_that_nothing_is_left() -> None:
    table = Table(1, 2, 3, 4)
    states = []
    for _ in range(3):
        found = len(table.claim())
        states.append((found, table.range.is_exhausted, table.range.may_find_more))
    assert states == [(3, False, True), (1, False, True), (0, True, False)]


def test_a_table_that_was_exhausted_is_not_when_a_scan_finds_rows_again() -> None:
    table = Table(1, 2, 3, full_scan_takes=1.0)
    table.claim()
    table.now += 60
    assert table.claim() == []
    assert table.range.is_exhausted
    table.free = {4}
    assert table.claim() == [4]
    assert not table.range.is_exhausted


def test_what_was_given_back_is_claimed_first(table: Table) -> None:
    table.claim()
    table.free |= {1, 2, 3}
    table.range.reset()
    assert table.claim() == [1, 2, 3]


@pytest.mark.parametrize(
    ("takes", "pause"), [(0.0, 0.0), (0.1, 0.0), (0.2, 1.8), (5.0, 45.0)], ids=str
)
def test_slow_full_scans_leave_nine_tenths_of_the_time_to_deliveries(
    takes: float, pause: float
) -> None:
    table = Table(7, 8, 9, full_scan_takes=takes)
    table.claim()
    table.free = {1}
    if pause:
        table.now += pause - 0.01
        assert table.claim() == []
        assert not table.range.is_exhausted
        assert not table.range.may_find_more
        table.now += 0.01
        assert table.range.may_find_more
    assert table.claim() == [1]


def test_while_slow_full_scans_pause_new_rows_are_found_without_them() -> None:
    table = Table(1, 2, 3, full_scan_takes=5.0)
    table.claim()
    for new in (4, 5, 6):
        table.free = {new}
        assert table.claim() == [new]
    assert table.scans == [None, 3, 4, 5]


def test_a_scan_that_fails_changes_nothing(table: Table) -> None:
    table.claim()

    def fail(last: int | None) -> list[Row]:
        raise OSError(last)

    with pytest.raises(OSError, match="3"):
        table.range.scan(fail, 3)
    assert table.claim() == [4, 5, 6]
