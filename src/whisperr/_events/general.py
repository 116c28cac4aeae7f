"""Encodes values of any type as JSON text: dates, decimals, sets, objects and their containers.

A subclass of a known type is written by the methods of the known type: a Decimal that prints as
"EUR 19.90" is still the number 19.90. The result of a caller's own method is only ever written as a
JSON string, or encoded again.

Pure. Threads: any thread; no locks.
"""

from __future__ import annotations

import _collections_abc as abc  # `collections.abc` would import the whole of `collections`
import sys

try:
    from _json import encode_basestring  # `json` imports `re`, which is slow to import
except ImportError:  # PyPy has no encoder in C
    from json.encoder import encode_basestring

from whisperr._process.interruption import is_interruption
from whisperr.errors import InvalidEvent

from .redaction import format_path, get_type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NoReturn

    from .redaction import Path

    Conversion = tuple[str, Any, Callable[[Any, Any], str] | None]
    # Iterators that were read, by id: the iterator, which keeps its id taken, and all its items.
    Consumed = dict[int, tuple[object, Iterator[object]]]

MAX_DEPTH = 64
# More than any real event has; bounds shared references, which multiply when written out.
MAX_VALUES = 100_000
# The default of `max_queue_bytes`. Checked while encoding: one text of 5 MB that an event refers to
# a thousand times would become 5 GB.
MAX_CHARS = 64 * 1024 * 1024

quote: Callable[[str], str] = encode_basestring
"""Returns a string as JSON text, in quotes; non-ASCII characters stay as they are."""


class GeneralEncoder:
    """Encodes one value; counts values and characters, and detects cycles."""

    __slots__ = ("_chars_left", "_consumed", "_open", "_values")

    def __init__(self, consumed: Consumed | None = None) -> None:
        """`consumed`: iterators that another encoder has read already, with their items."""
        self._open: set[int] = set()
        self._consumed = {} if consumed is None else consumed
        self._values = 0
        self._chars_left = MAX_CHARS

    def encode(self, value: object, path: Path, depth: int = 1) -> str:
        """Return `value` as JSON text; raise InvalidEvent, which names the path."""
        self._values += 1
        if self._values > MAX_VALUES:
            refuse(path, f"more than {MAX_VALUES} values in one event")
        try:
            way, base, convert = get_conversion(type(value))
            if convert is not None:
                text = convert(base, value)
                if way is TEXT:
                    return self._quote(text, path)
                self._chars_left -= len(text) + 1  # the comma
                return text if self._chars_left >= 0 else _refuse_size(path)
            if way is ENUM:
                return self.encode(value.value, path, depth + 1)  # type: ignore[attr-defined]  # an Enum
            return self._encode_container(value, path, depth)
        except InvalidEvent:
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            text = f"a {get_type_name(value)} cannot be read ({get_type_name(error)})"
            raise InvalidEvent(
                f"{format_path(path)}: {text}; send a plain value instead"
            ) from error

    def _encode_container(self, value: object, path: Path, depth: int) -> str:
        if depth > MAX_DEPTH:
            refuse(path, f"more than {MAX_DEPTH} levels deep")
        if id(value) in self._open:
            refuse(path, "contains itself")
        self._open.add(id(value))
        try:
            members = get_members(value)
            if members is not None:
                return "{" + ",".join(self._encode_members(members, path, depth)) + "}"
            if isinstance(value, SEQUENCES) and not isinstance(value, str):  # no proxy for a string
                _, found = self._consumed.get(id(value), (None, value))
                items = (
                    self.encode(item, (path, index), depth + 1) for index, item in enumerate(found)
                )
                return "[" + ",".join(items) + "]"
            return self._quote(to_str(value), path)
        finally:
            self._open.discard(id(value))

    def _encode_members(
        self, members: Mapping[Any, object], path: Path, depth: int
    ) -> Iterator[str]:
        for key, item in members.items():
            name = key if type(key) is str else to_key(key)
            self._chars_left -= len(name)  # checked with the value
            yield f"{quote(name)}:{self.encode(item, (path, name), depth + 1)}"

    def _quote(self, text: str, path: Path) -> str:
        """Return a string as JSON text; check its length first: escaping may multiply it by six."""
        if len(text) > self._chars_left:
            _refuse_size(path)
        quoted = quote(text)
        self._chars_left -= len(quoted)
        return quoted if self._chars_left >= 0 else _refuse_size(path)


def refuse(path: Path, problem: str) -> NoReturn:
    """Raise the InvalidEvent for the value at this path."""
    raise InvalidEvent(f"{format_path(path)}: {problem}")


def _refuse_size(path: Path) -> NoReturn:
    refuse(path, f"more than {MAX_CHARS:,} characters in one event")


SEQUENCES = (abc.Sequence, abc.Set, abc.ValuesView, abc.Generator, map, filter, zip)


def get_members(value: object) -> Mapping[Any, object] | None:
    """Return the members of a value that becomes a JSON object; None for any other value."""
    if isinstance(value, abc.Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a named tuple
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a named tuple
    if hasattr(type(value), "__dataclass_fields__") and not isinstance(value, type):
        from dataclasses import fields

        return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]  # checked above
    return None


