"""Rows that nothing of this package wrote: anything that reaches the database may have added them.

SQLite keeps values of any type in a column. PostgreSQL keeps to the type, but has dates that Python
has not. None of them stops a relay, a command or a page of the admin; each is set aside.
"""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client, override_settings

from tests.django.postgres import postgres, postgres_database, postgres_server
from tests.django.rows import Relays, add_rows, delete_rows, get_store, make_events
from tests.queue.queues import get_accounting
from whisperr._queue.table.store import RelayQueue
from whisperr.django.conf import get_outbox_database
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.django.outbox.buffer import get_alias
from whisperr.errors import Loss, NotNow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model


__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

NOW = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
GARBAGE = {
    "text that is an event": '\'{"event_type":"a","external_user_id":"u"}\'',
    "text": "'not an event'",
    "text that is not UTF-8": "CAST(X'ff00fe' AS TEXT)",
    "a number": "7",
    "a huge number": "9000000000000000000",
    "a real number": "1.5",
    "nothing at all": "X''",
    "broken JSON": 'CAST(\'{"event_type":"a",\' AS BLOB)',
    "JSON that is no object": "CAST('[1]' AS BLOB)",
    "NaN": 'CAST(\'{"event_type":"a","n":NaN}\' AS BLOB)',
    "UTF-16": "X'" + '{"event_type":"a"}'.encode("utf-16").hex() + "'",
}
DATES = {
    "a date out of range": "'2026-13-45 10:00:00'",
    "words": "'yesterday'",
    "a number": "7",
    "bytes": "X'ff00'",
    "nothing": "''",
}


@pytest.fixture(autouse=True)
def _empty_tables() -> Iterator[None]:
    yield
    delete_rows()


def execute(sql: str, alias: str = "default") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def add_row(data: str, created_at: str = NOW) -> None:
    execute(
        "INSERT INTO whisperr_outboxevent (data, token, created_at) "
        f"VALUES ({data}, '', {created_at})".replace("%%", "%")
    )


def run(*options: str) -> list[str]:
    out = StringIO()
    call_command("whisperr_outbox", *options, stdout=out, no_color=True)
    return out.getvalue().splitlines()


def start(relays: Relays) -> RelayQueue:
    queue = relays.start()
    assert isinstance(queue, RelayQueue)
    return queue


def claim_all(relays: Relays) -> list[bytes]:
    """Claim and acknowledge until nothing is left."""
    queue = start(relays)
    found: list[bytes] = []
    for _ in range(100):
        if not len(queue):
            break
        try:
            batch = queue.claim(10)
        except NotNow:  # nothing of what was claimed could be sent, and there is more
            continue
        found += batch
        assert queue.ack(len(batch)) == len(batch)
    assert get_accounting(queue).problem is None
    return found


def get_pages(browser: Client, model: type[Model]) -> list[Any]:
    """Return the list of rows, and the page of each."""
    root = f"/admin/whisperr/{model.__name__.lower()}/"
    keys = model._default_manager.using(get_alias(get_outbox_database())).values_list("pk")
    return [browser.get(root), *(browser.get(f"{root}{key}/change/") for (key,) in keys)]


class TestData:
    @pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
    def test_a_relay_sets_it_aside_and_delivers_the_others(self, data: str) -> None:
        first, second = make_events(2)
        add_rows([first])
        add_row(data)
        add_rows([second])
        delivered = claim_all(Relays())
        assert OutboxEvent.objects.count() == 0
        if data == GARBAGE["text that is an event"]:  # its bytes can be sent
            assert delivered == [first, b'{"event_type":"a","external_user_id":"u"}', second]
        else:
            assert delivered == [first, second]
            dead = DeadLetter.objects.values_list("reason", "message").get()
            assert dead == ("invalid", "the row is not an event of this package")

    def test_the_commands_and_pages_show_it_and_requeue_it(self, browser: Client) -> None:
        for data in GARBAGE.values():
            add_row(data)
        pages = get_pages(browser, OutboxEvent)
        claim_all(Relays())
        execute("UPDATE whisperr_deadletter SET data = 'text' WHERE id % 2")
        execute("UPDATE whisperr_deadletter SET data = CAST(X'ff' AS TEXT) WHERE id % 3 = 0")
        pages += get_pages(browser, DeadLetter)
        assert {page.status_code for page in pages} == {200}
        assert "unreadable" in pages[0].text
        count = len(GARBAGE) - 1
        assert len(run("--dead", "100")) == 3 + count
        assert run("--requeue", "--all")[0] == f"requeued  {count}"
        claim_all(Relays())
        assert DeadLetter.objects.count() == count

    def test_a_row_that_is_too_large_is_set_aside_without_being_read(self, browser: Client) -> None:
        relays = Relays()
        relays.claims.largest_bytes = 1000
        large = b'{"event_type":"a","n":"%b"}' % (b"x" * 1000)
        good = make_events(1)
        add_rows([large, *good])
        assert claim_all(relays) == good
        dead = DeadLetter.objects.get()
        assert (dead.reason, bytes(dead.data)) == ("too_large", large)
        assert dead.message == "the row is larger than 1,000 bytes"
        assert {page.status_code for page in get_pages(browser, DeadLetter)} == {200}


