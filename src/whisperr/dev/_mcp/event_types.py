"""Describes the event types that have arrived: names, counts and JSON types, and no value. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from whisperr.dev._ingest.model import Arrival

_MAX_TYPES = 200
_MAX_PROPERTIES = 100  # of one event type
_MAX_NAME_CHARS = 200
_JSON_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}


class _Description:
    """What is known of one event type, or of all identifies."""

    def __init__(self, moment: float) -> None:
        self.statuses: Counter[str] = Counter()
        self.first, self.last = moment, moment
        self.properties: dict[str, Counter[str]] = {}

    def add(self, arrival: Arrival, key: str) -> None:
        """Count an arrival, and the types of the values that its body has under `key`."""
        self.statuses[arrival.status] += 1
        self.last = arrival.received_at
        values = arrival.body.get(key) if isinstance(arrival.body, dict) else None
        for name, value in values.items() if isinstance(values, dict) else ():
            self.properties.setdefault(name, Counter())[_JSON_TYPES[type(value)]] += 1

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.statuses.total(),
            "accepted": self.statuses["accepted"],
            "duplicates": self.statuses["duplicate"],
            "refused": self.statuses["refused"],
            "first_received_at": self.first,
            "last_received_at": self.last,
            "properties": [
                {"name": name[:_MAX_NAME_CHARS], "count": types.total(), "types": dict(types)}
                for name, types in sorted(self.properties.items())[:_MAX_PROPERTIES]
            ],
        }


def describe_types(arrivals: Iterable[Arrival]) -> dict[str, Any]:
    """Return each event type with its counts and properties, and the same of all identifies.

    The types are in the order of their names. `left_out` is how many of them there are beyond
    those that the answer has.
    """
    types: dict[str, _Description] = {}
    identifies: _Description | None = None
    for arrival in arrivals:
        if arrival.kind == "identify":
            identifies = identifies or _Description(arrival.received_at)
            identifies.add(arrival, "traits")
        elif arrival.type is not None:
            if arrival.type not in types:
                types[arrival.type] = _Description(arrival.received_at)
            types[arrival.type].add(arrival, "properties")
    shown = sorted(types.items())[:_MAX_TYPES]
    return {
        "types": [
            {"type": name[:_MAX_NAME_CHARS], **described.to_json()} for name, described in shown
        ],
        "identifies": None if identifies is None else identifies.to_json(),
        "left_out": len(types) - len(shown),
    }
