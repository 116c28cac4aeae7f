"""Claims, deletes and dead-letters rows of an outbox for a relay, through SQLAlchemy.

The tables may be those of a Django project. The rows themselves hold the token of a relay and the
end of its lease, by the database's clock. A relay changes a row only if the row still has its
token. Every method is one or a few short transactions, and leaves none open. A transaction that
writes starts with a write, so that SQLite locks the file at once.

Threads: one at a time, with one connection, which stays open. Raises SQLAlchemyError.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sqlalchemy import MetaData, delete, insert, literal, update
from sqlalchemy.exc import SQLAlchemyError

from whisperr._foreign import printable
from whisperr._queue.table.claims import LARGEST_ROW_BYTES, LONGEST_MESSAGE, Row, Tools

from . import _statements as statements
from ._sql import Later, Now
from ._tables import make_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from sqlalchemy import ColumnElement, Connection, Engine

    from whisperr.errors import Loss

TOOLS = Tools("whisperr outbox", "whisperr outbox")


class Claims:
    """The tables of one database, as one relay uses them."""

    errors: tuple[type[Exception], ...] = (SQLAlchemyError,)
    tools: Tools = TOOLS

    def __init__(
        self, engine: Engine, schema: str | None = None, largest_bytes: int = LARGEST_ROW_BYTES
    ) -> None:
        self._engine = engine
        self.tables = make_tables(MetaData(), schema)
        self.largest_bytes = largest_bytes
        self._connection: Connection | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether the connection has an open transaction."""
        return self._connection is not None and self._connection.in_transaction()

    def claim(self, count: int, lease: float, last: int | None = None) -> tuple[str, list[Row]]:
        """Claim the oldest free rows, at most `count`, for `lease` seconds.

        With `last`, claim only rows with a higher id, so that the database skips those before it.
        Return the token and the rows in order. Relays that claim at the same time get different
        rows. If the database can skip locked rows, they do not wait for each other.
        """
        token = uuid.uuid4().hex
        leased = {"token": token, "leased_until": Later(lease)}
        events = self.tables.events
        free = statements.select_free(events, count, last)
        with self.begin() as connection:
            if statements.claims_at_once(connection.dialect):
                claim = statements.claim_at_once(events, free, leased, self.largest_bytes)
                return token, self._to_rows(connection.execute(claim))
            skips = statements.skips_locked(connection.dialect)
            found = free.with_for_update(skip_locked=True) if skips else free
            ids = [int(one) for one in connection.scalars(found)]
            if skips and ids:
                connection.execute(update(events).where(events.c.id.in_(ids)).values(leased))
        if ids and not skips:
            # A faster relay may have claimed some of them meanwhile, so the UPDATE checks again.
            claim = update(events).where(events.c.id.in_(ids), statements.is_free(events))
            with self.begin() as connection:
                connection.execute(claim.values(leased))
        return token, self._fetch(token, ids)

    def extend(self, token: str, rows: Sequence[Row], seconds: float) -> bool:
        """Let the lease end `seconds` from now; return False if not all rows are held any more."""
        held = self._is_held(token, rows)
        extend = update(self.tables.events).where(held).values(leased_until=Later(seconds))
        return self._execute(extend) == len(rows)

    def release(self, token: str, rows: Sequence[Row]) -> None:
        """Release rows, so that any relay may claim them at once."""
        held = self._is_held(token, rows)
        self._execute(update(self.tables.events).where(held).values(token="", leased_until=None))

    def delete(self, token: str, rows: Sequence[Row]) -> int:
        """Delete delivered rows; return how many were still held."""
        held = self._is_held(token, rows)
        return self._execute(delete(self.tables.events).where(held)) if rows else 0

    def dead_letter(self, token: str, rows: Sequence[Row], loss: Loss) -> int:
        """Turn rows into dead letters; return how many were still held.

        The database copies them, so that large rows are never in memory.
        """
        events, dead = self.tables
        held = self._is_held(token, rows)
        details: dict[str, ColumnElement[Any]] = {
            "reason": literal(loss.reason),
            "message": literal(printable(loss.message, LONGEST_MESSAGE)),
            "status": literal(loss.status, dead.c.status.type),
        }
        copied = statements.select_copied(events, details, Now()).where(held)
        names = ["data", "created_at", *details, "refused_at"]
        with self.begin() as connection:
            # Write first, which locks the rows, so that nothing changes below.
            connection.execute(update(events).where(held).values(token=token))
            connection.execute(insert(dead).inline().from_select(names, copied))
            return connection.execute(delete(events).where(held)).rowcount

    def add(self, events: Sequence[bytes]) -> None:
        """Add waiting rows in one transaction."""
        if events:
            with self.begin() as connection:
                rows = [{"data": data} for data in events]
                connection.execute(statements.insert_event(self.tables.events), rows)

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # a dead connection cannot be closed properly
                connection.close()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Return the connection, in a transaction that ends with the block."""
        if self._connection is None:
            self._connection = self._engine.connect()
        with self._connection.begin():
            yield self._connection

    def _execute(self, statement: Any) -> int:  # noqa: ANN401  # an UPDATE or DELETE
        with self.begin() as connection:
            return connection.execute(statement).rowcount

    def _is_held(self, token: str, rows: Sequence[Row]) -> ColumnElement[bool]:
        return statements.is_held(self.tables.events, token, rows, self._engine.dialect)

    def _fetch(self, token: str, ids: Sequence[int]) -> list[Row]:
        """Return the rows with these ids that carry the token of this claim."""
        if not ids:
            return []
        with self.begin() as connection:
            claimed = statements.select_claimed(self.tables.events, token, ids, self.largest_bytes)
            return self._to_rows(connection.execute(claimed))

    def _to_rows(self, found: Iterable[Any]) -> list[Row]:
        rows = [
            Row(
                key, b"" if data is None else bytes(data), is_large=(size or 0) > self.largest_bytes
            )
            for key, data, size in found
        ]
        return sorted(rows, key=lambda row: row.id)  # RETURNING has no order
