"""The grammar of the filter, by the table of cases that the page's test also runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whisperr.dev import Arrival
from whisperr.dev._memory.filter import FilterError, parse_filter

TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("filter_cases.json").read_text(encoding="utf-8")
)


def arrival(name: str) -> Arrival:
    fields = dict(TABLE["arrivals"][name])
    del fields["message_id"]
    return Arrival(seq=1, received_at=0.0, **fields)


@pytest.mark.parametrize(("query", "expected"), TABLE["cases"])
def test_a_filter_passes_the_arrivals_that_match(query: str, expected: list[str]) -> None:
    passes = parse_filter(query)
    assert [name for name in TABLE["arrivals"] if passes(arrival(name))] == expected


@pytest.mark.parametrize(("query", "message"), TABLE["errors"])
def test_a_wrong_filter_says_what_is_wrong(query: str, message: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse_filter(query)
    assert str(refused.value) == message


def test_the_message_ids_in_the_table_are_those_of_its_arrivals() -> None:
    ids = {name: fields["message_id"] for name, fields in TABLE["arrivals"].items()}
    assert {name: arrival(name).message_id for name in ids} == ids


def test_a_very_long_filter_is_refused() -> None:
    with pytest.raises(FilterError, match="at most 2000"):
        parse_filter("x" * 2001)


def test_a_number_beyond_the_range_of_a_double_is_compared() -> None:
    body = {"properties": {"n": 10**400, "m": -(10**400)}}
    huge = Arrival(1, 0.0, "event", "accepted", "u", "t", 1, body)
    assert parse_filter("n>5 m<5")(huge)


def test_a_deeply_nested_body_is_searched() -> None:
    body: Any = "needle"
    for _ in range(5000):
        body = [body]
    assert parse_filter("needle")(Arrival(1, 0.0, "event", "refused", None, None, 1, body))
