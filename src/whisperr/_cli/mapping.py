"""The mapping of an import, from columns and keys to arguments: `--map` and `--set`. Pure.

A source is the name of a column of CSV or of a key of a JSON object, where `properties.plan` is a
key inside another object. A target is an argument of `track` or `identify`, or `properties.NAME`,
`context.NAME` or `traits.NAME`.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

from whisperr import InvalidEvent, Whisperr
from whisperr._events.redaction import redact
from whisperr._foreign import printable
from whisperr._integrations.values import parse_json, parse_moment, parse_value

from .command import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

EVENT_KEYS = tuple(signature(Whisperr.track).parameters)[1:]  # without self
IDENTIFY_KEYS = tuple(signature(Whisperr.identify).parameters)[1:]
USER, TYPE, TIME = "external_user_id", "event_type", "occurred_at"
_GROUPS = ("properties", "context", "traits")
_OF_EVENTS = {*EVENT_KEYS} - {*IDENTIFY_KEYS}
_OF_IDENTIFIES = {*IDENTIFY_KEYS} - {*EVENT_KEYS}
_KEYS = tuple(dict.fromkeys((*EVENT_KEYS, *IDENTIFY_KEYS)))
_REST = "*"
_MISSING = object()
_MAX_NAME_CHARS = 60
_MAX_NAMES = 20
_SYNTAX = "write COLUMN=TARGET, such as user_id=external_user_id or amount=properties.amount:number"
# Names of these targets in other tools, in lower case and without punctuation.
OTHER_NAMES = {
    USER: ("userid", "uid", "user", "customerid", "memberid", "distinctid", "externaluserid"),
    TYPE: ("event", "eventname", "eventtype", "action"),
    TIME: ("timestamp", "time", "datetime", "createdat", "date", "ts", "occurredat"),
    "message_id": ("messageid", "insertid", "eventid"),
}
# The same for addresses, which are never mapped because of their name alone.
_ADDRESS_NAMES = {
    **dict.fromkeys(("email", "mail", "emailaddress"), "email"),
    **dict.fromkeys(("phone", "phonenumber", "mobile"), "phone"),
}
_TRAIT = re.compile(r"[A-Za-z]\w*", re.ASCII)
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _to_number(value: object) -> object:
    if isinstance(value, str):
        value = parse_json(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError  # noqa: TRY004  # as for a text
    return value


def _to_boolean(value: object) -> object:
    return value if isinstance(value, bool) else _BOOLEANS[str(value).strip().lower()]


def _to_json(value: object) -> object:
    return parse_json(value) if isinstance(value, str) else value


def to_snake_case(value: object) -> str:
    """Return `payment_failed` for "Payment Failed", "paymentFailed" and the like."""
    text = "_".join(word.lower() for word in _WORDS.split(str(value)) if word)
    if not text:
        raise ValueError
    return text


def _to_utc(value: object) -> str:
    text = str(value).strip().removesuffix("UTC").rstrip()
    try:
        return parse_moment(text).isoformat()
    except ValueError:
        return parse_moment(f"{text}Z").isoformat()


def _to_moment(value: object, unit: timedelta) -> str:
    number = _to_number(value)
    micros = int(Decimal(str(number)) * (unit // timedelta(microseconds=1)))
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


_VALUE_TYPES: dict[str, Callable[[object], object]] = {
    "number": _to_number,
    "boolean": _to_boolean,
    "json": _to_json,
}
_TIME_TYPES: dict[str, Callable[[object], object]] = {
    "utc": _to_utc,
    "unix": lambda value: _to_moment(value, timedelta(seconds=1)),
    "unix_ms": lambda value: _to_moment(value, timedelta(milliseconds=1)),
}
_NAME_TYPES: dict[str, Callable[[object], object]] = {"snake_case": to_snake_case}


class _Entry(NamedTuple):
    """One `--map`. An empty target leaves the source out."""

    source: str
    target: str
    type: str = ""

    def convert(self, value: object) -> object:
        """Return the value converted to the type of the mapping; raises InvalidEvent."""
        if not self.type or value is None:  # a null of JSON stays one
            return value
        try:
            return _get_types(self.target)[self.type](value)
        except (ValueError, KeyError, ArithmeticError):
            what = f"{show_name(self.source)}: cannot be read as {self.type}"
            raise InvalidEvent(f"{what}: {redact(value)}") from None


def _get_types(target: str) -> dict[str, Callable[[object], object]]:
    return {TYPE: _NAME_TYPES, TIME: _TIME_TYPES}.get(target, _VALUE_TYPES)


def is_target(name: str) -> bool:
    """Return whether a name is a target: a part of an event or an identify."""
    group, dot, member = name.partition(".")
    return name in _KEYS or (group in _GROUPS and bool(dot and member))


def _check_target(target: str, option: str) -> str:
    if not is_target(target):
        raise UsageError(
            f"{option}: {show_name(target)} is not a target; the targets are "
            f"{', '.join(_KEYS)}, properties.NAME, context.NAME and traits.NAME"
        )
    return target


def _parse_entry(word: str) -> _Entry:
    shown = f"--map {printable(word, _MAX_NAME_CHARS)}"
    source, sign, given = word.rpartition("=")
    if not sign or not source:
        raise UsageError(f"{shown}: {_SYNTAX}")
    target, _, kind = given.partition(":")
    if source == _REST:
        if given not in {f"{group}.*" for group in _GROUPS}:
            raise UsageError(f"{shown}: write '*=properties.*', '*=context.*' or '*=traits.*'")
        return _Entry(source, target)
    if not given:
        return _Entry(source, "")
    types = _get_types(_check_target(target, shown))
    if kind not in {"", *types}:
        raise UsageError(
            f"{shown}: no type {show_name(kind)}; {target} can have "
            f"{', '.join(f':{name}' for name in types)}"
        )
    return _Entry(source, target, kind)


def _parse_constant(word: str) -> tuple[str, object]:
    shown = f"--set {printable(word, _MAX_NAME_CHARS)}"
    target, sign, text = word.partition("=")
    if not sign or not text:
        raise UsageError(f"{shown}: write TARGET=VALUE, such as event_type=signed_up")
    _check_target(target, shown)
    return target, parse_value(text) if "." in target else text


class FieldMap:
    """The mapping of `--map` and `--set`. Without either, JSON objects stay unchanged."""

    def __init__(self, maps: Sequence[str], constants: Sequence[str]) -> None:
        entries = [_parse_entry(word) for word in maps]
        self._rest = next((one.target for one in entries if one.source == _REST), "")
        self._entries = [one for one in entries if one.source != _REST]
        self._constants = [_parse_constant(word) for word in constants]
        self._sources = {one.source for one in self._entries}
        # Where the value of each target comes from, for errors.
        self._targets: dict[str, str] = {}
        self._columns: tuple[str, ...] | None = None
        self._left_out: dict[str, None] = {}
        self._has_events = False
        given = [(one.target, show_name(one.source)) for one in self._entries if one.target]
        for target, source in [*given, *((target, "--set") for target, _ in self._constants)]:
            if target in self._targets:
                raise UsageError(f"{target} is set by both {self._targets[target]} and {source}")
            self._targets[target] = source

    def __bool__(self) -> bool:
        return bool(self._entries or self._constants or self._rest or self._columns is not None)

    @property
    def left_out(self) -> list[str]:
        """The names of the sources that are left out, escaped for messages."""
        return [show_name(name) for name in self._left_out]

    @property
    def addresses(self) -> list[str]:
        """The options that map left-out sources with the names of addresses to channels."""
        found = {name: _ADDRESS_NAMES.get(_to_plain(name)) for name in self._left_out}
        return [f"--map {show_name(name)}={kind}" for name, kind in found.items() if kind]

    @property
    def group(self) -> str:
        """The group of the other values of a record: `properties`, or `traits` for users."""
        return "properties" if self._has_events or TYPE in self._targets else "traits"

    def get_source(self, target: str) -> str:
        """Return the name of the column or key of a target, escaped for messages."""
        sources = [one.source for one in self._entries if one.target == target]
        return printable(sources[0] if sources else target, _MAX_NAME_CHARS)

    def get_type(self, target: str) -> str:
        """Return the type of a target; "" if it has none."""
        return next((one.type for one in self._entries if one.target == target), "")

    def set_columns(self, columns: Sequence[str]) -> None:
        """Set the columns of a file of rows. Raises UsageError if they do not fit the mapping."""
        names = Counter(columns)
        for source in self._sources:
            if source not in names:
                raise UsageError(
                    f"--map: there is no column {show_name(source)}; the columns are "
                    f"{show_names(columns)}"
                )
        used = {*self._sources} | {name for name in names if _is_column_target(name)}
        twice = [name for name in columns if names[name] > 1 and (name in used or self._rest)]
        if twice:
            raise UsageError(f"line 1: there are two columns {show_name(twice[0])}")
        for name in columns:
            if name not in self._sources and _is_column_target(name):
                self._targets.setdefault(name, show_name(name))
        self._columns = tuple(columns)
        self._check_targets(columns)

    def _check_targets(self, columns: Sequence[str]) -> None:
        """Raise UsageError if the rows cannot become events or identifies."""
        groups = {target.partition(".")[0] for target in {*self._targets, self._rest} - {""}}
        is_identify = TYPE not in groups and not groups.isdisjoint(_OF_IDENTIFIES)
        wrong = sorted(groups & (_OF_EVENTS if is_identify else _OF_IDENTIFIES))
        if wrong:
            kind = "identifies, because no column is the event_type" if is_identify else "events"
            raise UsageError(f"the rows are {kind}, which have no {', '.join(wrong)}")
        needed = (USER,) if is_identify else (USER, TYPE, TIME)
        missing = [target for target in needed if target not in groups]
        if missing:
            guesses = [_guess_column(target, columns) for target in missing]
            text = (
                f"no column is {' and none '.join(missing)}; the columns are {show_names(columns)}"
            )
            may_be_users = not (groups - {USER} or guess_name(TYPE, columns))
            raise ShapeError(text, guesses, _guess_user_columns(columns) if may_be_users else ())

    def to_object(self, cells: Sequence[str]) -> dict[str, Any]:
        """Return the object of a row, without its empty cells; raises InvalidEvent."""
        columns = self._columns or ()
        if len(cells) != len(columns):
            raise InvalidEvent(f"it has {len(cells)} cells, but the header has {len(columns)}")
        return {name: cell for name, cell in zip(columns, cells, strict=True) if cell}

    def apply(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `track` or `identify`; raises InvalidEvent."""
        found: dict[str, Any] = {}
        for target, value in self._constants:
            _put(found, target, value)
        for entry in self._entries:
            value = find_value(record, entry.source) if entry.target else _MISSING
            if value is not _MISSING:
                _put(found, entry.target, entry.convert(value))
        for name, value in record.items():
            if name not in self._sources:
                self._apply_other(found, name, value)
        for target in (USER, TYPE, TIME):
            if target in self._targets and target not in found:
                raise InvalidEvent(f"{target}: {self._targets[target]} is missing or empty")
        self._has_events = self._has_events or TYPE in found
        return found

    def _apply_other(self, found: dict[str, Any], name: str, value: object) -> None:
        """Set a value that no `--map` names, or remember that it is left out."""
        if self._stays(name):
            _put(found, name, value)
        elif self._rest and name:
            _put(found, f"{self._rest.removesuffix('.*')}.{name}", value)
        elif len(self._left_out) < _MAX_NAMES:
            self._left_out[name] = None

    def _stays(self, name: str) -> bool:
        """Return whether a name that no option mentions is its own target."""
        if self._columns is not None:
            return _is_column_target(name)
        return name in _KEYS and name not in self._targets


