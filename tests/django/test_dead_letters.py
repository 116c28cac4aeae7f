"""`manage.py whisperr_outbox` and the pages of the admin, over the same rows."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.db.models.functions import Now

from tests.django.rows import add_rows, delete_rows, make_events
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.django.outbox.tables import Claims
from whisperr.errors import Loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

    from whisperr.errors import Reason


@pytest.fixture(autouse=True)
def _empty_tables() -> Iterator[None]:
    yield
    delete_rows()


def run(*options: str) -> list[str]:
    out = StringIO()
    call_command("whisperr_outbox", *options, stdout=out, no_color=True)
    return out.getvalue().splitlines()


def add_dead_letters(count: int, reason: Reason = "rejected") -> list[int]:
    add_rows(make_events(count))
    claims = Claims("default")
    token, rows = claims.claim(count, 15.0)
    claims.dead_letter(token, rows, Loss(count, reason, "HTTP 400", 400))
    return list(DeadLetter.objects.order_by("pk").values_list("pk", flat=True))


class TestCommand:
    def test_an_empty_outbox(self) -> None:
        assert run() == ["waiting   0", "claimed   0", "dead      0"]

    def test_it_counts(self) -> None:
        add_dead_letters(3)
        add_dead_letters(1, "expired")
        add_rows(make_events(5))
        Claims("default").claim(2, 15.0)
        OutboxEvent.objects.update(created_at=Now() - timedelta(seconds=90))
        waiting, *rest = run()
        ages = range(90, 121)  # seconds; on a busy machine time passes until it is asked
        assert waiting in {f"waiting   3, the oldest row for {age} s" for age in ages}
        assert rest == ["claimed   2", "dead      4: expired 1, rejected 3"]
        shown = json.loads("".join(run("--json")))
        assert shown["oldest"] == pytest.approx(90, abs=30)
        assert shown["dead"] == {"expired": 1, "rejected": 3}
        assert (shown["waiting"], shown["claimed"]) == (3, 2)

    def test_it_lists_dead_letters_without_their_content(self) -> None:
        ids = add_dead_letters(3)
        lines = run("--dead", "2")[3:]
        assert [line.split()[0] for line in lines] == [str(ids[2]), str(ids[1])]
        assert lines[0].endswith("payment_failed  rejected 400: HTTP 400")
        assert "user_1" not in "".join(lines)
        assert "user_1" not in "".join(run("--dead", "--json"))

    def test_it_requeues_some_or_all(self) -> None:
        ids = add_dead_letters(3)
        created = DeadLetter.objects.get(pk=ids[1]).created_at
        assert run("--requeue", str(ids[1]), "999999")[0] == "requeued  1"
        assert OutboxEvent.objects.get().created_at == created
        assert run("--requeue", "--all")[0] == "requeued  2"
        assert (DeadLetter.objects.count(), OutboxEvent.objects.count()) == (0, 3)
        assert run("--requeue", "--all")[0] == "requeued  0"

    def test_it_requeues_more_than_one_round(self) -> None:
        add_dead_letters(501)
        assert run("--requeue", "--all")[0] == "requeued  501"
        assert OutboxEvent.objects.count() == 501

    def test_it_prunes_what_is_old(self) -> None:
        ids = add_dead_letters(2)
        DeadLetter.objects.filter(pk=ids[0]).update(refused_at=Now() - timedelta(days=31))
        assert run("--prune", "30")[0] == "pruned    1"
        assert DeadLetter.objects.get().pk == ids[1]

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--requeue"], "--requeue: name the ids"),
            (["--requeue", "1", "--all"], "--requeue: name the ids"),
            (["--all"], "--all: only with --requeue"),
            (["--prune", "-1"], "--prune -1: must not be below 0"),
            (["--dead", "-1"], "--dead -1: must not be below 0"),
        ],
    )
    def test_options_that_do_not_fit_are_named(self, options: list[str], text: str) -> None:
        with pytest.raises(CommandError) as raised:
            run(*options)
        assert str(raised.value).startswith(text)


class TestAdmin:
    def test_the_lists_show_no_payload(self, browser: Client) -> None:
        add_dead_letters(1)
        add_rows([*make_events(1), b"nothing", b'{"external_user_id":"user_1"}'])
        for model, texts in (
            ("outboxevent", ("payment_failed", "identify", "unreadable")),
            ("deadletter", ("payment_failed", "rejected")),
        ):
            page = browser.get(f"/admin/whisperr/{model}/")
            assert page.status_code == 200
            for text in texts:
                assert text in page.text
            assert "user_1" not in page.text

    def test_a_page_shows_the_json_of_its_row_and_changes_nothing(self, browser: Client) -> None:
        (one,) = add_dead_letters(1)
        where = f"/admin/whisperr/deadletter/{one}/"
        page = browser.get(f"{where}change/")
        assert page.status_code == 200
        assert "&quot;external_user_id&quot;: &quot;user_1&quot;" in page.text
        assert "Save" not in page.text
        assert "Delete" not in page.text
        assert browser.post(f"{where}change/", {"reason": "x"}).status_code == 403
        assert browser.post(f"{where}delete/", {"post": "yes"}).status_code == 403
        assert browser.get("/admin/whisperr/deadletter/add/").status_code == 403
        assert DeadLetter.objects.get().reason == "rejected"

    def test_bytes_that_are_no_json_are_shown_as_they_are(self, browser: Client) -> None:
        add_rows([b"\xff nothing"])
        row = OutboxEvent.objects.get()
        page = browser.get(f"/admin/whisperr/outboxevent/{row.pk}/change/")
        assert "nothing" in page.text

    @pytest.mark.parametrize(("schema", "status"), [("public", 200), ("acme", 403)])
    def test_the_pages_are_not_those_of_a_tenant(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch, schema: str, status: int
    ) -> None:
        # What django-tenants sets; test_tenants.py does so with the package and PostgreSQL.
        monkeypatch.setattr(connections["default"], "schema_name", schema, raising=False)
        (one,) = add_dead_letters(1)
        for page in ("outboxevent/", "deadletter/", f"deadletter/{one}/change/"):
            assert browser.get(f"/admin/whisperr/{page}").status_code == status
        assert ("Dead letters" in browser.get("/admin/").text) is (status == 200)
