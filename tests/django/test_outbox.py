"""The outbox: `track()` writes a row in the transaction of the calling thread."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from tests.django.outboxes import get_bodies, get_rows, get_written, migrate_second
from whisperr import InvalidEvent, Whisperr
from whisperr._delivery.pool import THREAD_NAME
from whisperr.django import OutboxBuffer, conf, get_client, track_on_commit
from whisperr.testing import capture

if TYPE_CHECKING:
    from tests.django.site import Site

pytestmark = pytest.mark.usefixtures("outbox")


class TestTransactions:
    def test_a_commit_keeps_the_row(self) -> None:
        with transaction.atomic():
            get_client().track(8842, "payment_failed", {"amount_cents": 4900})
            get_client().identify(8842, traits={"plan": "pro"})
        assert get_written() == [("8842", "payment_failed"), ("8842", None)]

    def test_a_rollback_discards_it(self) -> None:
        with transaction.atomic():
            assert get_client().track("u", "payment_failed") is not None
            assert len(get_rows()) == 1
            transaction.set_rollback(True)
        assert get_rows() == []

    def test_a_savepoint_that_rolls_back_discards_its_rows(self) -> None:
        with transaction.atomic():
            get_client().track("u", "outer")
            with transaction.atomic():
                get_client().track("u", "inner")
                transaction.set_rollback(True)
        assert get_written() == [("u", "outer")]

    def test_outside_of_a_transaction_it_is_one_statement(self) -> None:
        client = get_client()
        with CaptureQueriesContext(connection) as queries:
            client.track("u", "payment_failed")
        assert len(queries) == 1
        assert queries[0]["sql"].startswith('INSERT INTO "whisperr_outboxevent" ')
        assert len(get_rows()) == 1

    def test_in_a_transaction_it_has_a_savepoint_of_its_own(self) -> None:
        client = get_client()
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            client.track("u", "payment_failed")
        assert [q["sql"].split()[0] for q in queries] == ["SAVEPOINT", "INSERT", "RELEASE"]

    def test_on_commit_needs_no_hook(self) -> None:
        with transaction.atomic():
            assert track_on_commit("u", "kept", message_id="m") == "m"
            assert len(get_rows()) == 1
            assert connection.run_on_commit == []
        with transaction.atomic():
            track_on_commit("u", "gone")
            transaction.set_rollback(True)
        assert get_written() == [("u", "kept")]

    def test_a_transaction_by_hand_is_followed_as_well(self) -> None:
        transaction.set_autocommit(False)
        try:
            get_client().track("u", "gone")
            transaction.rollback()
            track_on_commit("u", "kept")
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        assert get_written() == [("u", "kept")]


class TestPromises:
    def test_the_row_is_what_is_sent_over_the_wire(self, site: Site) -> None:
        with override_settings(WHISPERR_BUFFER=None):
            usual = get_client()
            usual.track("ü", "payment_failed", {"n": 1}, message_id="m")
            usual.identify("ü", email="ada@example.com")
            event, identify = (arrival.body for arrival in site.arrived())
        get_client().track("ü", "payment_failed", {"n": 1}, message_id="m")
        get_client().identify("ü", email="ada@example.com")
        event_row, identify_row = get_bodies()
        assert {**event_row, "occurred_at": None} == {**event, "occurred_at": None}
        assert identify_row == identify
        assert get_rows()[0].startswith(b'{"event_type":"payment_failed","external_user_id":')
        assert get_rows()[1].startswith(b'{"external_user_id":')

    def test_the_id_that_is_returned_is_in_the_row(self) -> None:
        ids = [get_client().track("u", "payment_failed") for _ in range(3)]
        assert [body["context"]["$message_id"] for body in get_bodies()] == ids
        assert len(set(ids)) == 3

    def test_changing_the_properties_later_changes_nothing(self) -> None:
        properties = {"plan": "pro"}
        with transaction.atomic():
            get_client().track("u", "plan_upgraded", properties)
            properties["plan"] = "changed later"
        assert get_bodies()[0]["properties"] == {"plan": "pro"}

    def test_bad_data_becomes_no_row(self) -> None:
        assert get_client().track("u", "Payment Failed") is None
        assert get_client().stats().not_accepted == {"invalid": 1}
        with override_settings(WHISPERR_STRICT=True), pytest.raises(InvalidEvent):
            get_client().track("u", "Payment Failed")
        assert get_rows() == []

    def test_a_veto_becomes_no_row(self) -> None:
        with override_settings(WHISPERR_BEFORE_SEND=lambda _: None):
            assert get_client().track("u", "payment_failed") is None
            assert get_client().stats().not_accepted == {"vetoed": 1}
        assert get_rows() == []

    def test_what_is_larger_than_the_bound_is_dropped(self, site: Site) -> None:
        with override_settings(WHISPERR_MAX_QUEUE_BYTES=1024):
            assert get_client().track("u", "payment_failed", {"text": "x" * 2048}) is None
            stats = get_client().stats()
            assert (stats.dropped, stats.accepted, stats.held) == ({"too_large": 1}, 1, 0)
            assert site.get_reports() == ["one event is larger than max_queue_bytes"]
        assert get_rows() == []

    def test_disabled_and_closed_clients_write_nothing(self) -> None:
        with override_settings(WHISPERR_DISABLED=True):
            assert get_client().track("u", "payment_failed") is None
        get_client().shutdown()
        assert get_client().track("u", "payment_failed") is None
        assert get_client().stats().not_accepted == {"closed": 1}
        assert get_rows() == []

    def test_a_capture_records_instead_what_commits(self) -> None:
        with capture() as events, transaction.atomic():
            track_on_commit("u", "payment_failed")
            get_client().track("u", "seen")
            assert events == []
        assert [event.type for event in events] == ["payment_failed", "seen"]
        assert get_rows() == []


class TestProcess:
    def test_it_delivers_nothing_and_starts_no_thread(self, site: Site) -> None:
        before = set(threading.enumerate())
        client = get_client()
        for n in range(50):
            client.track("u", "payment_failed", {"n": n})
        assert client.flush(30) is True
        assert client.shutdown() is True
        assert [t.name for t in set(threading.enumerate()) - before if t.name == THREAD_NAME] == []
        assert site.server.arrivals() == []
        assert len(get_rows()) == 50

    def test_flush_logs_once_that_it_has_nothing_to_wait_for(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = get_client()
        with caplog.at_level(logging.INFO, "whisperr"):
            assert [client.flush(), client.flush(0)] == [True, True]
        (record,) = caplog.records
        assert record.getMessage() == (
            "whisperr: flush() has nothing to wait for: the events are stored, and "
            "`manage.py whisperr_relay` delivers them"
        )
        assert record.levelname == "INFO"

    def test_what_it_wrote_is_held_and_its_table_is_not_counted(self) -> None:
        client = get_client()
        client.track("u", "payment_failed")
        client.identify("u", email="a@b.c")
        client.track(None, "payment_failed")
        with CaptureQueriesContext(connection) as queries:
            stats = client.stats()
        assert len(queries) == 0
        assert (stats.accepted, stats.held, stats.stored, stats.held_bytes) == (2, 2, 0, 0)
        assert (stats.delivered, stats.dropped, stats.state) == (0, {}, "running")

    def test_threads_write_through_connections_of_their_own(self) -> None:
        def write() -> None:
            get_client().track("u", "in_a_thread")
            connection.close()

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert get_written() == [("u", "in_a_thread")] * 4

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
    def test_both_sides_of_a_fork_write(self) -> None:
        client = get_client()
        client.track("u", "before")
        connections.close_all()  # what Django asks of a process that forks
        child = os.fork()
        if child == 0:
            try:
                client.track("u", "in_the_child")
                connections.close_all()
                os._exit(0 if client.stats().accepted == 1 else 2)
            except BaseException:  # noqa: BLE001  # of a forked child, which must end here
                traceback.print_exc()
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        client.track("u", "in_the_parent")
        assert get_written() == [("u", "before"), ("u", "in_the_child"), ("u", "in_the_parent")]
        assert client.stats().accepted == 2


class TestDatabase:
    def test_a_setting_names_it(self, second: str) -> None:
        migrate_second()
        with override_settings(WHISPERR_OUTBOX_DATABASE=second):
            get_client().track("u", "payment_failed")
        assert (len(get_rows(second)), len(get_rows())) == (1, 0)

    def test_the_buffer_names_it_before_the_setting(self, second: str) -> None:
        migrate_second()
        with override_settings(
            WHISPERR_OUTBOX_DATABASE="default", WHISPERR_BUFFER=OutboxBuffer(using=second)
        ):
            get_client().track("u", "payment_failed")
        assert (len(get_rows(second)), len(get_rows())) == (1, 0)

    def test_a_router_decides_where_nothing_is_set(self, site: Site, second: str) -> None:
        migrate_second()
        with override_settings(DATABASE_ROUTERS=["tests.django.outboxes.ToSecond"]):
            get_client().track("u", "payment_failed")
        assert (len(get_rows(second)), len(get_rows())) == (1, 0)
        with override_settings(DATABASE_ROUTERS=["tests.django.outboxes.Confused"]):
            assert get_client().track("u", "payment_failed") is None
            assert track_on_commit("u", "payment_failed") is None
        assert "no database for the outbox: KeyError (at " in site.get_reports()[0]

    def test_on_commit_follows_the_transaction_that_is_named(self, second: str) -> None:
        migrate_second()
        with transaction.atomic(using=second), transaction.atomic():
            track_on_commit("u", "kept", using=second)
            get_client().track("u", "gone")
            transaction.set_rollback(True)
        assert (get_written(second), get_rows()) == ([("u", "kept")], [])
        assert track_on_commit("u", "lost", using="nowhere") is None
        assert get_client().stats().not_accepted == {"not_stored": 1}

    def test_on_commit_waits_for_the_commit_when_the_outbox_is_elsewhere(self, second: str) -> None:
        migrate_second()
        with override_settings(WHISPERR_OUTBOX_DATABASE=second):
            with transaction.atomic():
                track_on_commit("u", "kept")
                assert get_rows(second) == []
            with transaction.atomic():
                track_on_commit("u", "gone")
                transaction.set_rollback(True)
        assert get_written(second) == [("u", "kept")]

    def test_an_unknown_database_stops_the_start(self) -> None:
        for settings in (
            {"WHISPERR_OUTBOX_DATABASE": "nowhere"},
            {"WHISPERR_BUFFER": OutboxBuffer(using="nowhere")},
        ):
            with (
                override_settings(**settings),
                pytest.raises(ImproperlyConfigured, match="'nowhere': must be one of DATABASES: d"),
            ):
                get_client()


class TestBufferName:
    def test_the_environment_may_name_the_outbox(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", "django")
        with override_settings(WHISPERR_BUFFER=None):
            get_client().track("u", "payment_failed")
            assert conf.config().buffer == OutboxBuffer()
        assert len(get_rows()) == 1

    def test_a_client_outside_of_the_integration_is_refused_with_the_fix(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ValueError, match=r"use whisperr\.django\.get_client\(\)"):
            Whisperr("wrk_test", buffer="django")
        monkeypatch.setenv("WHISPERR_BUFFER", "django")
        with pytest.raises(ValueError, match=r"use whisperr\.django\.get_client\(\)"):
            Whisperr("wrk_test")

    def test_without_the_app_the_start_fails_with_the_fix(self) -> None:
        with (
            override_settings(
                INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"]
            ),
            pytest.raises(ImproperlyConfigured, match=r'needs "whisperr.django" in INSTALLED_APPS'),
        ):
            get_client()

    def test_a_command_that_sends_really_sends(self, site: Site) -> None:
        call_command("whisperr_send", "8842", "payment_failed", "amount_cents=4900")
        assert [arrival.user for arrival in site.server.arrivals()] == ["8842"]
        assert get_rows() == []

    def test_its_config_is_a_value(self) -> None:
        config = OutboxBuffer(using="events")
        assert repr(config) == "OutboxBuffer(using='events')"
        assert config == OutboxBuffer("events")
