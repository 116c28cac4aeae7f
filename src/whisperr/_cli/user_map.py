"""The file of --user-map: your id of the user for each customer of a provider."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .command import UsageError
from .records import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

_CUSTOMER, _USER = "customer_id", "external_user_id"
_SHAPES = (
    f"write CSV with the columns {_CUSTOMER} and {_USER}, or a JSON object such as "
    '{"cus_1": "user_8842"}'
)


class _ShapeError(Exception):
    """Raised for a content that is no such map; its text is the reason."""


def read_user_map(path: str) -> dict[str, str]:
    """Return the user of each customer, from CSV or a JSON object; raises UsageError."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--user-map {path}: not UTF-8 at byte {error.start}") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in a name
        problem = getattr(error, "strerror", None) or error
        raise UsageError(f"--user-map {path}: {problem}; {_SHAPES}") from None
    is_json = text.lstrip().startswith(("{", "["))
    try:
        pairs = list(_read_json(text) if is_json else _read_csv(text))
        users = _join(pairs)
    except _ShapeError as error:
        raise UsageError(f"--user-map {path}: {error}") from None
    if not users:
        raise UsageError(f"--user-map {path}: it has no customer; {_SHAPES}")
    return users


def _read_json(text: str) -> Iterator[tuple[str, str]]:
    try:
        found = json.loads(text)
    except RecursionError:
        raise _ShapeError(f"not JSON; {_SHAPES}") from None
    except ValueError as error:
        raise _ShapeError(f"not JSON: {error}; {_SHAPES}") from None
    if not isinstance(found, dict):
        raise _ShapeError(f"the JSON is not an object; {_SHAPES}")
    for customer, user in found.items():
        if isinstance(user, bool) or not isinstance(user, (str, int)):
            raise _ShapeError(f"the user of {customer!r} must be a string or an integer")
        yield customer, str(user)


def _read_csv(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of two columns; with the names of the columns, in any place."""
    first, second = 0, 1
    named = False
    for number, row in enumerate(read_rows(io.BytesIO(text.encode()))):
        if row.problem:
            problem = row.problem.removeprefix("not CSV: ")
            raise _ShapeError(f"line {row.number}: not CSV: {problem}; {_SHAPES}")
        cells = [cell.strip() for cell in row.cells or ()]
        if not any(cells):
            continue
        if number == 0 and {_CUSTOMER, _USER} <= set(cells):
            named, first, second = True, cells.index(_CUSTOMER), cells.index(_USER)
            continue
        if len(cells) <= max(first, second) or not (named or len(cells) == 2):  # noqa: PLR2004  # a pair
            raise _ShapeError(f"line {row.number}: it has {len(cells)} columns; {_SHAPES}")
        yield cells[first], cells[second]


def _join(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs as a dictionary; a customer or user that is empty is no pair."""
    users: dict[str, str] = {}
    for customer, user in pairs:
        if not customer or not user.strip():
            continue
        if users.setdefault(customer, user) != user:
            raise _ShapeError(f"{customer!r} has two users: {users[customer]!r} and {user!r}")
    return users
