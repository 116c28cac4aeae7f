"""The database of the outbox: writers, relays, commands and the admin all ask the same one."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from tests.django.outboxes import SECOND, get_rows, migrate_second
from tests.django.rows import add_rows, delete_rows, make_events
from whisperr.django import OutboxBuffer, get_client
from whisperr.django.models import OutboxEvent
from whisperr.django.outbox.tables import Claims
from whisperr.errors import Loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.django.site import Site

WAYS: dict[str, dict[str, Any]] = {
    "setting": {"WHISPERR_OUTBOX_DATABASE": SECOND},
    "buffer": {"WHISPERR_BUFFER": OutboxBuffer(using=SECOND)},
    "path": {"WHISPERR_BUFFER": "tests.django.test_outbox_database.make_buffer"},
    "router": {"DATABASE_ROUTERS": ["tests.django.outboxes.ToSecond"]},
}


def make_buffer() -> OutboxBuffer:
    return OutboxBuffer(using=SECOND)


@pytest.fixture(autouse=True)
def _empty_tables() -> Iterator[None]:
    yield
    delete_rows()


@pytest.mark.parametrize("way", WAYS)
class TestSecondDatabase:
    def test_the_admin_shows_the_rows_that_are_there(
        self, browser: Client, second: str, way: str
    ) -> None:
        migrate_second()
        add_rows(make_events(1))  # in the default database
        with override_settings(**WAYS[way]):
            get_client().track("ada", "refund_granted")
            get_client().track("ada", "refused_event")
            claims = Claims(second)
            token, rows = claims.claim(10, 15.0)
            claims.dead_letter(token, rows[1:], Loss(1, "rejected"))
            page = browser.get("/admin/whisperr/outboxevent/")
            assert "refund_granted" in page.text
            assert "payment_failed" not in page.text
            where = f"/admin/whisperr/outboxevent/{rows[0].id}/"
            assert "&quot;ada&quot;" in browser.get(f"{where}change/").text
            assert browser.get(f"{where}history/").status_code == 200
            page = browser.get("/admin/whisperr/deadletter/?reason=rejected")
            assert "refused_event" in page.text

    def test_the_commands_ask_it(self, site: Site, second: str, way: str) -> None:
        migrate_second()
        with override_settings(**WAYS[way]):
            get_client().track("ada", "refund_granted")
            out = StringIO()
            call_command("whisperr_outbox", stdout=out)
            assert out.getvalue().startswith("waiting   1")
            call_command("whisperr_relay", "--once", stdout=out)
        assert f"relaying from database '{SECOND}'" in out.getvalue()
        assert get_rows(second) == []
        assert [one.type for one in site.server.arrivals()] == ["refund_granted"]


@pytest.mark.usefixtures("outbox")
def test_a_database_that_cannot_lock_a_limited_number_of_rows_is_not_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Oracle is not started here: SQLite claims to be able to do what Oracle says of itself."""
    for feature, value in {
        "has_select_for_update": True,
        "has_select_for_update_skip_locked": True,
        "supports_select_for_update_with_limit": False,
    }.items():
        monkeypatch.setattr(connection.features, feature, value)
    add_rows(make_events(3))
    with CaptureQueriesContext(connection) as queries:
        first, rows = Claims("default").claim(2, 15.0)
        second, others = Claims("default").claim(2, 15.0)
    assert [len(rows), len(others)] == [2, 1]
    assert first != second
    assert not any("FOR UPDATE" in query["sql"] for query in queries)


def test_oracle_says_of_itself_what_the_claim_relies_on() -> None:
    """Read from the source, as its import needs Oracle's driver."""
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("django")
    assert spec is not None
    assert spec.origin is not None
    features = Path(spec.origin).parent / "db" / "backends" / "oracle" / "features.py"
    text = features.read_text(encoding="utf-8")
    assert "has_select_for_update_skip_locked = True" in text
    assert "supports_select_for_update_with_limit = False" in text


def test_deleting_rows_reads_none_of_them(site: Site) -> None:
    """A receiver of signals for all models makes Django load what it deletes."""
    from django.db.models.signals import pre_delete

    def receiver(sender: object, **_: object) -> None:
        """Do nothing."""

    add_rows(make_events(1))
    claims = Claims("default")
    token, rows = claims.claim(1, 15.0)
    pre_delete.connect(receiver)
    try:
        with CaptureQueriesContext(connections["default"]) as queries:
            assert claims.delete(token, rows) == 1
    finally:
        pre_delete.disconnect(receiver)
    assert not any('"data"' in query["sql"] for query in queries)
    assert OutboxEvent.objects.count() == 0
