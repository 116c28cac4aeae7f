"""Encodes any Python value as JSON text, within the call of `track()` or `identify()`.

Three encoders give the same result, which tests compare on generated values:

- `_encode_small` writes a small dict of plain values, as in nearly all events, in one pass.
- `LevelEncoder` writes larger values, and those with dates, decimals, sets and the like.
- `GeneralEncoder` writes the rest, and reports what cannot be encoded.

Pure, apart from caches of encoded member names and of common classes. Threads: any; no locks.
"""

from __future__ import annotations

from whisperr._process.interruption import is_interruption

from .general import GeneralEncoder, get_common_encoder, quote
from .levels import LevelEncoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .general import Consumed

# The limits of `_encode_small`: items of one container, levels of containers, and characters of one
# container, checked when it is complete so that the container around it is bounded too.
_MAX_SMALL_ITEMS = 16
_MAX_SMALL_LEVELS = 3
_MAX_SMALL_CHARS = 1024 * 1024
# Applications have a few hundred member names; the bounds are for programs that generate names.
_MAX_KNOWN_NAMES = 1_000
_MAX_NAME_CHARS = 64

_INFINITY = float("inf")
_CONSTANTS = {None: "null", True: "true", False: "false"}


_GLOBALS = globals()

# Raised when an encoder cannot write a value: a name that is not a string, a NaN, a number of over
# 4,300 digits, a dict that another thread changed meanwhile. The next encoder writes or reports it.
_UNSUITABLE = (TypeError, ValueError, RuntimeError)


def to_json(value: object, name: str) -> str:
    """Return `value` as JSON text; errors call it `name`.

    Raise InvalidEvent for a cycle, for more than 64 levels, 100,000 values or 64 Mi characters, and
    for an object whose own methods raise.
    """
    try:
        if type(value) is dict and len(value) <= _MAX_SMALL_ITEMS:
            return _encode_small(value, _MAX_SMALL_LEVELS)
    except KeyError as error:
        _raise_foreign(error)
        for new in error.args:
            _cache_name(new)  # `_encode_small` writes the next such event
    except _UNSUITABLE as error:
        _raise_foreign(error)
    consumed: Consumed = {}
    encoder = LevelEncoder(consumed)
    text = encoder.encode(value)
    for kind in encoder.conversions:
        if kind not in _common and (to_text := get_common_encoder(kind)) is not None:
            _common[kind] = to_text
    return GeneralEncoder(consumed).encode(value, name) if text is None else text


def _raise_foreign(error: Exception) -> None:
    """Raise an exception that interrupts this call; return if this module itself raised it.

    Where it was raised is checked first, because `is_interruption` costs more than an event.
    """
    entry: Any = error.__traceback__
    while entry.tb_next is not None:
        entry = entry.tb_next
    if entry.tb_frame.f_globals is not _GLOBALS and is_interruption(error):
        raise error


def to_utf8(text: str) -> bytes:
    """Return `text` as UTF-8; a lone surrogate becomes U+FFFD, as in most JSON parsers."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


# By member name, the text before its value: a comma, the quoted name, a colon.
_prefixes: dict[str, str] = {}
# The encoders of the common classes that were seen, by class.
_common: dict[type, Callable[[Any], str]] = {}


def _cache_name(name: object) -> None:
    if type(name) is str and len(name) <= _MAX_NAME_CHARS and len(_prefixes) < _MAX_KNOWN_NAMES:
        _prefixes[name] = f",{quote(name)}:"


def _encode_small(members: dict[str, object], levels: int) -> str:
    """Return a dict of few plain values as JSON; raise _UNSUITABLE, or KeyError for a new name.

    Checking the types first and then encoding in C takes a third longer in a tight loop, and twice
    as long in a process that does other work in between: more code must enter the CPU caches.
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
    """Return a value that is an item of a list, or neither str nor int, as JSON."""
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
    """Return a value of a common class, such as a date, as JSON; raise TypeError for another."""
    to_text = _common.get(type(value))
    if to_text is None:
        raise TypeError
    try:
        return to_text(value)
    except Exception as error:  # from the caller's tzinfo; GeneralEncoder reports it with its path
        if is_interruption(error):
            raise
        raise TypeError from None
