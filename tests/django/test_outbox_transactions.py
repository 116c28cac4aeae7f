"""The outbox and the transaction of the caller: what a failed INSERT leaves of it, and who hears.

A transaction that a failure has ended must not seem to commit: its rows would be missing without an
exception. One that survives goes on, and only the event is not stored.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction
from django.test import override_settings

from tests.django.outboxes import get_rows, migrate_second
from tests.django.postgres import postgres, postgres_database, postgres_server
from whisperr.django import get_client, track_on_commit
from whisperr.django.models import OutboxEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.django.site import Site
    from tests.postgres_server import Database

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

pytestmark = pytest.mark.usefixtures("outbox")


def not_stored() -> int:
    return get_client().stats().not_accepted.get("not_stored", 0)


def execute(alias: str, sql: str) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def full(second: str) -> Iterator[str]:
    """A SQLite database without room for one more event, as on a full disk."""
    migrate_second()
    connections[second].close_at = None  # the limit is one of the connection
    execute(second, "CREATE TABLE payment (n integer)")
    (pages,) = execute(second, "PRAGMA page_count")[0]
    execute(second, f"PRAGMA max_page_count = {pages}")
    with override_settings(WHISPERR_OUTBOX_DATABASE=second):
        yield second


TOO_MUCH = {"text": "x" * 80_000}  # more pages than are free


class TestFullDisk:
    def test_a_caller_whose_transaction_is_lost_gets_the_error(self, full: str) -> None:
        @transaction.atomic(using=full)
        def pay() -> None:
            execute(full, "INSERT INTO payment VALUES (7)")
            get_client().track("u", "payment_failed", TOO_MUCH)

        with pytest.raises(OperationalError, match="disk is full"):
            pay()
        assert execute(full, "SELECT n FROM payment") == []
        assert get_rows(full) == []

    def test_a_caller_who_catches_it_cannot_commit_half_of_it(self, full: str) -> None:
        with transaction.atomic(using=full):
            execute(full, "INSERT INTO payment VALUES (7)")
            with pytest.raises(OperationalError):
                get_client().track("u", "payment_failed", TOO_MUCH)
            with pytest.raises(transaction.TransactionManagementError):
                execute(full, "INSERT INTO payment VALUES (8)")
        assert execute(full, "SELECT n FROM payment") == []

    def test_so_does_one_whose_transaction_is_nested(self, full: str) -> None:
        @transaction.atomic(using=full)
        def pay() -> None:
            execute(full, "INSERT INTO payment VALUES (7)")
            with transaction.atomic(using=full):
                get_client().identify("u", traits=TOO_MUCH)

        with pytest.raises(OperationalError):
            pay()
        assert execute(full, "SELECT n FROM payment") == []

    def test_so_does_one_that_tracks_on_commit(self, full: str) -> None:
        @transaction.atomic(using=full)
        def pay() -> None:
            execute(full, "INSERT INTO payment VALUES (7)")
            track_on_commit("u", "payment_failed", TOO_MUCH, using=full)

        with pytest.raises(OperationalError):
            pay()
        assert execute(full, "SELECT n FROM payment") == []

    def test_so_does_one_with_a_transaction_by_hand(self, full: str) -> None:
        transaction.set_autocommit(False, using=full)
        try:
            execute(full, "INSERT INTO payment VALUES (7)")
            with pytest.raises(OperationalError):
                get_client().track("u", "payment_failed", TOO_MUCH)
            transaction.rollback(using=full)
        finally:
            transaction.set_autocommit(True, using=full)
        assert execute(full, "SELECT n FROM payment") == []

    def test_a_transaction_by_hand_that_survives_goes_on_without_the_event(self, full: str) -> None:
        transaction.set_autocommit(False, using=full)
        try:
            execute(full, "INSERT INTO payment VALUES (7)")
            execute(full, "ALTER TABLE whisperr_outboxevent RENAME TO away")
            assert get_client().track("u", "payment_failed") is None
            transaction.commit(using=full)
        finally:
            transaction.set_autocommit(True, using=full)
        assert execute(full, "SELECT n FROM payment") == [(7,)]
        assert not_stored() == 1

    def test_without_a_transaction_it_is_reported(self, site: Site, full: str) -> None:
        assert get_client().track("u", "payment_failed", TOO_MUCH) is None
        assert "OperationalError" in site.get_reports()[0]
        assert not_stored() == 1
        execute(full, "PRAGMA max_page_count = 100000")
        assert get_client().track("u", "payment_failed", TOO_MUCH) is not None
        stats = get_client().stats()
        assert (stats.accepted, stats.problem) == (1, None)


@contextmanager
def deadlock(alias: str, *, ends_transaction: bool) -> Iterator[None]:
    """Fail as MariaDB does: a deadlock rolls the whole transaction back, savepoints included.

    A lock wait that times out ends the statement only. No MariaDB is started here: SQLite
    does what the server would do.
    """

    def fail(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("INSERT INTO") and "outboxevent" in sql:
            if ends_transaction:
                context["connection"].connection.execute("ROLLBACK")
            raise OperationalError(1213 if ends_transaction else 1205, "try restarting transaction")
        return run(sql, params, many, context)

    with connections[alias].execute_wrapper(fail):
        yield


class TestDeadlock:
    def test_a_caller_whose_transaction_is_lost_gets_the_error(self, full: str) -> None:
        @transaction.atomic(using=full)
        def pay() -> None:
            execute(full, "INSERT INTO payment VALUES (7)")
            with deadlock(full, ends_transaction=True):
                get_client().track("u", "payment_failed")

        with pytest.raises(OperationalError, match="1213"):
            pay()
        assert execute(full, "SELECT n FROM payment") == []

    def test_a_transaction_that_survives_goes_on_without_the_event(self, full: str) -> None:
        with transaction.atomic(using=full):
            execute(full, "INSERT INTO payment VALUES (7)")
            with deadlock(full, ends_transaction=False):
                assert get_client().track("u", "payment_failed") is None
        assert execute(full, "SELECT n FROM payment") == [(7,)]
        assert not_stored() == 1

    def test_where_there_are_no_savepoints_the_transaction_counts_as_lost(
        self, full: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections[full], "_savepoint_allowed", lambda: False)
        monkeypatch.setattr(connections[full], "vendor", "another")

        @transaction.atomic(using=full)
        def pay() -> None:
            execute(full, "INSERT INTO payment VALUES (7)")
            with deadlock(full, ends_transaction=False):
                get_client().track("u", "payment_failed")

        with pytest.raises(OperationalError, match="1205"):
            pay()
        assert execute(full, "SELECT n FROM payment") == []


@pytest.fixture
def payments(postgres: str) -> Iterator[str]:
    execute(postgres, "CREATE TABLE payment (n integer)")
    with override_settings(WHISPERR_OUTBOX_DATABASE=postgres):
        yield postgres
    execute(postgres, "DROP TABLE payment")
    OutboxEvent.objects.using(postgres).all().delete()


class TestPostgreSQL:
    def test_a_serialization_failure_reaches_the_caller(
        self, payments: str, postgres_database: Database
    ) -> None:
        @transaction.atomic(using=payments)
        def pay() -> None:
            execute(payments, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            execute(payments, "SELECT count(*) FROM payment")
            execute(payments, "INSERT INTO payment VALUES (7)")
            postgres_database.query(
                "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM whisperr_outboxevent;"
                "INSERT INTO payment VALUES (8); COMMIT"
            )
            get_client().track("u", "payment_failed")
            pytest.fail("the caller goes on with a transaction that cannot commit")

        with pytest.raises(OperationalError) as raised:
            pay()
        assert getattr(raised.value.__cause__, "sqlstate", None) == "40001"
        assert execute(payments, "SELECT n FROM payment") == [(8,)]

    def test_a_transaction_that_the_caller_has_broken_reaches_the_caller(
        self, payments: str
    ) -> None:
        @transaction.atomic(using=payments)
        def pay() -> None:
            execute(payments, "INSERT INTO payment VALUES (7)")
            with pytest.raises(DatabaseError):  # caught without a savepoint of its own
                execute(payments, "SELECT no_such_column FROM payment")
            get_client().track("u", "payment_failed")
            pytest.fail("PostgreSQL would turn the commit into a rollback, without an error")

        with pytest.raises(DatabaseError):
            pay()
        assert execute(payments, "SELECT n FROM payment") == []

    def test_a_failed_row_leaves_the_transaction_as_it_was(self, payments: str) -> None:
        with transaction.atomic(using=payments):
            execute(payments, "INSERT INTO payment VALUES (7)")
            execute(payments, "ALTER TABLE whisperr_outboxevent RENAME TO away")
            assert get_client().track("u", "payment_failed") is None
            execute(payments, "ALTER TABLE away RENAME TO whisperr_outboxevent")
            execute(payments, "INSERT INTO payment VALUES (8)")
        assert execute(payments, "SELECT n FROM payment") == [(7,), (8,)]
        assert not_stored() == 1

    def test_a_dead_connection_reaches_the_caller_in_a_transaction(
        self, payments: str, postgres_database: Database
    ) -> None:
        @transaction.atomic(using=payments)
        def pay() -> None:
            execute(payments, "INSERT INTO payment VALUES (7)")
            (pid,) = execute(payments, "SELECT pg_backend_pid()")[0]
            postgres_database.query("SELECT pg_terminate_backend(%s, 30000)", pid)
            get_client().track("u", "payment_failed")
            pytest.fail("nothing of the transaction is left")

        with pytest.raises(DatabaseError):
            pay()
        assert execute(payments, "SELECT n FROM payment") == []
        assert get_client().track("u", "payment_failed") is not None