class TestDates:
    @pytest.mark.parametrize("created_at", DATES.values(), ids=DATES.keys())
    def test_a_damaged_date_stops_nothing(self, browser: Client, created_at: str) -> None:
        event, second = make_events(2)
        add_row(f"X'{event.hex()}'", created_at)
        add_row(f"X'{event.hex()}'", created_at)
        add_rows([second])
        execute(f"UPDATE whisperr_outboxevent SET leased_until = {created_at} WHERE id % 2")
        assert {page.status_code for page in get_pages(browser, OutboxEvent)} == {200}
        assert run()[0].startswith("waiting   3")
        json.loads("".join(run("--json")))
        relays = Relays()
        queue = start(relays)
        assert list(queue.claim(10)) == [event, event, second]
        assert queue.ack(2, Loss(2, "rejected")) == 2
        assert queue.ack(1) == 1
        execute(f"UPDATE whisperr_deadletter SET created_at = {created_at}")
        execute(f"UPDATE whisperr_deadletter SET refused_at = {created_at} WHERE id % 2")
        pages = get_pages(browser, DeadLetter)
        assert {page.status_code for page in pages} == {200}
        assert len(run("--dead")) == 5
        assert run("--requeue", "--all")[0] == "requeued  2"
        assert claim_all(Relays()) == [event, event]

    def test_a_lease_that_no_relay_can_have_does_not_keep_a_row(self) -> None:
        (event,) = make_events(1)
        add_rows([event])
        execute("UPDATE whisperr_outboxevent SET leased_until = '2999-01-01 00:00:00', token = 'x'")
        assert claim_all(Relays()) == [event]


def test_what_the_server_says_is_kept_in_characters_that_every_database_takes(
    postgres: str,
) -> None:
    delete_rows(postgres)
    relays = Relays(postgres)
    queue = start(relays)
    queue.put(make_events(1)[0])
    queue.claim(10)
    assert queue.ack(1, Loss(1, "rejected", "no\x00\x1b[31m\ud800" + "x" * 5000)) == 1
    assert get_accounting(queue).problem is None
    message = DeadLetter.objects.using(postgres).get().message
    assert message.startswith("no\\x00\\x1b[31m\\ud800xxx")
    assert len(message) < 2100
    delete_rows(postgres)


class TestPostgreSQL:
    @pytest.mark.parametrize("date", ["infinity", "-infinity", "20260-01-01", "0044-03-15 BC"])
    def test_a_date_that_python_has_not_stops_nothing(
        self, postgres: str, browser: Client, date: str, settings_for_postgres: None
    ) -> None:
        delete_rows(postgres)
        relays = Relays(postgres)
        queue = start(relays)
        first, second = make_events(2)
        queue.put(first)
        queue.put(second)
        execute(f"UPDATE whisperr_outboxevent SET created_at = '{date}'", postgres)
        assert {page.status_code for page in get_pages(browser, OutboxEvent)} == {200}
        assert run("--using", postgres)[0].startswith("waiting   2")
        assert list(queue.claim(10)) == [first, second]
        assert queue.ack(1, Loss(1, "rejected")) == 1
        assert queue.ack(1) == 1
        execute(f"UPDATE whisperr_deadletter SET created_at = '{date}'", postgres)
        execute(f"UPDATE whisperr_deadletter SET refused_at = '{date}'", postgres)
        assert {page.status_code for page in get_pages(browser, DeadLetter)} == {200}
        assert len(run("--using", postgres, "--dead")) == 4
        assert run("--using", postgres, "--requeue", "--all")[0] == "requeued  1"
        assert list(queue.claim(10)) == []
        queue.poll()
        assert list(queue.claim(10)) == [first]
        queue.ack(1)
        assert get_store(queue).delivered == 2

    @pytest.fixture
    def settings_for_postgres(self, postgres: str) -> Iterator[None]:
        with override_settings(WHISPERR_OUTBOX_DATABASE=postgres):
            yield


class TestDeletedByHand:
    def test_rows_that_vanish_while_they_are_claimed_stop_nothing(self) -> None:
        events = make_events(5)
        add_rows(events)
        queue = start(Relays())
        assert list(queue.claim(2)) == events[:2]
        gone = list(OutboxEvent.objects.order_by("pk").values_list("pk", flat=True))
        OutboxEvent.objects.filter(pk__in=[gone[0], gone[2]]).delete()
        assert queue.ack(2) == 1
        assert list(queue.claim(10)) == events[2:]
        assert queue.extend(10.0) is False  # the table is asked before anything is sent
        assert list(queue.claim(10)) == events[3:]
        assert queue.ack(2) == 2
        assert (len(queue), get_store(queue).rounds) == (0, 1)

    def test_an_emptied_table_ends_the_round(self) -> None:
        add_rows(make_events(5))
        queue = start(Relays())
        queue.claim(2)
        execute("DELETE FROM whisperr_outboxevent")
        assert queue.ack(2) == 0
        queue.claim(10)
        assert queue.extend(10.0) is False
        assert list(queue.claim(10)) == []
        assert get_store(queue).rounds == 1
