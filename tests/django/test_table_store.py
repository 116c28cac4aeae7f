"""The table of the outbox as a store: the contract of all stores, and what only relays do."""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.django.postgres import postgres, postgres_database, postgres_server
from tests.django.rows import (
    BATCH,
    Relays,
    add_rows,
    delete_rows,
    get_store,
    make_events,
    make_old,
)
from tests.queue.queues import get_accounting
from tests.queue.store_contract import StoreContract, claim, put, to_numbers, trust_clock
from whisperr._queue.memory import Foreign
from whisperr._queue.table.range import FULL_SCAN_INTERVAL
from whisperr._queue.table.store import RelayQueue, TableStore
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.errors import Loss, NotNow, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["postgres", "postgres_database", "postgres_server"]  # fixtures

REJECTED = Loss(1, "rejected", "HTTP 400 invalid_event", 400)


class TestOnSQLite(StoreContract):
    @pytest.fixture
    def processes(self) -> Iterator[Relays]:
        yield Relays()
        delete_rows()


class TestOnPostgreSQL(StoreContract):
    @pytest.fixture
    def processes(self, postgres: str) -> Iterator[Relays]:
        yield Relays(postgres)
        delete_rows(postgres)


@pytest.fixture
def relays() -> Iterator[Relays]:
    yield Relays()
    delete_rows()


@pytest.fixture
def queue(relays: Relays) -> RelayQueue:
    queue = relays.start()
    assert isinstance(queue, RelayQueue)
    return queue


def count_free() -> int:
    return OutboxEvent.objects.filter(token="", leased_until=None).count()


def get_dead_letters() -> list[tuple[str, str, int | None]]:
    return list(DeadLetter.objects.order_by("pk").values_list("reason", "message", "status"))


class TestClaim:
    def test_two_relays_claim_different_rows(self, relays: Relays) -> None:
        a, b = relays.start(), relays.start()
        events = make_events(BATCH + 4)
        add_rows(events)
        assert list(a.claim(2)) == events[:2]
        assert list(b.claim(10)) == events[BATCH:]
        a.release()
        b.ack(4)
        assert list(b.claim(10)) == []  # it looks into an empty table again after the interval
        assert b.poll() == 1.0
        assert list(b.claim(10)) == events[:BATCH]

    def test_all_events_are_foreign(self, queue: RelayQueue) -> None:
        put(queue, 1)
        assert [type(data) for data in queue.claim(10)] == [Foreign]

    def test_a_request_within_the_lease_asks_no_database(
        self, queue: RelayQueue, relays: Relays
    ) -> None:
        put(queue, 1)
        queue.claim(10)
        assert queue.extend(10.0) is True
        assert "extend" not in relays.claims.calls

    def test_a_relay_that_lost_one_row_gives_up_all_of_them(self, queue: RelayQueue) -> None:
        put(queue, 1, 2)
        queue.claim(10)
        last = OutboxEvent.objects.latest("pk")
        OutboxEvent.objects.filter(pk=last.pk).update(token="another")
        assert queue.extend(60.0) is False
        assert queue.ack(2) == 0
        assert count_free() == 1
        assert OutboxEvent.objects.get(pk=last.pk).token == "another"

    def test_an_identify_costs_no_claim_of_its_own(self, queue: RelayQueue, relays: Relays) -> None:
        first, second = make_events(2)
        identify = b'{"external_user_id":"user_1"}'
        add_rows([first, identify, second])
        for expected in (first, identify, second):
            assert list(queue.claim(10)) == [expected]
            assert queue.ack(1) == 1
        assert relays.claims.calls.count("claim") == 1
        assert get_store(queue).delivered == 3

    def test_an_empty_table_may_have_rows_again_after_a_poll(self, queue: RelayQueue) -> None:
        assert len(queue) == BATCH
        assert list(queue.claim(10)) == []
        assert (len(queue), queue.held_bytes) == (0, 0)
        queue.poll()
        assert len(queue) == BATCH

    def test_during_a_request_only_claimed_rows_are_known_to_wait(self, queue: RelayQueue) -> None:
        add_rows(make_events(1))
        store = get_store(queue)
        assert len(store.claim(BATCH)[0]) == 1
        store.poll()
        assert store.waiting == 0
        store.ack(1, None)
        assert store.waiting == BATCH


