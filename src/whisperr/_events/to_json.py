"""Step 2, its inner half: turn any Python value into JSON text, once, at call time.

Three ways, one result: a small dict of plain values, as nearly all events are, is written in one
pass; larger values of the plain JSON types go through the encoder in C; anything else takes the
careful way below, which knows dates, decimals, sets and all the others. Tests compare the ways on
generated values. Pure, but for the names of members, which are kept as they are written.
"""

from __future__ import annotations

import _collections_abc as abc  # by itself: `collections.abc` brings the whole of `collections`
import sys

try:
    # What `json.encoder` is made of; by itself, because `json` brings `re` with it, and the two
    # would be half of the time that importing the package takes.
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
# More than any churn signal holds; it bounds shared references that unfold without end.
MAX_VALUES = 100_000
# Containers that the quick look examines before it hands over to the careful way. At most as
# many as MAX_DEPTH, so that what passes cannot be too deep, and a cycle cannot pass.
_QUICK_CONTAINERS = 64

# What is written in one pass: so few members, and so many levels inside of each other.
_FEW = 16
_FEW_LEVELS = 3
# Backends have a few hundred names of members; the bounds are for those that make them up.
_KNOWN_NAMES = 1_000
_LONGEST_NAME = 64

_SCALARS = frozenset({str, int, bool, float, type(None)})
_INFINITY = float("inf")

quote: Callable[[str], str] = encode_basestring
"""A string as JSON text with its quotes; non-ASCII characters stay as they are."""


def _refuse(value: object) -> object:
    """Say to the quick encoder that this is for the careful way."""
    raise TypeError(type(value).__name__)


def _plain_encoder() -> Callable[[Any, int], Iterable[str]]:
    """Make the quick encoder once: `json.dumps` builds a new one for every call (1.2 us)."""
    if make_encoder is None:
        from json.encoder import JSONEncoder

        slow = JSONEncoder(
            ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
        )
        return lambda value, _level: (slow.encode(value),)
    return make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)  # noqa: FBT003  # positional only


_plain_chunks = _plain_encoder()

# What says that a value is not for the way that was tried: an odd name, a NaN, a number of over
# 4,300 digits, a dictionary that another thread changed meanwhile. The next way converts it or
# says what it is.
_ODD = (TypeError, ValueError, RuntimeError)


def to_json(value: object, name: str) -> str:
    """Return `value` as JSON text; `name` is how errors call it.

    Raises InvalidEvent for a cycle, for more than 64 levels or 100,000 values, and for an object
    whose own methods raise.
    """
    try:
        if type(value) is dict and len(value) <= _FEW:
            return _small_text(value, _FEW_LEVELS)
    except KeyError as error:
        for new in error.args:
            _learn(new)  # and the next such event is written in one pass
    except _ODD:
        pass
    try:
        if _is_plain(value):
            return "".join(_plain_chunks(value, 0))
    except _ODD:
        pass
    return _Careful().text(value, name, 1)


