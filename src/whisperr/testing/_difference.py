"""Compares expected with recorded objects, for assertions and their messages. Pure.

Both are JSON objects in the shape of the wire. Keys that a test does not name are not compared, at
any depth; lists are compared as a whole. Values that are not JSON (a Decimal, a date, an Enum) are
compared as the JSON that `track` makes of them. MISSING is expected of a member that must not be
there. A matcher such as `unittest.mock.ANY` or
`pytest.approx` compares itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from whisperr._events.to_json import to_json

from ._recorded import to_display

_MAX_DIFFERENCES = 6  # differences shown for one event
MISSING = object()  # the recorded value of a member that is not there, also if that is expected
# Weights: the same type makes events most similar, then the same user.
_WEIGHTS = {"event_type": 4.0, "external_user_id": 2.0}
_SAME_NAME = 2.0


class Difference(NamedTuple):
    """One value that differs: its path, the expected value, and the recorded one."""

    path: str
    wanted: object
    found: object

    def to_lines(self) -> list[str]:
        """Return the difference as a diff of two lines."""
        wanted, found = (
            "(not there)" if value is MISSING else to_display(value)
            for value in (self.wanted, self.found)
        )
        return [f"- {self.path}: {wanted}", f"+ {self.path}: {found}"]


def get_differences(wanted: object, found: object, path: str = "") -> list[Difference]:
    """Return where `found` differs from `wanted`; empty when it matches."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, dict):
            return [Difference(path, wanted, found)]
        listed = []
        for key, value in wanted.items():
            at = f"{path}.{key}" if path else str(key)
            if at == "channels":  # each must match a recorded one, in any order
                there = found.get(at, [])
                missing = [one for one in value if all(get_differences(one, c) for c in there)]
                listed += [Difference(at, one, there) for one in missing]
            else:
                listed += get_differences(value, found.get(_to_json_key(key), MISSING), at)
        return listed
    if isinstance(wanted, (list, tuple)) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [d for index, pair in pairs for d in get_differences(*pair, f"{path}[{index}]")]
    return [] if _is_equal(wanted, found) else [Difference(path, wanted, found)]


def get_similarity(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Return how similar a recorded object is to a wanted one: a larger number is more similar."""
    score = 0.0
    for key, value in wanted.items():
        if key == "event_type":
            ratio = SequenceMatcher(None, str(value), str(found.get(key))).ratio()
            score += _SAME_NAME if ratio == 1 else 0.0
        else:
            missed = len(get_differences({key: value}, found))
            ratio = max(0.0, 1 - missed / _count_leaves(value))
        score += _WEIGHTS.get(key, 1.0) * ratio
    return score


def to_diff(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the first few differences as lines of a diff."""
    listed = get_differences(wanted, found)
    lines = [line for one in listed[:_MAX_DIFFERENCES] for line in one.to_lines()]
    more = len(listed) - _MAX_DIFFERENCES
    return [*lines, f"  and {more} more"] if more > 0 else lines


def _is_equal(wanted: object, found: object) -> bool:
    if wanted is MISSING or found is MISSING:
        return wanted is found
    if type(wanted) not in {str, int, float, bool, type(None)} and wanted == found:
        return True
    value = json.loads(to_json(wanted, "the wanted value"))
    return bool(value == found) and isinstance(value, bool) == isinstance(found, bool)


def _to_json_key(key: object) -> str:
    (text,) = json.loads(to_json({key: None}, "the wanted value"))
    return str(text)


def _count_leaves(value: object) -> int:
    return (isinstance(value, Mapping) and sum(map(_count_leaves, value.values()))) or 1