class TestRange:
    """Where a relay looks for free rows; `tests/queue/test_claim_range.py` has the cases."""

    @pytest.fixture
    def events(self, queue: RelayQueue) -> list[bytes]:
        """Three batches and two more, the first batch of which is delivered."""
        events = make_events(3 * BATCH + 2)
        add_rows(events)
        assert list(queue.claim(BATCH)) == events[:BATCH]
        queue.ack(BATCH)
        return events

    def add_with_id(self, key: int) -> bytes:
        (data,) = make_events(1, first=9_000)
        OutboxEvent.objects.create(pk=key, data=data)
        return data

    def test_a_relay_does_not_walk_over_the_rows_before_its_last_claim(
        self, queue: RelayQueue, events: list[bytes]
    ) -> None:
        last = OutboxEvent.objects.earliest("pk").pk - 1
        with CaptureQueriesContext(connection) as queries:
            assert list(queue.claim(BATCH)) == events[BATCH : 2 * BATCH]
        (select,) = [q["sql"] for q in queries if "leased_until" in q["sql"]][:1]
        assert f'"id" > {last}' in select

    def test_a_row_with_a_lower_id_is_claimed_within_a_second(
        self, queue: RelayQueue, events: list[bytes], relays: Relays
    ) -> None:
        late = self.add_with_id(OutboxEvent.objects.earliest("pk").pk - 1)
        relays.steady += FULL_SCAN_INTERVAL
        assert list(queue.claim(BATCH)) == [late, *events[BATCH : 2 * BATCH - 1]]

    def test_what_is_given_back_is_claimed_before_what_came_after_it(
        self, queue: RelayQueue, events: list[bytes]
    ) -> None:
        queue.claim(BATCH)
        queue.release()
        assert list(queue.claim(BATCH)) == events[BATCH : 2 * BATCH]

    def test_after_a_failure_the_whole_table_is_asked(
        self, queue: RelayQueue, events: list[bytes], relays: Relays
    ) -> None:
        late = self.add_with_id(OutboxEvent.objects.earliest("pk").pk - 1)
        store = get_store(queue)
        relays.fail()
        with pytest.raises(StoreError):
            store.claim(BATCH)
        relays.mend()
        assert store.claim(BATCH)[0] == [late, *events[BATCH : 2 * BATCH - 1]]

    def test_a_round_does_not_end_before_the_whole_table_was_asked(
        self, queue: RelayQueue, events: list[bytes]
    ) -> None:
        late = self.add_with_id(OutboxEvent.objects.earliest("pk").pk - 1)
        for _ in range(2):
            queue.ack(len(queue.claim(BATCH)))
        assert list(queue.claim(BATCH)) == events[3 * BATCH :]
        queue.ack(2)
        assert get_store(queue).rounds == 0
        assert list(queue.claim(BATCH)) == [late]
        queue.ack(1)
        assert get_store(queue).rounds == 1

    def test_nor_while_full_scans_are_so_slow_that_they_pause(self, relays: Relays) -> None:
        ticks = count()
        store = TableStore(relays.claims, batch=BATCH, lease=3_600, clock=lambda: next(ticks))
        add_rows(make_events(BATCH + 2))
        delivered: list[int] = []
        while not store.rounds:
            assert len(delivered) < 100
            delivered.append(len(store.claim(BATCH)[0]))
            store.ack(delivered[-1], None)
            if len(delivered) == 2:
                self.add_with_id(0)  # lower than all others
            store.poll()
        assert delivered[:2] == [BATCH, 2]
        assert sum(delivered) == BATCH + 3
        assert not OutboxEvent.objects.exists()


