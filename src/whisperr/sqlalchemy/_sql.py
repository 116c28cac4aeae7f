"""Expressions of the outbox's statements whose SQL differs between databases.

They use the database's clock, because relays on several machines compare leases. Times are written
as Django writes them, in UTC and on SQLite as text, so that relays of both kinds can share a table.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Float, LargeBinary
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine


class Now(FunctionElement[datetime]):
    """The current time in UTC."""

    type: TypeEngine[Any] = DateTime(timezone=True)
    inherit_cache: bool = True


class DefaultNow(Now):
    """The current time as the default of a column, for which MySQL allows only one function."""

    inherit_cache: bool = True


class Later(FunctionElement[datetime]):
    """The current time plus some seconds, which may be negative."""

    type: TypeEngine[Any] = DateTime(timezone=True)
    inherit_cache: bool = True


class Age(FunctionElement[float]):
    """The seconds since the time in a column; NULL or an error if that is not a time."""

    type: TypeEngine[Any] = Float()
    inherit_cache: bool = True


class RawData(FunctionElement[bytes]):
    """The bytes of a value, because SQLite keeps values of any type in a column."""

    type: TypeEngine[Any] = LargeBinary()
    inherit_cache: bool = True


class RawText(FunctionElement[Any]):
    """The text of a value of any type; on SQLite its bytes, which may not be text."""

    type: TypeEngine[Any] = NullType()
    inherit_cache: bool = True


class IsFree(FunctionElement[bool]):
    """Whether a lease is none: NULL, in the past, or further away than so many seconds.

    PostgreSQL keeps statistics of a column. Made while hardly a row was free, they have it read
    and sort the whole table for each claim, so that the column is hidden from them.
    """

    type: TypeEngine[Any] = NullType()  # of a boolean some databases would be asked whether it is 1
    inherit_cache: bool = True


class ArrayOf(FunctionElement[Any]):
    """The array of what a subquery finds, for PostgreSQL."""

    type: TypeEngine[Any] = ARRAY(BigInteger())
    inherit_cache: bool = True


_MYSQL = ("mysql", "mariadb")
_OTHERS: tuple[str, ...] = ()
_SQLITE_NOW = "STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW'"
_TEMPLATES: dict[type[FunctionElement[Any]], Mapping[tuple[str, ...], str]] = {
    Now: {
        ("postgresql",): "STATEMENT_TIMESTAMP()",
        ("sqlite",): f"{_SQLITE_NOW})",
        _MYSQL: "UTC_TIMESTAMP(6)",
        _OTHERS: "CURRENT_TIMESTAMP",
    },
    DefaultNow: {_MYSQL: "CURRENT_TIMESTAMP(6)"},
    Later: {
        ("postgresql",): "(STATEMENT_TIMESTAMP() + MAKE_INTERVAL(SECS => {0}))",
        ("sqlite",): f"{_SQLITE_NOW}, {{0}} || ' seconds')",
        _MYSQL: "(UTC_TIMESTAMP(6) + INTERVAL ({0} * 1000000) MICROSECOND)",
    },
    Age: {
        ("postgresql",): "EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - {0})",
        ("sqlite",): "((JULIANDAY('NOW') - JULIANDAY({0})) * 86400.0)",
        _MYSQL: "(TIMESTAMPDIFF(MICROSECOND, {0}, UTC_TIMESTAMP(6)) / 1000000.0)",
    },
    IsFree: {
        ("postgresql",): (
            "COALESCE({0}, '-infinity') NOT BETWEEN STATEMENT_TIMESTAMP() "
            "AND STATEMENT_TIMESTAMP() + MAKE_INTERVAL(SECS => {1})"
        ),
        ("sqlite",): (
            f"({{0}} IS NULL OR {{0}} < {_SQLITE_NOW}) "
            f"OR {{0}} > {_SQLITE_NOW}, {{1}} || ' seconds'))"
        ),
        _MYSQL: (
            "({0} IS NULL OR {0} < UTC_TIMESTAMP(6) "
            "OR {0} > UTC_TIMESTAMP(6) + INTERVAL ({1} * 1000000) MICROSECOND)"
        ),
    },
    ArrayOf: {_OTHERS: "ARRAY{0}"},
    RawData: {("sqlite",): "CAST({0} AS BLOB)", _OTHERS: "{0}"},
    RawText: {
        ("sqlite",): "CAST({0} AS BLOB)",
        _MYSQL: "CAST({0} AS CHAR(64))",
        _OTHERS: "CAST({0} AS VARCHAR(64))",
    },
}


def _register(kind: type[FunctionElement[Any]], dialects: tuple[str, ...], template: str) -> None:
    def write(element: FunctionElement[Any], compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # SQLAlchemy's own
        return template.format(*(compiler.process(one, **options) for one in element.clauses))

    compiles(kind, *dialects)(write)


for _kind, _of_dialects in _TEMPLATES.items():
    for _dialects, _template in _of_dialects.items():
        _register(_kind, _dialects, _template)
