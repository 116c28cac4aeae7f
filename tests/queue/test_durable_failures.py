"""The leased queue while its store fails, and when the store works again."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, identify
from tests.queue.fake_store import EVENTS, FakeStore, Scene
from tests.queue.queues import RecordingAccounting
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.intake import RETRY
from whisperr.errors import Loss, NotNow
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence


class TestFailing:
    def test_events_stay_in_memory_and_are_stored_when_the_store_works_again(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail()
        assert scene.put(1, 2) == []
        assert scene.store.data == EVENTS[:1]
        assert len(scene.queue) == 3
        scene.mend()
        scene.put(3)
        assert scene.store.data == EVENTS[:4]
        assert scene.accounting.problem is None

    def test_a_failing_store_is_left_alone_for_a_while(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0)
        calls = len(scene.store.calls)
        scene.put(1, 2)
        assert not scene.queue.settled(3)
        assert len(scene.store.calls) == calls
        scene.clock.now += RETRY
        scene.put(3)
        assert len(scene.store.calls) == calls + 1

    def test_a_lasting_failure_is_reported_once_a_minute(self) -> None:
        scene = Scene(max_events=1_000)
        scene.fail()
        reports = []
        for _ in range(130):
            scene.put(0)
            reports.append(len(scene.accounting.reports))
            scene.clock.now += 1.0
        assert reports == [1] * 60 + [2] * 60 + [3] * 10
        assert scene.accounting.reports[0] == "disk full"

    def test_a_problem_at_construction_is_reported(self) -> None:
        store, accounting = FakeStore(), RecordingAccounting()
        store.problem = "no such directory"
        LeasedQueue(store, 10, 1_000, accounting)
        assert accounting.reports == ["no such directory"]
        assert accounting.problem == "no such directory"

    def test_a_store_that_was_only_busy_before_is_reported_when_it_fails(self) -> None:
        scene = Scene()
        access = scene.queue._access
        taken, done = threading.Event(), threading.Event()

        def keep_busy() -> None:
            access.mutex.run(stay, None)

        def stay() -> None:
            taken.set()
            done.wait(10)

        other = threading.Thread(target=keep_busy)
        other.start()
        assert taken.wait(10)
        scene.queue.poll()  # it holds no event, so that nothing is reported
        done.set()
        other.join(10)
        assert scene.accounting.reports == []
        scene.fail()
        scene.put(0)
        assert scene.accounting.reports == ["disk full"]

    def test_a_store_that_fails_with_nothing_in_memory_is_reported_once_a_minute(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail()
        reports = []
        for _ in range(130):
            with pytest.raises(NotNow) as caught:
                scene.queue.claim(10)
            assert caught.value.problem == "disk full"
            reports.append(len(scene.accounting.reports))
            scene.clock.now += 1.0
        assert reports == [1] * 60 + [2] * 60 + [3] * 10
        assert caplog.messages == []
        scene.mend()
        assert list(scene.queue.claim(10)) == EVENTS[:1]
        assert caplog.messages == ["whisperr: the store of events can be used again"]

    def test_a_queue_may_wait_longer_after_each_failure(self) -> None:
        class Patient(LeasedQueue):
            first_retry, longest_retry = 0.1, 5.0

        clock, store = FakeClock(), FakeStore()
        queue = Patient(store, 10, 1_000, RecordingAccounting(), clock=clock)
        queue.put(EVENTS[0])
        store.problem = "away"
        rests = []
        for _ in range(8):
            with pytest.raises(NotNow) as caught:
                queue.claim(10)
            rests.append(round(caught.value.seconds, 6))
            clock.now += caught.value.seconds
        assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]

    def test_what_is_in_memory_is_delivered_from_there(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1, 2)
        sent: list[bytes] = []
        while batch := scene.queue.claim(2):
            assert scene.queue.extend(5)
            assert not scene.queue.settled(len(sent) + 1)
            sent += batch
            assert scene.queue.ack(len(batch)) == len(batch)
            assert scene.queue.settled(len(sent))
        assert sent == EVENTS[:3]
        assert (len(scene.queue), scene.queue.held_bytes) == (0, 0)

    def test_a_batch_from_memory_that_was_released_is_the_same_batch_again(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1, 2)
        scene.queue.ack(len(scene.queue.claim(1)))
        assert list(scene.queue.claim(1)) == EVENTS[1:2]
        scene.queue.release()
        assert len(scene.queue) == 2
        assert list(scene.queue.claim(10)) == EVENTS[1:2]

    def test_a_batch_from_memory_that_was_released_is_stored_before_newer_events(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1, 2)
        scene.queue.ack(len(scene.queue.claim(1)))
        scene.queue.claim(1)
        scene.queue.release()
        scene.mend()
        scene.put(3)
        assert scene.store.rows == list(zip([1, 2, 3], EVENTS[1:4], strict=True))

    def test_a_claimed_batch_from_memory_is_not_stored_meanwhile(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1)
        scene.queue.claim(1)
        scene.mend()
        scene.put(2)
        assert scene.store.data == []  # nor is what is newer
        assert not scene.queue.settled(1)
        assert scene.queue.ack(1) == 1
        assert scene.queue.settled(1)
        scene.queue.poll()
        assert scene.store.data == EVENTS[1:3]

    def test_memory_overtakes_stored_events_only_when_the_store_fails_again(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail("locked")
        scene.put(1)
        with pytest.raises(NotNow) as caught:
            scene.queue.claim(10)
        assert (caught.value.seconds, caught.value.problem) == (RETRY, None)
        scene.clock.now += RETRY
        assert list(scene.queue.claim(10)) == EVENTS[1:2]

    def test_a_store_that_was_only_busy_keeps_the_order(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail("locked")
        scene.put(1)
        with pytest.raises(NotNow):
            scene.queue.claim(10)
        scene.mend()
        assert list(scene.queue.claim(10)) == EVENTS[:2]

    def test_with_only_stored_events_there_is_nothing_to_claim_and_a_problem(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail()
        with pytest.raises(NotNow) as caught:
            scene.queue.claim(10)
        assert caught.value.problem == "disk full"
        assert 0 < caught.value.seconds <= RETRY
        assert not scene.queue.settled(1)

    def test_what_is_delivered_and_cannot_be_recorded_is_not_sent_again(self) -> None:
        scene = Scene()
        scene.put(0, 1, 2)
        scene.queue.claim(2)
        scene.fail()
        assert scene.queue.ack(2) == 0
        for _ in range(5):
            scene.clock.now += RETRY
            with pytest.raises(NotNow) as caught:
                scene.queue.claim(10)
            assert caught.value.problem == "disk full"
        assert scene.accounting.settled == {}
        scene.mend()
        assert list(scene.queue.claim(10)) == EVENTS[2:3]
        assert scene.accounting.settled == {"delivered": 2}

    def test_what_could_not_be_recorded_is_recorded_when_polling(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.queue.claim(1)
        scene.fail()
        loss = Loss(1, "rejected", "the server refused it", 400, "collect.example:443")
        assert scene.queue.ack(1, loss) == 0
        assert not scene.queue.settled(1)
        scene.mend()
        scene.queue.poll()
        assert scene.queue.settled(1)
        assert scene.accounting.losses == [("rejected", EVENTS[:1])]
        assert scene.accounting.hosts == ["collect.example:443"]

    def test_the_rest_of_a_batch_whose_beginning_could_not_be_recorded_is_sent(self) -> None:
        scene = Scene()
        scene.put(0, 1, 2)
        scene.queue.claim(3)
        scene.fail()
        assert scene.queue.ack(1) == 0
        assert not scene.queue.extend(5)
        scene.mend()
        assert list(scene.queue.claim(10)) == EVENTS[1:3]

    def test_events_taken_over_by_another_process_are_counted_there(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.queue.claim(1)
        scene.fail()
        assert scene.queue.ack(1) == 0
        scene.mend()
        scene.store.owned = False
        scene.queue.poll()
        assert scene.accounting.settled == {}
        scene.store.owned = True
        assert list(scene.queue.claim(10)) == EVENTS[:1]

    def test_a_store_without_room_is_still_emptied(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.store.full = True
        scene.put(2)
        assert list(scene.queue.claim(10)) == EVENTS[:2]
        assert scene.queue.ack(2) == 2
        assert scene.accounting.problem == "no room"
        assert scene.queue.stored == 0

    def test_a_store_that_can_only_be_read_has_not_recovered(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene = Scene(max_events=1_000)
        scene.store.full = True
        for _ in range(130):
            scene.put(0)
            scene.queue.poll()
            scene.queue.settled(1)
            assert scene.accounting.problem == "no room"
            scene.clock.now += 1.0
        assert len(scene.accounting.reports) == 3
        assert caplog.messages == []

    def test_a_failure_that_comes_and_goes_is_reported_once_a_minute(self) -> None:
        scene = Scene(max_events=1_000)
        for _ in range(30):
            scene.fail()
            scene.put(0)
            scene.clock.now += RETRY
            scene.mend()
            scene.put(0)
            assert scene.accounting.problem is None
        assert len(scene.accounting.reports) == 1

    def test_an_error_that_no_store_should_raise_is_a_failure_of_the_store(self) -> None:
        class Damaged(FakeStore):
            def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
                raise IndexError("list index out of range\n\x1b[31m")

        accounting = RecordingAccounting()
        queue = LeasedQueue(Damaged(), 10, 10_000, accounting)
        queue.put(EVENTS[0])
        assert accounting.problem == "IndexError: list index out of range\\n\\x1b[31m"
        assert len(queue) == 1

    def test_after_lost_claims_the_next_claim_waits(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.store.owned = False
        claims = 0
        for _ in range(100):
            with suppress(NotNow):
                claims += len(scene.queue.claim(1))
                assert not scene.queue.extend(5)
            scene.clock.now += RETRY / 10
        assert claims <= 13
        scene.store.owned = True
        scene.clock.now += RETRY
        assert list(scene.queue.claim(1)) == EVENTS[:1]
        assert scene.queue.extend(5)
        assert scene.queue.ack(1) == 1

    def test_what_vanished_from_the_store_is_a_loss(self) -> None:
        scene = Scene()
        scene.store.outcomes = {"lost_in_store": 3, "delivered": 1}
        scene.queue.poll()
        assert (scene.accounting.lost_own, scene.accounting.settled) == (3, {"delivered": 1})

    def test_what_is_set_aside_because_it_is_no_event_is_reported(self) -> None:
        scene = Scene()
        scene.store.rejected = 2
        scene.queue.claim(10)
        scene.queue.claim(10)
        assert (scene.accounting.lost_own, scene.accounting.lost_others) == (0, 2)

    def test_memory_is_bounded_and_the_oldest_events_are_dropped(self) -> None:
        scene = Scene(max_events=3)
        scene.fail()
        assert scene.put(0, 1, 2) == []
        assert scene.put(3, 4) == EVENTS[:2]

    def test_an_error_of_ours_leaves_the_event_in_memory(self) -> None:
        class Broken(FakeStore):
            def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
                raise KeyboardInterrupt

        queue = LeasedQueue(Broken(), 10, 10_000, RecordingAccounting())
        with pytest.raises(KeyboardInterrupt):
            queue.put(EVENTS[0])
        assert len(queue) == 1
        assert not queue.settled(1)


def test_identifies_keep_their_order_on_the_way_into_the_store() -> None:
    scene = Scene()
    scene.fail()
    events = [event(0), identify(1), identify(2), event(3)]
    for data in events:
        scene.queue.put(data)
    scene.mend()
    scene.queue.put(event(4))
    assert scene.store.rows == list(enumerate([*events, event(4)]))
