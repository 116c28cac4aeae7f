"""The outbox when a row cannot be written: what is reported, and what the caller notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connection, connections, transaction
from django.db.models.signals import post_save
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from tests.django.outboxes import get_rows, get_written, migrate_second
from whisperr.django import get_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.django.site import Site

pytestmark = pytest.mark.usefixtures("outbox")


def not_stored() -> int:
    return get_client().stats().not_accepted.get("not_stored", 0)


def test_a_missing_table_is_reported_with_the_fix(site: Site, second: str) -> None:
    with override_settings(WHISPERR_OUTBOX_DATABASE=second):
        assert get_client().track("u", "payment_failed") is None
        (message,) = site.get_reports()
        assert "track: the database 'events' has no table of the outbox; " in message
        assert "`manage.py migrate --database events` (at " in message
        assert __file__ in message
        (error,) = site.errors
        assert (error.type, error.reason, error.count) == ("dropped", "not_stored", 1)
        stats = get_client().stats()
        assert (stats.accepted, stats.held, stats.not_accepted) == (0, 0, {"not_stored": 1})
        assert stats.problem is not None
        migrate_second()
        assert get_client().track("u", "payment_failed") is not None
        assert get_client().stats().problem is None
    assert get_written(second) == [("u", "payment_failed")]


def test_the_transaction_of_the_caller_continues(second: str) -> None:
    with override_settings(WHISPERR_OUTBOX_DATABASE=second):
        with transaction.atomic(using=second), connections[second].cursor() as cursor:
            cursor.execute("CREATE TABLE note (n integer)")
            with CaptureQueriesContext(connections[second]) as queries:
                get_client().track("u", "payment_failed")
            cursor.execute("INSERT INTO note VALUES (7)")
        verbs = [q["sql"].split()[0] for q in queries]
        assert verbs == ["SAVEPOINT", "INSERT", "ROLLBACK", "RELEASE"]
        with connections[second].cursor() as cursor:
            cursor.execute("SELECT n FROM note")
            assert cursor.fetchall() == [(7,)]
        assert not_stored() == 1


def test_a_transaction_that_has_failed_already_is_left_alone(site: Site) -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        assert get_client().track("u", "payment_failed") is None
        assert transaction.get_rollback() is True
    assert "the transaction has already failed" in site.get_reports()[0]
    assert not_stored() == 1


def test_on_a_running_loop_it_is_reported_with_the_fix(site: Site) -> None:
    async def view() -> list[str | None]:
        first = get_client().track("u", "in_the_loop")
        get_client().identify("u", email="a@b.c")
        return [first, await sync_to_async(get_client().track)("u", "in_a_thread")]

    refused, message_id = async_to_sync(view)()
    assert refused is None
    assert message_id is not None
    assert "track: an event loop runs in this thread" in site.get_reports()[0]
    assert "`await request.whisperr.atrack(...)` or `await sync_to_async(" in site.get_reports()[0]
    assert not_stored() == 2
    assert get_written() == [("u", "in_a_thread")]


def test_strict_mode_is_about_data_and_does_not_raise(second: str) -> None:
    with override_settings(WHISPERR_STRICT=True, WHISPERR_OUTBOX_DATABASE=second):
        assert get_client().track("u", "payment_failed") is None


def test_the_text_of_the_database_is_not_repeated(site: Site) -> None:
    def refuses(*_: object) -> None:
        raise OperationalError("DETAIL: the row is secret")

    with connection.execute_wrapper(refuses):
        assert get_client().track("u", "payment_failed") is None
    (message,) = site.get_reports()
    assert "track: the row could not be written to the database 'default': " in message
    assert "OperationalError (at " in message
    assert "secret" not in message


def test_a_dead_connection_is_replaced_outside_of_a_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.ensure_connection()
    connection.connection.close()
    monkeypatch.setattr(connection, "is_usable", lambda: False)  # SQLite's always says yes
    assert get_client().track("u", "payment_failed") is not None
    assert len(get_rows()) == 1


def test_a_call_inside_of_its_own_statement_is_refused(site: Site) -> None:
    def tracks(execute: Callable[..., Any], *given: Any) -> Any:
        assert get_client().track("u", "inner") is None
        return execute(*given)

    with connection.execute_wrapper(tracks):
        assert get_client().track("u", "outer") is not None
    assert "the call interrupts another call" in site.get_reports()[0]
    assert get_written() == [("u", "outer")]


def test_signal_receivers_of_the_project_are_not_called() -> None:
    called: list[object] = []

    def receiver(sender: object, **_: object) -> None:
        called.append(sender)

    post_save.connect(receiver)
    try:
        get_client().track("u", "payment_failed")
    finally:
        post_save.disconnect(receiver)
    assert called == []
