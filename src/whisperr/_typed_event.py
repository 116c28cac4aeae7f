"""The light base of `whisperr.Event`, so that the core knows a typed event without loading it.

`whisperr.events` imports `dataclasses` and `typing`, which importing the package must not load.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class TypedEvent:
    """What `track()` accepts in place of the name and the properties of an event."""

    if TYPE_CHECKING:  # `typing.get_type_hints` of a subclass could not resolve `ClassVar` here
        event_type: ClassVar[str]
        _fields: ClassVar[tuple[str, ...]]


def get_values(event: TypedEvent) -> dict[str, object]:
    """Return the values of the fields, by name; None for a field without a value.

    An event that another version of the program has pickled may lack a field.
    """
    return {name: getattr(event, name, None) for name in event._fields}


def get_properties(event: TypedEvent) -> dict[str, object]:
    """Return the fields of an event as its properties, without those that are None."""
    return {
        name: value for name in event._fields if (value := getattr(event, name, None)) is not None
    }
