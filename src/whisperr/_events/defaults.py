"""What events get in addition to what their calls give: default and scoped properties, encoded.

The members are joined as text, so that the values of the call are encoded as without them.

Threads: any; the values do not change after they are made.
"""

from __future__ import annotations

from whisperr._process.imports import json_loads
from whisperr.errors import InvalidEvent

from .general import quote, to_key
from .to_json import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


class Defaults:
    """What an event gets unless its call gives a member of the same name.

    - `tail`: the end of the context of an event whose call gives none, as JSON text.
    - `context`: scoped context, as values that `json.loads` returns.
    - `problem`: why a member is missing, for a report; None if none is.
    """

    __slots__ = (
        "_joined",
        "_members",
        "_names",
        "_properties",
        "context",
        "problem",
        "tail",
    )

    def __init__(self, tail: str) -> None:
        self.tail = tail
        self.context: dict[str, Any] = {}
        self.problem: str | None = None
        self._properties: list[tuple[str, Mapping[Any, object]]] = []
        # The members as JSON text, and their names as they begin a member.
        self._joined = ""
        self._names: tuple[str, ...] = ()
        self._members: dict[str, str] | None = None  # by name, when one is needed alone

    def set_properties(self, *given: tuple[str, Mapping[Any, object]]) -> None:
        """Set the properties: pairs of a source, for reports, and its properties; the last wins."""
        self._properties = [*given]
        merged = {name: value for _, properties in given for name, value in properties.items()}
        try:
            if all(type(name) is str for name in merged):
                self._joined = to_json(merged, "")[1:-1]
                self._names = tuple([f"{quote(name)}:" for name in merged])
                return
        except InvalidEvent:
            pass  # the same error comes again, with its source
        members = self._get_members()
        self._joined, self._names = ",".join(members.values()), tuple(members)

    def set_context(self, source: str, given: Mapping[Any, object]) -> None:
        """Set the scoped context."""
        members = ",".join(self._encode(source, given).values())
        self.context = json_loads()(f"{{{members}}}")

    def complete(self, properties: str) -> str:
        """Return the properties of a call, a JSON object, with those that it does not have."""
        joined = self._joined
        for name in self._names:
            # It may also be the name of a member deeper inside, or part of a text.
            if name in properties:
                joined = self._join_without(json_loads()(properties))
                break
        if not joined:
            return properties
        return f"{{{joined}}}" if properties == "{}" else f"{properties[:-1]},{joined}}}"

    def _join_without(self, present: Iterable[str]) -> str:
        names = {f"{quote(name)}:" for name in present}
        return ",".join(
            [member for name, member in self._get_members().items() if name not in names]
        )

    def _get_members(self) -> dict[str, str]:
        if self._members is None:
            members: dict[str, str] = {}
            for source, given in self._properties:
                members |= self._encode(source, given)
            self._members = members
        return self._members

    def _encode(self, source: str, given: Mapping[Any, object]) -> dict[str, str]:
        """Return each member as JSON text, by its name; leave out those that cannot be encoded."""
        members: dict[str, str] = {}
        for name, value in given.items():
            try:
                members[f"{quote(to_key(name))}:"] = to_json({name: value}, source)[1:-1]
            except InvalidEvent as error:  # noqa: PERF203  # the other members are encoded as well
                self.problem = self.problem or str(error)
        return members
