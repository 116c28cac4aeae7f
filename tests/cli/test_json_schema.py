"""JSON Schema of annotations: it describes what the encoder makes of their values."""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntFlag
from pathlib import PurePosixPath
from types import GenericAlias
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Protocol,
    TypeVar,
    Union,
)
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr import Event, InvalidEvent
from whisperr._cli.json_schema import DIALECT, Schemas, is_optional, to_value, without_null
from whisperr._field_types import check_types, get_annotations

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required, TypedDict, TypeVarTuple, Unpack
else:
    from typing_extensions import NotRequired, Required, TypedDict, TypeVarTuple, Unpack

jsonschema = pytest.importorskip("jsonschema")

Seats = NewType("Seats", int)
Size = TypeVar("Size", bound=int)
T = TypeVar("T")
OR_NONE = Literal["a", None]  # noqa: PYI061  # people write it as well


class Plan(Enum):
    FREE = "free"
    PRO = 1


class Tier(str, Enum):
    GOLD = "gold"


class Access(IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Node:
    """A node of a tree.

    Attributes:
        name: Its name.
    """

    name: str
    parent: Node | None = None
    labels: list[str] = field(default_factory=list)


class Address(TypedDict):
    city: str
    street: NotRequired[str]


class Draft(TypedDict, total=False):
    title: Required[str]
    text: str


class Point(NamedTuple):
    x: int
    y: int = 0


class Printable(Protocol):
    def print(self) -> str: ...


class Money:
    def __str__(self) -> str:
        return "9.99 EUR"


class Pages:
    """The encoder reads no iterator that it does not know."""

    def __iter__(self) -> Iterator[int]:
        return iter(())


class Tagged(list[str], Generic[T]):
    """A list of strings, although its argument is another type."""


class Box(TypedDict, Generic[T]):
    content: T


@dataclass
class Pair(Generic[T]):
    first: T
    second: T


Several = TypeVarTuple("Several")

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
PAIR = {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}
MOMENT = datetime(2026, 6, 14, tzinfo=timezone.utc)
PLAIN: list[tuple[Any, dict[str, Any], list[Any]]] = [
    (str, TEXT, ["pro", ""]),
    (int, WHOLE, [9]),
    (bool, {"type": "boolean"}, [True]),
    (float, {"type": "number"}, [9, 9.5]),
    (Decimal, {"type": "number"}, [Decimal("19.90")]),
    (timedelta, {"type": "number"}, [timedelta(hours=1)]),
    (datetime, {"type": "string", "format": "date-time"}, [MOMENT]),
    (date, {"type": "string", "format": "date"}, [MOMENT.date()]),
    (time, TEXT, [time(12, 30)]),
    (UUID, {"type": "string", "format": "uuid"}, [UUID(int=1)]),
    (bytes, TEXT, [b"a", b"\xff"]),
    (PurePosixPath, TEXT, [PurePosixPath("/a")]),
    (Money, TEXT, [Money()]),
    (Pages, TEXT, [Pages()]),
    (None, {"type": "null"}, [None]),
    (Any, {}, [1, None, [{}]]),
    (object, {}, ["a"]),
    (Printable, {}, [Money()]),
    (T, {}, [1]),
    (Size, WHOLE, [1]),
    (Seats, WHOLE, [9]),
    (Annotated[int, "whole"], WHOLE, [9]),
    (Plan, {"enum": ["free", 1]}, list(Plan)),
    (Tier, {"enum": ["gold"]}, [Tier.GOLD]),
    (Access, WHOLE, [Access.READ | Access.WRITE]),
    (Literal["free", 1], {"enum": ["free", 1]}, ["free", 1]),
    (Literal[Plan.PRO], {"enum": [1]}, [Plan.PRO]),
    (str | None, {"anyOf": [TEXT, {"type": "null"}]}, ["a", None]),
    (float | Decimal, {"type": "number"}, [9.5, Decimal("9.5")]),
    (int | (str | None), {"anyOf": [WHOLE, TEXT, {"type": "null"}]}, [1, "a", None]),
    (int | Any, {}, [[]]),
    (datetime | str, TEXT, [MOMENT, "2026-06-14T12:00:00Z"]),
    (list, {"type": "array"}, [[1, "a"]]),
    (list[int], {"type": "array", "items": WHOLE}, [[1, 2], []]),
    (Sequence[int], {"type": "array", "items": WHOLE}, [(1, 2), range(2)]),
    (Iterable[int], {"type": "array", "items": WHOLE}, [(n for n in (1, 2))]),
    (set[str], {"type": "array", "items": TEXT}, [{"a"}, frozenset("ab")]),
    (tuple[int, ...], {"type": "array", "items": WHOLE}, [(), (1, 2)]),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [WHOLE, TEXT], "minItems": 2, "maxItems": 2},
        [(1, "a")],
    ),
    (dict, {"type": "object"}, [{"a": 1}]),
    (dict[str, int], {"type": "object", "additionalProperties": WHOLE}, [{"a": 1}, {}]),
    (Mapping[str, Any], {"type": "object"}, [{"a": 1}]),
    (
        dict[Literal["a", "b"], int],
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": WHOLE},
        [{"a": 1}],
    ),
    (dict[int, str], {"type": "object", "additionalProperties": TEXT}, [{1: "a"}]),
    (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}, [()]),
    (tuple[Unpack[Several]], {"type": "array"}, [(1, "a")]),  # type: ignore[valid-type]  # what is tested
    (KeysView[str], {"type": "array", "items": TEXT}, [{"a": 1}.keys()]),
    (ItemsView[str, int], {"type": "array", "items": PAIR}, [{"a": 1}.items()]),
    (Tagged[int], {"type": "array"}, [Tagged(["a"])]),
]


