"""Reads of unchecked payloads: what is no such value counts as missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr.billing._fields import Fields, PayloadError, format_time, read_payload, to_plain

NOON = datetime(2026, 7, 14, 12, tzinfo=timezone.utc)
DATA = Fields(
    {
        "text": "x",
        "blank": " ",
        "number": 7,
        "float": 1.5,
        "flag": True,
        "null": None,
        "list": [{"id": 1}, None, "x", {"id": 2}],
        "deep": {"inner": {"id": "in_1"}},
    }
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text", {"text": "x"}),
        ("integer", {"number": 7}),
        ("boolean", {"flag": True}),
        ("decimal", {"number": Decimal(7), "float": Decimal("1.5")}),
    ],
)
def test_only_a_value_of_the_type_is_read(kind: str, expected: dict[str, object]) -> None:
    found = {name: getattr(DATA, kind)(name) for name in DATA.to_dict()}
    assert {name: one for name, one in found.items() if one is not None} == expected


def test_a_path_leads_through_objects_only() -> None:
    assert DATA.text("deep", "inner", "id") == "in_1"
    for path in (("deep", "no", "id"), ("text", "id"), ("list", "id"), ("null", "id"), ("no",)):
        assert DATA.value(*path) is None
        assert not DATA.has(*path)
    assert DATA.has("null")
    assert DATA.has("deep", "inner", "id")
    assert [one.integer("id") for one in DATA.objects("list")] == [1, 2]
    assert DATA.objects("text") == []
    assert DATA.object("text").to_dict() == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9.99", "9.99"),
        ("0.10", "0.10"),
        (9.99, "9.99"),
        (10**30 + 1, str(10**30 + 1)),
        *((one, None) for one in ("", "x", "NaN", "Infinity", "1e999999999", "1" * 50)),
        (float("nan"), None),
        (10**99, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_a_decimal_has_exactly_the_digits_of_its_text(value: object, expected: str | None) -> None:
    found = Fields({"price": value}).decimal("price")
    assert (None if found is None else str(found)) == expected


def test_a_number_that_is_too_long_for_text_is_missing() -> None:
    assert Fields({"price": 10**5000}).decimal("price") is None


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-07-14T12:00:00Z", 0),
        ("2026-07-14T14:00:00+02:00", 0),
        ("2026-07-14T12:00:00.5Z", 500_000),
        ("2026-07-14T12:00:00.123Z", 123_000),
        ("2026-07-14T12:00:00.123456789Z", 123_456),
        ("2026-07-14T14:00:00.123456+02:00", 123_456),
    ],
)
def test_a_time_is_read_in_every_form_of_rfc_3339(text: str, microsecond: int) -> None:
    assert Fields({"at": text}).time("at") == NOON.replace(microsecond=microsecond)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "x", "2026-07-14", "2026-07-14T12:00:00", "2026-13-14T12:00:00Z"),
        *("0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", 7, None, NOON.date()),
        datetime(2026, 7, 14),  # no zone
    ],
)
def test_what_is_no_time_is_missing(value: object) -> None:
    assert Fields({"at": value}).time("at") is None


def test_numbers_of_seconds_and_milliseconds_are_times() -> None:
    seconds = int(NOON.timestamp())
    assert Fields({"at": seconds}).seconds("at") == NOON
    for value in (seconds * 1000 + 5, str(seconds * 1000 + 5)):
        assert Fields({"at": value}).millis("at") == NOON + timedelta(milliseconds=5)
    others: list[object] = [10**30, -(10**30), "9" * 19, "9" * 30, "x", "-1", 1.5, True, None]
    for other in others:
        assert Fields({"at": other}).millis("at") is None
        assert Fields({"at": other}).seconds("at") is None


@given(text=st.text() | st.datetimes().map(str) | st.from_regex(r"\A[0-9T:.Z+-]{5,30}\Z"))
def test_no_text_makes_a_read_raise(text: str) -> None:
    fields = Fields({"x": text})
    found = fields.time("x")
    assert found is None or found.tzinfo is timezone.utc
    fields.millis("x")
    fields.decimal("x")


@given(number=st.integers() | st.floats())
def test_no_number_makes_a_read_raise(number: float) -> None:
    fields = Fields({"x": number})
    for found in (fields.seconds("x"), fields.millis("x")):
        assert found is None or found.tzinfo is timezone.utc
    fields.decimal("x")


TIMES = st.datetimes(
    min_value=datetime(1000, 1, 1),  # Hypothesis adds the zone
    timezones=st.just(timezone.utc),
)


@given(time=TIMES)
def test_a_time_is_written_so_that_it_is_read_again(time: datetime) -> None:
    written = format_time(time)
    assert written is not None
    assert written.endswith("Z")
    assert Fields({"at": written}).time("at") == time.replace(
        microsecond=time.microsecond // 1000 * 1000
    )


class Kind(Enum):
    PAID = "invoice.paid"


@dataclass
class Item:
    id: str
    kind: Kind


class Event:
    """As the objects of several packages."""

    def to_dict(self) -> dict[str, Any]:
        return {"id": "evt_1", "items": [Item("in_1", Kind.PAID)]}


class Broken:
    def to_dict(self) -> dict[str, Any]:
        raise RuntimeError


def test_an_object_of_a_package_is_read_like_its_json() -> None:
    expected = {"id": "evt_1", "items": [{"id": "in_1", "kind": "invoice.paid"}]}
    assert read_payload(Event()).to_dict() == expected
    assert read_payload(json.dumps(expected)).to_dict() == expected
    assert read_payload(memoryview(json.dumps(expected).encode())).to_dict() == expected


@pytest.mark.parametrize("value", [object(), Item, Broken(), {1, 2}, b"x"])
def test_what_is_not_known_becomes_none(value: object) -> None:
    assert to_plain(value) is None


def test_what_is_nested_too_deeply_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert json.dumps(to_plain(endless))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"no json", "the payload is not JSON"),
        ("[" * 100_000, "the payload is not JSON"),
        (b"\xff\xfe", "the payload is not JSON"),
        ("1" * 5_000, "the payload is "),
        ("[1]", "the payload is a str: pass a dict"),
        ([], "the payload is a list: pass a dict"),
        (object(), "the payload is a object: pass a dict"),
        (Broken(), "the payload is a Broken: pass a dict"),
    ],
)
def test_what_is_no_payload_says_what_to_pass(payload: object, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        read_payload(payload)
