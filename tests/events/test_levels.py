"""The level encoder, compared with the general encoder as its model."""

from __future__ import annotations

import enum
import gc
import json
import math
import sys
import uuid
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr import InvalidEvent
from whisperr._events.general import MAX_DEPTH, MAX_VALUES, GeneralEncoder
from whisperr._events.levels import _PLACEHOLDER, LevelEncoder
from whisperr._events.to_json import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Plan(enum.Enum):
    PRO = "pro"
    PRICE = Decimal("1.50")
    SINCE = date(2026, 6, 14)
    NONE = None
    NAN = math.nan
    MORE = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()


class Number(float):
    __slots__ = ()


class Items(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(["odd", *super().__iter__()])


class Members(dict[Any, Any]):
    def items(self) -> Any:
        return [("odd", 1), *super().items()]


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Money:
    cents: Any
    currency: str


class Object:
    def __str__(self) -> str:
        return "an object with NaN"


MOMENT = datetime(2026, 6, 14, 12, tzinfo=timezone.utc)
LEAVES: list[Any] = [
    *(None, True, False, 0, -7, 10**30, 1.5, -0.0, math.nan, math.inf, -math.inf, 1e308, 1.7e308),
    *("", "text", 'quo"te', "\0", "\0" * 3, "NaN", "Infinity", "-Infinity", "ünïcødé", "\ud800"),
    *(Decimal("19.90"), Decimal("NaN"), Decimal("-Infinity"), Decimal(7), timedelta(seconds=1.5)),
    *(MOMENT, MOMENT.replace(tzinfo=None), date(2026, 6, 14), time(12, 30), uuid.UUID(int=1)),
    *(b"bytes", b"\xff", bytearray(b"a"), memoryview(b"a"), Word("word"), Number(2.5), Level.HIGH),
    *(Plan.PRO, Plan.PRICE, Plan.SINCE, Plan.NONE, Plan.NAN, Plan.MORE, Object(), Money, range(3)),
    *(Number("nan"), Number("inf")),
]
KEYS: list[Any] = [
    *("a", "b", "", "NaN", "\0", "1", 1, True, None, 1.5, math.nan, Word("a"), Level.HIGH, b"k"),
    *(Plan.PRO, uuid.UUID(int=1), Decimal(1), date(2026, 6, 14), (1,), 10**30),
]


def pairs(items: list[Any]) -> list[tuple[str, Any]]:
    return [(f"m{at}", item) for at, item in enumerate(items)]


# Functions that make a container of each kind from a list of values.
CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "dict": lambda items: dict(pairs(items)),
    "dict of any names": lambda items: dict(zip(KEYS, items, strict=False)),
    "set": lambda items: {type(one).__name__ for one in items[:1]},
    "generator": lambda items: (one for one in items),
    "zip": lambda items: zip(items, items, strict=True),
    "deque": deque,
    "Items": Items,
    "Members": lambda items: Members(pairs(items)),
    "OrderedDict": lambda items: OrderedDict(pairs(items)),
    "defaultdict": lambda items: defaultdict(list, pairs(items)),
    "Counter": lambda items: Counter(dict(pairs(items))),
    "ChainMap": lambda items: ChainMap(dict(pairs(items))),
    "proxy": lambda items: MappingProxyType(dict(pairs(items))),
    "values": lambda items: dict(pairs(items)).values(),
    "Point": lambda items: Point(items, items),
    "Money": lambda items: Money(items, "EUR"),
}
SPECS = st.recursive(
    st.sampled_from(LEAVES).map(lambda leaf: ("leaf", [leaf])),
    lambda inner: st.tuples(st.sampled_from([*CONTAINERS]), st.lists(inner, max_size=4)),
    max_leaves=25,
)


def make(spec: Any) -> Any:
    """Make a new value: an iterator can be read once."""
    kind, inner = spec
    return inner[0] if kind == "leaf" else CONTAINERS[kind]([make(one) for one in inner])


def by_the_general_encoder(value: object) -> str:
    try:
        return GeneralEncoder().encode(value, "properties")
    except InvalidEvent as error:
        return f"error: {error}"


def by_to_json(value: object) -> str:
    try:
        return to_json(value, "properties")
    except InvalidEvent as error:
        return f"error: {error}"


@given(st.dictionaries(st.sampled_from(KEYS[:5]), SPECS, max_size=5))
def test_a_value_of_any_kinds_becomes_what_the_general_encoder_makes_of_it(
    specs: dict[str, Any],
) -> None:
    first, second = ({key: make(spec) for key, spec in specs.items()} for _ in range(2))
    assert by_to_json(first) == by_the_general_encoder(second)


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(LEAVES)), st.integers(1, 70))
def test_names_of_any_kinds_become_what_the_general_encoder_makes_of_them(
    members: dict[Any, Any], times: int
) -> None:
    value = {"a": [members] * times}
    assert by_to_json(value) == by_the_general_encoder(value)


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("times", [1, 100])
def test_no_kind_of_container_is_left_to_the_general_encoder(kind: str, times: int) -> None:
    def new() -> Any:
        inner = [1, "text", MOMENT, Decimal("19.90"), None]
        return {"a": [{"b": [CONTAINERS[kind](inner), 1]} for _ in range(times)]}

    assert LevelEncoder({}).encode(new()) == by_the_general_encoder(new())


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_nearly_no_kind_of_value_is_left_to_the_general_encoder(leaf: Any) -> None:
    value = {"a": [leaf, 1, [leaf]]}
    text = LevelEncoder({}).encode(value)
    assert (text is None) == (leaf is Plan.MORE or leaf is Plan.NAN)
    assert text is None or text == by_the_general_encoder(value)


