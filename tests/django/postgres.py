"""A second database of the site in a real PostgreSQL, with the tables of the outbox."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connections

from tests.postgres_server import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres_server import Database, PostgresServer

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

POSTGRES = "postgres"


@pytest.fixture(scope="module")
def postgres_database(postgres_server: PostgresServer) -> Database:
    return postgres_server.database()


@pytest.fixture(scope="module")
def postgres(postgres_database: Database) -> Iterator[str]:
    """Its alias."""
    connections.settings[POSTGRES] = {
        **deepcopy(connections.settings["default"]),
        "ENGINE": postgres_database.engine,
        "NAME": postgres_database.name,
        "HOST": postgres_database.host,
        "USER": "postgres",
    }
    call_command("migrate", "whisperr", database=POSTGRES, verbosity=0)
    yield POSTGRES
    connections[POSTGRES].close()
    del connections[POSTGRES]
    del connections.settings[POSTGRES]
