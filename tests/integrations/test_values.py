"""Values of the text on a command line."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from whisperr._integrations.values import parse_json, parse_members, parse_moment, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4900", 4900),
        ("-1", -1),
        ("19.90", Decimal("19.90")),
        ("1e3", Decimal("1e3")),
        ("true", True),
        ("null", None),
        ('"4900"', "4900"),
        ("[1, 2]", [1, 2]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("True", "True"),
        ("pro", "pro"),
        ("", ""),
        ("01234", "01234"),
        ("+49151", "+49151"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("{a: 1}", "{a: 1}"),
        ("[" * 100_000, "[" * 100_000),
        ("2026-06-14", "2026-06-14"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_is_parsed_and_everything_else_is_a_string(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_very_deep_nesting_is_not_json() -> None:
    with pytest.raises(ValueError, match="nested"):
        parse_json("[" * 100_000)


def test_words_become_an_object() -> None:
    assert parse_members(["a=1", "b=x=y", "c="]) == {"a": 1, "b": "x=y", "c": ""}
    assert parse_members([]) == {}


@pytest.mark.parametrize(
    ("words", "why"),
    [(["a"], "write key=value"), (["=1"], "write key=value"), (["a=1", "a=2"], "given twice")],
)
def test_other_words_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_members(words)


NOON = datetime(2026, 6, 14, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-14T12:00:00Z", NOON),
        ("2026-06-14t12:00:00z", NOON),
        (" 2026-06-14 12:00Z ", NOON),
        ("2026-06-14T14:00:00+02:00", NOON),
        ("2026-06-14T14:00:00+0200", NOON),
        ("2026-06-14T12:00:00.5Z", NOON + timedelta(microseconds=500_000)),
        ("2026-06-14T12:00:00.123456789Z", NOON + timedelta(microseconds=123_456)),
    ],
)
def test_a_time_needs_a_zone(text: str, moment: datetime) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-06-14T12:00:00", "add the zone, as in 2026-06-14T12:00:00Z"),
        ("2026-06-14", "write a time as"),
        ("yesterday", "write a time as"),
        ("2026-02-30T12:00:00Z", "day is out of range|must be in"),
    ],
)
def test_another_text_is_refused_with_the_right_format(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_moment(text)