@pytest.mark.parametrize(
    "word", ["NaN", "Infinity", "-Infinity", _PLACEHOLDER, f'"{_PLACEHOLDER}"', "\0", "null"]
)
def test_a_string_equal_to_a_placeholder_stays_a_string(word: str) -> None:
    for more in ([], [Decimal("1.0")], [math.nan], [-math.inf, Decimal("1.0"), math.nan, math.inf]):
        value = {"a": [word, *more, {word: word}, *more, word]}
        assert by_to_json(value) == by_the_general_encoder(value)


class TestIterators:
    """An iterator that the level encoder has read is not empty for the general encoder."""

    def test_two_keys_that_become_the_same_name(self) -> None:
        value = {"a": (n for n in (1, 2)), "b": {"1": "x", 1: "y"}, "c": map(str, [3])}
        assert to_json(value, "properties") == '{"a":[1,2],"b":{"1":"x","1":"y"},"c":["3"]}'

    def test_that_occurs_twice_in_an_event(self) -> None:
        def new() -> Any:
            numbers = (n for n in (1, 2))
            return {"a": [[[numbers]]], "b": numbers}

        assert to_json(new(), "properties") == '{"a":[[[[1,2]]]],"b":[]}'

    def test_that_raises_in_the_middle(self) -> None:
        def broken() -> Iterator[int]:
            yield 1
            raise OSError

        with pytest.raises(InvalidEvent, match=r"properties\.a: a generator cannot be read"):
            to_json({"a": broken(), "b": MOMENT}, "properties")

    def test_that_yields_too_many_items(self) -> None:
        with pytest.raises(InvalidEvent, match=rf"properties\.a\[\d+\]: more than {MAX_VALUES}"):
            to_json({"a": (n for n in range(MAX_VALUES)), "b": MOMENT}, "properties")


class TestLimits:
    @pytest.mark.parametrize("leaf", [1, "x", MOMENT, Decimal(1), uuid.UUID(int=1), [1], Object()])
    @pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
    def test_the_number_of_levels(self, leaf: Any, levels: int) -> None:
        value = leaf
        for _ in range(levels):
            value = {"a": value}
        assert by_to_json(value) == by_the_general_encoder(value)

    @pytest.mark.parametrize("more", [-1, 0, 1])
    @pytest.mark.parametrize("leaf", [MOMENT, Plan.PRO, {"x"}, Point(1, 2)])
    def test_the_number_of_values(self, leaf: Any, more: int) -> None:
        counted = {Plan.PRO: 2, Point(1, 2): 3}.get(leaf, 2) if not isinstance(leaf, set) else 2
        counted -= leaf is MOMENT
        value = {"a": [leaf, *[0] * (MAX_VALUES - 2 - counted + more)]}
        text, expected = by_to_json(value), by_the_general_encoder(value)
        assert text.startswith("error") == expected.startswith("error") == (more > 0)
        assert (text == expected) is True  # without a comparison of 100,000 values in the report

    @pytest.mark.parametrize("branches", [1, 2, 5])
    def test_a_cycle_through_any_container(self, branches: int) -> None:
        value: dict[str, Any] = {"at": MOMENT}
        value["odd"] = OrderedDict(list=[value] * branches)
        with pytest.raises(InvalidEvent, match=r"properties\.odd\.list\[0\]: contains itself"):
            to_json(value, "properties")

    def test_many_plain_values_are_accepted_in_few_containers(self) -> None:
        value = {"a": [1] * (2 * MAX_VALUES), "b": ["x", 1] * MAX_VALUES}
        assert json.loads(to_json(value, "properties")) == value


def test_a_container_that_changes_while_it_is_read_breaks_nothing() -> None:
    class Changing:
        def __init__(self) -> None:
            self.other: list[Any] = [1, {"b": 2}]
            self.names: dict[Any, Any] = {"n": [1]}

        def __str__(self) -> str:
            self.other[:] = [MOMENT, math.nan, self]
            self.names.clear()
            return "changed"

    values: list[Callable[[Changing], Any]] = [
        lambda one: {"a": one.other, "b": one, "c": [[[one.names]]], "d": {1.5: one.names}},
        lambda one: {"a": [[one]], "b": one.other, "c": one.names, "d": [OrderedDict(x=one.other)]},
    ]
    for make_value in values:
        changing = Changing()
        text = by_to_json(make_value(changing))
        assert text.startswith("error: properties") or json.loads(text)["d"] is not None


def count_calls(value: object) -> int:
    """Return how many Python functions an encoding calls."""
    calls = 0

    def profile(_frame: object, kind: str, _: object) -> None:
        nonlocal calls
        calls += kind == "call"

    before = sys.getprofile()
    gc.disable()  # calls of the garbage collector do not count
    sys.setprofile(profile)
    try:
        to_json(value, "properties")
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="PyPy has no encoder in C")
@pytest.mark.parametrize(
    "more", [{}, {"at": MOMENT}, {"price": math.nan}, {"ordered": OrderedDict()}]
)
def test_the_calls_of_python_do_not_grow_with_the_number_of_containers(more: Any) -> None:
    def new(size: int) -> Any:
        return {"items": [{"n": n, "tags": ["a", "b"]} for n in range(size)], **more}

    assert count_calls(new(100)) == count_calls(new(5_000)) < 80
