"""Alembic's autogenerate sees both tables, and a migration that it writes makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("sqlalchemy")

pytest.importorskip("alembic")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect

from whisperr.sqlalchemy import Outbox, whisperr_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sqlalchemy.databases import SQLDatabase
    from whisperr import Whisperr

ENV = """
from alembic import context
from sqlalchemy import MetaData, create_engine
from whisperr.sqlalchemy import whisperr_table

metadata = MetaData()
whisperr_table(metadata)
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
"""


def alembic(folder: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *words],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_migration_that_autogenerate_writes_makes_the_tables(
    database: SQLDatabase, client: Whisperr, tmp_path: Path
) -> None:
    database.metadata.drop_all(database.engine)
    folder = tmp_path / "project"
    folder.mkdir()
    alembic(folder, "init", "migrations")
    (folder / "migrations" / "env.py").write_text(ENV)
    settings = folder / "alembic.ini"
    lines = [
        f"sqlalchemy.url = {database.url.replace('%', '%%')}" if "sqlalchemy.url" in line else line
        for line in settings.read_text().splitlines()
    ]
    settings.write_text("\n".join(lines))
    alembic(folder, "revision", "--autogenerate", "-m", "outbox")
    (script,) = (folder / "migrations" / "versions").glob("*.py")
    assert script.read_text().count("op.create_table") == 2
    alembic(folder, "upgrade", "head")
    engine = create_engine(database.url)
    assert {"whisperr_outboxevent", "whisperr_deadletter"} <= set(inspect(engine).get_table_names())
    with engine.begin() as connection:
        assert Outbox(client).track(connection, "user_1", "plan_upgraded", {"n": 1})
    assert database.get_numbers() == [1]
    claims = database.connect()
    token, rows = claims.claim(5, 15.0)
    assert claims.delete(token, rows) == 1
    claims.close()
    engine.dispose()


def test_nothing_is_to_do_when_the_tables_are_there(database: SQLDatabase) -> None:
    metadata = MetaData()
    whisperr_table(metadata)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
