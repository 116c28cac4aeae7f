"""The contract of stores that keep dead letters: one class of tests for all of them.

A test module makes a subclass for a store, with a fixture `processes`.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, identify
from tests.queue.queues import get_accounting
from tests.queue.store_contract import OLD, claim, put, to_numbers, trust_clock
from whisperr._queue.dead_letters import KEPT, DeadLetter, Moved
from whisperr._queue.memory import Foreign
from whisperr.errors import Loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.queue.processes import Processes
    from whisperr._queue.durable import LeasedQueue

REFUSED = Loss(1, "rejected", "the service answered HTTP 400 invalid_event", 400)


def refuse(queue: LeasedQueue, *numbers: int) -> None:
    """Put events, and have the server refuse each of them."""
    for number in numbers:
        put(queue, number)
        assert claim(queue) == [number]
        assert queue.ack(1, REFUSED) == 1


def read(processes: Processes) -> list[DeadLetter]:
    with closing(processes.open_dead_letters()) as found:
        return [*found.read()]


def get_ids(found: Sequence[DeadLetter]) -> list[str]:
    return [one.id for one in found]


class DeadLetterContract:
    """Holds for SQLite and Redis."""

    @pytest.fixture(autouse=True)
    def _kept(self, processes: Processes) -> None:
        processes.dead_letters = True

    def test_what_the_server_refused_is_kept_with_the_reason_the_status_and_the_time(
        self, processes: Processes
    ) -> None:
        a = processes.start()
        refuse(a, 1)
        (one,) = read(processes)
        assert (one.reason, one.status, one.data) == ("rejected", 400, event(1))
        assert one.message == REFUSED.message
        assert one.refused_at is not None
        assert one.refused_at > 0
        assert (a.kept, processes.get_stored()) == (KEPT, [])

    def test_without_the_option_nothing_is_kept(self, processes: Processes) -> None:
        processes.dead_letters = False
        a = processes.start()
        refuse(a, 1)
        assert (a.kept, read(processes)) == (None, [])

    def test_what_was_delivered_is_not_kept(self, processes: Processes) -> None:
        a = processes.start()
        put(a, 1, 2)
        assert claim(a) == [1, 2]
        assert a.ack(2) == 2
        assert read(processes) == []

    def test_all_of_a_request_are_kept_when_the_server_did_not_say_which(
        self, processes: Processes
    ) -> None:
        a = processes.start()
        put(a, 1, 2, 3, 4)
        assert claim(a) == [1, 2, 3, 4]
        assert a.ack(3, Loss(1, "refused_in_batch", "it refused 1 of 3", 202)) == 3
        kept = read(processes)
        assert to_numbers([one.data for one in kept]) == [3, 2, 1]
        assert {(one.reason, one.status) for one in kept} == {("refused_in_batch", 202)}
        assert all("it did not say which" in one.message for one in kept)
        assert to_numbers(processes.get_stored()) == [4]

    def test_what_is_too_old_is_kept(self, processes: Processes) -> None:
        a = processes.start()
        trust_clock(a)
        a.put(OLD)
        put(a, 2)
        assert claim(a) == [2]
        assert [(one.reason, one.status, one.data) for one in read(processes)] == [
            ("expired", None, OLD)
        ]
        assert get_accounting(a).kept == [KEPT]

    def test_events_dropped_for_lack_of_room_are_not_kept(self, processes: Processes) -> None:
        a = processes.start(max_events=2)
        put(a, 1, 2)
        assert to_numbers(a.put(event(3))) == [1]
        assert read(processes) == []

    def test_what_another_process_put_is_kept_as_well(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        assert claim(b) == [1]
        assert b.ack(1, REFUSED) == 1
        assert [one.data for one in read(processes)] == [event(1)]
        a.poll()
        assert get_accounting(a).settled == {"rejected": 1}

    def test_a_process_that_lost_its_claim_keeps_nothing(self, processes: Processes) -> None:
        a, b = processes.start(), processes.start()
        put(a, 1)
        claim(a)
        processes.end_lease()
        claim(b)
        assert a.ack(1, REFUSED) == 0
        assert read(processes) == []

    def test_they_are_read_newest_first_and_found_by_their_ids(self, processes: Processes) -> None:
        a = processes.start()
        refuse(a, 1, 2, 3)
        a.put(identify(4))
        a.claim(10)
        a.ack(1, REFUSED)
        with closing(processes.open_dead_letters()) as found:
            every = [*found.read()]
            assert [one.data for one in every] == [identify(4), event(3), event(2), event(1)]
            ids = get_ids(every)
            assert len(set(ids)) == 4
            assert get_ids(found.find([ids[3], "999999999", ids[0]])) == [ids[3], ids[0]]
            assert list(found.find(["", "x", "-1", "1" * 40, "1-1@5", "²"])) == []

    def test_more_than_are_read_at_once_are_all_read(self, processes: Processes) -> None:
        a = processes.start(max_events=1_000)
        put(a, *range(250))
        batch = a.claim(500)
        assert a.ack(len(batch), Loss(len(batch), "rejected", "", 400)) == 250
        assert to_numbers([one.data for one in read(processes)]) == [*reversed(range(250))]

    def test_a_replayed_event_waits_unchanged_at_the_end_of_the_queue(
        self, processes: Processes
    ) -> None:
        a = processes.start()
        refuse(a, 1, 2)
        put(a, 3)
        with closing(processes.open_dead_letters()) as found:
            ids = get_ids([*found.read()])[::-1]
            assert found.replay(ids, 100, 1_000_000) == Moved(2, 0)
            assert list(found.read()) == []
        a.poll()
        assert len(a) == 3
        batch = a.claim(10)
        assert list(batch) == [event(3), event(1), event(2)]
        assert [type(data) for data in batch] == [bytes, Foreign, Foreign]
        assert a.ack(3) == 3
        a.poll()
        assert (get_accounting(a).settled, get_accounting(a).lost_own) == ({}, 0)
        assert (len(a), a.held_bytes, processes.get_stored()) == (0, 0, [])

    def test_what_is_refused_again_is_kept_again(self, processes: Processes) -> None:
        a = processes.start()
        refuse(a, 1)
        with closing(processes.open_dead_letters()) as found:
            first = get_ids([*found.read()])
            found.replay(first, 100, 1_000_000)
        assert claim(a) == [1]
        assert a.ack(1, REFUSED) == 1
        (again,) = read(processes)
        assert again.data == event(1)
        assert [again.id] != first

    def test_nothing_is_replayed_twice(self, processes: Processes) -> None:
        a = processes.start()
        refuse(a, 1)
        with closing(processes.open_dead_letters()) as found:
            ids = get_ids([*found.read()])
            assert found.replay([*ids, *ids], 100, 1_000_000) == Moved(1, 0)
            assert found.replay(ids, 100, 1_000_000) == Moved(0, 0)
        assert processes.get_stored() == [event(1)]

    def test_no_more_is_replayed_than_the_queue_has_room_for(self, processes: Processes) -> None:
        a = processes.start(max_events=3)
        refuse(a, 1, 2, 3)
        put(a, 4)
        with closing(processes.open_dead_letters()) as found:
            ids = get_ids([*found.read()])[::-1]
            assert found.replay(ids, 3, 1_000_000) == Moved(2, 1)
            assert [one.data for one in found.read()] == [event(3)]
            assert found.replay(ids, 100, 200) == Moved(0, 1)
        assert to_numbers(processes.get_stored()) == [4, 1, 2]
        assert claim(a) == [4, 1, 2]  # none was pushed out

    def test_one_can_replay_while_another_process_delivers(self, processes: Processes) -> None:
        a = processes.start()
        refuse(a, 1)
        put(a, 2, 3)
        assert claim(a, 1) == [2]
        with closing(processes.open_dead_letters()) as found:
            assert found.replay(get_ids([*found.read()]), 100, 1_000_000) == Moved(1, 0)
        assert a.ack(1) == 1
        assert claim(a) == [3, 1]
        assert a.ack(2) == 2
        assert claim(a) == []

    def test_what_is_dropped_is_gone(self, processes: Processes) -> None:
        a = processes.start()
        refuse(a, 1, 2, 3)
        with closing(processes.open_dead_letters()) as found:
            ids = get_ids([*found.read()])
            assert found.drop([ids[0], ids[2], "77", "no id"]) == 2
            assert found.drop([ids[0]]) == 0
            assert [one.data for one in found.read()] == [event(2)]
        assert processes.get_stored() == []

    def test_a_store_without_any_has_none(self, processes: Processes) -> None:
        put(processes.start(), 1)
        with closing(processes.open_dead_letters()) as found:
            assert list(found.read()) == []
            assert list(found.find(["1"])) == []
            assert found.drop(["1"]) == 0
            assert found.replay(["1"], 100, 1_000_000) == Moved(0, 0)

    def test_what_is_refused_while_the_store_fails_is_reported_as_not_kept(
        self, processes: Processes
    ) -> None:
        a = processes.start()
        processes.fail()
        try:
            put(a, 1)
            processes.pass_retry()
            assert to_numbers(a.claim(10)) == [1]
            assert a.ack(1, REFUSED) == 1
            assert a.kept == ""
        finally:
            processes.mend()
