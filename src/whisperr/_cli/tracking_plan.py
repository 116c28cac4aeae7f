"""Writes the tracking plan of an application from its typed events, as JSON Schema or Markdown.

Both are made from the same schemas. Pure, apart from reading the classes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from whisperr._field_types import get_annotations
from whisperr._foreign import printable
from whisperr.errors import InvalidEvent

from .docstrings import get_description
from .event_classes import get_path
from .json_schema import DIALECT, UNKNOWN, Schemas, get_defaults, is_optional, without_null

if TYPE_CHECKING:
    from whisperr.events import Event

    from .json_schema import Schema

_WRITTEN = "Written by `whisperr events`; do not edit."
_HEAD = "| property | type | required | default | description |\n|---|---|---|---|---|"
_REFERENCE = "#/$defs/"
_MAX_CHARS = 300


def check_class(kind: type[Event]) -> str | None:
    """Return why a class cannot be described; None if it can."""
    try:
        _describe_properties(kind, Schemas())
    except Exception as error:  # noqa: BLE001  # its annotations are code of the application
        text = str(error) if isinstance(error, InvalidEvent) else f"{type(error).__name__}: {error}"
        return f"{get_path(kind)} cannot be described: {printable(text, _MAX_CHARS)}"
    return None


def to_json_schema(classes: list[type[Event]]) -> str:
    """Return one JSON Schema of all events: of the object that is sent, with its properties."""
    schemas = Schemas({one.event_type for one in classes})
    events = {one.event_type: _describe_event(one, schemas) for one in classes}
    document = {
        "$schema": DIALECT,
        "$comment": _WRITTEN,
        "oneOf": [{"$ref": f"{_REFERENCE}{name}"} for name in events],
        "$defs": {**events, **schemas.definitions},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _describe_event(kind: type[Event], schemas: Schemas) -> Schema:
    text = get_description(kind)
    return {
        "title": kind.__name__,
        **({"description": text} if text else {}),
        "type": "object",
        "properties": {
            "event_type": {"const": kind.event_type},
            "properties": _describe_properties(kind, schemas),
        },
        "required": ["event_type", "properties"],
    }


def _describe_properties(kind: type[Event], schemas: Schemas) -> Schema:
    """Return the schema of the properties. One that is None is not sent, so it may be missing."""
    annotations = {name: get_annotations(kind)[name] for name in kind._fields}
    defaults = {name: UNKNOWN for name in annotations if is_optional(annotations[name])}
    defaults |= {k: UNKNOWN if v is None else v for k, v in get_defaults(kind).items()}
    schema = schemas.describe_members(kind, annotations, defaults)
    schema.pop("description", None)
    members = {name: without_null(one) for name, one in schema["properties"].items()}
    return {**schema, "properties": members}


def to_markdown(classes: list[type[Event]]) -> str:
    """Return a page with a section for each event, and for each object in them."""
    schemas = Schemas()
    parts = ["# Events", f"<!-- {_WRITTEN} -->"]
    for kind in classes:
        schema = _describe_properties(kind, schemas)
        parts += [f"## `{kind.event_type}`", get_description(kind), f"Class: `{get_path(kind)}`"]
        parts.append(_to_table(schema) or "This event has no properties.")
    if schemas.definitions:
        parts.append("## Objects")
    for name, schema in schemas.definitions.items():
        parts += [f"### `{name}`", schema.get("description", "")]
        parts.append(_to_table(schema) or f"Type: {_to_words(schema)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _to_table(schema: Schema) -> str:
    """Return a table of the members of an object; "" without members."""
    rows = []
    for name, member in schema.get("properties", {}).items():
        cells = (
            f"`{name}`",
            _to_words(member),
            "yes" if name in schema.get("required", ()) else "no",
            _to_code(member["default"]) if "default" in member else "",
            member.get("description", ""),
        )
        rows.append(" | ".join(cell.replace("|", "\\|") for cell in cells).join(("| ", " |")))
    return "\n".join([_HEAD, *rows]) if rows else ""


def _to_words(schema: Schema) -> str:
    """Return a schema in a few words, such as "array of string"."""
    if "$ref" in schema:
        name = unquote(schema["$ref"].removeprefix(_REFERENCE))
        return f"[{name}](#{name.lower().replace('.', '')})"
    if "enum" in schema:
        return ", ".join(map(_to_code, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(map(_to_words, schema["anyOf"]))
    words: str = schema.get("type", "any")
    if "format" in schema:
        words += f" ({schema['format']})"
    if "prefixItems" in schema:
        return f"{words} of {', '.join(map(_to_words, schema['prefixItems'])) or 'nothing'}"
    of = schema.get("items") or schema.get("additionalProperties")
    keys = schema.get("propertyNames", {}).get("enum", ())
    words += f" of {_to_words(of)}" if of else ""
    return words + (f" by {', '.join(map(_to_code, keys))}" if keys else "")


def _to_code(value: Any) -> str:  # noqa: ANN401  # any value of JSON
    return f"`{json.dumps(value, ensure_ascii=False)}`"
