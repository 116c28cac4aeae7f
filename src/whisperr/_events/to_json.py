"""Encodes any Python value as JSON text, in the call of `track()` or `identify()`.

Three encoders give the same result: `_encode_small` writes a small dict of plain values, as nearly
all events are, in one pass; the encoder of the standard library in C takes larger values of the
plain JSON types; `GeneralEncoder` takes everything else: dates, decimals, sets and so on. Tests
compare the three on generated values.

Pure, apart from a cache of encoded names of members. Threads: any thread; no locks.
"""

from __future__ import annotations

try:
    # A part of `json.encoder`, directly: `json` imports `re`, and the two would be half of the
    # time that importing the package takes.
    from _json import make_encoder
except ImportError:  # PyPy has no encoder in C
    make_encoder = None  # type: ignore[assignment,misc]  # the stubs know CPython only

from whisperr._process.interruption import is_interruption

from .general import MAX_CHARS, GeneralEncoder, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# The most containers that `_is_plain` accepts. Not above MAX_DEPTH, so that an accepted value
# cannot be too deep or contain a cycle.
_MAX_PLAIN_CONTAINERS = 64

# The most characters that `_is_plain` accepts: each may become six, such as \u0000.
_MAX_PLAIN_CHARS = MAX_CHARS // 6

# The limits of `_encode_small`: items of one container, levels of containers, and characters, which
# are looked at when a container is complete: they bound what contains it.
_MAX_SMALL_ITEMS = 16
_MAX_SMALL_LEVELS = 3
_MAX_SMALL_CHARS = 1024 * 1024
# Backends have a few hundred names of members; the bounds are for programs that generate names.
_MAX_KNOWN_NAMES = 1_000
_MAX_NAME_CHARS = 64

_TEXTS = frozenset({str})
_NUMBERS = frozenset({int, bool, float, type(None)})
_MANY = 64  # values of one container, which are looked at in C when they are of one kind
_INFINITY = float("inf")


def _refuse(value: object) -> object:
    """Make the encoder in C fail, so that the general encoder takes the value."""
    raise TypeError(type(value).__name__)


def _make_plain_encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return the encoder in C. Made once: `json.dumps` makes a new one at every call (1.2 us)."""
    if make_encoder is None:
        from json.encoder import JSONEncoder

        encoder = JSONEncoder(
            ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
        )
        return lambda value, _level: (encoder.encode(value),)
    return make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)  # noqa: FBT003  # positional only


_GLOBALS = globals()
_encode_plain = _make_plain_encoder()

# Raised when a value is not for the encoder that was tried: a name that is no string, a NaN, a
# number of over 4,300 digits, a dictionary that another thread changed meanwhile. The next encoder
# converts the value or reports it.
_UNSUITABLE = (TypeError, ValueError, RuntimeError)


def to_json(value: object, name: str) -> str:
    """Return `value` as JSON text; errors call it `name`.

    Raises InvalidEvent for a cycle, for more than 64 levels, 100,000 values or 64 Mi characters,
    and for an object whose own methods raise.
    """
    try:
        if type(value) is dict and len(value) <= _MAX_SMALL_ITEMS:
            return _encode_small(value, _MAX_SMALL_LEVELS)
    except KeyError as error:
        _raise_foreign(error)
        for new in error.args:
            _cache_name(new)  # the next such event is written in one pass
    except _UNSUITABLE as error:
        _raise_foreign(error)
    try:
        if _is_plain(value):
            return "".join(_encode_plain(value, 0))
    except _UNSUITABLE as error:
        _raise_foreign(error)
    return GeneralEncoder().encode(value, name)


def _raise_foreign(error: Exception) -> None:
    """Raise an exception that interrupts this call; return when this module itself raised it.

    The first look is at where it was raised, because `is_interruption` costs more than an event.
    """
    entry: Any = error.__traceback__
    while entry.tb_next is not None:
        entry = entry.tb_next
    if entry.tb_frame.f_globals is not _GLOBALS and is_interruption(error):
        raise error


def to_utf8(text: str) -> bytes:
    """Return `text` as UTF-8. A lone surrogate becomes U+FFFD, as in most JSON parsers."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


# The text before the value of a member, by the name of the member: a comma, the name, a colon.
_prefixes: dict[str, str] = {}


def _cache_name(name: object) -> None:
    if type(name) is str and len(name) <= _MAX_NAME_CHARS and len(_prefixes) < _MAX_KNOWN_NAMES:
        _prefixes[name] = f",{quote(name)}:"


def _encode_small(members: dict[str, object], levels: int) -> str:
    """Return a dict of few plain values as JSON; raises _UNSUITABLE, or KeyError for a new name.

    Checking the types first and then encoding in C takes a third longer in a tight loop, and twice
    as long in a process that does other work in between, because more code must enter the caches.
    """
    text = ""
    for name, value in members.items():
        kind = type(value)
        if kind is str:
            text = f"{text}{_prefixes[name]}{quote(value)}"  # type: ignore[arg-type]  # a str
        elif kind is int:
            text = f"{text}{_prefixes[name]}{value}"
        else:
            text = f"{text}{_prefixes[name]}{_encode_small_value(value, levels - 1)}"
    if len(text) > _MAX_SMALL_CHARS:
        raise TypeError
    return f"{{{text[1:]}}}"


def _encode_small_value(value: Any, levels: int) -> str:
    """Return an item of a list, or a value of a type rarer in events than str and int, as JSON."""
    kind = type(value)
    if kind is dict or kind is list:
        if not levels or len(value) > _MAX_SMALL_ITEMS:
            raise TypeError
        if kind is dict:
            return _encode_small(value, levels)
        text = ",".join([_encode_small_value(item, levels - 1) for item in value])
        if len(text) > _MAX_SMALL_CHARS:
            raise TypeError
        return f"[{text}]"
    if kind is str:
        return quote(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int or (kind is float and -_INFINITY < value < _INFINITY):
        return repr(value)
    raise TypeError


def _is_plain(root: object) -> bool:
    """Return whether only exact JSON types occur, and not too much of them.

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
        if len(containers) > _MAX_PLAIN_CONTAINERS:
            return False
    return chars <= _MAX_PLAIN_CHARS


def _count_chars(values: Iterable[Any]) -> int | None:
    """Return the length of texts, or 0 for numbers; None when there is anything else. All in C."""
    if _NUMBERS.issuperset(map(type, values)):
        return 0
    return sum(map(len, values)) if _TEXTS.issuperset(map(type, values)) else None
