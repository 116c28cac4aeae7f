"""The benchmark suite: its sink sees losses and copies, its tables say what was measured."""

from __future__ import annotations

import gzip
import json
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from benchmarks import kept, page
from benchmarks.packages import OURS, PUBLISHED
from benchmarks.plots import bars
from benchmarks.registry import CASES
from benchmarks.report import lines_of, shown
from benchmarks.sink import Sink
from benchmarks.sinks import lost_of, running_sink
from benchmarks.summary import percentile, spread_of
from benchmarks.verdict import BARS, lines_of_bars, lines_of_missed, lines_of_reading

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = json.dumps([{"reference": f"mark{number:08d}"} for number in (1, 2, 2)]).encode()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"POST / HTTP/1.1", EVENTS),
        (b"POST / HTTP/1.1\r\nContent-Encoding: gzip", gzip.compress(EVENTS)),
        (b"POST / HTTP/1.1", urllib.parse.quote(EVENTS).encode()),
    ],
    ids=["plain", "gzip", "form"],
)
def test_the_sink_counts_events_in_any_format(head: bytes, body: bytes) -> None:
    sink = Sink(0.0, hang=False)
    sink.take(head, body)
    counts = sink.summary()
    assert (counts["arrived"], counts["unique"], counts["doubled"]) == (3, 2, 1)
    assert lost_of(5, counts) == {"lost": 3, "doubled": 1}


def test_the_sink_says_what_it_could_not_read() -> None:
    sink = Sink(0.0, hang=False)
    sink.take(b"POST / HTTP/1.1\r\nContent-Encoding: br", b"?")
    assert sink.summary()["unreadable"] == 1


def test_a_running_sink_answers_and_counts() -> None:
    with running_sink() as sink:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{sink.url}/v1/events/batch", data=EVENTS, timeout=30) as answer:
            assert answer.status == 202
        counts = sink.summary()
    assert (counts["requests"], counts["connections"], counts["unique"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert percentile(range(1, 11), share) == expected


def test_a_spread_is_the_median_with_its_range() -> None:
    assert spread_of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(-0.001, 2, "0.00"), (-0.01, 2, "-0.01"), (1.25, 1, "1.2"), (12_345.6, 1, "12,346")],
)
def test_a_number_is_shown_as_a_reader_wants_it(value: float, digits: int, expected: str) -> None:
    assert shown(value, digits) == expected


def measured(rate: float, lost: int = 0) -> dict[str, list[float]]:
    return {"rate": [rate], "cpu": [1.0], "lost": [lost], "doubled": [0]}


class TestTables:
    VARIANTS: ClassVar[dict[str, Any]] = {
        "": {
            "values": {
                OURS: measured(4000),
                PUBLISHED: measured(1000),
                "PostHog": measured(9000, lost=7),
            },
            "unavailable": {"Sentry": "cannot be installed: no\nwheel"},
        }
    }

    def test_a_row_says_its_ratio_and_its_losses(self) -> None:
        text = "\n".join(lines_of("throughput", self.VARIANTS))
        assert "| whisperr | 4,000 | 1.0 |  |  |  | 4.00 · 1.00 | 0 | 0 |" in text
        assert "| **7** | 0 |" in text

    def test_who_could_not_be_measured_is_named_with_the_reason(self) -> None:
        lines = lines_of("throughput", self.VARIANTS)
        assert "| Sentry | not available: cannot be installed: no wheel |" in lines

    def test_a_fast_package_that_lost_events_is_not_the_best(self) -> None:
        assert "events per second 4.00 (whisperr 0.2.1)" in "\n".join(
            lines_of("throughput", self.VARIANTS)
        )

    def test_where_a_peer_is_better_is_said_with_what_it_lost(self) -> None:
        (line,) = lines_of_reading({"throughput": self.VARIANTS})
        assert "PostHog 9,000 (and lost 7 events)" in line

    def test_the_bars_say_what_was_reached_and_what_was_not_measured(self) -> None:
        lines = lines_of_bars({"throughput": self.VARIANTS})
        assert "| throughput | 4,000 | 1,000 | 4.00 | ≥ 4 | reached |" in lines
        assert "| CPU per 1,000 events | 1.0 | 1.0 | 1.00 | ≤ 0.3 | **missed** |" in lines
        assert "| bytes per held event | | | | | not measured |" in lines

    def test_what_was_missed_is_said_with_its_reason(self) -> None:
        (cpu,) = [bar for bar in BARS if bar.figure == "cpu"]
        assert lines_of_missed({"throughput": self.VARIANTS}) == [f"- {cpu.label}: {cpu.why}"]

    def test_a_drawing_has_a_bar_for_every_row(self) -> None:
        drawing = bars(CASES["throughput"], self.VARIANTS[""]["values"])
        assert drawing.count("<line") == 3


class TestKept:
    MACHINE: ClassVar[dict[str, object]] = {
        "python": "CPython 3.11", "system": "Linux", "processor": "one", "cores": 2, "versions": {}
    }  # fmt: skip
    TABLES: ClassVar[dict[str, Any]] = {
        "": {"values": {OURS: {"p50": [1.0]}, PUBLISHED: {"p50": [2.0]}}, "unavailable": {}}
    }

    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept, "RESULTS", tmp_path / "results.json")
        monkeypatch.setattr(kept, "_git", lambda *asked: "abc" if asked[0] == "rev-parse" else "")

    def _keep(self, name: str, *, anew: bool = False, **other: object) -> dict[str, Any]:
        results = kept.begun({**self.MACHINE, **other}, {"requests": 1.0}, anew=anew)
        kept.keep(results, name, self.TABLES, 3)
        return kept.read() or {}

    def test_a_run_of_one_case_joins_those_kept_in_the_order_of_the_page(self) -> None:
        self._keep("steady")
        assert list(self._keep("burst")["cases"]) == ["burst", "steady"]

    def test_a_run_of_all_begins_anew(self) -> None:
        self._keep("steady")
        assert list(self._keep("burst", anew=True)["cases"]) == ["burst"]

    def test_figures_of_another_machine_are_not_mixed_in(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._keep("steady")
        assert list(self._keep("burst", processor="two")["cases"]) == ["burst"]
        assert "another machine" in capsys.readouterr().out

    def test_the_page_says_what_was_measured_when_and_what_was_not(self) -> None:
        text = page.page_of(self._keep("burst"))
        assert "whisperr at commit abc, rounds: 3: burst" in text
        assert "not measured: start, instructions, steady" in text