def to_utf8(text: str) -> bytes:
    """Encode as UTF-8. A lone surrogate is no character: it becomes U+FFFD, as JSON parsers do."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


# What stands before the value of a member, by its name: a comma, the name, a colon.
_heads: dict[str, str] = {}


def _learn(name: object) -> None:
    if type(name) is str and len(name) <= _LONGEST_NAME and len(_heads) < _KNOWN_NAMES:
        _heads[name] = f",{quote(name)}:"


def _small_text(members: dict[str, object], levels: int) -> str:
    """Write a dict of few plain values; raises one of _ODD, or KeyError for a new name.

    To look at the types first and to encode in C then takes a third more time in a row, and twice
    as much in a process that did something else meanwhile: less code must come into the caches.
    """
    text = ""
    for name, value in members.items():
        kind = type(value)
        if kind is str:
            text = f"{text}{_heads[name]}{quote(value)}"  # type: ignore[arg-type]  # it is one
        elif kind is int:
            text = f"{text}{_heads[name]}{value}"
        else:
            text = f"{text}{_heads[name]}{_small_value(value, levels - 1)}"
    return f"{{{text[1:]}}}"


def _small_value(value: object, levels: int) -> str:
    """Write a value of a list, or one that is rarer in events than strings and integers."""
    kind = type(value)
    if kind is dict or kind is list:
        return _small_container(value, levels)
    if kind is str:
        return quote(value)  # type: ignore[arg-type]  # it is one
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int or (kind is float and -_INFINITY < value < _INFINITY):  # type: ignore[operator]  # it is a number
        return repr(value)
    raise TypeError


def _small_container(value: Any, levels: int) -> str:
    if not levels or len(value) > _FEW:
        raise TypeError
    if type(value) is dict:
        return _small_text(value, levels)
    return f"[{','.join([_small_value(item, levels - 1) for item in value])}]"


def _is_plain(root: object) -> bool:
    """Say whether only exact JSON types occur, in few enough containers to rule out a cycle."""
    if type(root) is not dict:
        return False
    containers: list[Iterable[object]] = [root.values()]
    for values in containers:
        if _SCALARS.issuperset(map(type, values)):
            continue
        for item in values:
            kind = type(item)
            if kind is dict:
                containers.append(item.values())  # type: ignore[attr-defined]  # it is a dict
            elif kind is list or kind is tuple:
                containers.append(item)  # type: ignore[arg-type]  # it is a list or a tuple
            elif kind not in _SCALARS:
                return False
        if len(containers) > _QUICK_CONTAINERS:
            return False
    return True


class _Careful:
    """The careful way through one value: converts, counts, and knows what it is inside of."""

    __slots__ = ("_open", "_values")

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._values = 0

    def text(self, value: object, path: str, depth: int) -> str:
        self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidEvent(f"{path}: more than {MAX_VALUES} values in one event")
        scalar = _scalar_text(value, path)
        if scalar is not None:
            return scalar
        if depth > MAX_DEPTH:
            raise InvalidEvent(f"{path}: more than {MAX_DEPTH} levels deep")
        if id(value) in self._open:
            raise InvalidEvent(f"{path}: contains itself")
        self._open.add(id(value))
        try:
            return self._container_text(value, path, depth)
        except InvalidEvent:
            raise
        except Exception as error:
            raise _unreadable(path, value, error) from error
        finally:
            self._open.discard(id(value))

    def _container_text(self, value: object, path: str, depth: int) -> str:
        fields = _fields_of(value)
        if fields is not None:
            members = (
                f"{quote(key)}:{self.text(item, f'{path}.{key}', depth + 1)}"
                for key, item in ((_key_text(key), item) for key, item in fields.items())
            )
            return "{" + ",".join(members) + "}"
        if isinstance(value, _ARRAYS):
            items = (
                self.text(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)
            )
            return "[" + ",".join(items) + "]"
        return quote(str(value))


_ARRAYS = (abc.Sequence, abc.Set, abc.ValuesView, abc.Generator, map, filter, zip)


def _fields_of(value: object) -> Mapping[Any, object] | None:
    """Return the members of what becomes an object, None for everything else."""
    if isinstance(value, abc.Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a named tuple
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # it has _asdict
    if hasattr(type(value), "__dataclass_fields__") and not isinstance(value, type):
        from dataclasses import fields

        return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]  # checked above
    return None


def _scalar_text(value: object, path: str) -> str | None:
    """Return the JSON text of what is not a container, None for a container or a stranger."""
    if value is None:
        return "null"
    for base in type(value).__mro__:
        convert = _CONVERSIONS.get((base.__module__, base.__qualname__))
        if convert is not None:
            try:
                converted: str | None = convert(value, path)
            except InvalidEvent:
                raise
            except Exception as error:
                raise _unreadable(path, value, error) from error
            return converted
    return None


def _float_text(value: float, _path: str) -> str:
    """Write a float; NaN and the infinities have no JSON number and become null."""
    finite = value == value and value not in (float("inf"), float("-inf"))  # noqa: PLR0124  # NaN test
    return float.__repr__(value) if finite else "null"


def _decimal_text(value: Any, _path: str) -> str:
    """Write a Decimal with its own digits: 19.90 stays 19.90, which a float could not keep."""
    return str(value) if value.is_finite() else "null"


def _datetime_text(value: Any, _path: str) -> str:
    """Write RFC 3339 with its offset, UTC as Z; a naive value has no zone to write."""
    offset = value.utcoffset()
    if offset is None:
        return quote(value.isoformat())
    if offset.total_seconds() % 60:  # RFC 3339 offsets have no seconds; old local times do
        value = value.astimezone(sys.modules["datetime"].timezone.utc)
    text: str = value.isoformat()
    return quote(text[:-6] + "Z" if text.endswith("+00:00") else text)


def _bytes_text(value: Any, _path: str) -> str:
    raw = bytes(value)
    try:
        return quote(raw.decode())
    except UnicodeDecodeError:
        from base64 import b64encode

        return quote(b64encode(raw).decode("ascii"))


# By name, not by class: a value of a type whose module nobody imported cannot arrive here, so
# the core need not import `datetime` or `decimal` to know them. The bases of a class are looked
# up in order, so a `datetime` is not taken for the `date` that it also is.
_CONVERSIONS: dict[tuple[str, str], Callable[[Any, str], str | None]] = {
    ("enum", "Enum"): lambda value, path: _Careful().text(value.value, path, 1),
    ("builtins", "str"): lambda value, _path: quote(value),
    ("builtins", "bool"): lambda value, _path: "true" if value else "false",
    ("builtins", "int"): lambda value, _path: int.__repr__(value),
    ("builtins", "float"): _float_text,
    ("builtins", "bytes"): _bytes_text,
    ("builtins", "bytearray"): _bytes_text,
    ("builtins", "memoryview"): _bytes_text,
    ("decimal", "Decimal"): _decimal_text,
    ("datetime", "datetime"): _datetime_text,
    ("datetime", "date"): lambda value, _path: quote(value.isoformat()),
    ("datetime", "time"): lambda value, _path: quote(value.isoformat()),
    ("datetime", "timedelta"): lambda value, _path: _float_text(value.total_seconds(), _path),
}


def _key_text(key: object) -> str:
    """Return a key as the string it becomes; the plain types as the encoder in C writes them."""
    if isinstance(key, str):
        return str.__str__(key)
    for base in type(key).__mro__:
        if (base.__module__, base.__qualname__) == ("enum", "Enum"):
            return _key_text(key.value)  # type: ignore[attr-defined]  # it is an Enum
    if isinstance(key, float):
        return float.__repr__(key)
    if key is None or isinstance(key, int):
        text = _scalar_text(key, "a key")
        return text if text is not None else str(key)
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return str(key)


def _unreadable(path: str, value: object, error: BaseException) -> InvalidEvent:
    return InvalidEvent(
        f"{path}: a {type(value).__name__} cannot be read ({type(error).__name__}); "
        "send a plain value instead"
    )
