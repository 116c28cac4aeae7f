"""What each database is asked, as text; those of MySQL and MariaDB run nowhere here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import MetaData, delete, insert, literal, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.schema import CreateTable

from whisperr._queue.table.claims import Row
from whisperr.sqlalchemy import _statements as statements
from whisperr.sqlalchemy._sql import Age, Later, Now, RawText
from whisperr.sqlalchemy._tables import make_tables

if TYPE_CHECKING:
    from sqlalchemy import Dialect

EVENTS, DEAD = make_tables(MetaData())
DIALECTS: dict[str, Dialect] = {
    "mysql": mysql.dialect(),
    "mariadb": MariaDBDialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]  # likewise
    "sqlite": sqlite.dialect(),
}
ROWS = [Row(1, b""), Row(2, b"")]
LEASED = {"token": "x", "leased_until": Later(15.0)}


def compile_for(name: str, statement: Any) -> str:
    options = {"literal_binds": True}
    compiled = statement.compile(dialect=DIALECTS[name], compile_kwargs=options)
    return " ".join(str(compiled).split())


@pytest.fixture(params=["mysql", "mariadb"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


class TestMySQL:
    def test_the_tables_hold_large_events_and_microseconds(self, name: str) -> None:
        events, dead = (compile_for(name, CreateTable(table)) for table in (EVENTS, DEAD))
        for table in (events, dead):
            assert "id BIGINT NOT NULL AUTO_INCREMENT" in table
            assert "data LONGBLOB NOT NULL" in table
            assert "created_at DATETIME(6) NOT NULL" in table
        assert "created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)" in events
        assert "leased_until DATETIME(6)," in events
        assert "token VARCHAR(32) NOT NULL," in events
        assert "refused_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)" in dead

    def test_a_row_has_the_time_of_the_database_in_utc(self, name: str) -> None:
        text = " ".join(
            str(statements.insert_event(EVENTS).compile(dialect=DIALECTS[name])).split()
        )
        assert text == (
            "INSERT INTO whisperr_outboxevent (data, created_at, token) "
            "VALUES (%s, UTC_TIMESTAMP(6), %s)"
        )

    def test_free_rows_are_locked_and_those_of_others_skipped(self, name: str) -> None:
        found = statements.select_free(EVENTS, 500, 7).with_for_update(skip_locked=True)
        assert compile_for(name, found) == (
            "SELECT whisperr_outboxevent.id FROM whisperr_outboxevent WHERE "
            "(whisperr_outboxevent.leased_until IS NULL "
            "OR whisperr_outboxevent.leased_until < UTC_TIMESTAMP(6) "
            "OR whisperr_outboxevent.leased_until > "
            "UTC_TIMESTAMP(6) + INTERVAL (86400.0 * 1000000) MICROSECOND) "
            "AND whisperr_outboxevent.id > 7 ORDER BY whisperr_outboxevent.id "
            "LIMIT 500 FOR UPDATE SKIP LOCKED"
        )

    def test_they_are_leased_by_the_same_clock(self, name: str) -> None:
        claim = update(EVENTS).where(EVENTS.c.id.in_([1, 2])).values(LEASED)
        assert compile_for(name, claim) == (
            "UPDATE whisperr_outboxevent SET token='x', "
            "leased_until=(UTC_TIMESTAMP(6) + INTERVAL (15.0 * 1000000) MICROSECOND) "
            "WHERE whisperr_outboxevent.id IN (1, 2)"
        )

    def test_what_was_claimed_is_read_up_to_a_size(self, name: str) -> None:
        assert compile_for(name, statements.select_claimed(EVENTS, "x", [1, 2], 100)) == (
            "SELECT whisperr_outboxevent.id, "
            "CASE WHEN (length(whisperr_outboxevent.data) > 100) THEN NULL "
            "ELSE whisperr_outboxevent.data END AS anon_1, "
            "length(whisperr_outboxevent.data) AS length_1 FROM whisperr_outboxevent "
            "WHERE whisperr_outboxevent.id IN (1, 2) AND whisperr_outboxevent.token = 'x'"
        )

    def test_what_is_refused_is_copied_by_the_database(self, name: str) -> None:
        held = statements.is_held(EVENTS, "x", ROWS, DIALECTS[name])
        details: dict[str, Any] = {"reason": literal("rejected"), "status": literal(400)}
        copied = statements.select_copied(EVENTS, details, Now()).where(held)
        names = ["data", "created_at", "reason", "status", "refused_at"]
        assert compile_for(name, insert(DEAD).inline().from_select(names, copied)) == (
            "INSERT INTO whisperr_deadletter (data, created_at, reason, status, refused_at) "
            "SELECT whisperr_outboxevent.data AS data, whisperr_outboxevent.created_at, "
            "'rejected' AS reason, 400 AS status, UTC_TIMESTAMP(6) AS refused_at "
            "FROM whisperr_outboxevent WHERE whisperr_outboxevent.id IN (1, 2) "
            "AND whisperr_outboxevent.token = 'x' ORDER BY whisperr_outboxevent.id"
        )

    def test_what_is_held_is_deleted(self, name: str) -> None:
        assert compile_for(
            name, delete(EVENTS).where(statements.is_held(EVENTS, "x", ROWS, DIALECTS[name]))
        ) == (
            "DELETE FROM whisperr_outboxevent WHERE whisperr_outboxevent.id IN (1, 2) "
            "AND whisperr_outboxevent.token = 'x'"
        )

    def test_ages_and_texts_are_read(self, name: str) -> None:
        columns = (Age(EVENTS.c.created_at), RawText(EVENTS.c.created_at))
        text = compile_for(name, select(*columns))
        assert "(TIMESTAMPDIFF(MICROSECOND, whisperr_outboxevent.created_at, UTC" in text
        assert "CAST(whisperr_outboxevent.created_at AS CHAR(64))" in text

    @pytest.mark.parametrize(
        ("is_mariadb", "version", "skips"),
        [
            (False, (5, 7, 44), False),
            (False, (8, 0, 0), False),
            (False, (8, 0, 1), True),
            (False, (9, 1), True),
            (True, (10, 5, 27), False),
            (True, (10, 6), True),
            (True, (11, 4, 2), True),
            (False, None, False),
        ],
    )
    def test_old_versions_skip_no_locked_rows(
        self, is_mariadb: bool, version: tuple[int, ...] | None, skips: bool
    ) -> None:
        dialect: Any = mysql.dialect()
        dialect.is_mariadb, dialect.server_version_info = is_mariadb, version
        assert statements.skips_locked(dialect) is skips
        assert not statements.claims_at_once(dialect)


class TestOthers:
    def test_postgresql_claims_in_one_round_trip(self) -> None:
        free = statements.select_free(EVENTS, 500, None)
        claim = statements.claim_at_once(EVENTS, free, LEASED, 100)
        text = compile_for("postgresql", claim)
        assert text.startswith("UPDATE whisperr_outboxevent SET token='x', leased_until=(STATEMENT")
        assert "WHERE whisperr_outboxevent.id = ANY (ARRAY(SELECT whisperr_outboxevent.id" in text
        assert "COALESCE(whisperr_outboxevent.leased_until, '-infinity') NOT BETWEEN" in text
        assert "(STATEMENT_TIMESTAMP() + MAKE_INTERVAL(SECS => 15.0))" in text
        assert "LIMIT 500 FOR UPDATE SKIP LOCKED)) RETURNING whisperr_outboxevent.id" in text
        assert statements.skips_locked(DIALECTS["postgresql"])

    def test_sqlite_keeps_ids_and_milliseconds(self) -> None:
        events = compile_for("sqlite", CreateTable(EVENTS))
        assert "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" in events
        assert "DEFAULT (STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW'))" in events
        assert not statements.skips_locked(DIALECTS["sqlite"])
