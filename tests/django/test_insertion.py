"""A row in a transaction on PostgreSQL: one round trip, and nothing left of it where it fails.

The promises for all databases are in `test_outbox_transactions.py` and `test_interruptions.py`.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from tests.django.outboxes import get_rows, get_written
from tests.django.postgres import POSTGRES, postgres, postgres_database, postgres_server
from tests.django.rows import delete_rows
from tests.interrupting import interrupt_everywhere
from whisperr.django import get_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

    from tests.django.site import Site
    from tests.postgres_server import Database

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

TABLE = "whisperr_outboxevent"


class TimeLimitError(Exception):
    """What a signal handler of these tests raises."""


@pytest.fixture(autouse=True)
def db(postgres: str, outbox: None) -> Iterator[BaseDatabaseWrapper]:
    """The connection to a PostgreSQL that the outbox is in."""
    with override_settings(WHISPERR_OUTBOX_DATABASE=postgres):
        yield connections[postgres]
    delete_rows(postgres)


def track(user: str = "u") -> str | None:
    return get_client().track(user, "paid")


def execute(db: BaseDatabaseWrapper, sql: str) -> None:
    with db.cursor() as cursor:
        cursor.execute(sql)


def is_insert(sql: str) -> bool:
    return f'INSERT INTO "{TABLE}"' in sql


@contextmanager
def raising(db: BaseDatabaseWrapper, error: Exception, *, after: bool) -> Iterator[None]:
    """Raise at the INSERT of an event: before it, or when it is done."""

    def wrapper(run: Callable[..., Any], sql: str, *given: Any) -> Any:
        if is_insert(sql):
            if after:
                run(sql, *given)
            raise error
        return run(sql, *given)

    with db.execute_wrapper(wrapper):
        yield


class TestRoundTrips:
    def test_in_a_transaction_a_row_costs_one(self, db: BaseDatabaseWrapper) -> None:
        with transaction.atomic(using=POSTGRES), CaptureQueriesContext(db) as queries:
            track()
        (query,) = queries
        begin, insert, end = query["sql"].split("; ")
        assert begin == 'SAVEPOINT "whisperr_event"'
        assert is_insert(insert)
        assert end == 'RELEASE SAVEPOINT "whisperr_event"'
        assert get_written(POSTGRES) == [("u", "paid")]

    def test_so_it_does_in_a_transaction_by_hand(self, db: BaseDatabaseWrapper) -> None:
        transaction.set_autocommit(False, using=POSTGRES)
        try:
            with CaptureQueriesContext(db) as queries:
                track()
            transaction.commit(using=POSTGRES)
        finally:
            transaction.set_autocommit(True, using=POSTGRES)
        assert len(queries) == 1
        assert get_written(POSTGRES) == [("u", "paid")]

    def test_outside_of_one_it_costs_one_without_a_savepoint(self, db: BaseDatabaseWrapper) -> None:
        with CaptureQueriesContext(db) as queries:
            track()
        assert [query["sql"].split()[0] for query in queries] == ["INSERT"]

    def test_a_wrapper_of_the_project_sees_the_row(self, db: BaseDatabaseWrapper) -> None:
        seen = []

        def wrapper(run: Callable[..., Any], sql: str, params: Any, *given: Any) -> Any:
            seen.append((is_insert(sql), b"user_8842" in bytes(params[0].obj)))
            return run(sql, params, *given)

        with transaction.atomic(using=POSTGRES), db.execute_wrapper(wrapper):
            track("user_8842")
        assert seen == [(True, True)]

    def test_where_the_server_binds_values_the_statements_are_sent_one_by_one(self) -> None:
        connections.settings["bound"] = deepcopy(connections.settings[POSTGRES])
        connections.settings["bound"]["OPTIONS"] = {"server_side_binding": True}
        try:
            with (
                override_settings(WHISPERR_OUTBOX_DATABASE="bound"),
                transaction.atomic(using="bound"),
                CaptureQueriesContext(connections["bound"]) as queries,
            ):
                track()
        finally:
            connections["bound"].close()
            del connections["bound"], connections.settings["bound"]
        assert [query["sql"].split()[0] for query in queries] == ["SAVEPOINT", "INSERT", "RELEASE"]
        assert get_written(POSTGRES) == [("u", "paid")]

    def test_in_a_pipeline_they_are_sent_one_by_one(self, db: BaseDatabaseWrapper) -> None:
        with transaction.atomic(using=POSTGRES), db.connection.pipeline():
            track()
        assert get_written(POSTGRES) == [("u", "paid")]


class TestFailures:
    def test_a_failed_row_leaves_no_savepoint_and_the_transaction_as_it_was(
        self, site: Site, db: BaseDatabaseWrapper
    ) -> None:
        with transaction.atomic(using=POSTGRES):
            track("before")
            execute(db, f"ALTER TABLE {TABLE} RENAME TO away")
            with CaptureQueriesContext(db) as queries:
                assert track("lost") is None
            execute(db, f"ALTER TABLE away RENAME TO {TABLE}")
            track("after")
            with (
                pytest.raises(OperationalError, match="whisperr_event"),
                transaction.atomic(using=POSTGRES),
            ):
                execute(db, "RELEASE SAVEPOINT whisperr_event")
        assert [query["sql"].split()[0] for query in queries] == ["SAVEPOINT", "ROLLBACK"]
        assert [user for user, _ in get_written(POSTGRES)] == ["before", "after"]
        assert "has no table of the outbox" in site.get_reports()[0]

    @pytest.mark.parametrize("after", [False, True])
    def test_so_does_one_that_a_wrapper_of_the_project_refuses(
        self, site: Site, db: BaseDatabaseWrapper, after: bool
    ) -> None:
        with transaction.atomic(using=POSTGRES):
            track("before")
            with raising(db, OperationalError("refused"), after=after):
                assert track("refused") is None
            track("after")
        assert [user for user, _ in get_written(POSTGRES)] == ["before", "after"]
        assert get_client().stats().not_accepted == {"not_stored": 1}

    def test_a_row_that_must_not_be_deleted_stays_and_the_transaction_goes_on(
        self, db: BaseDatabaseWrapper
    ) -> None:
        execute(db, f"CREATE RULE kept AS ON DELETE TO {TABLE} DO INSTEAD SELECT 1/0")
        try:
            with transaction.atomic(using=POSTGRES):
                with raising(db, OperationalError("refused"), after=True):
                    assert track("refused") is None
                track("after")
        finally:
            execute(db, f"DROP RULE kept ON {TABLE}")
        assert [user for user, _ in get_written(POSTGRES)] == ["refused", "after"]


class TestInterruptions:
    @pytest.fixture
    def limit(self) -> Iterator[Callable[..., None]]:
        """A wrapper of statements that is interrupted by a signal, whose handler raises."""

        def handler(*_: object) -> None:
            raise TimeLimitError

        before = signal.signal(signal.SIGUSR1, handler)
        yield lambda *_: signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)

    @pytest.mark.parametrize("after", [False, True])
    def test_a_limit_at_an_insert_reaches_the_caller_and_leaves_the_transaction(
        self, db: BaseDatabaseWrapper, limit: Callable[..., None], after: bool
    ) -> None:
        def wrapper(run: Callable[..., Any], sql: str, *given: Any) -> Any:
            if after:
                run(sql, *given)
            return limit()

        with transaction.atomic(using=POSTGRES):
            track("before")
            with pytest.raises(TimeLimitError), db.execute_wrapper(wrapper):
                track("interrupted")
            track("after")
        assert [user for user, _ in get_written(POSTGRES)] == ["before", "after"]
        assert get_client().stats().accepted == 2

    def test_where_the_transaction_is_gone_the_caller_gets_the_error(
        self, db: BaseDatabaseWrapper
    ) -> None:
        def wrapper(run: Callable[..., Any], sql: str, *given: Any) -> Any:
            db.connection.execute("ROLLBACK")
            raise OperationalError(sql)

        @transaction.atomic(using=POSTGRES)
        def pay() -> None:
            track("before")
            with db.execute_wrapper(wrapper):
                track("ends")
            pytest.fail("the caller goes on, without what it has written")

        with pytest.raises(OperationalError):
            pay()
        assert get_rows(POSTGRES) == []

    def test_an_interruption_before_the_insert_undoes_no_earlier_row(
        self, db: BaseDatabaseWrapper, limit: Callable[..., None]
    ) -> None:
        with transaction.atomic(using=POSTGRES):
            get_client().identify("u", email="a@example.com")
            with pytest.raises(TimeLimitError), db.execute_wrapper(limit):
                get_client().identify("u", email="a@example.com")
        assert get_written(POSTGRES) == [("u", None)]

    def test_after_an_interruption_anywhere_the_next_call_works(
        self, db: BaseDatabaseWrapper, postgres_database: Database
    ) -> None:
        def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
            postgres_database.query(f"DELETE FROM {TABLE}")
            accepted = get_client().stats().accepted
            with transaction.atomic(using=POSTGRES):
                interrupt(lambda: track("interrupted"))
                assert not transaction.get_rollback(using=POSTGRES)
                assert track("next") is not None
            rows = get_rows(POSTGRES)
            assert b"next" in rows[-1]
            assert get_client().stats().accepted - accepted <= len(rows) <= 2

        track("imports")
        assert interrupt_everywhere(story) > 20
