"""The sentences that say what the figures mean, and the table of docs/delivery/durability.md."""

from __future__ import annotations

from typing import Any, ClassVar

from benchmarks import page
from benchmarks.overview import to_cost_lines, to_overview_lines
from benchmarks.packages import OURS, PUBLISHED

from tests.benchmarks.tables import MACHINE, to_table


class TestOverview:
    CASES: ClassVar[dict[str, Any]] = {
        "burst": to_table(**{OURS: {"p50": [3.51], "p99": [9.0], "times": [1.24], "lost": [0.0]}}),
        "slowdown": to_table(
            **{
                OURS: {"slowdown": [3.0]},
                PUBLISHED: {"slowdown": [11.0]},
                "Sentry": {"slowdown": [220.0]},
            }
        ),
        "buffers": to_table(
            SQLite={"p50": [4.0], "p99": [5.0], "p999": [60.0], "rate": [70_000.0]}
        ),
    }

    def test_the_first_sentence_is_what_a_call_takes_beside_encoding(self) -> None:
        first, second, third, last = to_overview_lines(self.CASES)
        assert "takes 3.51 µs**, and 99 of 100 take at most 9.0 µs" in first
        assert "The median is 1.24 times `json.dumps` of the same properties" in first
        assert "becomes 3.0 % slower**" in second
        assert "(with other packages, 11.0 to 220 %)" in second
        assert "4.0 µs with SQLite (70,000 events per s delivered)" in third
        assert "whisperr lost no event and delivered none twice" in last

    def test_a_lost_event_is_said(self) -> None:
        rows = {OURS: {"lost": [0.0, 2.0], "doubled": [1.0]}, "Sentry": {"lost": [9.0]}}
        cases = {"burst": to_table(**rows)}
        assert "**3 events of whisperr were lost or duplicated" in to_overview_lines(cases)[-1]

    def test_the_table_of_costs_has_a_row_for_each_buffer_that_was_measured(self) -> None:
        results = {
            "cases": self.CASES,
            "machine": MACHINE,
            "runs": {"buffers": {"rounds": 3}},
        }
        lines = to_cost_lines(results)
        assert lines[2] == "| SQLite | 4.0 µs | 5.0 µs | 60 µs |"
        assert len(lines) == 5
        text = f"before\n{page.COSTS[0]}old\n{page.COSTS[1]}\nafter"
        assert page.replace_costs(text, results).splitlines()[-1] == "after"
        assert "old" not in page.replace_costs(text, results)

    def test_the_page_of_durability_has_the_place_of_the_table(self) -> None:
        assert all(page.DURABILITY.read_text("utf-8").count(mark) == 1 for mark in page.COSTS)
