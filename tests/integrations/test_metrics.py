"""The metrics of a client: every field of its counters, with names of both systems."""

from __future__ import annotations

import re

import pytest

from whisperr import Stats
from whisperr._integrations.metrics import METRICS, Metric

BY_FIELD = {metric.field: metric for metric in METRICS}


def test_every_field_of_the_counters_is_a_metric() -> None:
    assert set(BY_FIELD) == set(Stats.__slots__)
    assert len(BY_FIELD) == len(METRICS)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("accepted", 7, {"": 7}),
        ("unstored", 0, {"": 0}),
        ("dropped", {"expired": 2}, {"expired": 2, "queue_full": 0}),
        ("dropped", {"reason_of_a_newer_version": 1}, {"reason_of_a_newer_version": 1}),
        ("not_accepted", {}, {"invalid": 0, "vetoed": 0, "closed": 0, "not_stored": 0}),
        ("state", "paused", {"running": 0, "paused": 1, "closed": 0, "disabled": 0}),
        ("problem", None, {"": 0}),
        ("problem", "", {"": 1}),
        ("problem", "connection refused", {"": 1}),
    ],
)
def test_a_field_is_read_as_numbers(field: str, value: object, expected: dict[str, int]) -> None:
    stats = Stats(**{field: value})  # type: ignore[arg-type]  # one field of many types
    values = BY_FIELD[field].read(stats)
    assert values | expected == values
    assert sum(values.values()) == sum(expected.values())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.field)
def test_a_name_keeps_the_rules_of_both_systems(metric: Metric) -> None:
    # OpenTelemetry: dots and snake_case, no unit and no "total". Prometheus: "_total" for counters
    # only, and the unit at the end.
    assert re.fullmatch(r"whisperr\.client(\.[a-z]+(_[a-z]+)*)+", metric.name)
    assert not re.search(r"total|bytes|count", metric.name)
    assert metric.unit == "By" or re.fullmatch(r"\{[a-z]+\}", metric.unit)
    assert metric.prometheus_name.endswith("_total") == (metric.kind == "counter")
    assert metric.prometheus_name.endswith("_bytes") == (metric.unit == "By")
    assert metric.description.endswith(".")
    assert bool(metric.attribute) == bool(metric.known)


def test_no_collection_can_have_more_events_that_ended_than_were_accepted() -> None:
    order = [metric.field for metric in METRICS]
    assert max(order.index("delivered"), order.index("dropped")) < order.index("accepted")


@pytest.mark.parametrize("field", ["accepted", "held", "held_bytes", "stored", "unstored"])
def test_what_may_decrease_is_no_counter(field: str) -> None:
    assert BY_FIELD[field].kind in {"updowncounter", "gauge"}
