"""A database of each kind, with the tables of the outbox, and a local server to deliver to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres_server import postgres_server
from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres_server import Database, PostgresServer
    from tests.sqlalchemy.databases import SQLDatabase
    from whisperr import WhisperrError
    from whisperr.sqlalchemy import Outbox

__all__ = ["postgres_server"]  # a fixture of this folder


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SQLDatabase]:
    from tests.sqlalchemy.databases import make_sqlite

    made = make_sqlite(tmp_path / "app.sqlite3")
    yield made
    made.engine.dispose()


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer) -> Database:
    return postgres_server.database()


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> Iterator[SQLDatabase]:
    from tests.sqlalchemy.databases import make_postgres

    found: Database = request.getfixturevalue("postgres_database")
    found.query("DROP SCHEMA IF EXISTS crm CASCADE")
    found.query("DROP SCHEMA public CASCADE")
    found.query("CREATE SCHEMA public")
    made = make_postgres(found)
    yield made
    made.engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> SQLDatabase:
    found: SQLDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def errors() -> list[WhisperrError]:
    return []


@pytest.fixture
def client(errors: list[WhisperrError]) -> Iterator[Whisperr]:
    # Nothing is delivered by it, so nothing is asked of this address.
    made = Whisperr("wrk_test", base_url="http://127.0.0.1:9", on_error=errors.append)
    yield made
    made.shutdown(1)


@pytest.fixture
def outbox(client: Whisperr, database: SQLDatabase) -> Outbox:
    from whisperr.sqlalchemy import Outbox

    return Outbox(client, database.events)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started
        started.set_faults()
