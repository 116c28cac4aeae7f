"""The grammar of the filter box, also for the API and `whisperr tail`. Pure.

    user:42 type:payment_* is:refused amount>100 -plan=pro "card declined"

Every term must hold; `-` before a term turns it round. The page has the same grammar in
`page/filter.js`: both run the one table of cases in `tests/dev/filter_cases.json`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .arrivals import Arrival

    Term = Callable[[Arrival], bool]

FIELDS = ("user", "type", "kind", "is", "id")
STATES = {
    "accepted": "accepted",
    "valid": "accepted",
    "refused": "refused",
    "duplicate": "duplicate",
}
KINDS = ("event", "identify")
MAX_QUERY_CHARS = 2_000

_NAMED = re.compile(r"([A-Za-z_$][A-Za-z0-9_$.-]*)(:|>=|<=|!=|=|>|<)")
_WORD = re.compile(r'[^\s"]+')
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class FilterError(ValueError):
    """What is wrong with a filter, in words for the person who types it."""


def parsed(query: str) -> Callable[[Arrival], bool]:
    """Return the test that the filter stands for; raises FilterError."""
    if len(query) > MAX_QUERY_CHARS:
        raise FilterError(f"a filter has at most {MAX_QUERY_CHARS} characters")
    terms = list(_terms(query))
    return lambda arrival: all(term(arrival) for term in terms)


def _terms(query: str) -> Iterator[Term]:
    at = 0
    while at < len(query):
        if query[at].isspace():
            at += 1
            continue
        turned = query[at] == "-" and query[at + 1 : at + 2].strip() != ""
        at += turned
        named = _NAMED.match(query, at)
        if named:
            value, at = _value(query, named.end(), named[0])
            term = _named(named[1], named[2], value)
        else:
            text, at = _value(query, at, "")
            term = _contains(text.lower())
        yield _turned(term) if turned else term


def _turned(term: Term) -> Term:
    return lambda arrival: not term(arrival)


def _value(query: str, at: int, before: str) -> tuple[str, int]:
    """Read a word or a quoted text; return it and where it ends."""
    if query[at : at + 1] != '"':
        word = _WORD.match(query, at)
        if word is None:
            raise FilterError(f"{before} needs a value behind it")
        return word[0], word.end()
    text, at = "", at + 1
    while at < len(query) and query[at] != '"':
        at += query[at] == "\\" and at + 1 < len(query)
        text, at = text + query[at], at + 1
    if at >= len(query):
        raise FilterError('a " is not closed')
    return text, at + 1


def _named(name: str, sign: str, value: str) -> Term:
    if sign != ":":
        return _compares(name, sign, value)
    if name == "is":
        if value not in STATES:
            raise FilterError(f"is:{value} is unknown; write is: and one of {', '.join(STATES)}")
        return lambda arrival: arrival.status == STATES[value]
    if name == "kind":
        if value not in KINDS:
            raise FilterError(f"kind:{value} is unknown; write kind: and one of {', '.join(KINDS)}")
        return lambda arrival: arrival.kind == value
    if name not in FIELDS:
        raise FilterError(
            f"{name}: is no field; fields are {', '.join(FIELDS)}; "
            f"write {name}=… for a property, or put a text in quotes"
        )
    pattern = _pattern(value)
    attribute = "message_id" if name == "id" else name
    return lambda arrival: pattern.fullmatch(getattr(arrival, attribute) or "") is not None


def _compares(name: str, sign: str, value: str) -> Term:
    """Compare a property, a trait, or with `context.` before it what the context holds."""
    number = float(value) if _NUMBER.fullmatch(value) else None
    pattern = _pattern(value)

    def same(found: object) -> bool:
        if isinstance(found, list):
            return any(same(one) for one in found if not isinstance(one, list))
        if found is None or isinstance(found, bool):
            return value == {None: "null", True: "true", False: "false"}[found]
        if isinstance(found, (int, float)):
            return number is not None and _float(found) == number
        return isinstance(found, str) and pattern.fullmatch(found) is not None

    def ordered(found: object) -> bool:
        if isinstance(found, (int, float)) and not isinstance(found, bool) and number is not None:
            return _in_order(sign, _float(found), number)
        return isinstance(found, str) and number is None and _in_order(sign, found, value)

    def term(arrival: Arrival) -> bool:
        there, found = _property(arrival, name)
        if not there:
            return False
        if sign in {"=", "!="}:
            return same(found) == (sign == "=")
        return ordered(found)

    return term


def _in_order(sign: str, found: Any, value: Any) -> bool:  # noqa: ANN401  # two of one type
    if sign[0] == ">":
        return bool(found >= value if sign == ">=" else found > value)
    return bool(found <= value if sign == "<=" else found < value)


def _property(arrival: Arrival, name: str) -> tuple[bool, Any]:
    body = arrival.body if isinstance(arrival.body, dict) else {}
    place = body.get("properties" if arrival.kind == "event" else "traits")
    if name.startswith("context."):
        place, name = body.get("context"), name.removeprefix("context.")
    if isinstance(place, dict) and name in place:
        return True, place[name]
    for part in name.split("."):
        if not isinstance(place, dict) or part not in place:
            return False, None
        place = place[part]
    return True, place


def _contains(needle: str) -> Term:
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
            yield {None: "null", True: "true", False: "false"}[value]
        else:
            yield str(value).removesuffix(".0")


def _pattern(value: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in value.split("*")), re.DOTALL)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond the range of a double
        return float("inf") if value > 0 else float("-inf")
