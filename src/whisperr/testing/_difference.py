"""How what a test wants differs from what was recorded, and which comes nearest. Pure.

Wanted and recorded are JSON objects in the shape of the wire. What a test does not name does not
matter, at any depth of objects; lists are compared whole. Values that are no JSON (a Decimal, a
date, an Enum) are compared as the JSON that `track` makes of them; a matcher such as
`unittest.mock.ANY` or `pytest.approx` decides itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from whisperr._events.to_json import to_json

from ._recorded import shown

_PAIRS = 6  # differences that are shown of one event
_NOTHING = object()
# What makes an event the one that was meant: its name most of all, then whose it is.
_WEIGHTS = {"event_type": 4.0, "external_user_id": 2.0}
_SAME_NAME = 2.0


class Difference:
    """One place where they differ: its path, what a test wants there, and what was recorded."""

    __slots__ = ("found", "path", "wanted")

    def __init__(self, path: str, wanted: object, found: object) -> None:
        self.path = path
        self.wanted = wanted
        self.found = found

    def lines(self) -> list[str]:
        """Say it as a diff of two lines."""
        found = "(not there)" if self.found is _NOTHING else shown(self.found)
        return [f"- {self.path}: {shown(self.wanted)}", f"+ {self.path}: {found}"]


def differences(wanted: object, found: object, path: str = "") -> list[Difference]:
    """Return where `found` is not what is `wanted`; empty when it matches."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, dict):
            return [Difference(path, wanted, found)]
        listed = []
        for key, value in wanted.items():
            at = f"{path}.{key}" if path else str(key)
            if at == "channels":
                listed += _missing_channels(value, found.get("channels", []))
            else:
                listed += differences(value, found.get(_key(key), _NOTHING), at)
        return listed
    if isinstance(wanted, (list, tuple)) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [d for index, pair in pairs for d in differences(*pair, f"{path}[{index}]")]
    return [] if _equal(wanted, found) else [Difference(path, wanted, found)]


def nearness(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Say how near a recorded object comes to a wanted one: a larger number is nearer."""
    score = 0.0
    for key, value in wanted.items():
        weight = _WEIGHTS.get(key, 1.0)
        if key == "event_type":
            ratio = SequenceMatcher(None, str(value), str(found.get(key))).ratio()
            score += weight * ratio + (_SAME_NAME if ratio == 1 else 0.0)
        else:
            leaves = _leaves(value)
            missed = len(differences({key: value}, found))
            score += weight * max(0.0, 1 - missed / leaves)
    return score


def explained(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the differences as lines of a diff, the first few of them."""
    listed = differences(wanted, found)
    lines = [line for one in listed[:_PAIRS] for line in one.lines()]
    more = len(listed) - _PAIRS
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _missing_channels(wanted: Sequence[Any], found: Sequence[Any]) -> list[Difference]:
    """Return the wanted channels that no channel is; their order and others do not matter."""
    return [
        Difference("channels", one, found)
        for one in wanted
        if all(differences(one, channel) for channel in found)
    ]


def _equal(wanted: object, found: object) -> bool:
    if found is _NOTHING:
        return False
    if type(wanted) not in {str, int, float, bool, type(None)} and wanted == found:
        return True
    value = json.loads(to_json(wanted, "the wanted value"))
    return bool(value == found) and isinstance(value, bool) == isinstance(found, bool)


def _key(key: object) -> str:
    (text,) = json.loads(to_json({key: None}, "the wanted value"))
    return str(text)


def _leaves(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(map(_leaves, value.values())) or 1
    return 1
