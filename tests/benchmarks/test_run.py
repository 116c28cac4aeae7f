"""Which rows run, how often, and beside which earlier state."""

from __future__ import annotations

import pytest
from benchmarks import run
from benchmarks.base import Base, add_rows, check_out, get_name_now
from benchmarks.case import Case, Figure, Row, Variant
from benchmarks.packages import OURS, PACKAGES, PUBLISHED


class TestBase:
    def test_a_compared_row_is_followed_by_that_of_the_earlier_state(self) -> None:
        rows = [Row("a", "e", "whisperr_now", compared=True), Row("b", "e", "posthog")]
        now, before, other = add_rows(rows, Base("abc", "/there"))
        assert (now, other) == tuple(rows)
        assert (before.name, before.path, get_name_now(before.name)) == ("a, before", "/there", "a")
        assert add_rows(rows, None) == rows

    def test_a_revision_that_does_not_exist_is_an_error_that_names_it(self) -> None:
        with pytest.raises(ValueError, match="--base nothing-like-it: not a commit"):
            check_out("nothing-like-it")


class TestRounds:
    CASE = Case("a title", "about", (Figure("p50", "p50", "µs"),), {}, {}, rows=PACKAGES[:3])

    def _count(self, monkeypatch: pytest.MonkeyPatch, *, parallel: bool) -> list[str]:
        asked: list[str] = []

        def measure(_name: str, _case: Case, _variant: Variant, row: Row) -> dict[str, float]:
            asked.append(row.name)
            return {"p50": 1.0}

        monkeypatch.setattr(run, "measure", measure)
        variants = {"": Variant({}, parallel=parallel)}
        table = run.run_case("x", self.CASE, variants, run.Plan(rounds=3, peer_rounds=1))[""]
        assert list(table.values) == [row.name for row in self.CASE.rows]
        return asked

    def test_rows_take_turns_and_other_packages_run_less_often(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = [OURS, PUBLISHED, "PostHog"]
        assert self._count(monkeypatch, parallel=False) == [
            *first,
            PUBLISHED,
            OURS,
            OURS,
            PUBLISHED,
        ]

    def test_rows_that_only_wait_run_at_the_same_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self._count(monkeypatch, parallel=True)
        assert sorted(asked) == sorted([OURS] * 3 + [PUBLISHED] * 3 + ["PostHog"])