class TestResults:
    def test_a_round_ends_when_no_free_row_is_left(self, queue: RelayQueue) -> None:
        store = get_store(queue)
        add_rows(make_events(3))
        queue.claim(2)
        assert queue.held_bytes > 0
        queue.ack(2)
        assert store.rounds == 0
        queue.claim(2)
        assert store.rounds == 0
        queue.ack(1)
        assert store.rounds == 1

    def test_what_is_refused_is_a_dead_letter_with_the_reason(self, queue: RelayQueue) -> None:
        add_rows(make_events(1))
        created = OutboxEvent.objects.get().created_at
        queue.claim(10)
        assert queue.ack(1, REJECTED) == 1
        assert get_dead_letters() == [("rejected", "HTTP 400 invalid_event", 400)]
        assert DeadLetter.objects.get().created_at == created
        store = get_store(queue)
        assert (store.delivered, store.dead_letters) == (0, {"rejected": 1})
        assert str(DeadLetter.objects.get()).startswith("payment_failed ")

    def test_when_the_server_refuses_some_all_of_them_are_kept(self, queue: RelayQueue) -> None:
        put(queue, 1, 2, 3)
        queue.claim(10)
        assert queue.ack(3, Loss(1, "refused_in_batch", "", 202)) == 3
        message = (
            "the server refused 1 of 3 and did not say which; requeueing all of them is harmless, "
            "because they keep their ids"
        )
        assert get_dead_letters() == [("refused_in_batch", message, 202)] * 3
        store = get_store(queue)
        assert (store.delivered, store.dead_letters) == (2, {"refused_in_batch": 3})

    def test_only_a_row_that_is_held_becomes_a_dead_letter(self, queue: RelayQueue) -> None:
        put(queue, 1, 2)
        queue.claim(10)
        OutboxEvent.objects.filter(pk=OutboxEvent.objects.latest("pk").pk).update(token="another")
        assert queue.ack(2, Loss(2, "rejected")) == 1
        assert (DeadLetter.objects.count(), OutboxEvent.objects.count()) == (1, 1)

    def test_after_a_row_was_lost_the_table_is_asked_before_more_is_sent(
        self, queue: RelayQueue
    ) -> None:
        put(queue, 1, 2, 3)
        queue.claim(10)
        OutboxEvent.objects.update(token="another")
        OutboxEvent.objects.filter(pk=OutboxEvent.objects.earliest("pk").pk).delete()
        assert queue.ack(1) == 0
        assert queue.extend(5) is False

    def test_what_is_too_old_or_no_event_is_not_sent(
        self, queue: RelayQueue, caplog: pytest.LogCaptureFixture
    ) -> None:
        trust_clock(queue)
        old, good = make_events(2)
        add_rows([make_old(old), b"nothing", good, b"[" * 100_000])
        assert list(queue.claim(10)) == [good]
        assert get_accounting(queue).losses == [("expired", [make_old(old)])]
        assert sorted(reason for reason, _, _ in get_dead_letters()) == [
            "expired",
            *["invalid"] * 2,
        ]
        line = (
            "whisperr: the row is not an event of this package; 2 rows set aside as dead letters "
        )
        assert caplog.messages == [line + '(invalid); run "manage.py whisperr_outbox"']
        fields = vars(caplog.records[0])
        assert (fields["whisperr_reason"], fields["whisperr_count"]) == ("invalid", 2)
        assert str(OutboxEvent.objects.get()).startswith("payment_failed ")

    def test_a_stop_gives_back_what_is_not_under_way(self, queue: RelayQueue) -> None:
        put(queue, 1, 2, 3)
        queue.claim(2)
        get_store(queue).stop()
        assert len(queue) == 0
        assert queue.ack(1) == 1  # the answer to what was under way
        assert queue.extend(10.0) is False
        assert count_free() == 2
        assert list(queue.claim(10)) == []
        assert list(queue.drain()) == []

    def test_a_relay_that_ends_gives_back_what_it_has_claimed(self, queue: RelayQueue) -> None:
        put(queue, 1, 2, 3)
        queue.claim(2)
        queue.ack(2)
        get_store(queue).stop()
        queue.drain()
        assert count_free() == 1


class TestFailures:
    def test_a_database_that_fails_is_asked_later_and_later_and_logged_once_a_minute(
        self, queue: RelayQueue, relays: Relays, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        put(queue, 1)
        relays.fail()
        rests = []
        for _ in range(8):
            with pytest.raises(NotNow) as raised:
                queue.claim(10)
            rests.append(round(raised.value.seconds, 6))
            relays.steady += raised.value.seconds
            queue.poll()
        assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert get_store(queue).failures == 8
        relays.steady += 60
        with pytest.raises(NotNow):
            queue.claim(10)
        relays.mend()
        relays.steady += 5
        assert claim(queue) == [1]
        line = (
            "whisperr: the outbox: OperationalError: it is away; the rows are kept, and the relay "
            'tries again; run "manage.py whisperr_check"'
        )
        assert caplog.messages == [line, line, "whisperr: the outbox can be used again"]
        accounting = get_accounting(queue)
        assert (accounting.problem, accounting.reports) == (None, [])

    def test_what_was_delivered_meanwhile_is_not_sent_again(
        self, queue: RelayQueue, relays: Relays
    ) -> None:
        put(queue, 1, 2)
        queue.claim(10)
        relays.fail()
        assert queue.ack(2) == 2
        assert get_store(queue).rounds == 0
        relays.mend()
        with pytest.raises(NotNow):
            queue.claim(10)
        relays.pass_retry()
        assert list(queue.claim(10)) == []
        assert OutboxEvent.objects.count() == 0
        assert get_store(queue).rounds == 1

    def test_the_lease_counts_as_long_as_it_lasts(self, queue: RelayQueue, relays: Relays) -> None:
        put(queue, 1)
        queue.claim(10)
        relays.fail()
        assert queue.extend(60.0) is True
        relays.steady += 16
        assert queue.extend(60.0) is False
        assert list(queue.drain()) == []

    def test_a_result_that_cannot_be_written_does_not_keep_a_relay_from_ending(
        self, queue: RelayQueue, relays: Relays
    ) -> None:
        put(queue, 1)
        queue.claim(10)
        relays.fail()
        queue.ack(1)
        assert list(queue.drain()) == []
        assert OutboxEvent.objects.count() == 1

    def test_a_batch_whose_acknowledgement_failed_is_claimed_again(self, queue: RelayQueue) -> None:
        put(queue, 1, 2)
        assert claim(queue, 1) == [1]
        get_store(queue).forget()
        assert to_numbers(queue.claim(10)) == [1, 2]
