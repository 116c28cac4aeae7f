"""The dashboard and the alert rules: every query fits what a client really exposes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.page import ROOT
from tests.docs.test_links import get_anchors
from tests.prometheus.exposition import make_clients
from whisperr._contract import PAGES_URL
from whisperr._integrations.metrics import METRICS
from whisperr.dev import LocalServer
from whisperr.prometheus import collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    # The values of each label of each series.
    Exposition = dict[str, dict[str, set[str]]]

FOLDER = ROOT / "docs" / "delivery"
RULES = FOLDER / "alerts.yml"
DASHBOARD = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
# Prometheus adds these to what it scrapes; OTLP has them of the resource.
ADDED = {"job", "instance"}

_SELECTOR = re.compile(r"(whisperr_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"')


def get_rules() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is in the extra `dev`")
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def get_panel_queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def get_variable_queries() -> list[str]:
    variables = DASHBOARD["templating"]["list"]
    return [one["query"]["query"] for one in variables if one["type"] == "query"]


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exposition]:
    with LocalServer() as server:
        busy, paused = make_clients(server, tmp_path_factory.mktemp("buffer"))
        registry = CollectorRegistry()
        registry.register(collector({"web": busy, "billing": paused}))
        text = generate_latest(registry).decode()
        found: Exposition = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
        yield found
        for client in (busy, paused):
            client.shutdown(0)


def find_mistakes(query: str, exposition: Exposition) -> list[str]:
    """Return what a query names that no client exposes: series, labels and their values."""
    mistakes, labels = [], set(ADDED)
    for name, matchers in _SELECTOR.findall(query):
        known = exposition.get(name)
        if known is None:
            mistakes.append(name)
            continue
        labels |= set(known)
        for label, values in _MATCHER.findall(matchers):
            if label in known:
                mistakes += [v for v in values.split("|") if v not in known[label]]
            elif label not in ADDED:
                mistakes.append(f"{name}{{{label}}}")
    grouped = re.findall(r"\bby \(([^)]*)\)|label_values\(.*, (\w+)\)", query)
    names = {name.strip() for pair in grouped for name in ",".join(pair).split(",") if name}
    return [*mistakes, *sorted(names - labels)]


def get_labels(query: str, exposition: Exposition) -> set[str]:
    """Return the labels that the result of a query may have."""
    grouped = re.search(r"\bby \(([^)]*)\)", query)
    if grouped is not None:
        return {name.strip() for name in grouped[1].split(",")}
    return ADDED.union(*(exposition[name] for name, _ in _SELECTOR.findall(query)))


def test_every_query_names_what_a_client_exposes(exposition: Exposition) -> None:
    queries = [*get_panel_queries(), *get_variable_queries(), *(r["expr"] for r in get_rules())]
    found = {query: find_mistakes(query, exposition) for query in queries}
    assert {query: mistakes for query, mistakes in found.items() if mistakes} == {}
    assert len(found) > len(METRICS)


@pytest.mark.parametrize(
    ("query", "mistakes"),
    [
        ("whisperr_client_event_lost_total", ["whisperr_client_event_lost_total"]),
        ('whisperr_client_event_held{reason="x"}', ["whisperr_client_event_held{reason}"]),
        ('whisperr_client_state{state=~"paused|stopped"}', ["stopped"]),
        ("sum by (job, state) (whisperr_client_event_held)", ["state"]),
        ("label_values(whisperr_client_event_held, pod)", ["pod"]),
        ('sum by (reason) (rate(whisperr_client_event_dropped_total{job="a"}[5m]))', []),
    ],
)
def test_a_wrong_query_is_found(query: str, mistakes: list[str], exposition: Exposition) -> None:
    assert find_mistakes(query, exposition) == mistakes


def test_texts_name_labels_that_the_result_has(exposition: Exposition) -> None:
    for rule in get_rules():
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert named <= get_labels(rule["expr"], exposition), rule["alert"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert named <= get_labels(target["expr"], exposition), panel["title"]


def test_the_dashboard_shows_every_metric_but_the_sum_of_others() -> None:
    shown = {name for query in get_panel_queries() for name, _ in _SELECTOR.findall(query)}
    names = {metric.prometheus_name for metric in METRICS}
    assert names - shown == {"whisperr_client_event_accepted"}


def test_an_alert_leads_to_a_page_and_a_heading_that_exist() -> None:
    for rule in get_rules():
        url = rule["annotations"]["runbook_url"]
        assert url.startswith(PAGES_URL)
        page, _, anchor = url.removeprefix(PAGES_URL).partition("#")
        anchors = get_anchors((ROOT / "docs" / page).read_text(encoding="utf-8"))
        if anchor:
            assert anchor == "{{ $labels.reason }}"
            for metric in METRICS:
                if metric.attribute == "reason":
                    # `vetoed` is no loss, and no rule is about it.
                    assert set(metric.known) - {"vetoed"} <= anchors


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert DASHBOARD["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    # The user's own data source, and no name that only the author's Grafana has.
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(DASHBOARD))
    assert set(sources) == {"${datasource}", DASHBOARD["uid"]}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD))
    assert set(used) == variables


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool of Prometheus is not installed")
@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "docs/delivery/alerts.yml"),
        ("test", "rules", "tests/prometheus/alerts_test.yml"),
    ],
    ids=lambda command: command[0],
)
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(command: Any) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_in_the_tests_of_promtool() -> None:
    text = (ROOT / "tests" / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8")
    tested = set(re.findall(r"alertname: (\w+)\n.*\n +exp_alerts:", text))
    assert tested == {rule["alert"] for rule in get_rules()}
