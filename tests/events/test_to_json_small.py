"""Small dicts of plain values, which are encoded in one pass once their names are cached."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.test_to_json import TEXT, Text, Word
from whisperr import InvalidEvent
from whisperr._events import levels
from whisperr._events import to_json as module
from whisperr._events.to_json import to_json

NAMES = ["a", "plan", "ünïcødé", 'quo"te', "per%cent{}", ""]
NAME = st.sampled_from(NAMES)
VALUE = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
SMALL = st.recursive(
    st.dictionaries(NAME, VALUE),
    lambda inner: st.dictionaries(NAME, inner | VALUE | st.lists(inner | VALUE, max_size=4)),
    max_leaves=6,
)


def cache_names(*names: str) -> None:
    for name in names:
        to_json({name: 1}, "properties")


@given(SMALL)
def test_a_small_dict_becomes_what_the_general_encoder_makes_of_it(value: dict[str, Any]) -> None:
    cache_names(*NAMES)
    assert to_json(value, "properties") == to_json(MappingProxyType(value), "properties")


@pytest.fixture
def in_c(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Empty the cache of names; return a list of the values that the C encoder gets from now on."""
    recorded: list[object] = []
    encode = levels._encode_plain

    def record(value: object, level: int) -> Any:
        recorded.append(value)
        return encode(value, level)

    monkeypatch.setattr(module, "_prefixes", {})
    monkeypatch.setattr(levels, "_encode_plain", record)
    return recorded


def test_the_encoder_in_c_is_used_until_all_names_are_cached(in_c: list[object]) -> None:
    value = {"a": 1, "b": {"c": ["x", 2], "d": {"e": None, "f": 0.5, "g": True}}}
    texts = {to_json(value, "properties") for _ in range(10)}
    assert in_c == [value] * 7
    assert texts == {'{"a":1,"b":{"c":["x",2],"d":{"e":null,"f":0.5,"g":true}}}'}


@pytest.mark.parametrize(
    "value",
    [
        dict.fromkeys("abcdefghijklmnopq", 1),
        {"a": dict.fromkeys("abcdefghijklmnopq", 1)},
        {"a": {"a": {"a": {"a": 1}}}},
        {"a": list(range(17))},
        {"a": [{"b": [{"c": 1}]}]},
        {"a": (1, 2)},
        {"n" * 65: 1},
    ],
    ids=["many", "many inside", "deep", "a long list", "deep in lists", "a tuple", "a long name"],
)
def test_larger_values_always_use_the_encoder_in_c(
    value: dict[str, Any], in_c: list[object]
) -> None:
    cache_names(*"abcdefghijklmnopq")
    in_c.clear()
    for _ in range(3):
        assert to_json(value, "properties") == to_json(MappingProxyType(value), "properties")
    assert in_c == [value] * 3


def test_the_number_of_cached_names_is_bounded(in_c: list[object]) -> None:
    cache_names(*(f"user_{number}" for number in range(1_000)))
    in_c.clear()
    for _ in range(3):
        assert to_json({"one_more": 1}, "properties") == '{"one_more":1}'
        assert to_json({"user_7": 1}, "properties") == '{"user_7":1}'
    assert in_c == [{"one_more": 1}] * 3
    assert len(module._prefixes) == 1_000


def test_names_of_other_types_are_not_confused_with_cached_ones(in_c: list[object]) -> None:
    cache_names("1", "a", "b")
    in_c.clear()
    assert to_json({Text.A: 0, Word("b"): 0}, "properties") == '{"a":0,"b":0}'
    assert in_c == []
    assert to_json({1: 0}, "properties") == '{"1":0}'
    assert to_json({True: 0}, "properties") == '{"true":0}'


def test_a_cycle_is_refused(in_c: list[object]) -> None:
    value: dict[str, Any] = {}
    value["a"] = value
    for _ in range(3):
        with pytest.raises(InvalidEvent, match=r"properties\.a: contains itself"):
            to_json(value, "properties")
    assert in_c == []
