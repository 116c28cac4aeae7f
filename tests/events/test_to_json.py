"""The JSON that each kind of value becomes, and the encoders compared with each other."""

from __future__ import annotations

import enum
import json
import math
import uuid
from collections import ChainMap, OrderedDict, deque, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr import InvalidEvent
from whisperr._events.general import MAX_DEPTH, MAX_VALUES
from whisperr._events.to_json import to_json, to_utf8

EAST = timezone(timedelta(hours=5, minutes=30))
LOCAL_MEAN_TIME = timezone(timedelta(minutes=53, seconds=28))


class Plan(enum.Enum):
    PRO = "pro"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()


class Lazy:
    """Like a lazy translation, which is resolved by str()."""

    def __str__(self) -> str:
        return "übersetzt"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("secret detail")


@dataclass
class Money:
    cents: int
    currency: str


class Point(NamedTuple):
    x: int
    y: int


OldPoint = namedtuple("OldPoint", ["x"])  # noqa: PYI024  # both kinds exist


class Text(str, enum.Enum):
    A = "a"


CASES = [
    ("text", '"text"'),
    ('quo"te\\ and \n', '"quo\\"te\\\\ and \\n"'),
    ("ünïcødé ☃", '"ünïcødé ☃"'),
    (True, "true"),
    (None, "null"),
    (-5, "-5"),
    (10**30, "1" + "0" * 30),
    (1.5, "1.5"),
    (math.nan, "null"),
    (math.inf, "null"),
    (-math.inf, "null"),
    ([1, (2, 3)], "[1,[2,3]]"),
    (datetime(2026, 6, 14, 12, tzinfo=timezone.utc), '"2026-06-14T12:00:00Z"'),
    (datetime(2026, 6, 14, 12, 0, 0, 5, tzinfo=EAST), '"2026-06-14T12:00:00.000005+05:30"'),
    (datetime(1890, 1, 1, tzinfo=LOCAL_MEAN_TIME), '"1889-12-31T23:06:32Z"'),
    (datetime(2026, 6, 14, 12), '"2026-06-14T12:00:00"'),
    (date(2026, 6, 14), '"2026-06-14"'),
    (time(12, 30), '"12:30:00"'),
    (timedelta(minutes=1, milliseconds=500), "60.5"),
    (Decimal("19.90"), "19.90"),
    (Decimal("1E+2"), "1E+2"),
    (Decimal("NaN"), "null"),
    (Decimal("-Infinity"), "null"),
    (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (Lazy(), '"übersetzt"'),
    (PurePosixPath("/a/b"), '"/a/b"'),
    (Plan.PRO, '"pro"'),
    (Level.HIGH, "3"),
    (Text.A, '"a"'),
    (Word("sub"), '"sub"'),
    ({7}, "[7]"),
    (frozenset({7}), "[7]"),
    ((n for n in (1, 2)), "[1,2]"),
    (map(str, (1, 2)), '["1","2"]'),
    ({"a": 1}.keys(), '["a"]'),
    ({"a": 1}.values(), "[1]"),
    ({"a": 1}.items(), '[["a",1]]'),
    (range(3), "[0,1,2]"),
    (deque([1]), "[1]"),
    (OrderedDict(a=1), '{"a":1}'),
    (MappingProxyType({"a": 1}), '{"a":1}'),
    (ChainMap({"a": 1}), '{"a":1}'),
    (Money(5, "EUR"), '{"cents":5,"currency":"EUR"}'),
    (Point(1, 2), '{"x":1,"y":2}'),
    (OldPoint(1), '{"x":1}'),
    (b"plain", '"plain"'),
    (b"\xff\xfe", '"//4="'),
    (bytearray(b"a"), '"a"'),
    (memoryview(b"a"), '"a"'),
    ({1: "a", None: "b", 1.5: "d"}, '{"1":"a","null":"b","1.5":"d"}'),
    ({True: "c"}, '{"true":"c"}'),
    (
        {Plan.PRO: 1, b"k": 2, uuid.UUID(int=2): 3, (1,): 4},
        '{"pro":1,"k":2,"00000000-0000-0000-0000-000000000002":3,"(1,)":4}',
    ),
    ({math.nan: 1}, '{"nan":1}'),
    ({Level.HIGH: 1, Text.A: 2}, '{"3":1,"a":2}'),
    (object, "\"<class 'object'>\""),
    (Money, f'"{Money}"'),
]


@pytest.mark.parametrize(
    ("value", "text"), CASES, ids=[f"{type(value).__name__} {text[:30]}" for value, text in CASES]
)
def test_a_value_becomes_the_json_of_the_table(value: object, text: str) -> None:
    assert to_json(value, "properties") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": Point(1, 2)}, '{"a":{"x":1,"y":2}}'),
        ({"a": [{"b": (Decimal("0.10"),)}]}, '{"a":[{"b":[0.10]}]}'),
        ({"a": {"b": math.nan}}, '{"a":{"b":null}}'),
        ({"a": {Plan.PRO: 1}}, '{"a":{"pro":1}}'),
    ],
)
def test_a_special_value_in_a_container_is_converted(value: object, text: str) -> None:
    assert to_json(value, "properties") == text


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_the_maximum_of_levels_is_accepted() -> None:
    text = to_json(nested(MAX_DEPTH), "properties")
    assert text.count("{") == MAX_DEPTH


def test_the_error_for_one_level_more_has_the_path() -> None:
    with pytest.raises(InvalidEvent, match=r"properties\.a\.a.*more than 64 levels"):
        to_json(nested(MAX_DEPTH + 1), "properties")


@pytest.mark.parametrize("branches", [1, 2, 5])
def test_a_cycle_is_refused_at_once_whatever_its_number_of_branches(branches: int) -> None:
    value: dict[str, Any] = {}
    value["list"] = [value] * branches
    with pytest.raises(InvalidEvent, match=r"properties\.list\[0\]: contains itself"):
        to_json(value, "properties")


def test_an_endless_generator_is_bounded() -> None:
    def forever() -> Any:
        while True:
            yield 1

    with pytest.raises(InvalidEvent, match=f"more than {MAX_VALUES} values"):
        to_json({"a": forever()}, "properties")


def test_shared_references_that_multiply_are_bounded() -> None:
    value: list[Any] = ["x"]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(InvalidEvent, match="more than"):
        to_json({"a": value}, "properties")


@pytest.mark.parametrize(
    "value", [Broken(), {"k": Broken()}, [Broken()], {Broken(): 1}, 10**5000], ids=lambda _: ""
)
def test_the_error_for_an_unreadable_object_has_its_type_only(value: object) -> None:
    with pytest.raises(InvalidEvent, match="cannot be read") as caught:
        to_json({"a": value}, "properties")
    assert "secret detail" not in str(caught.value)


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert to_utf8("a\ud800b\ud83d\ude00") == "a\ufffdb\U0001f600".encode()


TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # no lone surrogates
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(TEXT, PLAIN, max_size=6))
def test_the_encoder_in_c_and_the_general_encoder_give_the_same(value: dict[str, Any]) -> None:
    in_c = to_json(value, "properties")
    general = to_json(MappingProxyType(value), "properties")
    assert in_c == general
    assert json.loads(to_utf8(in_c)) == value


@given(st.dictionaries(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), PLAIN))
def test_keys_of_any_type_become_the_same_strings_in_both_encoders(value: dict[Any, Any]) -> None:
    assert to_json(value, "properties") == to_json(MappingProxyType(value), "properties")
