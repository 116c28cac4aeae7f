"""Checks arguments against the JSON schema that their tool publishes. Pure.

Knows the keywords that the tools use and no others. A test compares it with a full validator.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from whisperr._foreign import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Schema = Mapping[str, Any]

_MAX_SHOWN_CHARS = 60
_KINDS: Mapping[str, type] = {"string": str, "array": list, "object": dict, "null": type(None)}


def find_problem(value: object, schema: Schema, at: str = "") -> str | None:
    """Return the first thing that is wrong with a value, and what is allowed; None if it is valid.

    `at` is where the value is: `limit`, `faults[0].rate`; empty for the arguments themselves.
    """
    return next(_find(value, schema, at), None)


def _find(value: object, schema: Schema, at: str) -> Iterator[str]:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_has_type(value, name) for name in types) or not _is_in_bounds(value, schema):
        yield f"{at or 'the arguments'}: must be {_describe(schema)}, got {_show(value)}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find(item, schema["items"], f"{at}[{index}]")
    elif isinstance(value, dict):
        yield from _find_in_object(value, schema, f"{at}." if at else "")


def _find_in_object(value: Mapping[str, Any], schema: Schema, prefix: str) -> Iterator[str]:
    properties: Mapping[str, Schema] = schema["properties"]
    for name in value:
        if name not in properties:
            allowed = ", ".join(properties) or "nothing"
            yield f"{prefix}{printable(name, _MAX_SHOWN_CHARS)}: unknown; allowed: {allowed}"
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{prefix}{name}: is missing; must be {_describe(properties[name])}"
    for name, allowed_there in properties.items():
        if name in value:
            yield from _find(value[name], allowed_there, f"{prefix}{name}")


def _has_type(value: object, name: str) -> bool:
    if name == "integer":  # 5.0 is one, as in JSON Schema
        return _has_type(value, "number") and isinstance(value, (int, float)) and value % 1 == 0
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _KINDS[name])


def _is_in_bounds(value: object, schema: Schema) -> bool:
    if isinstance(value, str):
        most: int = schema.get("maxLength", len(value))
        return value in schema.get("enum", (value,)) and len(value) <= most
    if isinstance(value, list):
        most = schema.get("maxItems", len(value))
        return len(value) <= most
    if isinstance(value, (int, float)):
        above: float = schema.get("exclusiveMinimum", float("-inf"))
        low: float = schema.get("minimum", value)
        high: float = schema.get("maximum", value)
        return above < value and low <= value <= high
    return True


def _describe(schema: Schema) -> str:
    """Return what a schema allows, in words."""
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    name, also = names[0], " or null" if "null" in names[1:] else ""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}{also}"
    if name == "string":
        most = schema.get("maxLength")
        return f"a string{f' of at most {most} characters' if most else ''}{also}"
    if name == "array":
        return f"a list of at most {schema['maxItems']} items{also}"
    if name == "object":
        return f"an object with {', '.join(schema['properties']) or 'nothing in it'}{also}"
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema["maximum"]
    start = f"above {low} and at most" if "exclusiveMinimum" in schema else f"from {low} to"
    return f"a {'whole ' if name == 'integer' else ''}number {start} {high}{also}"


def _show(value: object) -> str:
    """Return a value as JSON, shortened. It may be nested deeply or hold an infinite number."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)} items"
    return printable(json.dumps(value, ensure_ascii=False)[:_MAX_SHOWN_CHARS])
