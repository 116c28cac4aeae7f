"""Parses text from a command line or a file: JSON, `key=value`, times. Pure."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 3339; also with a space instead of the T, without seconds, with up to nine digits of a
# fraction, and with a zone of hours only, as PostgreSQL writes it.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?([Zz]|[+-]\d\d(?::?\d\d)?)?"
)


def parse_json(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """Return a JSON value; decimals keep their digits. Raises ValueError for anything else."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_value(text: str) -> Any:  # noqa: ANN401  # likewise
    """Return the value of a JSON text, or the text itself if it is not JSON.

    `4900`, `true`, `null`, `[1]` are JSON; `"4900"`, with its quotation marks, is a string.
    """
    try:
        return parse_json(text)
    except ValueError:
        return text


def parse_members(pairs: Iterable[str]) -> dict[str, Any]:
    """Return a dictionary of the `key=value` pairs; raises ValueError for anything else."""
    members: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise ValueError(f"{pair!r}: write key=value")
        if key in members:
            raise ValueError(f"{pair!r}: {key!r} is given twice")
        members[key] = parse_value(text)
    return members


def parse_moment(text: str) -> datetime:
    """Return an aware datetime for RFC 3339 with a zone; raises ValueError for anything else."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        today = f"{datetime.now(timezone.utc):%Y-%m-%d}"  # an older day may be refused
        raise ValueError(f"{text!r}: write a time as {today}T12:00:00Z or with +02:00")
    day, time, seconds, fraction, zone = found.groups()
    if zone is None:
        raise ValueError(f"{text!r}: add the zone, as in {text.strip()}Z or {text.strip()}+02:00")
    zone = "+00:00" if zone in "Zz" else f"{zone[:3]}:{zone[3:].lstrip(':') or '00'}"
    micro = (fraction or "").ljust(6, "0")[:6]
    try:
        return datetime.fromisoformat(f"{day}T{time}{seconds or ':00'}.{micro}{zone}")
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
