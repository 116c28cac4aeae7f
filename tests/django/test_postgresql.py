"""What a relay's statements cost a PostgreSQL: round trips, and how much of the table they read."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from tests.django.postgres import POSTGRES, postgres, postgres_database, postgres_server
from tests.django.rows import delete_rows, make_events
from whisperr.django.models import OutboxEvent
from whisperr.django.outbox.tables import Claims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.postgres_server import Database

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

TABLE = "whisperr_outboxevent"
MANY = f"INSERT INTO {TABLE} (data, token) SELECT '\\x7b7d', '' FROM generate_series(1, 50000)"


@pytest.fixture
def claims(postgres: str) -> Iterator[Claims]:
    yield Claims(postgres)
    delete_rows(postgres)


def add(count: int) -> None:
    OutboxEvent.objects.using(POSTGRES).bulk_create(
        [OutboxEvent(data=data) for data in make_events(count)]
    )


def execute(sql: str) -> None:
    with connections[POSTGRES].cursor() as cursor:
        cursor.execute(sql)


class Plans:
    """Collects the plans of all statements; for `execute_wrapper`."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, run: Callable[..., Any], sql: str, params: Any, *others: Any) -> Any:
        with connections[POSTGRES].connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}", params)
            self.texts.append("\n".join(line for (line,) in cursor.fetchall()))
        return run(sql, params, *others)


def test_a_claim_and_a_deletion_are_one_round_trip_each(claims: Claims) -> None:
    add(3)
    with CaptureQueriesContext(connections[POSTGRES]) as queries:
        token, rows = claims.claim(2, 15.0)
        assert claims.delete(token, rows) == 2
    assert [query["sql"].split()[0] for query in queries] == ["UPDATE", "DELETE"]


def test_rows_are_claimed_in_the_order_of_their_ids(claims: Claims) -> None:
    add(200)
    execute(f"UPDATE {TABLE} SET created_at = created_at WHERE id % 3 = 0")  # they move in the file
    _, rows = claims.claim(200, 15.0)
    ids = [row.id for row in rows]
    assert ids == sorted(ids)
    assert [row.data for row in rows] == [
        bytes(data)
        for data in OutboxEvent.objects.using(POSTGRES)
        .order_by("pk")
        .values_list("data", flat=True)
    ]


def test_a_claim_above_an_id_is_of_higher_ids_only(claims: Claims) -> None:
    add(5)
    ids = list(OutboxEvent.objects.using(POSTGRES).order_by("pk").values_list("pk", flat=True))
    _, rows = claims.claim(2, 15.0, ids[1])
    assert [row.id for row in rows] == ids[2:4]


@pytest.mark.parametrize("leased", ["15 seconds", None], ids=["all claimed", "empty"])
@pytest.mark.parametrize("last", [None, 0], ids=["full scan", "above an id"])
def test_no_statistics_make_a_claim_or_a_deletion_read_the_whole_table(
    claims: Claims, leased: str | None, last: int | None
) -> None:
    """Statistics of a moment when no row was free."""
    execute(f"TRUNCATE {TABLE}")
    execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
    if leased is not None:
        add(1_000)
        execute(f"UPDATE {TABLE} SET token = 'another', leased_until = now() + '{leased}'")
    execute(f"VACUUM ANALYZE {TABLE}")
    execute(MANY)
    plans = Plans()
    with connections[POSTGRES].execute_wrapper(plans):
        token, rows = claims.claim(500, 15.0, last)
        claims.delete(token, rows)
    assert len(rows) == 500
    assert len(plans.texts) == 2
    for plan in plans.texts:
        assert f"Index Scan using {TABLE}_pkey" in plan
        assert "Seq Scan" not in plan
        assert "Sort" not in plan


def test_a_project_that_binds_on_the_server_can_deliver_as_well(
    claims: Claims, postgres_database: Database
) -> None:
    connections.settings["bound"] = deepcopy(connections.settings[POSTGRES])
    connections.settings["bound"]["OPTIONS"] = {"server_side_binding": True}
    try:
        add(3)
        bound = Claims("bound")
        token, rows = bound.claim(2, 15.0, 0)
        assert bound.delete(token, rows) == 2
        assert postgres_database.count() == 1
    finally:
        connections["bound"].close()
        del connections["bound"], connections.settings["bound"]


def test_what_a_relay_writes_is_committed_also_where_the_project_has_no_autocommit(
    claims: Claims, postgres_database: Database
) -> None:
    connections.settings["manual"] = {
        **deepcopy(connections.settings[POSTGRES]),
        "AUTOCOMMIT": False,
    }
    try:
        add(2)
        manual = Claims("manual")
        token, rows = manual.claim(2, 15.0)
        manual.close()  # as after a failure
        assert manual.delete(token, rows) == 2
        assert postgres_database.count() == 0
    finally:
        connections["manual"].close()
        del connections["manual"], connections.settings["manual"]
