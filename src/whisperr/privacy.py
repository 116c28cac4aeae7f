r"""Redacts private data in events, before they are queued: makes a function for `before_send`.

Example::

    from whisperr import Whisperr
    from whisperr.privacy import redact

    whisperr = Whisperr(before_send=redact("email", "*.ssn", pattern=r"\d{13,19}"))

.. versionadded:: 1.0
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

from ._contract import OWN_CONTEXT_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["redact"]

# Paths that are remembered, so that the names are compared once for each of them. Applications
# have a few hundred; the bound is for programs that use data as keys.
_MAX_PATHS = 1_000
_ROOTS = ("properties", "context")
# Where a pattern such as r"\b" matches nothing: at ends of words, beside digits and signs.
_SAMPLE = "Ada <ada@example.com>, 4111-1111\n"


def redact(
    *names: str, pattern: str | re.Pattern[str] | None = None, replacement: str = "[redacted]"
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    r"""Return a function that replaces private data in the properties and context of an event.

    Pass it as `before_send`, or call it in your own `before_send`. It changes no other key of an
    event, and no key of the context that the client sets. It does not change the names of
    properties, and looks into dicts, lists and tuples.

    Args:
        names: The values to replace, by their name at any depth: `"email"`. A path, such as
            `"customer.email"`, replaces the value only directly inside of `customer`; it may begin
            with `properties` or `context`. `*` stands for any part of one name: `"*_token"`,
            `"customer.*"`; `"*.email"` is an `email` inside of anything, also of the properties
            themselves. A list is no step of a path. Upper and lower case are the same.
        pattern: Text to replace within all other string values: a regular expression, or one that
            `re.compile` returned. Numbers are no text: name their properties.
        replacement: What is sent in place of a value or of matching text.

    Returns:
        A function that takes an event as a dictionary and returns a redacted copy of it.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There is neither a name nor a pattern, or one of them cannot be used.
    """
    if not names and pattern is None:
        raise ValueError("redact() needs at least one name or a pattern")
    if not isinstance(replacement, str):
        raise TypeError(f"replacement: must be a str, got {type(replacement).__name__}")
    text = None if pattern is None else _compile_pattern(pattern)
    return _Redaction(_compile_names(names), text, replacement)


class _Redaction:
    """The function that `redact` returns. Any thread may call it."""

    __slots__ = ("_find_name", "_known", "_pattern", "_replacement")

    def __init__(
        self,
        find_name: Callable[[str], object],
        pattern: re.Pattern[str] | None,
        replacement: str,
    ) -> None:
        self._find_name = find_name
        self._pattern = pattern
        self._replacement = replacement
        self._known: dict[str, bool] = {}  # whether a path is replaced

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        context = event["context"]
        own = {key: context[key] for key in OWN_CONTEXT_KEYS if key in context}
        return {
            **event,
            "properties": self._redact(event["properties"], "properties"),
            "context": {**self._redact(context, "context"), **own},
        }

    def _redact(self, value: Any, path: str) -> Any:  # noqa: ANN401  # any value of an event
        if isinstance(value, dict):
            return {
                key: self._replacement
                if self._is_named(below := f"{path}.{key}")
                else self._redact(item, below)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._redact(item, path) for item in value]
        if self._pattern is not None and isinstance(value, str):
            return self._pattern.sub(self._replace, value)
        return value

    def _replace(self, match: re.Match[str]) -> str:
        return self._replacement if match.group() else ""  # an empty match hides nothing

    def _is_named(self, path: str) -> bool:
        found = self._known.get(path)
        if found is None:
            found = self._find_name(path) is not None
            if len(self._known) < _MAX_PATHS:
                self._known[path] = found
        return found


def _compile_names(names: Iterable[str]) -> Callable[[str], re.Match[str] | None]:
    """Return a function that finds one of the names at the end of a path or of its beginning.

    The steps of a path are separated by dots, and so is a name with dots in it, such as
    `"customer.email"`: it is found like two names. The first step of a path is its root. Only a
    whole `*` or the root's own name stands for it, and only with a step after it: otherwise
    `"*text"` would replace all of the context.
    """
    numbers = count()
    anywhere: list[str] = []
    from_root: list[str] = []
    for name in names:
        if not isinstance(name, str):
            kind = type(name).__name__
            raise TypeError(f'names: must be strings, such as redact("email"); got a {kind}')
        if "[" in name:
            raise ValueError(f"{name!r}: leave out brackets; a list is no step of a path")
        steps = name.split(".")
        if not all(steps):
            raise ValueError(f"{name!r}: must be a name, or names with a dot between two of them")
        is_from_root = len(steps) > 1 and steps[0].lower() in {"*", *_ROOTS}
        path = r"\.".join(_to_pattern(step, numbers) for step in steps)
        (from_root if is_from_root else anywhere).append(path)
    nothing = r"(?!)"
    ends = rf"\.(?:{'|'.join(anywhere) or nothing})|(?:^|\.)(?:{'|'.join(from_root) or nothing})"
    return re.compile(rf"(?:{ends})(?:\.|\Z)", re.IGNORECASE).search


def _to_pattern(step: str, numbers: Iterator[int]) -> str:
    """Return the regular expression of one step of a name.

    Each part after a `*` but the last is found at its first place, and at no other: a lookahead is
    never tried again. Otherwise several `*` would take seconds for a long key.
    """
    first, *parts = map(re.escape, step.split("*"))
    if not parts:
        return first
    *middle, last = parts
    found = [
        rf"(?=(?P<p{number}>[^.]*?{part}))(?P=p{number})"
        for part, number in zip(filter(None, middle), numbers, strict=False)
    ]
    return first + "".join(found) + rf"[^.]*{last}"


def _compile_pattern(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    if not isinstance(pattern, (str, bytes, re.Pattern)):
        kind = type(pattern).__name__
        raise TypeError(f"pattern: must be a str or a compiled pattern, got {kind}")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern: {error}") from error
    if not isinstance(compiled.pattern, str):
        raise TypeError("pattern: must match a str, not bytes")
    if compiled.match("") or not all(match.group() for match in compiled.finditer(_SAMPLE)):
        raise ValueError("pattern: matches an empty text, so it would be found everywhere")
    return compiled
