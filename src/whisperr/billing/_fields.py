"""Typed reads of an unchecked payload: a value of another type counts as missing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SCALARS = (str, int, float, bool, type(None), Decimal, datetime)
_MAX_DEPTH = 32
_MAX_DIGITS = 40
_MILLIS = re.compile("[0-9]{1,19}")
_MILLISECOND = 1000  # in microseconds


class PayloadError(Exception):
    """Raised for a payload that is no JSON object; its text is the reason."""


class Fields:
    """A JSON object. Names are a path: `text("customer", "id")` reads `{"customer": {"id": …}}`."""

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def to_dict(self) -> dict[str, Any]:
        """Return a copy of the object."""
        return dict(self._data)

    def value(self, *names: str) -> Any:  # noqa: ANN401  # JSON
        """Return the value; None if it, or an object on the way to it, is missing."""
        found: Any = self._data
        for name in names:
            if type(found) is not dict:
                found = to_plain(found)
                if type(found) is not dict:
                    return None
            found = found.get(name)
        return found

    def has(self, *names: str) -> bool:
        """Return whether the key exists, also with the value null."""
        parent = to_plain(self.value(*names[:-1])) if len(names) > 1 else self._data
        return isinstance(parent, Mapping) and names[-1] in parent

    def text(self, *names: str) -> str | None:
        """Return a string that is not blank."""
        found = self.value(*names)
        return found if isinstance(found, str) and found.strip() else None

    def integer(self, *names: str) -> int | None:
        """Return an integer; a bool is none."""
        found = self.value(*names)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def boolean(self, *names: str) -> bool | None:
        """Return a bool."""
        found = self.value(*names)
        return found if isinstance(found, bool) else None

    def object(self, *names: str) -> Fields:
        """Return an object; one without keys if it is missing."""
        found = to_plain(self.value(*names))
        return Fields(found if isinstance(found, dict) else {})

    def objects(self, *names: str) -> list[Fields]:
        """Return the objects of a list, without its other items."""
        found = to_plain(self.value(*names))
        items = [to_plain(item) for item in found] if isinstance(found, list) else []
        return [Fields(item) for item in items if isinstance(item, dict)]

    def decimal(self, *names: str) -> Decimal | None:
        """Return a finite number of a JSON number or string, with exactly its digits."""
        found = self.value(*names)
        if isinstance(found, bool) or not isinstance(found, (str, int, float, Decimal)):
            return None
        try:
            number = Decimal(str(found))
        except (InvalidOperation, ValueError):  # an int may be too long for `str`
            return None
        return number if number.is_finite() and abs(number.adjusted()) < _MAX_DIGITS else None

    def seconds(self, *names: str) -> datetime | None:
        """Return the time of a number of seconds since 1970, in UTC."""
        return _add(seconds=self.integer(*names))

    def millis(self, *names: str) -> datetime | None:
        """Return the time of a number of milliseconds since 1970, an integer or a string of one."""
        found = self.value(*names)
        if isinstance(found, str) and _MILLIS.fullmatch(found):
            return _add(milliseconds=int(found))
        return _add(milliseconds=self.integer(*names))

    def time(self, *names: str) -> datetime | None:
        """Return the time of an RFC 3339 text, or of a datetime with a zone, in UTC."""
        found = self.value(*names)
        try:
            if isinstance(found, str):
                found = _parse(found)
            if isinstance(found, datetime) and found.tzinfo is not None:
                return found.astimezone(timezone.utc)
        except (ValueError, OverflowError):
            pass
        return None


def read_payload(payload: object) -> Fields:
    """Return the fields of a dict, of JSON, or of an object of a provider's package.

    Raises PayloadError, which says what to pass instead.
    """
    found = payload
    if isinstance(payload, (bytes, bytearray, memoryview, str)):
        text = bytes(payload) if isinstance(payload, memoryview) else payload
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise PayloadError(
                "the payload is not JSON: pass the body of the webhook unchanged"
            ) from None
    found = to_plain(found)
    if not isinstance(found, dict):
        raise PayloadError(
            f"the payload is a {type(payload).__name__}: pass a dict, JSON, or the object of the "
            "provider's package"
        )
    return Fields(found)


def to_plain(value: object, depth: int = 0) -> Any:  # noqa: ANN401  # JSON
    """Return an object of a provider's package as dicts and lists; a dict as it is.

    What is not known, or nested too deeply, becomes None.
    """
    if isinstance(value, Enum):
        value = value.value
    if type(value) is dict or isinstance(value, _SCALARS):
        return value
    if depth > _MAX_DEPTH or isinstance(value, type):
        return None
    if isinstance(value, (list, tuple)):
        return [to_plain(one, depth + 1) for one in value]
    members = _get_members(value)
    if members is None:
        text = getattr(value, "value", None)  # Paddle's package has enums of its own class
        return text if isinstance(text, str) else None
    return {str(name): to_plain(one, depth + 1) for name, one in members.items()}


def _get_members(value: object) -> Mapping[Any, object] | None:
    """Return the members of an object; None if it is of no kind that packages use."""
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
    else:
        names = [one.name for one in getattr(type(value), "__attrs_attrs__", ())]
    if names:
        return {name: getattr(value, name, None) for name in names}
    try:
        found = value.to_dict()  # type: ignore[attr-defined]  # the objects of several packages
    except Exception:  # noqa: BLE001  # none of ours: it may raise anything
        return None
    return found if isinstance(found, Mapping) else None


def _parse(text: str) -> datetime:
    """Return the time of an RFC 3339 text; `fromisoformat` of Python 3.10 reads less of it."""
    if text[-1:] in "Zz":
        text = f"{text[:-1]}+00:00"
    head, dot, rest = text.partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{head}.{rest[:digits][:6]:0<6}{rest[digits:]}"
    return datetime.fromisoformat(text)


def _add(**since: int | None) -> datetime | None:
    (value,) = since.values()
    if value is None:
        return None
    try:
        return _EPOCH + timedelta(**dict.fromkeys(since, value))
    except OverflowError:
        return None


def drop_none(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: one for name, one in members.items() if one is not None}


def format_time(time: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC, with milliseconds where it has them."""
    if time is None:
        return None
    unit = "milliseconds" if time.microsecond >= _MILLISECOND else "seconds"
    return time.astimezone(timezone.utc).isoformat(timespec=unit).replace("+00:00", "Z")
