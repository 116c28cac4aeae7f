"""The contract of stores: one class of tests for all of them.

A test module makes a subclass for a store, with a fixture `processes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, get_number, identify
from tests.queue.queues import get_accounting
from whisperr._queue.clock import ExpiryClock
from whisperr._queue.memory import Foreign
from whisperr.errors import Loss, NotNow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.queue.processes import Processes
    from whisperr._queue.durable import LeasedQueue

OLD = event(1)[:-1] + b',"occurred_at":"2020-01-01T00:00:00.000Z"}'


def put(queue: LeasedQueue, *numbers: int) -> None:
    for number in numbers:
        assert list(queue.put(event(number))) == []


def to_numbers(events: Sequence[bytes]) -> list[int]:
    return [get_number(data) for data in events]


def claim(queue: LeasedQueue, max_events: int = 10) -> list[int]:
    """Poll, then claim, as after a wait."""
    queue.poll()
    return to_numbers(queue.claim(max_events))


def trust_clock(queue: LeasedQueue) -> None:
    """Have the queue trust the wall clock, so that it drops old events."""
    clock = queue._store._expiry_clock  # type: ignore[attr-defined]  # which all stores have
    assert isinstance(clock, ExpiryClock)
    clock.trust()


def claim_all(queue: LeasedQueue) -> list[int]:
    """Claim and acknowledge until nothing is left."""
    numbers: list[int] = []
    while batch := claim(queue):
        numbers += batch
        assert queue.ack(len(batch)) == len(batch)
    return numbers


def cannot_claim(queue: LeasedQueue) -> bool:
    """Return whether a claim raises NotNow without a problem, so that others deliver."""
    queue.poll()
    try:
        return not queue.claim(10)
    except NotNow as later:
        return later.problem is None and 0 < later.seconds <= 0.5


class StoreContract:
    """Holds for SQLite, Redis, and the table of the Django outbox."""

    def test_events_of_several_processes_are_claimed_in_one_order(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2)
        put(a, 3)
        assert to_numbers(processes.get_stored()) == [1, 2, 3]
        assert claim(b) == [1, 2, 3]

    def test_claimed_events_cannot_be_claimed_by_another_process(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2)
        assert claim(a) == [1, 2]
        assert cannot_claim(b)

    def test_every_process_may_add_while_one_delivers(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        assert claim(a) == [1]
        put(b, 2)
        put(a, 3)
        assert a.ack(1) == 1
        assert claim(a) == [2, 3]

    def test_what_is_acknowledged_is_removed(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1, 2, 3)
        assert claim(a) == [1, 2, 3]
        assert a.ack(2) == 2
        assert to_numbers(processes.get_stored()) == [3]
        assert a.ack(1) == 1
        assert (a.ack(1), processes.get_stored()) == (0, [])

    def test_what_was_lost_is_removed_as_well(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1, 2, 3)
        claim(a)
        assert a.ack(3, Loss(1, "refused_in_batch", "the server refused 1 of 3", 202)) == 3
        assert processes.get_stored() == []

    def test_an_identify_is_claimed_alone(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        a.put(identify(2))
        put(a, 3)
        batches = []
        while batch := claim(a):
            batches.append(batch)
            a.ack(len(batch))
        assert batches == [[1], [2], [3]]

    def test_a_lease_that_ran_out_lets_another_process_claim(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        claim(a)
        processes.end_lease()
        assert claim(b) == [1]
        assert not a.extend(60)
        assert a.ack(1) == 0
        assert b.ack(1) == 1

    def test_a_process_that_lost_its_lease_acknowledges_nothing(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        claim(a)
        processes.end_lease()
        claim(b)
        assert a.ack(1) == 0
        assert to_numbers(processes.get_stored()) == [1]

    def test_a_lease_that_ran_out_unnoticed_is_still_owned(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        claim(a)
        processes.end_lease()
        assert a.extend(60)
        assert a.ack(1) == 1
        assert processes.get_stored() == []

    def test_a_long_request_extends_the_lease(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        claim(a)
        assert 14 < processes.get_lease_left() <= 15
        assert a.extend(5)
        assert 14 < processes.get_lease_left() <= 15
        assert a.extend(60)
        assert 64 < processes.get_lease_left() <= 66

    def test_what_is_released_other_processes_claim_at_once_and_in_order(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2, 3)
        assert claim(a, 2) == [1, 2]
        assert a.ack(1) == 1
        assert list(a.release()) == []
        assert claim_all(b) == [2, 3]

    def test_a_process_that_ends_leaves_its_events_to_the_next_one(
        self, processes: Processes
    ) -> None:
        a = processes.start()
        put(a, 1, 2)
        claim(a, 1)
        assert list(a.drain()) == []
        assert claim_all(processes.start()) == [1, 2]

    def test_what_is_too_old_is_lost_when_it_is_claimed(self, processes: Processes) -> None:
        a = processes.start()
        trust_clock(a)
        a.put(OLD)
        put(a, 2)
        a.put(identify(3))
        assert claim(a) == [2]
        assert get_accounting(a).losses == [("expired", [OLD])]
        assert a.ack(1) == 1
        assert claim(a) == [3]

    def test_no_event_is_too_old_before_the_clock_is_trusted(self, processes: Processes) -> None:
        a = processes.start()
        a.put(OLD)
        put(a, 2)
        assert claim(a) == [1, 2]
        assert get_accounting(a).losses == []

    def test_when_all_is_too_old_the_store_is_free_again(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        trust_clock(a)
        a.put(OLD)
        assert claim(a) == []
        assert processes.get_stored() == []
        put(b, 2)
        assert claim(b) == [2]

    def test_a_store_that_cannot_be_used_is_a_problem_until_it_works(
        self, processes: Processes
    ) -> None:
        a = processes.start()
        put(a, 1)
        processes.fail()
        try:
            a.poll()
            processes.pass_retry()  # soon after a failure the store is not even tried
            with pytest.raises(NotNow) as caught:
                a.claim(10)
            assert caught.value.problem
            assert get_accounting(a).problem == caught.value.problem
        finally:
            processes.mend()
        processes.pass_retry()
        assert claim(a) == [1]
        assert get_accounting(a).problem is None


class PuttingStoreContract(StoreContract):
    """Holds for stores whose processes both add and deliver: SQLite and Redis."""

    def test_events_of_other_processes_are_foreign(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2)
        put(a, 3)
        assert [type(data) for data in a.claim(10)] == [bytes, Foreign, bytes]

    def test_after_a_lost_claim_no_event_counts_as_lost_in_the_store(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        put(b, 0)
        put(a, 1, 2)
        assert claim(a)[:1] == [0]
        processes.end_lease()
        assert claim(b) == [0, 1, 2]
        assert b.ack(3) == 3
        put(a, 3, 4)
        a.poll()  # while its request is still on its way
        assert get_accounting(a).lost_own == 0
        assert claim(b) == [3, 4]
        assert b.ack(2) == 2
        assert a.ack(3) == 0
        a.poll()
        accounting = get_accounting(a)
        assert (accounting.settled, accounting.lost_own) == ({"delivered": 4}, 0)

    def test_it_knows_how_many_events_wait(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2, 3)
        b.poll()
        assert (len(b), b.stored) == (3, 3)
        a.claim(2)
        assert (len(a), a.stored) == (1, 3)  # what is being sent is in the store
        a.ack(2)
        assert a.stored == 1
        assert (len(a), len(a.claim(10)), a.held_bytes) == (1, 1, 0)

    def test_one_process_at_a_time_delivers(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2)
        assert claim(a, 1) == [1]
        with pytest.raises(NotNow):
            b.claim(10)
        put(b, 3)
        assert a.ack(1) == 1
        assert claim(b) == [2, 3]
        assert cannot_claim(a)

    def test_a_released_batch_is_claimed_as_the_same_batch(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2)
        a.claim(10)
        put(a, 3)
        a.release()
        assert claim(b) == [1, 2]
        assert b.ack(2) == 2
        assert claim(b) == [3]

    def test_settled_is_about_own_events_only(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        put(b, 2)
        tail_a, tail_b = a.tail(), b.tail()
        put(a, 3)
        b.claim(10)
        b.ack(1)
        assert [a.settled(tail_a), b.settled(tail_b), a.settled(a.tail())] == [True, False, False]

    def test_the_process_that_put_an_event_counts_its_outcome(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2, 3)
        b.claim(10)
        b.ack(3, Loss(1, "refused_in_batch"))
        for _ in range(2):
            assert a.poll() > 0
            assert get_accounting(a).settled == {"refused_in_batch": 1, "delivered": 2}
        assert a.settled(a.tail())
        put(a, 4)
        b.claim(10)
        b.ack(1)
        a.poll()
        b.poll()
        assert get_accounting(a).settled == {"refused_in_batch": 1, "delivered": 3}
        assert get_accounting(b).settled == {}

    def test_at_shutdown_a_process_counts_what_others_delivered(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1, 2)
        b.poll()
        b.ack(len(b.claim(10)))
        assert list(a.drain()) == []
        assert get_accounting(a).settled == {"delivered": 2}
        assert a.settled(a.tail())

    def test_the_outcome_of_own_events_is_not_reported(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        a.claim(10)
        a.ack(1)
        a.poll()
        assert get_accounting(a).settled == {}

    def test_the_process_that_put_an_event_counts_its_drop_by_another(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start(max_events=2)
        put(a, 1, 2)
        dropped = b.put(event(3))
        assert [(type(data), get_number(data)) for data in dropped] == [(Foreign, 1)]
        a.poll()
        assert get_accounting(a).settled == {"queue_full": 1}

    def test_the_process_that_put_an_event_counts_its_expiry_in_another(
        self, processes: Processes
    ) -> None:
        a, b = processes.start(), processes.start()
        trust_clock(b)
        a.put(OLD)
        put(b, 2)
        assert claim(b) == [2]
        a.poll()
        assert get_accounting(a).settled == {"expired": 1}
        assert a.settled(a.tail())

    def test_while_the_store_fails_events_wait_in_memory(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1)
        processes.fail()
        try:
            put(a, 2, 3)
            assert get_accounting(a).problem
            assert (len(a), len(get_accounting(a).reports)) == (3, 1)
            assert get_accounting(a).reports[0] == get_accounting(a).problem
        finally:
            processes.mend()
        processes.pass_retry()
        put(a, 4)
        assert to_numbers(processes.get_stored()) == [1, 2, 3, 4]
        assert get_accounting(a).problem is None
        assert claim(a) == [1, 2, 3, 4]
