"""docs/delivery/metrics.md holds: its code runs, its names are those of the code and the rules."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import get_blocks, get_names, get_rows, get_text, paste
from tests.docs.pasted import run
from whisperr._cli.main import make_parser
from whisperr._delivery.accounting import NEVER_ACCEPTED, Stats
from whisperr._integrations.metrics import METRICS
from whisperr._integrations.outbox_report import Figures
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/delivery/metrics.md"


def get_first_names(heading: str) -> set[str]:
    return {name for row in get_rows(PAGE, heading) for name in get_names(row[0])}


# What the page does not show: a scrape of its application, and of its second registry.
SCRAPE = """
from prometheus_client import generate_latest
from starlette.testclient import TestClient

print(TestClient(app, follow_redirects=False).get(PATH).text)
print(generate_latest(registry).decode())
"""


def test_the_code_runs(tmp_path: Path) -> None:
    for module in ("fastapi", "opentelemetry", "prometheus_client"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    yaml = pytest.importorskip("yaml", reason="PyYAML is in the extra `dev`")
    with LocalServer() as server:
        environment = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_test"}
        (job,) = yaml.safe_load(get_blocks(PAGE, "yaml")[0])["scrape_configs"]
        path = f"\nPATH = {job['metrics_path']!r}\n"
        done = run(tmp_path, paste(PAGE) + path + SCRAPE, **environment)
        assert done.stderr == ""
        assert "\nwhisperr_client_event_accepted 1.0\n" in done.stdout
        assert '\nwhisperr_client_event_accepted{client="web"} 1.0\n' in done.stdout
        assert [arrival.type for arrival in server.arrivals()] == ["payment_failed"]


def test_the_fields_are_those_of_the_code() -> None:
    assert get_first_names("The fields") == set(Stats.__slots__)
    assert get_first_names("When a relay delivers") == set(Figures._fields)


def test_the_reasons_of_calls_that_are_not_accepted_are_those_of_the_code() -> None:
    (row,) = [row for row in get_rows(PAGE, "The fields") if row[0] == "`not_accepted`"]
    assert set(get_names(row[1])) == set(NEVER_ACCEPTED)


def test_the_names_are_those_of_the_code() -> None:
    kinds = {"counter": "counter", "updowncounter": "up-down counter", "gauge": "gauge"}
    assert [[cell.strip("`") for cell in row] for row in get_rows(PAGE, "Names")] == [
        [m.field, m.name, kinds[m.kind], m.unit, m.prometheus_name, m.attribute] for m in METRICS
    ]


def test_the_alerts_are_those_of_the_rules() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is in the extra `dev`")
    (group,) = yaml.safe_load(get_text("docs/delivery/alerts.yml"))["groups"]
    rows = get_rows(PAGE, "Alerts")
    assert [row[0].strip("`") for row in rows] == [rule["alert"] for rule in group["rules"]]
    fields = {metric.field: metric.prometheus_name for metric in METRICS}
    for row, rule in zip(rows, group["rules"], strict=True):
        named = {name for name in get_names(row[1]) if name in fields}
        assert named
        assert all(fields[name] in rule["expr"] for name in named), row[0]
        values = set(get_names(row[1])) - named
        assert values <= {*NEVER_ACCEPTED, "paused"}
        assert all(value in rule["expr"] for value in values), row[0]


def test_the_commands_are_understood() -> None:
    *_, block = get_blocks(PAGE, "console")
    calls = [shlex.split(line) for line in block.splitlines()]
    assert [call[0] for call in calls] == ["python", "whisperr"]
    assert make_parser().parse_args(calls[1][1:]).json
