"""`manage.py whisperr_relay`: what it delivers, prints and refuses."""

from __future__ import annotations

import re
import signal
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import override_settings

from tests.django.rows import add_rows, delete_rows, make_events
from tests.facilities import send_signal_to_us
from whisperr._process.exit import EXIT_TIMEOUT
from whisperr._queue.store import LEASE
from whisperr._queue.table.store import RelayQueue
from whisperr.dev import faults
from whisperr.django.management.commands.whisperr_relay import Command
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.django.outbox.buffer import get_alias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.django.site import Site
    from whisperr.dev.faults import Fault


@pytest.fixture(autouse=True)
def _empty_tables() -> Iterator[None]:
    yield
    delete_rows()


def run(*options: str, command: Any = "whisperr_relay") -> list[str]:
    out = StringIO()
    call_command(command, *options, stdout=out, no_color=True)
    return out.getvalue().splitlines()


class TestCommand:
    def test_once_delivers_what_is_there(self, site: Site) -> None:
        add_rows(make_events(5))
        before = signal.getsignal(signal.SIGTERM)
        assert run("--once", "--batch", "2", "--interval", "0.05") == [
            "relaying from database 'default', 2 events at most",
            "stopped: delivered 5, dead letters 0",
        ]
        assert signal.getsignal(signal.SIGTERM) is before
        assert len(site.server.arrivals(status="accepted")) == 5
        assert run("--once", "--verbosity", "0") == []

    def test_once_ends_where_rows_are_no_events(self, site: Site) -> None:
        add_rows([b"nothing", *make_events(1), b"[1]"])
        with connection.cursor() as cursor:
            cursor.execute("UPDATE whisperr_outboxevent SET data = 'text' WHERE data = X'5b315d'")
        last = "stopped: delivered 1, dead letters 2 (invalid 2)"
        assert run("--once", "--batch", "1", "--interval", "0.05")[-1] == last

    def test_until_a_signal_ends_it_it_prints_what_it_delivered(self, site: Site) -> None:
        class Frequent(Command):
            report_interval = 0.02

        add_rows(make_events(5))

        def end() -> None:
            site.server.wait(5, timeout=60)
            while not any("delivered 5" in line for line in out.getvalue().splitlines()):
                site.server.wait_until(lambda: False, 0.02)
            send_signal_to_us(signal.SIGTERM)

        out = StringIO()
        helper = Thread(target=end, daemon=True)
        helper.start()
        call_command(Frequent(), "--interval", "0.05", stdout=out, no_color=True)
        helper.join(60)
        assert "delivered 5, dead letters 0" in out.getvalue().splitlines()

    @pytest.mark.parametrize(
        ("options", "settings", "text"),
        [
            (["--batch", "0"], {}, "--batch 0: must be from 1 to 500"),
            (["--lease", "0.5"], {}, "--lease 0.5: must be from 1 to 3600"),
            (["--interval", "0"], {}, "--interval 0: must be from 0.01 to 3600"),
            (["--using", "nowhere"], {}, "there is no database 'nowhere' in DATABASES"),
            ([], {"WHISPERR_API_KEY": ""}, "WHISPERR_API_KEY: is empty"),
            ([], {"WHISPERR_DISABLED": True}, "WHISPERR_DISABLED is on, in the settings or"),
        ],
    )
    def test_a_wrong_option_or_setting_is_named(
        self, site: Site, options: list[str], settings: dict[str, Any], text: str
    ) -> None:
        with override_settings(**settings), pytest.raises(CommandError) as raised:
            run("--once", *options)
        assert str(raised.value).startswith(text)

    @pytest.mark.parametrize(
        ("fault", "type_", "text"),
        [
            (faults.wrong_key(), "auth", "refused the API key (HTTP 401 injected_fault)"),
            (faults.status(404), "retry_exhausted", "does not serve the whisperr API at this path"),
            (faults.status(405), "retry_exhausted", "does not serve the whisperr API at this path"),
        ],
    )
    def test_once_fails_with_the_reason_and_keeps_the_rows(
        self, site: Site, fault: Fault, type_: str, text: str
    ) -> None:
        add_rows(make_events(1))
        site.server.set_faults(fault)
        with pytest.raises(CommandError, match="not everything was delivered: ") as raised:
            run("--once")
        assert text in str(raised.value)
        assert str(raised.value).endswith('; run "manage.py whisperr_check"')
        assert OutboxEvent.objects.filter(token="", leased_until=None).count() == 1
        assert DeadLetter.objects.count() == 0
        assert [error.type for error in site.errors] == [type_]

    def test_once_says_at_the_first_failure_how_long_it_tries_and_at_a_signal_what_failed(
        self, site: Site
    ) -> None:
        def end() -> None:
            for _ in range(3_000):
                if site.server.wait_until(lambda: "not delivered yet" in out.getvalue(), 0.02):
                    break
            send_signal_to_us(signal.SIGTERM)

        add_rows(make_events(1))
        site.server.set_faults(faults.status(503))
        out = StringIO()
        helper = Thread(target=end, daemon=True)
        helper.start()
        with pytest.raises(CommandError) as raised:
            call_command("whisperr_relay", "--once", stdout=out, no_color=True)
        helper.join(60)
        failed = f"{site.server.url.removeprefix('http://')} answered HTTP 503 injected_fault"
        tries = "trying up to 6 more times, which takes at most 61 s of waiting"
        assert out.getvalue().splitlines()[1:] == [
            f"not delivered yet: {failed}; {tries}; Ctrl-C ends the relay and keeps the rows",
            f"stopped: delivered 0, dead letters 0; last problem: {failed}",
        ]
        assert str(raised.value).startswith(f"not everything was delivered: {failed}")
        assert OutboxEvent.objects.filter(token="", leased_until=None).count() == 1


@pytest.mark.parametrize("command", [("whisperr_relay",), ("whisperr_send", "42", "a_b")])
def test_without_a_key_a_command_names_itself_as_what_to_run(
    site: Site, command: tuple[str, ...]
) -> None:
    with override_settings(WHISPERR_API_KEY=""), pytest.raises(CommandError) as raised:
        call_command(*command)
    assert f'run "whisperr dev -- python manage.py {command[0]}";' in str(raised.value)


def test_the_database_is_named_by_the_call_then_the_setting_then_the_router() -> None:
    assert get_alias(None) == "default"
    with override_settings(WHISPERR_OUTBOX_DATABASE="events"):
        assert get_alias(None) == "events"
        assert get_alias("other") == "other"


def test_the_migrations_are_those_of_the_models() -> None:
    with override_settings(WHISPERR_API_KEY="wrk_test"):
        for label in ("whisperr", "whisperr_billing"):
            call_command("makemigrations", label, "--check", "--dry-run", verbosity=0)


def test_the_table_of_its_options_has_the_defaults_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "delivery" / "outboxes.md").read_text("utf-8")
    rows = re.findall(r"^\| `(--[a-z]+)[^`]*` \| ?`?([0-9.]*)`? \|", page, re.MULTILINE)
    parser = Command().create_parser("manage.py", "whisperr_relay")
    given = vars(parser.parse_args([]))
    assert [name for name, _ in rows] == ["--once", "--batch", "--interval", "--lease", "--using"]
    for name, default in rows:
        assert f"{given[name[2:]] or ''}" == default
    assert f"after {RelayQueue.longest_retry:g} seconds at most" in page
    assert f"for {EXIT_TIMEOUT:g} seconds at most" in page
    assert f"`--lease SECONDS` | `{LEASE}`" in page
