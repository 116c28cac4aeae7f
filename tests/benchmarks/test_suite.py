"""The benchmark suite: its server counts losses and copies, its tables show what was measured."""

from __future__ import annotations

import gzip
import json
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from benchmarks import page, record
from benchmarks.case import Figure
from benchmarks.counting_server import CountingServer
from benchmarks.latency import compare_with_floor
from benchmarks.packages import OURS, PUBLISHED
from benchmarks.plots import bars
from benchmarks.registry import CASES
from benchmarks.report import format_figure, format_number, to_lines
from benchmarks.server_process import count_losses, run_server
from benchmarks.summary import get_spread, percentile
from benchmarks.verdict import (
    to_better_peer_lines,
)

from tests.benchmarks.tables import MACHINE, VARIANTS, measured, to_table

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
def test_the_server_counts_events_in_any_format(head: bytes, body: bytes) -> None:
    server = CountingServer(0.0, hang=False)
    server.add(head, body)
    counts = server.summary()
    assert (counts["arrived"], counts["unique"], counts["doubled"]) == (3, 2, 1)
    assert count_losses(5, counts) == {"lost": 3, "doubled": 1}


def test_the_server_counts_unreadable_requests() -> None:
    server = CountingServer(0.0, hang=False)
    server.add(b"POST / HTTP/1.1\r\nContent-Encoding: br", b"?")
    assert server.summary()["unreadable"] == 1


def test_a_running_server_answers_and_counts() -> None:
    with run_server() as server:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{server.url}/v1/events/batch", data=EVENTS, timeout=30) as answer:
            assert answer.status == 202
        counts = server.summary()
    assert (counts["requests"], counts["connections"], counts["unique"]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert percentile(range(1, 11), share) == expected


def test_a_spread_is_the_median_with_its_range() -> None:
    assert get_spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(-0.001, 2, "0.00"), (-0.01, 2, "-0.01"), (1.25, 1, "1.2"), (12_345.6, 1, "12,346")],
)
def test_a_number_is_shown_with_few_digits(value: float, digits: int, expected: str) -> None:
    assert format_number(value, digits) == expected


@pytest.mark.parametrize(
    ("figure", "value", "expected"),
    [
        (Figure("p50", "p50", "µs"), 6.78, "6.8 µs"),
        (Figure("rate", "events", "per s", digits=0), 92_753.4, "92,753 per s"),
        (Figure("connections", "connections", ""), 1.0, "1.0"),
    ],
)
def test_a_figure_is_shown_with_its_unit(figure: Figure, value: float, expected: str) -> None:
    assert format_figure(value, figure) == expected


def test_calls_are_compared_with_the_median_of_encoding() -> None:
    found = compare_with_floor([3_000] * 98 + [8_000] * 2, [1_000] * 60 + [90_000] * 40)
    assert (found["p50"], found["p99"], found["floor"]) == (3.0, 8.0, 1.0)
    assert (found["times"], found["times99"]) == (3.0, 8.0)


class TestTables:
    def test_a_row_shows_its_multiple_and_its_losses(self) -> None:
        text = "\n".join(to_lines("throughput", VARIANTS))
        assert "| whisperr | 4,000 | 1.0 |  | 3.00 |  |  |  | 4.00 | 0 | 0 |" in text
        assert "| **7** | 0 |" in text

    def test_an_unavailable_package_is_named_with_the_reason(self) -> None:
        lines = to_lines("throughput", VARIANTS)
        assert "| Sentry | not available: cannot be installed: no wheel" + " |" * 10 in lines

    def test_a_fast_package_that_lost_events_is_not_the_best(self) -> None:
        assert (
            "throughput: 4.00 times that of whisperr 0.2.1, the best of the others."
            in "\n".join(to_lines("throughput", VARIANTS))
        )

    def test_a_better_peer_is_shown_with_its_losses(self) -> None:
        rate, times = to_better_peer_lines({"throughput": VARIANTS})
        assert "whisperr 4,000 events per s; PostHog 9,000 events per s (and lost 7 events)" in rate
        assert "whisperr 3.00 times `json.dumps`; PostHog 2.00 times" in times

    def test_a_figure_that_looks_the_same_is_not_better(self) -> None:
        table = to_table(**{OURS: measured(4000.2), "PostHog": measured(4000.4)})
        assert to_better_peer_lines({"throughput": table}) == ["In no figure of this run."]

    def test_a_drawing_has_a_bar_for_every_row(self) -> None:
        drawing = bars(CASES["throughput"], VARIANTS[""]["values"])
        assert drawing.count("<line") == 3


def test_the_pages_are_those_of_the_kept_results() -> None:
    results = record.read()
    assert results is not None
    assert page.PAGE.read_text(encoding="utf-8") == page.to_page(results)
    assert page.MEASUREMENTS.read_text(encoding="utf-8") == page.to_measurements(results)
    durability = page.DURABILITY.read_text(encoding="utf-8")
    assert page.replace_costs(durability, results) == durability


class TestRecord:
    TABLES: ClassVar[dict[str, Any]] = {
        "": {"values": {OURS: {"p50": [1.0]}, PUBLISHED: {"p50": [2.0]}}, "unavailable": {}}
    }

    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(record, "RESULTS", tmp_path / "results.json")
        monkeypatch.setattr(record, "_git", lambda *asked: "abc" if asked[0] == "rev-parse" else "")

    def _keep(self, name: str, *, fresh: bool = False, **other: object) -> dict[str, Any]:
        results = record.begin({**MACHINE, **other}, {"requests": 1.0}, fresh=fresh)
        record.add(results, name, self.TABLES, 3)
        return record.read() or {}

    def test_a_run_of_one_case_is_added_in_the_order_of_the_page(self) -> None:
        self._keep("steady")
        assert list(self._keep("burst")["cases"]) == ["burst", "steady"]

    def test_a_run_of_all_cases_replaces_the_results(self) -> None:
        self._keep("steady")
        assert list(self._keep("burst", fresh=True)["cases"]) == ["burst"]

    def test_figures_of_another_machine_are_not_mixed_in(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._keep("steady")
        assert list(self._keep("burst", processor="two")["cases"]) == ["burst"]
        assert "another machine" in capsys.readouterr().out

    def test_the_page_shows_what_was_measured_when_and_what_was_not(self) -> None:
        text = page.to_page(self._keep("burst"))
        assert "whisperr at commit abc, rounds: 3: burst" in text
        assert "not measured: start, first_request, steady" in text
