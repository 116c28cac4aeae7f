"""Describes the values of an annotation as JSON Schema: what the encoder makes of them. Pure.

A typed dictionary, a data class and a named tuple become definitions of the document, so that they
may refer to themselves. An annotation that this module does not know allows any value.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
)
from urllib.parse import quote
from uuid import UUID

from whisperr._events.general import SEQUENCES
from whisperr._events.to_json import to_json
from whisperr._field_types import (
    expand_alias,
    get_contents,
    get_field_names,
    get_hints,
    get_members,
    get_tuple_items,
    is_alias,
    is_typed_dict,
    strip,
)

from .docstrings import get_attributes, get_description

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
UNKNOWN = object()  # in place of a default that is not known before the call
_ANY = (Any, object)
_NULL = {"type": "null"}
_TEXT = {"type": "string"}
# The first row with a base of a class has its schema. A time of day has no format: that of JSON
# Schema needs an offset.
_PLAIN: tuple[tuple[type | tuple[type, ...], Schema], ...] = (
    (NoneType, _NULL),
    (bool, {"type": "boolean"}),
    (int, {"type": "integer"}),
    ((float, Decimal, timedelta), {"type": "number"}),
    (datetime, {"type": "string", "format": "date-time"}),
    (date, {"type": "string", "format": "date"}),
    (UUID, {"type": "string", "format": "uuid"}),
    ((str, bytes, bytearray, memoryview, time), _TEXT),
)


class Schemas:
    """Makes the schemas of one document, and its definitions."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        """`taken`: names that other definitions of the document have."""
        self.definitions: dict[str, Schema] = {}
        self._taken = taken
        self._names: dict[object, str] = {}

    def describe(self, annotation: Any) -> Schema:  # noqa: ANN401  # an annotation may be any object
        """Return the schema of what the values of an annotation become.

        Raises NameError for a class whose own annotations cannot be resolved.
        """
        annotation = strip(annotation)
        origin = get_origin(annotation)
        if origin in {Union, UnionType}:
            return _join([self.describe(one) for one in get_args(annotation)])
        if origin is Literal:
            return {"enum": [to_value(one) for one in get_args(annotation)]}
        if is_alias(annotation):
            return self._refer(annotation, lambda: self.describe(expand_alias(annotation)))
        plain = origin or annotation
        if plain in _ANY or not isinstance(plain, type):
            return {}
        return self._describe_class(plain, annotation)

    def describe_members(
        self, kind: type, annotations: Mapping[str, Any], defaults: Mapping[str, object]
    ) -> Schema:
        """Return the schema of an object that has these members and no others.

        `defaults` has the members that may be missing: each with its default, or with UNKNOWN.
        """
        described = get_attributes(kind)
        properties = {}
        for name, annotation in annotations.items():
            schema = self.describe(annotation)
            if name in described:
                schema = {**schema, "description": described[name]}
            if defaults.get(name, UNKNOWN) is not UNKNOWN:
                schema = {**schema, "default": to_value(defaults[name])}
            properties[name] = schema
        text = get_description(kind)
        required = [name for name in annotations if name not in defaults]
        return {
            "type": "object",
            **({"description": text} if text else {}),
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _describe_class(self, kind: type, annotation: Any) -> Schema:  # noqa: ANN401  # the class, or with its arguments
        if issubclass(kind, Enum):
            values = [to_value(member) for member in kind]
            return {"type": "integer"} if issubclass(kind, Flag) else {"enum": values}
        for known, schema in _PLAIN:
            if issubclass(kind, known):
                return dict(schema)
        members = _read_members(annotation)
        if members is not None:
            return self._refer(annotation, lambda: self.describe_members(kind, *members))
        if issubclass(kind, Mapping):
            return self._describe_mapping(get_contents(annotation))
        is_open = inspect.isabstract(kind) or getattr(kind, "_is_protocol", False)
        if issubclass(kind, SEQUENCES) or (is_open and issubclass(kind, Iterable)):
            return self._describe_array(annotation)
        return {} if is_open else dict(_TEXT)

    def _describe_array(self, annotation: Any) -> Schema:  # noqa: ANN401  # an annotation may be any object
        fixed = get_tuple_items(annotation)
        if fixed is not None:
            items = [self.describe(one) for one in fixed]
            size = {"minItems": len(items), "maxItems": len(items)}
            return {"type": "array", **({"prefixItems": items} if items else {}), **size}
        contents = get_contents(annotation)
        of = self.describe(contents[0]) if contents else {}
        return {"type": "array", **({"items": of} if of else {})}

    def _describe_mapping(self, arguments: tuple[Any, ...]) -> Schema:
        """Return the schema of a mapping, whose keys become strings."""
        if len(arguments) != 2:  # noqa: PLR2004  # of the keys, of the values
            return {"type": "object"}
        keys, values = map(self.describe, arguments)
        allowed = [key for key in keys.get("enum", ()) if isinstance(key, str)]
        return {
            "type": "object",
            **({"propertyNames": {"enum": allowed}} if allowed else {}),
            **({"additionalProperties": values} if values else {}),
        }

    def _refer(self, kind: Any, describe: Callable[[], Schema]) -> Schema:  # noqa: ANN401  # a class or an alias
        """Return a reference to the definition of a class or an alias; make it the first time."""
        name = self._names.get(kind)
        if name is None:
            plain = get_origin(kind) or kind
            name = plain.__name__
            if name in self.definitions or name in self._taken:
                name = f"{plain.__module__}.{getattr(plain, '__qualname__', name)}"
            while name in self.definitions:  # the same with other types
                name += "_"
            self._names[kind] = name
            self.definitions[name] = {}  # so that `describe` may refer to it
            self.definitions[name] = describe()
        return {"$ref": f"#/$defs/{quote(name)}"}


def is_optional(annotation: Any) -> bool:  # noqa: ANN401  # an annotation may be any object
    """Return whether a value of the annotation may be None."""
    annotation = strip(annotation)
    if is_alias(annotation):
        return is_optional(expand_alias(annotation))
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return any(is_optional(one) for one in get_args(annotation))
    if origin is Literal:
        return None in get_args(annotation)
    return annotation is NoneType or annotation in _ANY


def without_null(schema: Schema) -> Schema:
    """Return the schema of a value that is left out where it is null."""
    if "enum" in schema:
        return {**schema, "enum": [one for one in schema["enum"] if one is not None]}
    if "anyOf" not in schema:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    members = [without_null(one) for one in schema["anyOf"] if one != _NULL]
    return {**rest, **(members[0] if len(members) == 1 else {"anyOf": members})}


def to_value(value: object) -> Any:  # noqa: ANN401  # any value of JSON
    """Return the JSON value that a value becomes on the wire. Raises InvalidEvent if it cannot."""
    return json.loads(to_json(value, "the value"))


def get_defaults(kind: Any) -> dict[str, object]:  # noqa: ANN401  # a data class
    """Return the fields of a data class that have a default; UNKNOWN for one from a factory."""
    defaults: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = UNKNOWN
    return defaults


def _read_members(annotation: Any) -> tuple[dict[str, Any], dict[str, object]] | None:  # noqa: ANN401  # a class, or with its arguments
    """Return the annotations and defaults of a class whose values are objects with known members.

    Returns None for any other class.
    """
    kind = get_origin(annotation) or annotation
    if is_typed_dict(kind):
        hints, required = get_members(annotation)
        return hints, dict.fromkeys(set(hints) - required, UNKNOWN)
    names = get_field_names(kind)
    if names is None:
        return None
    hints = get_hints(annotation)
    defaults = get_defaults(kind) if dataclasses.is_dataclass(kind) else dict(kind._field_defaults)
    return {name: hints.get(name, Any) for name in names}, defaults


def _join(schemas: list[Schema]) -> Schema:
    """Return the schema of a value that one of these describes."""
    members: list[Schema] = []
    for schema in schemas:
        flat = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        members += [one for one in flat if one not in members]
    # One with fewer keywords allows more: {} any value, a string what a string of a format is.
    widest = [one for one in members if not any(other.items() < one.items() for other in members)]
    return widest[0] if len(widest) == 1 else {"anyOf": widest}
