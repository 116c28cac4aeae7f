"""`manage.py whisperr_check`: the checks of `whisperr doctor`, with the settings and the outbox."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.test import override_settings

from tests.django.outboxes import SECOND, Confused, get_rows, migrate_second
from whisperr._checkup.hints import HINTS
from whisperr.dev import LocalServer
from whisperr.django import get_client
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.django.outbox.tables import Claims

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.django.site import Site


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def _no_dead_letters() -> Iterator[None]:
    yield
    DeadLetter.objects.all().delete()


def check() -> tuple[dict[str, str], str]:
    """Run the command; return its lines by the names of the checks, and how it failed."""
    out, failure = StringIO(), ""
    try:
        call_command("whisperr_check", stdout=out, no_color=True)
    except CommandError as error:
        failure = str(error)
    lines: dict[str, str] = {}
    name = ""
    for line in out.getvalue().splitlines():
        if line.startswith(" "):
            lines[name] += f" {line.strip()}"
        else:
            name = line[2:20].strip()
            lines[name] = f"{line[0]} {line[20:]}"
    return lines, failure


def add_rows(count: int, age: float = 0.0) -> None:
    rows = OutboxEvent.objects.bulk_create(OutboxEvent(data=b"{}") for _ in range(count))
    OutboxEvent.objects.filter(pk__in=[row.pk for row in rows]).update(
        created_at=Now() - timedelta(seconds=age)
    )


class TestSettings:
    def test_it_says_step_by_step_that_all_is_well_and_stores_nothing(self, site: Site) -> None:
        lines, failure = check()
        assert failure == ""
        address = f"{site.server.url}, from WHISPERR_BASE_URL in the settings: this machine"
        assert lines["configuration"].startswith(f"! sends to {address}, not the service fix: ")
        assert lines["host name"] == "✓ 127.0.0.1 is an address"
        assert lines["connection"].startswith("✓ 127.0.0.1:")
        assert lines["encryption"] == "- none: the address is http://"
        assert lines["key"] == "✓ accepted by whisperr dev, not the service (HTTP 400, no_events)"
        assert lines["clock"].startswith("✓ ")
        assert lines["buffer"].startswith("✓ memory: ")
        assert site.server.arrivals() == []

    def test_it_fails_when_the_key_is_refused(self) -> None:
        with (
            LocalServer(api_key="wrk_right") as server,
            override_settings(WHISPERR_API_KEY="wrk_wrong", WHISPERR_BASE_URL=server.url),
        ):
            lines, failure = check()
        assert failure == "wrong: key"
        assert lines["key"].startswith("✗ refused (HTTP 401, invalid_api_key) fix: ")

    def test_it_fails_for_a_wrong_setting(self, site: Site) -> None:
        with override_settings(WHISPERR_FLUSH_AT=0):
            lines, failure = check()
        assert failure == "wrong: configuration"
        wanted = "✗ WHISPERR_FLUSH_AT = 0: must be a whole number from 1"
        assert lines["configuration"].startswith(wanted)

    def test_a_setting_that_cannot_be_imported_is_a_finding(self, site: Site) -> None:
        with override_settings(WHISPERR_ON_ERROR="no.such.module"):
            assert check()[1] == "wrong: configuration"

    def test_signs_can_be_told_apart_without_a_check_mark(self, site: Site) -> None:
        class Ascii(StringIO):
            encoding = "ascii"

        out = Ascii()
        call_command("whisperr_check", stdout=out, no_color=True)
        assert "\n+ key  " in out.getvalue()
        assert out.getvalue().isascii()

    def test_the_file_of_a_buffer_is_checked(self, site: Site, tmp_path: Any) -> None:
        with override_settings(WHISPERR_BUFFER=f"sqlite:///{tmp_path}/no/events.db"):
            lines, failure = check()
        assert failure == "wrong: buffer"
        assert "there is no directory" in lines["buffer"]


@pytest.mark.usefixtures("outbox", "_no_dead_letters")
class TestOutbox:
    def test_an_empty_one_is_well(self) -> None:
        lines, failure = check()
        assert failure == ""
        assert lines["buffer"] == "✓ the outbox, tables of the database 'default' (sqlite)"
        assert lines["backlog"] == "✓ nothing waits"
        assert lines["relay"] == "- a relay cannot be seen while nothing waits"
        assert lines["dead letters"] == "✓ none"

    def test_rows_that_just_came_say_nothing_about_a_relay_and_are_left_as_they_are(self) -> None:
        get_client().track("ada", "payment_failed")
        before = get_rows(), list(OutboxEvent.objects.values_list("token", "leased_until"))
        lines, failure = check()
        assert failure == ""
        assert re.fullmatch(
            r"✓ 1 row waits, 0 claimed by relays; the oldest was added \d+ s ago", lines["backlog"]
        )
        assert lines["relay"].startswith("- rows have waited less than a minute")
        assert before == (
            get_rows(),
            list(OutboxEvent.objects.values_list("token", "leased_until")),
        )

    def test_no_relay_is_wrong_when_rows_wait_for_longer(self) -> None:
        add_rows(2, age=3_600.0)
        lines, failure = check()
        assert failure == "wrong: relay"
        assert (
            lines["backlog"]
            == "✓ 2 rows wait, 0 claimed by relays; the oldest was added 60 min ago"
        )
        assert lines["relay"].endswith(f"fix: {HINTS['no_relay'].fix}")

    def test_a_relay_is_seen_by_the_rows_that_it_holds(self) -> None:
        add_rows(3, age=3_600.0)
        Claims("default").claim(2, 60.0)
        lines, failure = check()
        assert failure == ""
        assert lines["backlog"].startswith("! 1 row waits, 2 claimed by relays; ")
        assert lines["backlog"].endswith(f"ago fix: {HINTS['relay_late'].fix}")
        assert lines["relay"] == "✓ a relay has claimed 2 rows"

    def test_a_relay_that_keeps_pace_is_well(self) -> None:
        add_rows(3, age=100.0)
        Claims("default").claim(2, 60.0)
        assert check()[0]["backlog"].startswith("✓ 1 row waits, 2 claimed by relays; ")

    def test_a_relay_that_died_is_not_taken_for_one_that_runs(self) -> None:
        add_rows(1, age=3_600.0)
        Claims("default").claim(1, 60.0)
        OutboxEvent.objects.update(leased_until=Now() - timedelta(seconds=1))
        assert check()[1] == "wrong: relay"

    def test_dead_letters_are_counted_by_their_reasons(self) -> None:
        for reason in ("rejected", "rejected", "expired"):
            DeadLetter.objects.create(data=b"{}", reason=reason, created_at=Now())
        lines, failure = check()
        assert failure == ""
        assert lines["dead letters"].startswith("! 3: expired 1, rejected 2 fix: ")

    def test_a_date_that_is_none_is_no_traceback(self) -> None:
        add_rows(1)
        with connections["default"].cursor() as cursor:
            cursor.execute(f"UPDATE {OutboxEvent._meta.db_table} SET created_at = 'soon'")
        lines, failure = check()
        assert failure == ""
        assert lines["backlog"] == "✓ 1 row waits, 0 claimed by relays"

    def test_a_database_without_the_tables_is_wrong(self, second: str) -> None:
        with override_settings(WHISPERR_OUTBOX_DATABASE=second):
            lines, failure = check()
            assert failure == "wrong: buffer"
            wanted = f"✗ the database {second!r} has no tables of the outbox fix: "
            assert lines["buffer"] == wanted + HINTS["tables_missing"].fix.format(alias=second)
            migrate_second()
            wanted = f"✓ the outbox, tables of the database {SECOND!r}"
            assert check()[0]["buffer"].startswith(wanted)

    def test_a_migration_that_was_not_run_is_wrong(self, second: str) -> None:
        migrate_second()
        MigrationRecorder(connections[second]).record_unapplied("whisperr", "0001_initial")
        with override_settings(WHISPERR_OUTBOX_DATABASE=second):
            lines, failure = check()
        assert failure == "wrong: buffer"
        assert "has not run the migration 0001_initial" in lines["buffer"]

    def test_tables_that_the_project_makes_in_another_way_need_no_migration(self) -> None:
        with override_settings(MIGRATION_MODULES={"whisperr": None}):
            assert check()[1] == ""

    @pytest.mark.parametrize("using", ["nowhere", "default"])
    def test_a_database_that_is_not_there_is_wrong(
        self, using: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> list[str]:
            raise OperationalError("connection refused\nDETAIL: a secret row")

        if using == "default":
            monkeypatch.setattr(connections["default"].introspection, "table_names", fail)
        with override_settings(WHISPERR_OUTBOX_DATABASE=using):
            lines, failure = check()
        assert failure == "wrong: buffer"
        assert "secret" not in lines["buffer"]

    def test_a_router_that_fails_is_wrong(self) -> None:
        with override_settings(DATABASE_ROUTERS=[Confused()]):
            lines, failure = check()
        assert failure == "wrong: buffer"
        assert "no database for the outbox: KeyError" in lines["buffer"]

    def test_the_setting_may_come_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", "django")
        with override_settings(WHISPERR_BUFFER=None):
            assert check()[0]["buffer"].startswith("✓ the outbox")
