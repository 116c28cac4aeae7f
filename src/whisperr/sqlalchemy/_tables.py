"""The tables of the outbox: events that wait for a relay, and events that the server refused.

Names and columns are those of the Django outbox, so that a relay can deliver from either. A row
holds the bytes of one event or identify as they are sent.
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
    """Add the two tables of the outbox to `metadata`, and return the table of waiting events.

    The other table is for dead letters. `metadata.create_all(engine)` and Alembic's autogenerate
    see both. A second call with the same arguments returns the same table.

    Args:
        metadata: The `MetaData` of your tables, such as `Base.metadata`.
        schema: The schema of the tables. None: the schema of `metadata`, if it has one.

    Returns:
        The table of waiting events, for `Outbox`.

    Raises:
        TypeError: `metadata` is not a `MetaData`.
        ValueError: `metadata` has another table of this name.
    """
    if not isinstance(metadata, MetaData):
        raise TypeError(
            f"metadata: must be a MetaData, such as Base.metadata, not {metadata!r:.80}"
        )
    return make_tables(metadata, schema).events


def make_tables(metadata: MetaData, schema: str | None = None) -> Tables:
    """Return both tables, and add them to `metadata` unless it has them."""
    where = metadata.schema if schema is None else schema
    events, dead_letters = (_find(metadata, name, where) for name in (EVENTS, DEAD_LETTERS))
    return Tables(
        _make_events(metadata, schema) if events is None else events,
        _make_dead_letters(metadata, schema) if dead_letters is None else dead_letters,
    )


def is_outbox(table: Table) -> bool:
    """Return whether a table, also a reflected one of Django, has the columns of the outbox."""
    return {"id", "data", "created_at", "token", "leased_until"} <= {one.name for one in table.c}


def _find(metadata: MetaData, name: str, schema: str | None) -> Table | None:
    found = metadata.tables.get(name if schema is None else f"{schema}.{name}")
    if found is not None and _OURS not in found.info:
        raise ValueError(
            f"metadata has another table {found.fullname!r}, which is not the outbox: pass another "
            "schema, or remove that table"
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
        sqlite_autoincrement=True,  # no id is used twice, because ids order the delivery
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
