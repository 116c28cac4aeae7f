"""The grammar of the filter box, also for the API and `whisperr tail`. Pure.

    user:42 type:payment_* is:refused amount>100 -plan=pro "card declined"

Every term must hold; `-` before a term negates it. The page has the same grammar in
`_web/static/filter.js`: both run the table of cases in `tests/dev/filter_cases.json`.
"""

from __future__ import annotations

import re
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr.dev._ingest.model import Arrival

    Predicate = Callable[[Arrival], bool]

_ATTRIBUTES = {
    "user": "user",
    "type": "type",
    "kind": "kind",
    "is": "status",
    "id": "message_id",
    "request": "request",
}
_CHOICES = {
    "is": ("accepted", "valid", "refused", "duplicate"),
    "kind": ("event", "identify"),
}
FIELDS = tuple(_ATTRIBUTES)
MAX_QUERY_CHARS = 2_000

_LITERALS = {None: "null", True: "true", False: "false"}
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}
_NAMED = re.compile(r"([A-Za-z_$][A-Za-z0-9_$.-]*)(:|>=|<=|!=|=|>|<)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD = re.compile(r'[^\s"]+')
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class FilterError(ValueError):
    """Raised for an invalid filter; the text is for the person who types it."""


def make_filter(q: str = "", **filters: Any) -> Predicate:  # noqa: ANN401  # those of `matches`
    """Return one predicate for the filters of `Arrival.matches` and the filter box's text `q`.

    Raises FilterError, a ValueError.
    """
    passes = parse_filter(q)
    return lambda arrival: arrival.matches(**filters) and passes(arrival)


def parse_filter(query: str) -> Predicate:
    """Return the predicate that a text of the filter box means; raises FilterError."""
    if len(query) > MAX_QUERY_CHARS:
        raise FilterError(f"a filter has at most {MAX_QUERY_CHARS} characters")
    terms = list(_parse_terms(query))
    return lambda arrival: all(term(arrival) for term in terms)


def _parse_terms(query: str) -> Iterator[Predicate]:
    at = 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        negated = query[at] == "-" and query[at + 1 : at + 2].strip() != ""
        named = _NAMED.match(query, at + negated)
        if named:
            value, at = _read_value(query, named.end(), named[0])
            term = _named_term(named[1], named[2], value)
        else:
            text, at = _read_value(query, at + negated, "")
            term = _contains(text.lower())
        yield _negate(term) if negated else term


def _negate(term: Predicate) -> Predicate:
    return lambda arrival: not term(arrival)


def _read_value(query: str, at: int, before: str) -> tuple[str, int]:
    """Return a word or a quoted text, and where it ends."""
    if query[at : at + 1] == '"':
        quoted = _QUOTED.match(query, at)
        if quoted is None:
            raise FilterError('a " is not closed')
        return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), quoted.end()
    word = _WORD.match(query, at)
    if word is None:
        raise FilterError(f"{before} needs a value after it")
    return word[0], word.end()


def _named_term(name: str, sign: str, value: str) -> Predicate:
    if sign != ":":
        return _comparison(name, sign, value)
    if name not in _ATTRIBUTES:
        raise FilterError(
            f"{name}: is not a field; fields are {', '.join(FIELDS)}; "
            f"write {name}=… for a property, or put a text in quotes"
        )
    choices = _CHOICES.get(name)
    if choices and value not in choices:
        raise FilterError(
            f"{name}:{value} is unknown; write {name}: and one of {', '.join(choices)}"
        )
    pattern = _to_pattern("accepted" if (name, value) == ("is", "valid") else value)
    attribute = _ATTRIBUTES[name]
    return lambda arrival: pattern.fullmatch(str(getattr(arrival, attribute) or "")) is not None


def _comparison(name: str, sign: str, value: str) -> Predicate:
    """Compare a property, a trait or, with the prefix `context.`, a key of the context."""
    number = float(value) if _NUMBER.fullmatch(value) else None
    pattern = _to_pattern(value)
    order = _ORDERS.get(sign)

    def same(found: object) -> bool:
        if isinstance(found, list):
            return any(same(one) for one in found if not isinstance(one, list))
        if found is None or isinstance(found, bool):
            return value == _LITERALS[found]
        if isinstance(found, (int, float)):
            return number is not None and _to_float(found) == number
        return isinstance(found, str) and pattern.fullmatch(found) is not None

    def holds(found: object) -> bool:
        if order is None:
            return same(found) == (sign == "=")
        if isinstance(found, str):
            return number is None and order(found, value)
        if not isinstance(found, (int, float)) or isinstance(found, bool) or number is None:
            return False
        return order(_to_float(found), number)

    return lambda arrival: any(holds(found) for found in _find_property(arrival, name))


def _find_property(arrival: Arrival, name: str) -> list[Any]:
    """Return a list of one value, or an empty one, since a value may be null."""
    body = arrival.body if isinstance(arrival.body, dict) else {}
    value = body.get("properties" if arrival.kind == "event" else "traits")
    if name.startswith("context."):
        value, name = body.get("context"), name.removeprefix("context.")
    if isinstance(value, dict) and name in value:
        return [value[name]]
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return []
        value = value[part]
    return [value]


def _contains(needle: str) -> Predicate:
    return lambda arrival: any(needle in piece.lower() for piece in _pieces(arrival.body))


def _pieces(body: object) -> Iterator[str]:
    """Yield every key and value as text, without recursion: a body may be nested deeply."""
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif value is None or isinstance(value, bool):
            yield _LITERALS[value]
        else:
            yield str(value).removesuffix(".0")


def _to_pattern(value: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in value.split("*")), re.DOTALL)


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond the range of a double
        return float("inf") if value > 0 else float("-inf")
