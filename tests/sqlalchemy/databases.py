"""Databases of tests, made again for each, and what is in the tables of their outbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, create_engine, select

from tests.queue.claims_contract import OutboxTables
from tests.queue.processes import LEASE, Processes
from whisperr._queue.table.store import RelayQueue, TableStore
from whisperr.sqlalchemy import whisperr_table
from whisperr.sqlalchemy._claims import Claims
from whisperr.sqlalchemy._sql import Later

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine, Table

    from tests.postgres_server import Database
    from tests.queue.queues import RecordingAccounting

BATCH = 10


class SQLDatabase(OutboxTables):
    """One database: the URL for both kinds of drivers, and its tables."""

    def __init__(self, url: str, async_url: str) -> None:
        self.url = url
        self.async_url = async_url
        self.is_sqlite = url.startswith("sqlite")
        self.engine: Engine = create_engine(url)
        self.metadata = MetaData()
        self.events: Table = whisperr_table(self.metadata)
        self.metadata.create_all(self.engine)

    def connect(self, largest_bytes: int = 1_000_000) -> Claims:
        return Claims(self.engine, largest_bytes=largest_bytes)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    def get_rows(self) -> list[bytes]:
        """Return what waits, in order."""
        with self.engine.connect() as connection:
            found = select(self.events.c.data).order_by(self.events.c.id)
            return [bytes(data) for data in connection.scalars(found)]

    def get_numbers(self) -> list[Any]:
        """Return the property `n` of each event that waits, None for an identify."""
        bodies = [json.loads(data) for data in self.get_rows()]
        return [body.get("properties", {}).get("n") for body in bodies]


def make_sqlite(path: Path) -> SQLDatabase:
    return SQLDatabase(f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}")


def make_postgres(database: Database) -> SQLDatabase:
    url = f"postgresql+psycopg://postgres@/{database.name}?host={database.host}"
    return SQLDatabase(url, url)


class Relays(Processes):
    """Relays that share the tables of a database."""

    def __init__(self, database: SQLDatabase) -> None:
        super().__init__()
        self.database = database

    def make(self, max_events: int, max_bytes: int, accounting: RecordingAccounting) -> RelayQueue:
        claims = Claims(self.database.engine)
        store = TableStore(claims, batch=BATCH, lease=LEASE, clock=lambda: self.steady)
        return RelayQueue(
            store,
            max_events,
            max_bytes,
            accounting,
            poll_interval=1.0,
            clock=lambda: self.steady,
        )

    def get_stored(self) -> list[bytes]:
        return self.database.get_rows()

    def get_lease_left(self) -> float:
        ids = self.database.get_ids()
        return self.database.get_lease(ids[0])

    def end_lease(self) -> None:
        events = self.database.events
        ended = events.update().where(events.c.leased_until.is_not(None))
        with self.database.engine.begin() as connection:
            connection.execute(ended.values(leased_until=Later(-1.0)))

    def fail(self) -> None:
        self.database.execute("ALTER TABLE whisperr_outboxevent RENAME TO elsewhere")

    def mend(self) -> None:
        self.database.execute("ALTER TABLE elsewhere RENAME TO whisperr_outboxevent")
