"""Relays as real processes, and events for their table."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tests.hosts.host import BOUND, ROOT, Host
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres_server import Database
    from whisperr.dev import LocalServer

# Quick, so that a test does not wait; nothing depends on how quick exactly.
OFTEN = ("--interval", "0.05")


class SQLiteFile:
    """A file as an outbox; has the methods of a Database of PostgreSQL."""

    engine = "django.db.backends.sqlite3"
    host = ""

    def __init__(self, path: Path) -> None:
        self.name = str(path)

    def add(self, rows: list[bytes]) -> None:
        """Add rows that wait, in one transaction."""
        with closing(sqlite3.connect(self.name, timeout=BOUND)) as connection, connection:
            connection.executemany(
                "INSERT INTO whisperr_outboxevent (data, token) VALUES (?, '')",
                [(data,) for data in rows],
            )

    def count(self) -> int:
        """Count the rows that are left."""
        with closing(sqlite3.connect(self.name, timeout=BOUND)) as connection:
            return int(
                connection.execute("SELECT count(*) FROM whisperr_outboxevent").fetchone()[0]
            )


def events(count: int, first: int = 0, type_: str = "payment_failed") -> list[bytes]:
    """Return events as `track` encodes them, numbered by `n`."""
    encoder = EventEncoder("1.0.0")
    return [encoder.encode(f"user_{n}", type_, {"n": n})[1] for n in range(first, first + count)]


def identify(user: str) -> bytes:
    """Return an identify as `identify` encodes it."""
    return encode_identify(user, traits={"plan": "pro"})


def get_environment(database: Database | SQLiteFile) -> dict[str, Any]:
    """Return the variables that point the settings at this database."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.outbox.settings",
        "OUTBOX_ENGINE": database.engine,
        "OUTBOX_NAME": database.name,
        "OUTBOX_HOST": database.host,
    }


def relay(
    database: Database | SQLiteFile, server: LocalServer, *options: str, **variables: Any
) -> Host:
    """Start `manage.py whisperr_relay`."""
    command = [sys.executable, "-W", "error", "-m", "django", "whisperr_relay", *OFTEN, *options]
    return Host(command, server, **get_environment(database), **variables)


def relay_by_url(database: Database | SQLiteFile, server: LocalServer, *options: str) -> Host:
    """Start `whisperr relay`, which does not know Django."""
    url = f"sqlite:///{database.name}"
    if database.host:
        url = f"postgresql+psycopg://postgres@/{database.name}?host={database.host}"
    command = [sys.executable, "-W", "error", "-m", "whisperr", "relay", *OFTEN, *options]
    return Host(command, server, WHISPERR_DATABASE_URL=url)


def manage(database: Database | SQLiteFile, *command: str, code: int = 0) -> str:
    """Run another command of Django, and return its output."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", *command],
        env={**os.environ, "PYTHONPATH": path, **get_environment(database)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert result.returncode == code, result.stdout
    return result.stdout
