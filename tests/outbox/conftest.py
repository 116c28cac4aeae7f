"""An outbox in a real PostgreSQL, a database for each test, and a server to deliver to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.outbox.relays import manage
from tests.postgres_server import postgres_server
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres_server import Database, PostgresServer

__all__ = ["postgres_server"]  # a fixture of this folder


@pytest.fixture(scope="session")
def migrated(postgres_server: PostgresServer) -> str:
    """The name of a database that `migrate` has made the tables in."""
    pytest.importorskip("django")
    database = postgres_server.database()
    manage(database, "migrate", "--verbosity", "0")
    return database.name


@pytest.fixture
def outbox(postgres_server: PostgresServer, migrated: str) -> Database:
    return postgres_server.database(template=migrated)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(keep=100_000) as started:
        yield started
