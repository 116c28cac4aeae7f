"""The grammar of the filter, by the table that the page's own test reads as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whisperr.dev import Arrival
from whisperr.dev._memory.filter import FilterError, parsed

TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("filter_cases.json").read_text(encoding="utf-8")
)


def arrival(name: str) -> Arrival:
    fields = dict(TABLE["arrivals"][name])
    del fields["message_id"]
    return Arrival(seq=1, received_at=0.0, request=1, **fields)


@pytest.mark.parametrize(("query", "expected"), TABLE["cases"])
def test_a_filter_lets_through(query: str, expected: list[str]) -> None:
    fits = parsed(query)
    assert [name for name in TABLE["arrivals"] if fits(arrival(name))] == expected


@pytest.mark.parametrize(("query", "message"), TABLE["errors"])
def test_a_wrong_filter_says_what_is_wrong(query: str, message: str) -> None:
    with pytest.raises(FilterError) as refused:
        parsed(query)
    assert str(refused.value) == message


def test_the_arrivals_of_the_table_have_the_ids_that_they_say() -> None:
    ids = {name: fields["message_id"] for name, fields in TABLE["arrivals"].items()}
    assert {name: arrival(name).message_id for name in ids} == ids


def test_a_very_long_filter_is_refused() -> None:
    with pytest.raises(FilterError, match="at most 2000"):
        parsed("x" * 2001)


def test_a_number_beyond_all_doubles_is_compared_all_the_same() -> None:
    body = {"properties": {"n": 10**400, "m": -(10**400)}}
    huge = Arrival(1, 0.0, "event", "accepted", "u", "t", 1, body)
    assert parsed("n>5 m<5")(huge)


def test_a_deeply_nested_body_is_searched() -> None:
    body: Any = "needle"
    for _ in range(5000):
        body = [body]
    assert parsed("needle")(Arrival(1, 0.0, "event", "refused", None, None, 1, body))
