"""Encodes any Python value as JSON text, in the call of `track()` or `identify()`.

Three encoders give the same result: `_encode_small` writes a small dict of plain values, as nearly
all events are, in one pass; the encoder of the standard library in C takes larger values of the
plain JSON types; `_GeneralEncoder` takes everything else: dates, decimals, sets and so on. Tests
compare the three on generated values.

Pure, apart from a cache of encoded names of members. Threads: any thread; no locks.
"""

from __future__ import annotations

import _collections_abc as abc  # `collections.abc` would import the whole of `collections`
import sys

try:
    # The parts of `json.encoder`, directly: `json` imports `re`, and the two would be half of the
    # time that importing the package takes.
    from _json import encode_basestring, make_encoder
except ImportError:  # PyPy has no encoder in C
    from json.encoder import encode_basestring

    make_encoder = None  # type: ignore[assignment,misc]  # the stubs know CPython only

from whisperr.errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

MAX_DEPTH = 64
# More than any real event has; it bounds shared references, which multiply when written out.
MAX_VALUES = 100_000
# The most containers that `_is_plain` accepts. Not above MAX_DEPTH, so that an accepted value
# cannot be too deep or contain a cycle.
_MAX_PLAIN_CONTAINERS = 64

# The limits of `_encode_small`: items of one container, and levels of containers.
_MAX_SMALL_ITEMS = 16
_MAX_SMALL_LEVELS = 3
# Backends have a few hundred names of members; the bounds are for programs that generate names.
_MAX_KNOWN_NAMES = 1_000
_MAX_NAME_CHARS = 64

_SCALARS = frozenset({str, int, bool, float, type(None)})
_INFINITY = float("inf")

quote: Callable[[str], str] = encode_basestring
"""Returns a string as JSON text with its quotes; non-ASCII characters stay as they are."""


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


_encode_plain = _make_plain_encoder()

# Raised when a value is not for the encoder that was tried: a name that is no string, a NaN, a
# number of over 4,300 digits, a dictionary that another thread changed meanwhile. The next encoder
# converts the value or reports it.
_UNSUITABLE = (TypeError, ValueError, RuntimeError)


def to_json(value: object, name: str) -> str:
    """Return `value` as JSON text; errors call it `name`.

    Raises InvalidEvent for a cycle, for more than 64 levels or 100,000 values, and for an object
    whose own methods raise.
    """
    try:
        if type(value) is dict and len(value) <= _MAX_SMALL_ITEMS:
            return _encode_small(value, _MAX_SMALL_LEVELS)
    except KeyError as error:
        for new in error.args:
            _cache_name(new)  # the next such event is written in one pass
    except _UNSUITABLE:
        pass
    try:
        if _is_plain(value):
            return "".join(_encode_plain(value, 0))
    except _UNSUITABLE:
        pass
    return _GeneralEncoder().encode(value, name, 1)


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
    return f"{{{text[1:]}}}"


def _encode_small_value(value: Any, levels: int) -> str:
    """Return an item of a list, or a value of a type rarer in events than str and int, as JSON."""
    kind = type(value)
    if kind is dict or kind is list:
        if not levels or len(value) > _MAX_SMALL_ITEMS:
            raise TypeError
        if kind is dict:
            return _encode_small(value, levels)
        return f"[{','.join([_encode_small_value(item, levels - 1) for item in value])}]"
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
    """Return whether only exact JSON types occur, in few enough containers to exclude a cycle."""
    if type(root) is not dict:
        return False
    containers: list[Iterable[object]] = [root.values()]
    for values in containers:
        if _SCALARS.issuperset(map(type, values)):
            continue
        for item in values:
            kind = type(item)
            if kind is dict:
                containers.append(item.values())  # type: ignore[attr-defined]  # a dict
            elif kind is list or kind is tuple:
                containers.append(item)  # type: ignore[arg-type]  # a list or a tuple
            elif kind not in _SCALARS:
                return False
        if len(containers) > _MAX_PLAIN_CONTAINERS:
            return False
    return True


