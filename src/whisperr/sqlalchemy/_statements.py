"""Builds the statements of a relay for what each database can do. Pure: executes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    LargeBinary,
    and_,
    any_,
    bindparam,
    case,
    func,
    insert,
    literal,
    null,
    select,
    type_coerce,
    update,
)

from ._sql import ArrayOf, IsFree, Now, RawData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Dialect, Insert, Select, Table

    from whisperr._queue.table.claims import Row

# Longer than any real claim: a lease lasts an hour at most and is extended by minutes.
_LONGEST_CLAIM = 86_400.0
# The first versions that can skip locked rows.
_MYSQL_SKIPS, _MARIADB_SKIPS = (8, 0, 1), (10, 6)


def claims_at_once(dialect: Dialect) -> bool:
    """Return whether one statement can claim the rows and return them."""
    return dialect.name == "postgresql"


def skips_locked(dialect: Dialect) -> bool:
    """Return whether the database can lock free rows and skip locked ones."""
    if dialect.name not in {"mysql", "mariadb"}:
        return dialect.name == "postgresql"
    version = dialect.server_version_info or ()
    return version >= (_MARIADB_SKIPS if getattr(dialect, "is_mariadb", False) else _MYSQL_SKIPS)


def insert_event(events: Table) -> Insert:
    """Return the statement that adds one row without returning its key."""
    values = {"data": bindparam("data"), "token": "", "created_at": Now()}
    return insert(events).values(values).inline()


def is_free(events: Table) -> ColumnElement[bool]:
    """Return the condition that no relay holds a row: never claimed, released, or expired.

    A lease that is too long to be real counts as expired.
    """
    return IsFree(events.c.leased_until, literal(_LONGEST_CLAIM))


def is_among(column: ColumnElement[Any], ids: Sequence[int], dialect: Dialect) -> Any:  # noqa: ANN401  # a condition
    """Return the condition that a key is one of these, on PostgreSQL with a single parameter."""
    if dialect.name == "postgresql":
        return column == any_(literal(list(ids), ARRAY(BigInteger())))
    return column.in_(ids)


def is_held(
    events: Table, token: str, rows: Sequence[Row], dialect: Dialect
) -> ColumnElement[bool]:
    """Return the condition that a row is one of these and still has the token of this claim."""
    ids = [row.id for row in rows]
    return and_(is_among(events.c.id, ids, dialect), events.c.token == token)


def select_free(events: Table, count: int, last: int | None) -> Select[Any]:
    """Return the statement that finds the oldest free rows, with ids above `last` if given."""
    found = select(events.c.id).where(is_free(events)).order_by(events.c.id).limit(count)
    return found if last is None else found.where(events.c.id > last)


def claim_at_once(events: Table, free: Select[Any], leased: Mapping[str, Any], largest: int) -> Any:  # noqa: ANN401  # an UPDATE with RETURNING
    """Return the statement that claims and returns rows in one round trip.

    The array is evaluated once, before the rows are looked up by their ids. PostgreSQL may evaluate
    a subquery more than once, and exceed the limit.
    """
    found = ArrayOf(free.with_for_update(skip_locked=True).scalar_subquery())
    claim = update(events).where(events.c.id == any_(found)).values(leased)
    return claim.returning(events.c.id, *_limit_data(events, largest))


def select_claimed(events: Table, token: str, ids: Sequence[int], largest: int) -> Select[Any]:
    """Return the statement that reads the rows of a claim."""
    columns = (events.c.id, *_limit_data(events, largest))
    return select(*columns).where(events.c.id.in_(ids), events.c.token == token)


def select_copied(
    table: Table, details: Mapping[str, ColumnElement[Any]], moment: ColumnElement[Any]
) -> Select[Any]:
    """Return the statement that reads the values for a copy of rows in the other table."""
    values = (value.label(name) for name, value in details.items())
    columns = (RawData(table.c.data).label("data"), table.c.created_at, *values)
    return select(*columns, moment.label("refused_at")).order_by(table.c.id)


def _limit_data(events: Table, largest: int) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the bytes of an event, NULL above `largest` bytes, and their number."""
    data = RawData(events.c.data)
    size = func.length(data)
    return type_coerce(case((size > largest, null()), else_=data), LargeBinary()), size


def cut_data(table: Table, longest: int) -> ColumnElement[Any]:
    """Return the first bytes of an event."""
    return type_coerce(func.substr(RawData(table.c.data), 1, longest), LargeBinary())
