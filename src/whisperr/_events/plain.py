"""Recognises values that the standard library's C encoder writes exactly as our rules require.

Pure. Threads: any thread; no locks.
"""

from __future__ import annotations

try:
    # Not through `json`, which imports `re`: the two would be half of the time that importing the
    # package takes.
    from _json import make_encoder
except ImportError:  # PyPy has no encoder in C
    make_encoder = None  # type: ignore[assignment,misc]  # the stubs know CPython only

from .general import MAX_CHARS, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

# The most characters that a plain value may have: escaping may make six of one, as in \u0000.
MAX_PLAIN_CHARS = MAX_CHARS // 6
# A value of few containers may hold more than MAX_VALUES plain values.
_MAX_WIDE_CONTAINERS = 64

TEXTS = frozenset({str})
_NUMBERS = frozenset({int, bool, float, type(None)})
ARRAYS = frozenset({list, tuple})
PLAIN = frozenset({dict}) | TEXTS | _NUMBERS | ARRAYS
# Types of keys that the C encoder writes as our rules require; equal keys may differ in type.
NAMES = frozenset({str, int, bool, type(None)})
_MANY = 64  # a container with more values is checked by calls that run in C


class UnsuitableError(Exception):
    """Raised for a value that only the general encoder can write or refuse."""


def refuse_kind(value: object) -> NoReturn:
    """Raise UnsuitableError: the value is of a type that JSON lacks."""
    raise UnsuitableError(type(value).__name__)


def make_plain_encoder(
    default: Callable[[Any], object], *, allow_nan: bool = False
) -> Callable[[Any, int], Iterable[str]]:
    """Return the C encoder; it calls `default` for a value of a type that JSON lacks."""
    if make_encoder is None:
        from json.encoder import JSONEncoder

        encoder = JSONEncoder(
            ensure_ascii=False,
            check_circular=False,
            allow_nan=allow_nan,
            separators=(",", ":"),
            default=default,
        )
        return lambda value, _level: (encoder.encode(value),)
    return make_encoder(None, default, quote, None, ":", ",", False, False, allow_nan)  # noqa: FBT003  # positional only


def is_plain(root: object) -> bool:
    """Return whether `root` is a dict of exact JSON types, in few containers and few characters.

    The bound on containers excludes cycles; the bound on characters, a text repeated too often.
    """
    if type(root) is not dict:
        return False
    containers: list[Any] = [root.values()]
    chars = 0
    for values in containers:
        chars += len(values)  # their commas
        if len(values) > _MANY and (known := _count_chars(values)) is not None:
            chars += known
            continue
        for item in values:
            kind = type(item)
            if kind is str:
                chars += len(item)
            elif kind in _NUMBERS:
                continue
            elif kind is dict:
                containers.append(item.values())
                chars += sum(map(str.__len__, item))
            elif kind is list or kind is tuple:
                containers.append(item)
            else:
                return False
        if len(containers) > _MAX_WIDE_CONTAINERS:
            return False
    return chars <= MAX_PLAIN_CHARS


def _count_chars(values: Iterable[Any]) -> int | None:
    """Return the length of the texts, or 0 for numbers; None for anything else. Runs in C."""
    if _NUMBERS.issuperset(map(type, values)):
        return 0
    return sum(map(len, values)) if TEXTS.issuperset(map(type, values)) else None