class ShapeError(UsageError):
    """Raised for a file with the names of another tool; `options` would map them.

    `instead`: the options that would import the rows as users, if they may be users.
    """

    def __init__(self, text: str, options: Sequence[str], instead: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.options = tuple(options)
        self.instead = tuple(instead)


def _is_column_target(name: str) -> bool:
    """Return whether a column is a target without `--map`.

    An address is not: it means that the user has opted in, which a file does not say.
    """
    return name in {*EVENT_KEYS} - {*_GROUPS} or ("." in name and is_target(name))


def _put(found: dict[str, Any], target: str, value: object) -> None:
    """Set a value, also inside a group that the record already has."""
    group, dot, member = target.partition(".")
    if not dot and group in found and isinstance(value, dict):
        found[group] = {**value, **found[group]}
    elif not dot:
        found[target] = value
    else:
        members = found.setdefault(group, {})
        if not isinstance(members, dict):
            raise InvalidEvent(f"{group}: must be an object, to set {redact(member)} in it")
        members[member] = value


def find_value(record: Mapping[str, Any], source: str) -> object:
    """Return the value of a source, also one inside another object."""
    if source in record:
        return record[source]
    value: object = record
    for name in source.split("."):
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


def show_name(name: str) -> str:
    """Return the name of a column or key, escaped for messages."""
    return f"'{printable(name, _MAX_NAME_CHARS)}'"


def show_names(names: Sequence[str]) -> str:
    """Return the names of columns, escaped for messages."""
    more = ", …" if len(names) > _MAX_NAMES else ""
    return ", ".join(map(show_name, names[:_MAX_NAMES])) + more


def _to_plain(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def guess_name(target: str, names: Iterable[str]) -> str | None:
    """Return which of the names another tool uses for a target."""
    known = OTHER_NAMES[target]
    alike = {name: _to_plain(name.rpartition(".")[2]) for name in names}
    found = [name for name, plain in alike.items() if plain in known]
    return min(found, key=lambda name: known.index(alike[name]), default=None)


def _guess_column(target: str, columns: Sequence[str]) -> str:
    found = guess_name(target, columns)
    if found is None:
        return "--set event_type=signed_up" if target == TYPE else f"--map COLUMN={target}"
    return f"--map {found}={target}"


def _guess_user_columns(columns: Sequence[str]) -> list[str]:
    """Return the options that import rows as identifies."""
    user = guess_name(USER, columns) or next((one for one in columns if one.lower() == "id"), None)
    others = [one for one in columns if one != user and _to_plain(one) not in _ADDRESS_NAMES]
    trait = next((one for one in others if _TRAIT.fullmatch(one)), None)
    return [
        f"--map {user or 'COLUMN'}={USER}",
        f"--map {trait or 'COLUMN'}=traits.{trait or 'NAME'}",
    ]
