"""The hints of an import: options with which a refused record would be valid. Pure."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr._foreign import printable
from whisperr._integrations.values import parse_moment

from .content import STDIN
from .mapping import OTHER_NAMES, TIME, TYPE, USER, find_value, guess_name, show_name
from .records import looks_like_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .mapping import FieldMap
    from .records import Record

_SNAKE_CASE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_DIGITS = re.compile(r"\d{9,13}(?:\.\d{1,9})?", re.ASCII)
# Seconds and milliseconds since 1970, from 1998 on.
_FIRST_SECONDS, _FIRST_MILLISECONDS = 9e8, 9e11
_NO_CONTEXT = "--map context="
_UNITS = {"unix": "seconds", "unix_ms": "milliseconds"}


def get_hint(
    record: Record,
    value: Mapping[str, Any] | None,
    error: str,
    fields: FieldMap,
    file: str,
    join: Callable[..., str],
) -> str:
    """Return what to write for a record that was refused with this error; "" for no hint.

    `value` is the object of the record, if any. `join` returns the command with more options.
    """
    if "not UTF-8 at byte" in error:
        return f"is it in another encoding? Convert it: {_join_conversion(file)}"
    if value is None:
        return _get_hint_for_text(record, join)
    if error.startswith(f"{TYPE}: got "):
        source = fields.get_source(TYPE)
        return f"to convert such names to snake case, add --map {source}={TYPE}:snake_case"
    hint = _get_hint_for_time(value, error, fields)
    if hint or fields:
        return hint
    return _get_hint_for_names(value, join) or _get_hint_for_list(value, file)


def _get_hint_for_names(value: Mapping[str, Any], join: Callable[..., str]) -> str:
    """Return the options that map the names of another tool."""
    options = guess_options(value)
    if not options:
        return ""
    notes = ""
    if isinstance(value.get("type"), str):  # as of Segment, whose files have several kinds
        if len(options) == 1:
            notes = "; import the events from a separate file"
        else:
            notes = f"; import the identifies from a separate file, with {options[0]}"
            notes += " --map traits.email=email"
            notes += f" {_NO_CONTEXT}" if _NO_CONTEXT in options else ""
    if _NO_CONTEXT in options:
        notes += "; the last option leaves out data about the device"
    return f"these are names of another tool{notes}; run: {join(*options)}"


def _get_hint_for_text(record: Record, join: Callable[..., str]) -> str:
    if record.number == 1 and record.data.lstrip().startswith(b"{"):
        return "does an object span several lines? Put each object on one line, or all in an array"
    if record.number == 1 and looks_like_csv(record.data):
        return f"is it CSV? Then run: {join('--format csv')}"
    return ""


def _get_hint_for_time(value: Mapping[str, Any], error: str, fields: FieldMap) -> str:
    source = fields.get_source(TIME)
    if not error.startswith((f"{TIME}: ", f"{show_name(source)}: cannot be read as ")):
        return ""
    kind = guess_unit(find_value(value, source))
    if kind and kind != fields.get_type(TIME):
        return f"if these are {_UNITS[kind]} since 1970, add --map {source}={TIME}:{kind}"
    if "add the zone" in error:
        return f"if all of them are in UTC, add --map {source}={TIME}:utc"
    return ""


def _get_hint_for_list(value: Mapping[str, Any], file: str) -> str:
    """Return how to import a list inside an object; "" if there is none."""
    for name, member in value.items():
        if USER not in value and isinstance(member, list) and name.isidentifier():
            command = f"jq -c '.{printable(name)}[]'"
            if file != STDIN:
                command += f" {shlex.quote(printable(file))}"
            return (
                "are the events in a list inside an object? Extract them: "
                f"{command} | whisperr import -"
            )
    return ""


def _join_conversion(file: str) -> str:
    command = "iconv -f latin1 -t utf-8"
    if file == STDIN:
        return f"{command} | whisperr import -"
    path = Path(printable(file))
    target = path.with_name(f"utf8-{path.name}")
    return f"{command} {shlex.quote(str(path))} > {shlex.quote(str(target))}"


def guess_options(record: Mapping[str, Any]) -> list[str]:
    """Return the options that map a JSON object of another tool; none if it has our shape."""
    if USER in record:
        return []
    inner = record.get("properties")
    members = [f"properties.{name}" for name in inner] if isinstance(inner, dict) else []
    found = {}
    for target in OTHER_NAMES:
        name = guess_name(target, record)
        if name is None and target != TYPE:
            name = guess_name(target, members)
        if name is not None:
            found[target] = name
    if USER not in found:
        return []
    if TYPE not in found:  # an identify has no time and no id
        return [f"--map {found[USER]}={USER}"]
    options = []
    for target, name in found.items():
        kind = _guess_type(target, find_value(record, name))
        options.append(f"--map {name}={target}{kind}")
    if "type" in record and isinstance(record.get("context"), dict):
        options.append(_NO_CONTEXT)  # of Segment: data about the device
    return options


def _guess_type(target: str, value: object) -> str:
    if target == TYPE and not _SNAKE_CASE.fullmatch(str(value)):
        return ":snake_case"
    if target != TIME:
        return ""
    if unit := guess_unit(value):
        return f":{unit}"
    if isinstance(value, str):
        try:
            parse_moment(value)
        except ValueError:
            return ":utc"
    return ""


def guess_unit(value: object) -> str:
    """Return the unit of a time that is a number since 1970; "" for anything else."""
    if isinstance(value, str):
        value = float(value) if _DIGITS.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return ""
    if value >= _FIRST_MILLISECONDS:
        return "unix_ms"
    return "unix" if value >= _FIRST_SECONDS else ""
