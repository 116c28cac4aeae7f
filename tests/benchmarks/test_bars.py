"""The bars: what a figure has to reach, by itself or beside another row."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.base import Base, add_rows
from benchmarks.packages import OURS, PACKAGES, PEERS, PUBLISHED
from benchmarks.registry import CASES
from benchmarks.verdict import (
    BARS,
    BEST_OF_OTHERS,
    Bar,
    check_bars,
    to_bar_lines,
    to_missed_lines,
)

from tests.benchmarks.tables import VARIANTS, to_table


def find_check(cases: dict[str, Any], case: str, figure: str, to: str = "") -> Any:
    (found,) = [
        check
        for check in check_bars(cases)
        if (check.bar.case, check.bar.figure, check.bar.to) == (case, figure, to)
    ]
    return found


class TestBars:
    @pytest.mark.parametrize("bar", BARS, ids=lambda bar: f"{bar.case}, {bar.figure}, {bar.to}")
    def test_a_bar_names_what_is_measured(self, bar: Bar) -> None:
        case = CASES[bar.case]
        assert bar.figure in {figure.name for figure in case.figures}
        assert bar.variant in case.full
        rows = {row.name for row in add_rows(case.rows or PACKAGES, Base("abc", "/there"))}
        assert {bar.row, *({bar.to} - {"", BEST_OF_OTHERS})} <= rows
        assert (bar.most is None) != (bar.least is None)

    @pytest.mark.parametrize(
        ("case", "figure", "value", "reached"),
        [
            ("burst", "times", 1.5, True),
            ("burst", "times", 1.51, False),
            ("burst", "times99", 4.0, True),
            ("burst", "times99", 4.01, False),
            ("throughput", "times", 4.0, True),
            ("throughput", "times", 4.01, False),
            ("slowdown", "slowdown", 5.0, True),
            ("slowdown", "slowdown", 5.01, False),
            ("throughput", "connections", 2.0, False),
        ],
    )
    def test_a_bar_is_reached_or_missed_by_the_figure_alone(
        self, case: str, figure: str, value: float, reached: bool
    ) -> None:
        check = find_check({case: to_table(**{OURS: {figure: [value]}})}, case, figure)
        assert (check.figure, check.found, check.reached) == (value, value, reached)

    @pytest.mark.parametrize(
        ("published", "peer", "lost", "reached"),
        [(10.0, 5.0, 0, True), (10.0, 4.0, 0, False), (4.0, 9.0, 0, False), (10.0, 3.0, 1, True)],
    )
    def test_the_slowdown_has_to_be_below_that_of_every_package_that_lost_nothing(
        self, published: float, peer: float, lost: int, reached: bool
    ) -> None:
        rows = {OURS: 4.0, PUBLISHED: published, PEERS[0]: peer}
        values: dict[str, dict[str, list[float]]] = {
            row: {"slowdown": [v], "lost": [0]} for row, v in rows.items()
        }
        values[PEERS[0]]["lost"] = [lost]
        check = find_check({"slowdown": to_table(**values)}, "slowdown", "slowdown", BEST_OF_OTHERS)
        assert check.reached is reached

    @pytest.mark.parametrize(
        ("before", "rate", "reached"), [(4.0, 2_500, True), (3.9, 2_400, False)]
    )
    def test_a_buffer_is_compared_with_an_earlier_state(
        self, before: float, rate: float, reached: bool
    ) -> None:
        now = {"p50": [1.0], "rate": [rate]}
        then = {"p50": [before], "rate": [1_000.0]}
        cases = {"buffers": to_table(**{"SQLite": now, "SQLite, before": then})}
        for figure in ("p50", "rate"):
            assert find_check(cases, "buffers", figure, "SQLite, before").reached is reached

    def test_bars_are_shown_with_units_and_what_was_not_measured_is_named(self) -> None:
        lines = to_bar_lines({"throughput": VARIANTS})
        assert (
            "| throughput | 4,000 events per s | 4.00 times whisperr 0.2.1 "
            "| ≥ 4 times whisperr 0.2.1 | reached |"
        ) in lines
        assert (
            "| CPU per delivered event | 3.00 times `json.dumps` |  | ≤ 4 times `json.dumps` "
            "| reached |"
        ) in lines
        assert "memory per held event beside whisperr 0.2.1" in lines[-2]

    def test_a_missed_bar_is_shown_with_its_reason(self) -> None:
        rows = {OURS: {"p50": [9.0]}, PUBLISHED: {"p50": [10.0]}}
        (steady,) = [bar for bar in BARS if bar.case == "steady"]
        (line,) = to_missed_lines({"steady": to_table(**rows)})
        assert steady.why
        assert line == f"- {steady.label} (≤ 0.5 times whisperr 0.2.1): {steady.why}"
        assert to_missed_lines({}) == []
