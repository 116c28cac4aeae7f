"""The claims of relays over Django: the contract of all claims, also beside those of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from tests.django.postgres import postgres, postgres_database, postgres_server
from tests.django.rows import delete_rows
from tests.outbox.relays import events
from tests.queue.claims_contract import LEASE, REJECTED, ClaimsContract, OutboxTables
from whisperr.django.models import OutboxEvent
from whisperr.django.outbox.columns import UtcNow
from whisperr.django.outbox.tables import Claims

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._queue.table.claims import Claims as AnyClaims

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures


class DjangoTables(OutboxTables):
    """The tables that `migrate` has made."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.is_sqlite = connections[alias].vendor == "sqlite"

    def connect(self, largest_bytes: int = 1_000_000) -> AnyClaims:
        return Claims(self.alias, largest_bytes)

    def connect_sqlalchemy(self) -> AnyClaims:
        """Return what `whisperr relay` may do with the same tables."""
        sqlalchemy = pytest.importorskip("sqlalchemy")
        from whisperr.sqlalchemy._claims import Claims as SQLAlchemyClaims

        settings = connections[self.alias].settings_dict
        url = f"sqlite:///{settings['NAME']}"
        if not self.is_sqlite:
            url = f"postgresql+psycopg://postgres@/{settings['NAME']}?host={settings['HOST']}"
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
        return SQLAlchemyClaims(engine)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def sqlite() -> Iterator[DjangoTables]:
    yield DjangoTables("default")
    delete_rows()


@pytest.fixture
def postgresql(postgres: str) -> Iterator[DjangoTables]:
    yield DjangoTables(postgres)
    delete_rows(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def outbox(request: pytest.FixtureRequest) -> DjangoTables:
    found: DjangoTables = request.getfixturevalue(request.param)
    return found


class TestClaims(ClaimsContract):
    pass


class TestBothKinds:
    def test_relays_of_both_kinds_share_a_table(self, outbox: DjangoTables) -> None:
        ours, other = outbox.connect(), outbox.connect_sqlalchemy()
        ours.add(events(6))
        ids = outbox.get_ids()
        first, second, third = ours.claim(2, LEASE), other.claim(2, LEASE), ours.claim(10, LEASE)
        claimed = [[row.id for row in rows] for _, rows in (first, second, third)]
        assert claimed == [ids[:2], ids[2:4], ids[4:]]
        assert first[1][0].data.startswith(b'{"event_type"')
        assert other.dead_letter(*first, REJECTED) == 2  # the token counts, not the relay
        assert ours.delete(*second) == 2
        other.release(*third)
        assert [row.id for row in ours.claim(10, LEASE)[1]] == ids[4:]
        other.close()

    def test_a_lease_of_one_kind_runs_out_for_the_other(self, outbox: DjangoTables) -> None:
        kinds = (outbox.connect(), outbox.connect_sqlalchemy())
        kinds[0].add(events(1))
        for number in range(4):
            assert len(kinds[number % 2].claim(1, LEASE)[1]) == 1
            assert list(kinds[(number + 1) % 2].claim(1, LEASE)[1]) == []
            outbox.set_lease(-1)
        kinds[1].close()

    def test_what_one_kind_refused_the_other_lists_and_requeues(self, outbox: DjangoTables) -> None:
        from whisperr.django.outbox import dead_letters

        other: Any = outbox.connect_sqlalchemy()
        from whisperr.sqlalchemy._dead_letters import DeadLetters

        ours = outbox.connect()
        ours.add(events(2))
        token, rows = ours.claim(2, LEASE)
        ours.dead_letter(token, rows[:1], REJECTED)
        other.dead_letter(token, rows[1:], REJECTED)
        theirs = DeadLetters(other)
        of_django = dead_letters.get_newest(outbox.alias, 5)
        assert theirs.get_newest(5) == of_django
        assert len(of_django) == 2
        assert theirs.requeue([of_django[0]["id"]]) == 1  # type: ignore[list-item]  # an id
        assert dead_letters.requeue(outbox.alias, None) == 1
        figures = theirs.get_figures()
        assert figures._replace(oldest=None) == dead_letters.get_figures(outbox.alias)._replace(
            oldest=None
        )
        assert (figures.waiting, figures.dead) == (2, {})
        assert figures.oldest is not None
        other.close()


def test_leases_are_by_the_clock_of_utc_on_mysql_too(sqlite: DjangoTables) -> None:
    connection = connections[sqlite.alias]
    compiler = OutboxEvent.objects.all().query.get_compiler(connection=connection)
    assert UtcNow().as_mysql(compiler, connection)[0] == "UTC_TIMESTAMP(6)"
