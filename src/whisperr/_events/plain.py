"""The values that the JSON encoder of the standard library writes as the rules want them.

Pure. Threads: any thread; no locks.
"""

from __future__ import annotations

try:
    # A part of `json.encoder`, directly: `json` imports `re`, and the two would be half of the
    # time that importing the package takes.
    from _json import make_encoder
except ImportError:  # PyPy has no encoder in C
    make_encoder = None  # type: ignore[assignment,misc]  # the stubs know CPython only

from .general import MAX_CHARS, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

# The most characters that such a value may have: each may become six, such as \u0000.
MAX_PLAIN_CHARS = MAX_CHARS // 6
# So few containers may hold more than MAX_VALUES plain values.
_MAX_WIDE_CONTAINERS = 64

TEXTS = frozenset({str})
_NUMBERS = frozenset({int, bool, float, type(None)})
ARRAYS = frozenset({list, tuple})
PLAIN = frozenset({dict}) | TEXTS | _NUMBERS | ARRAYS
# Names that the encoder in C writes as the rules want it; those that are equal may be of two kinds.
NAMES = frozenset({str, int, bool, type(None)})
_MANY = 64  # values of one container, which are looked at in C when they are of one kind


class UnsuitableError(Exception):
    """The value is one for the general encoder."""


def refuse_kind(value: object) -> NoReturn:
    """Raise the error for a value of another kind."""
    raise UnsuitableError(type(value).__name__)


def make_plain_encoder(
    default: Callable[[Any], object], *, allow_nan: bool = False
) -> Callable[[Any, int], Iterable[str]]:
    """Return the encoder in C; `default` is given what is of none of its types."""
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
    """Return whether few containers hold nothing but exact JSON types, and not too much of them.

    So few containers exclude a cycle; so few characters, a text that is referred to too often.
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
    """Return the length of texts, or 0 for numbers; None when there is anything else. All in C."""
    if _NUMBERS.issuperset(map(type, values)):
        return 0
    return sum(map(len, values)) if TEXTS.issuperset(map(type, values)) else None
