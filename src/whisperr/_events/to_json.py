"""Encodes any Python value as JSON text, in the call of `track()` or `identify()`.

Three encoders give the same result: `_encode_small` writes a small dict of plain values, as nearly
all events are, in one pass; `LevelEncoder` takes larger values, and those with dates, decimals,
sets and so on; `GeneralEncoder` takes what is left, and reports what cannot be encoded. Tests
compare the three on generated values.

Pure, apart from a cache of encoded names of members. Threads: any thread; no locks.
"""

from __future__ import annotations

from whisperr._process.interruption import is_interruption

from .general import GeneralEncoder, get_common_encoder, quote
from .levels import LevelEncoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .general import Read

# The limits of `_encode_small`: items of one container, levels of containers, and characters, which
# are looked at when a container is complete: they bound what contains it.
_MAX_SMALL_ITEMS = 16
_MAX_SMALL_LEVELS = 3
_MAX_SMALL_CHARS = 1024 * 1024
# Backends have a few hundred names of members; the bounds are for programs that generate names.
_MAX_KNOWN_NAMES = 1_000
_MAX_NAME_CHARS = 64

_INFINITY = float("inf")
_CONSTANTS = {None: "null", True: "true", False: "false"}


_GLOBALS = globals()

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
    read: Read = {}
    encoder = LevelEncoder(read)
    text = encoder.encode(value)
    for kind in encoder.conversions:
        if kind not in _common and (to_text := get_common_encoder(kind)) is not None:
            _common[kind] = to_text
    return GeneralEncoder(read).encode(value, name) if text is None else text


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
# How a value of a common class becomes text, by that class; for those that were seen.
_common: dict[type, Callable[[Any], str]] = {}


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
    if value is None or kind is bool:
        return _CONSTANTS[value]
    if kind is int or (kind is float and -_INFINITY < value < _INFINITY):
        return repr(value)
    return _encode_common(value)


def _encode_common(value: Any) -> str:
    """Return a value of a common class, such as a date, as JSON; raises TypeError for another."""
    to_text = _common.get(type(value))
    if to_text is None:
        raise TypeError
    try:
        return to_text(value)
    except Exception as error:  # of a time zone of the caller: it is reported with its place
        if is_interruption(error):
            raise
        raise TypeError from None
