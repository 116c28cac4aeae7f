"""The tables of the outbox: events that wait for a relay, and those that the server refused.

Names and columns are those of the outbox of Django, so that a relay delivers from either. A row is
the bytes of one event or identify as they are sent over the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

from ._sql import DefaultNow

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

EVENTS = "whisperr_outboxevent"
DEAD_LETTERS = "whisperr_deadletter"
_OURS = "whisperr"


class Tables(NamedTuple):
    """Both tables of one outbox."""

    events: Table
    dead_letters: Table


def whisperr_table(metadata: MetaData, schema: str | None = None) -> Table:
    """Add the tables of the outbox to `metadata`, and return the one of waiting events.

    Called again for the same `metadata` and `schema` it returns the same table. The other one, of
    dead letters, is made with it: `metadata.create_all(engine)` and Alembic's autogenerate see
    both. Raises ValueError when `metadata` has another table of this name, and TypeError when it is
    something else.

    - `schema`: where the tables are; left out, the schema of `metadata`, if it has one.
    """
    if not isinstance(metadata, MetaData):
        raise TypeError(
            f"metadata: must be a MetaData, such as Base.metadata, not {metadata!r:.80}"
        )
    return make_tables(metadata, schema).events


def make_tables(metadata: MetaData, schema: str | None = None) -> Tables:
    """Return both tables, which are added to `metadata` unless they are in it."""
    where = metadata.schema if schema is None else schema
    events, dead_letters = (_find(metadata, name, where) for name in (EVENTS, DEAD_LETTERS))
    return Tables(
        _make_events(metadata, schema) if events is None else events,
        _make_dead_letters(metadata, schema) if dead_letters is None else dead_letters,
    )


def is_outbox(table: Table) -> bool:
    """Return whether a table has the columns of waiting events, also a reflected one of Django."""
    return {"id", "data", "created_at", "token", "leased_until"} <= {one.name for one in table.c}


def _find(metadata: MetaData, name: str, schema: str | None) -> Table | None:
    found = metadata.tables.get(name if schema is None else f"{schema}.{name}")
    if found is not None and _OURS not in found.info:
        raise ValueError(
            f"metadata has a table {found.fullname!r} that is not the one of the outbox: name "
            "another schema, or leave out that table"
        )
    return found


def _make_events(metadata: MetaData, schema: str | None) -> Table:
    return Table(
        EVENTS,
        metadata,
        Column("id", _get_key(), primary_key=True),
        Column("data", _get_data(), nullable=False),
        Column("created_at", _get_moment(), nullable=False, server_default=DefaultNow()),
        Column("token", String(32), nullable=False),
        Column("leased_until", _get_moment(), nullable=True),
        schema=schema,
        sqlite_autoincrement=True,  # no id is used twice: their order is that of delivery
        info={_OURS: True},
    )


def _make_dead_letters(metadata: MetaData, schema: str | None) -> Table:
    return Table(
        DEAD_LETTERS,
        metadata,
        Column("id", _get_key(), primary_key=True),
        Column("data", _get_data(), nullable=False),
        Column("reason", String(32), nullable=False),
        Column("message", Text(), nullable=False),
        Column("status", SmallInteger(), nullable=True),
        Column("created_at", _get_moment(), nullable=False),
        Column("refused_at", _get_moment(), nullable=False, server_default=DefaultNow()),
        schema=schema,
        sqlite_autoincrement=True,
        info={_OURS: True},
    )


def _get_key() -> TypeEngine[Any]:
    return BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts INTEGER only


def _get_data() -> TypeEngine[Any]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")  # BLOB ends at 64 KiB


def _get_moment() -> TypeEngine[Any]:
    exact = mysql.DATETIME(fsp=6)  # without it, whole seconds
    return DateTime(timezone=True).with_variant(exact, "mysql", "mariadb")