def to_document(annotation: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of an annotation, and a document with its definitions."""
    schemas = Schemas()
    schema = schemas.describe(annotation)
    return schema, {"$schema": DIALECT, **schema, "$defs": schemas.definitions}


def check(document: dict[str, Any], value: object) -> bool:
    jsonschema.Draft202012Validator.check_schema(document)
    return bool(jsonschema.Draft202012Validator(document).is_valid(to_value(value)))


@pytest.mark.parametrize(("annotation", "expected", "values"), PLAIN)
def test_an_annotation_has_the_schema_of_what_its_values_become(
    annotation: object, expected: dict[str, Any], values: list[Any]
) -> None:
    schema, document = to_document(annotation)
    assert schema == expected
    assert all(check(document, value) for value in values)


@pytest.mark.parametrize(
    ("annotation", "name", "required", "valid", "invalid"),
    [
        (
            Node,
            "Node",
            ["name"],
            [Node("a"), Node("a", Node("b"))],
            [{}, {"name": "a", "parent": {}}, {"name": "a", "size": 1}],
        ),
        (
            Address,
            "Address",
            ["city"],
            [{"city": "Ulm"}, {"city": "Ulm", "street": "A"}],
            [{}, {"city": 1}, {"city": "Ulm", "zip": "1"}],
        ),
        (Draft, "Draft", ["title"], [{"title": "a"}], [{"text": "a"}]),
        (Point, "Point", ["x"], [Point(1), Point(1, 2)], [[1, 2]]),
    ],
)
def test_a_class_with_members_is_a_definition(
    annotation: object, name: str, required: list[str], valid: list[Any], invalid: list[Any]
) -> None:
    schema, document = to_document(annotation)
    assert schema == {"$ref": f"#/$defs/{name}"}
    assert document["$defs"][name]["required"] == required
    assert all(check(document, value) for value in valid)
    assert not any(check(document, value) for value in invalid)


def test_a_definition_has_the_descriptions_and_defaults_of_the_class() -> None:
    _, document = to_document(Node)
    assert document["$defs"]["Node"] == {
        "type": "object",
        "description": "A node of a tree.",
        "properties": {
            "name": {"type": "string", "description": "Its name."},
            "parent": {
                "anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}],
                "default": None,
            },
            "labels": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("kind", [Box, Pair])
def test_a_generic_class_has_a_definition_for_each_of_its_types(kind: Any) -> None:
    schemas = Schemas()
    first, second, again = (schemas.describe(kind[one]) for one in (int, str, int))
    assert first == again != second
    found = [next(iter(one["properties"].values())) for one in schemas.definitions.values()]
    assert found == [WHOLE, TEXT]


class Other:
    @dataclass
    class Node:
        size: int


def test_two_classes_with_one_name_have_two_definitions() -> None:
    schemas = Schemas()
    assert schemas.describe(Node) == {"$ref": "#/$defs/Node"}
    name = f"{__name__}.Other.Node"
    assert schemas.describe(Other.Node) == {"$ref": f"#/$defs/{name}"}
    assert schemas.definitions[name]["required"] == ["size"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the statement `type` is new in Python 3.12")
def test_an_alias_is_a_definition_and_may_refer_to_itself() -> None:
    names: dict[str, Any] = {}
    exec("type Json = str | None | list[Json]", names)
    schema, document = to_document(names["Json"])
    assert schema == {"$ref": "#/$defs/Json"}
    assert check(document, ["a", [None, ["b"]]])
    assert not check(document, ["a", [1]])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the statement `type` is new in Python 3.12")
def test_an_alias_with_a_type_is_what_it_stands_for() -> None:
    names: dict[str, Any] = {}
    exec("type Tree[T] = T | list[Tree[T]]", names)
    schemas = Schemas()
    first, second = (schemas.describe(names["Tree"][one]) for one in (int, str))
    assert schemas.definitions["Tree"]["anyOf"][0] == WHOLE
    assert schemas.definitions["Tree"]["anyOf"][1]["items"] == first
    assert first != second
    assert len(schemas.definitions) == 2


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, False),
        (str | None, True),
        (None, True),
        (Any, True),
        (Literal["a"], False),
        (OR_NONE, True),
        (Annotated[str | None, "optional"], True),
        (list[str | None], False),
    ],
)
def test_a_value_that_may_be_none_is_optional(annotation: object, expected: bool) -> None:
    assert is_optional(annotation) is expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str | None, {"type": "string"}),
        (OR_NONE, {"enum": ["a"]}),
        (int | str | None, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (list[int | None], to_document(list[int | None])[0]),
    ],
)
def test_a_property_is_never_null(annotation: object, expected: dict[str, Any]) -> None:
    assert without_null(to_document(annotation)[0]) == expected


class Changed(Event, Generic[T], abstract=True):
    before: T
    after: list[T]


class SeatsChanged(Changed[int]):
    pass


def test_a_type_variable_of_a_base_is_what_the_class_says() -> None:
    annotations = get_annotations(SeatsChanged)
    assert annotations == {
        "event_type": annotations["event_type"],
        "before": int,
        "after": list[int],
    }


# Annotations, each with a strategy for its values.
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers(-(2**63), 2**63)),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (datetime, st.datetimes(timezones=st.just(timezone.utc))),
    (date, st.dates()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (bytes, st.binary()),
    (Plan, st.sampled_from(Plan)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Point, st.builds(Point, st.integers(), st.integers())),
    (Address, st.fixed_dictionaries({"city": st.text()}, optional={"street": st.text()})),
    (Node, st.builds(Node, st.text(), st.builds(Node, st.text()))),
]


def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy of annotations that contain others."""
    two = st.tuples(inner, inner)
    return st.one_of(inner.map(to_list), inner.map(to_dict), two.map(to_tuple), two.map(to_union))


def to_list(item: Any) -> Any:
    return GenericAlias(list, (item[0],)), st.lists(item[1], max_size=3)


def to_dict(item: Any) -> Any:
    return GenericAlias(dict, (str, item[0])), st.dictionaries(st.text(), item[1], max_size=3)


def to_tuple(items: Any) -> Any:
    annotations, values = zip(*items, strict=True)
    return GenericAlias(tuple, annotations), st.tuples(*values)


def to_union(items: Any) -> Any:
    annotations, values = zip(*items, strict=True)
    return Union[(*annotations, None)], st.none() | st.one_of(values)


@given(st.data(), st.recursive(st.sampled_from(LEAVES), nest, max_leaves=4))
def test_what_a_strict_client_accepts_is_what_the_schema_allows(
    data: st.DataObject, given_type: tuple[Any, st.SearchStrategy[Any]]
) -> None:
    annotation, values = given_type
    kind = type("Used", (Event,), {"__annotations__": {"value": annotation}})
    value = data.draw(values)
    check_types(kind(value=value))
    assert check(to_document(annotation)[1], value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, True),
        (Sequence, "ab"),
        (Iterable[str], "ab"),
        (Sequence[int], bytearray(b"ab")),
        (float, float("inf")),
        (Decimal, Decimal("NaN")),
        (tuple[()], (1,)),
        (Address, {"city": "Ulm", "zip": "89073"}),
        (Node, Node("a", labels=["b", 1])),  # type: ignore[list-item]  # what is tested
        (Point, Point("a")),  # type: ignore[arg-type]  # what is tested
        (Box[int], {"content": "a"}),
        (Pair[int], Pair("a", "b")),
    ],
)
def test_what_the_schema_refuses_a_strict_client_refuses(annotation: Any, value: object) -> None:
    kind = type("Used", (Event,), {"__annotations__": {"value": annotation}})
    assert not check(to_document(annotation)[1], value)
    with pytest.raises(InvalidEvent, match=r"^Used\.value"):
        check_types(kind(value=value))