def is_enum(value: object) -> bool:
    """Return whether a value is a member of an Enum, without importing `enum`."""
    return any((base.__module__, base.__qualname__) == _ENUM_NAME for base in type(value).__mro__)


def to_str(value: object) -> str:
    """Return `str(value)` as an exact str, even for a subclass of str with methods of its own."""
    text = value if issubclass(type(value), str) else str(value)
    return str.__str__(text)


def to_plain_datetime(value: Any) -> Any:
    """Return a datetime of a subclass as an exact datetime, without calling the subclass."""
    base: Any
    for base in type(value).__mro__:
        if (base.__module__, base.__qualname__) == _DATETIME:
            break
    return value if base is type(value) else base.combine(base.date(value), base.timetz(value))


def _format_float(base: Any, value: float) -> str:
    """Return a float as JSON; NaN and the infinities, which JSON lacks, become null."""
    text: str = base.__repr__(value)
    return "null" if text[-1] in "fn" else text


def _format_datetime(_base: Any, value: Any) -> str:
    """Return RFC 3339 with the offset, UTC as Z; a naive value gets no offset."""
    moment = to_plain_datetime(value)
    offset = moment.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        # RFC 3339 offsets have no seconds; those of historical local times may.
        moment = moment.astimezone(sys.modules["datetime"].timezone.utc)
    text: str = moment.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _decode_bytes(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        from base64 import b64encode

        return b64encode(raw).decode("ascii")


# By name, so that this module need not import `datetime` or `decimal`. A value's classes are tried
# in `__mro__` order, so a `datetime` is not encoded as a `date`. Each function takes the known
# class, which may be a base of the value's class, and the value.
_ENUM_NAME = ("enum", "Enum")
_DATETIME = ("datetime", "datetime")
_FULL = slice(None)  # makes an exact copy
_LITERALS: dict[tuple[str, str], Callable[[Any, Any], str]] = {
    ("builtins", "NoneType"): lambda _base, _value: "null",
    ("builtins", "bool"): lambda _base, value: "true" if value else "false",
    ("builtins", "int"): lambda base, value: base.__repr__(value),
    ("builtins", "float"): _format_float,
    # All digits are kept: as a float, 19.90 would lose its zero.
    ("decimal", "Decimal"): lambda base, value: (
        base.__str__(value) if base.is_finite(value) else "null"
    ),
    ("datetime", "timedelta"): lambda base, value: _format_float(float, base.total_seconds(value)),
    # A subclass of `datetime` whose date is meaningless.
    ("pandas._libs.tslibs.nattype", "NaTType"): lambda _base, _value: "null",
}
_TEXTS: dict[tuple[str, str], Callable[[Any, Any], str]] = {
    ("builtins", "str"): lambda base, value: base.__str__(value),
    ("builtins", "bytes"): lambda base, value: _decode_bytes(base.__getitem__(value, _FULL)),
    ("builtins", "bytearray"): lambda base, value: _decode_bytes(
        bytes(base.__getitem__(value, _FULL))
    ),
    ("builtins", "memoryview"): lambda _base, value: _decode_bytes(bytes(value)),
    _DATETIME: _format_datetime,
    ("datetime", "date"): lambda base, value: base.isoformat(value),
    ("datetime", "time"): lambda base, value: base.isoformat(value),
}


# How a value is converted.
LITERAL, TEXT, ENUM, OBJECT = "literal", "text", "enum", "object"


def get_conversion(kind: type) -> Conversion:
    """Return how values of this class are converted: the way, the known class, the function.

    The function takes the known class and a value. ENUM and OBJECT have none: an Enum is encoded as
    its value, and an object as a container or as its text.
    """
    for base in kind.__mro__:
        name = base.__module__, base.__qualname__
        if name in _LITERALS:
            return LITERAL, base, _LITERALS[name]
        if name in _TEXTS:
            return TEXT, base, _TEXTS[name]
        if name == _ENUM_NAME:
            return ENUM, base, None
    return OBJECT, kind, None


# Common standard library classes whose values convert by themselves.
_COMMON = frozenset(
    {
        ("decimal", "Decimal"),
        ("uuid", "UUID"),
        *(("datetime", name) for name in ("datetime", "date", "time", "timedelta")),
    }
)


def get_common_encoder(kind: type) -> Callable[[Any], str] | None:
    """Return the encoder for values of a common class; None for any other class."""
    name = kind.__module__, kind.__qualname__
    if name not in _COMMON or getattr(sys.modules.get(name[0]), name[1], None) is not kind:
        return None
    way, base, convert = get_conversion(kind)
    if convert is None:
        return lambda value: quote(to_str(value))
    return lambda value: convert(base, value) if way is LITERAL else quote(convert(base, value))


def to_key(key: object) -> str:
    """Return the key of a member as a string; plain types become what the C encoder writes."""
    kind = type(key)  # `isinstance` would accept a proxy
    if issubclass(kind, str):
        return str.__str__(key)
    if is_enum(key):
        return to_key(key.value)  # type: ignore[attr-defined]  # an Enum
    if issubclass(kind, float):
        return float.__repr__(key)
    if issubclass(kind, bytes):
        return bytes.decode(key, "utf-8", "replace")  # type: ignore[arg-type]  # bytes
    if key is None or issubclass(kind, int):
        return GeneralEncoder().encode(key, "a key")
    return to_str(key)