class _GeneralEncoder:
    """Encodes one value of any type; counts its values, and knows the containers around each."""

    __slots__ = ("_open", "_values")

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._values = 0

    def encode(self, value: object, path: str, depth: int) -> str:
        self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidEvent(f"{path}: more than {MAX_VALUES} values in one event")
        try:
            for base in type(value).__mro__:
                convert = _CONVERSIONS.get((base.__module__, base.__qualname__))
                if convert is not None:
                    return convert(value, path)
            return self._encode_container(value, path, depth)
        except InvalidEvent:
            raise
        except Exception as error:
            raise InvalidEvent(
                f"{path}: a {type(value).__name__} cannot be read ({type(error).__name__}); "
                "send a plain value instead"
            ) from error

    def _encode_container(self, value: object, path: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise InvalidEvent(f"{path}: more than {MAX_DEPTH} levels deep")
        if id(value) in self._open:
            raise InvalidEvent(f"{path}: contains itself")
        self._open.add(id(value))
        try:
            members = _get_members(value)
            if members is not None:
                encoded = (
                    f"{quote(key)}:{self.encode(item, f'{path}.{key}', depth + 1)}"
                    for key, item in ((_to_key(key), item) for key, item in members.items())
                )
                return "{" + ",".join(encoded) + "}"
            if isinstance(value, _ARRAYS):
                items = (
                    self.encode(item, f"{path}[{index}]", depth + 1)
                    for index, item in enumerate(value)
                )
                return "[" + ",".join(items) + "]"
            return quote(str(value))
        finally:
            self._open.discard(id(value))


_ARRAYS = (abc.Sequence, abc.Set, abc.ValuesView, abc.Generator, map, filter, zip)


def _get_members(value: object) -> Mapping[Any, object] | None:
    """Return the members of a value that becomes an object, None for any other value."""
    if isinstance(value, abc.Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a named tuple
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a named tuple
    if hasattr(type(value), "__dataclass_fields__") and not isinstance(value, type):
        from dataclasses import fields

        return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]  # checked above
    return None


def is_enum(value: object) -> bool:
    """Return whether a value is of an Enum, without importing `enum`."""
    mro = type(value).__mro__
    return any((base.__module__, base.__qualname__) == ("enum", "Enum") for base in mro)


def _encode_float(value: float, _path: str) -> str:
    """Return a float as JSON. NaN and the infinities become null: JSON has no number for them."""
    return float.__repr__(value) if -_INFINITY < value < _INFINITY else "null"


def _encode_datetime(value: Any, _path: str) -> str:
    """Return RFC 3339 with the offset, UTC as Z; without an offset when the value is naive."""
    offset = value.utcoffset()
    if offset is None:
        return quote(value.isoformat())
    if offset.total_seconds() % 60:  # RFC 3339 offsets have no seconds; old local times do
        value = value.astimezone(sys.modules["datetime"].timezone.utc)
    text: str = value.isoformat()
    return quote(text[:-6] + "Z" if text.endswith("+00:00") else text)


def _encode_bytes(value: Any, _path: str) -> str:
    raw = bytes(value)
    try:
        return quote(raw.decode())
    except UnicodeDecodeError:
        from base64 import b64encode

        return quote(b64encode(raw).decode("ascii"))


# By name and not by class, so that this module need not import `datetime` or `decimal`. The classes
# of a value are tried in the order of its `__mro__`, so a `datetime` is not encoded as a `date`.
_CONVERSIONS: dict[tuple[str, str], Callable[[Any, str], str]] = {
    ("builtins", "NoneType"): lambda _value, _path: "null",
    ("enum", "Enum"): lambda value, path: _GeneralEncoder().encode(value.value, path, 1),
    ("builtins", "str"): lambda value, _path: quote(value),
    ("builtins", "bool"): lambda value, _path: "true" if value else "false",
    ("builtins", "int"): lambda value, _path: int.__repr__(value),
    ("builtins", "float"): _encode_float,
    ("builtins", "bytes"): _encode_bytes,
    ("builtins", "bytearray"): _encode_bytes,
    ("builtins", "memoryview"): _encode_bytes,
    # With all its digits: 19.90 stays 19.90, which a float could not keep.
    ("decimal", "Decimal"): lambda value, _path: str(value) if value.is_finite() else "null",
    ("datetime", "datetime"): _encode_datetime,
    ("datetime", "date"): lambda value, _path: quote(value.isoformat()),
    ("datetime", "time"): lambda value, _path: quote(value.isoformat()),
    ("datetime", "timedelta"): lambda value, path: _encode_float(value.total_seconds(), path),
}


def _to_key(key: object) -> str:
    """Return the key of a member as a string; plain types become what the encoder in C writes."""
    if isinstance(key, str):
        return str.__str__(key)
    if is_enum(key):
        return _to_key(key.value)  # type: ignore[attr-defined]  # an Enum
    if isinstance(key, float):
        return float.__repr__(key)
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    if key is None or issubclass(type(key), int):  # `isinstance` would accept a proxy
        return _GeneralEncoder().encode(key, "a key", 1)
    return str(key)
