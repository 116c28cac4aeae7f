"""The leased queue: events pass through memory into the store and out of it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from tests.queue.fake_store import EVENTS, Scene
from tests.queue.queues import QueueMaker, get_stored, take_all
from tests.queue.test_memory import interrupted
from whisperr._queue.access import PATIENCE
from whisperr._queue.durable import POLL_INTERVAL, LeasedQueue
from whisperr._queue.transit import Transit
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from whisperr._queue.store import Store

BUSY = NotNow(0.25)


class TestStoring:
    def test_an_event_is_in_the_store_when_put_returns(self) -> None:
        scene = Scene()
        scene.put(0)
        assert scene.store.data == EVENTS[:1]
        scene.put(1, 2)
        assert scene.store.data == EVENTS[:3]
        assert (len(scene.queue), scene.queue.stored) == (3, 3)

    def test_construction_polls_once_and_leaves_nothing_open(self) -> None:
        assert Scene().store.calls == ["poll", "close"]

    def test_outcomes_in_other_processes_are_reported_when_polling(self) -> None:
        scene = Scene()
        scene.store.outcomes = {"delivered": 3, "rejected": 1}
        assert scene.queue.poll() == POLL_INTERVAL
        assert scene.accounting.settled == {"delivered": 3, "rejected": 1}
        scene.queue.poll()
        assert scene.accounting.settled == {"delivered": 3, "rejected": 1}

    def test_while_another_process_delivers_a_claim_says_when_to_ask_again(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.store.refusal = BUSY
        with pytest.raises(NotNow) as caught:
            scene.queue.claim(10)
        assert (caught.value.seconds, caught.value.problem) == (0.25, None)

    def test_what_is_claimed_from_memory_after_a_batch_of_the_store_ends_once(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.queue.claim(10)
        assert scene.queue.ack(1) == 1
        assert scene.queue.settled(1)
        scene.fail()
        scene.put(1)
        assert list(scene.queue.claim(10)) == EVENTS[1:2]
        assert scene.queue.extend(5)
        assert scene.queue.ack(1) == 1
        scene.mend()
        assert list(scene.queue.claim(10)) == []

    def test_a_lost_lease_is_no_longer_held_and_ends_nothing(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.queue.claim(10)
        assert scene.queue.extend(5)
        scene.store.owned = False
        assert not scene.queue.extend(5)
        assert scene.queue.ack(2) == 0
        assert scene.store.data == EVENTS[:2]


class TestFailures:
    def test_soon_after_a_failure_a_claim_without_a_try_is_no_failure(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail()
        with pytest.raises(NotNow) as failed:
            scene.queue.claim(10)
        with pytest.raises(NotNow) as untried:
            scene.queue.claim(10)
        assert failed.value.problem is not None
        assert untried.value.problem is None

    def test_an_event_of_a_signal_handler_is_stored_even_if_another_thread_moved_that_of_the_call(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene = Scene()
        store_all, left = Transit.store_all, [1]

        def store_and_interrupt(self: Transit, store: Store) -> bool:
            moved = store_all(self, store)
            if left:
                left.pop()
                scene.put(0)  # by a signal handler, which leaves it to the interrupted call
            return moved

        monkeypatch.setattr(Transit, "store_all", store_and_interrupt)
        scene.queue._store_transit()
        assert scene.store.data == EVENTS[:1]

    def test_a_batch_that_was_released_is_stored_before_what_is_newer(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0)
        assert list(scene.queue.claim(5)) == EVENTS[:1]
        scene.mend()
        scene.put(1)
        scene.queue.release()
        scene.put(2)
        # A store that has a newer number counts an older one as stored, if it is in doubt.
        assert scene.store.rows == [*enumerate(EVENTS[:3])]


class TestDrain:
    def test_it_gives_up_only_what_is_in_memory(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.queue.claim(1)
        scene.fail()
        scene.put(2, 3)
        assert list(scene.queue.drain()) == EVENTS[2:4]
        assert scene.store.data == EVENTS[:2]
        assert not scene.queue.settled(4)

    def test_what_is_claimed_is_released_to_other_processes(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.queue.claim(2)
        assert list(scene.queue.drain()) == []
        assert scene.store.calls[-2:] == ["settled", "close"]
        assert "release" in scene.store.calls
        assert scene.queue.ack(2) == 0

    def test_it_stores_what_it_can_before(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0)
        scene.mend()
        assert list(scene.queue.drain()) == []
        assert scene.store.data == EVENTS[:1]

    def test_after_a_drain_no_call_opens_the_store(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.queue.drain()
        calls = len(scene.store.calls)
        assert not scene.queue.settled(1)
        assert len(scene.store.calls) == calls

    def test_after_a_drain_settled_still_returns_true(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.queue.claim(1)
        scene.queue.ack(1)
        scene.queue.drain()
        assert scene.queue.settled(scene.queue.tail())


class TestThreads:
    def test_a_lease_is_extended_however_long_another_thread_stores(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.queue.claim(1)
        scene.store.free.clear()
        other = threading.Thread(target=scene.put, args=(1,))
        other.start()
        while scene.store.calls[-1] != "append":
            threading.Event().wait(0.001)
        threading.Timer(2 * PATIENCE, scene.store.free.set).start()
        assert scene.queue.extend(5)
        assert scene.store.calls[-1] == "extend"
        other.join(10)

    def test_a_call_waits_only_briefly_for_another_thread_that_stores(self) -> None:
        scene = Scene()
        scene.store.free.clear()
        other = threading.Thread(target=scene.put, args=(0,))
        other.start()
        while "append" not in scene.store.calls:
            threading.Event().wait(0.001)
        scene.put(1)
        assert scene.accounting.reports == [f"the store was busy for longer than {PATIENCE:g} s"]
        scene.store.free.set()
        other.join(10)
        assert scene.store.data == EVENTS[:2]

    def test_before_a_fork_the_store_is_closed_and_no_other_thread_may_open_it(self) -> None:
        scene = Scene()
        assert scene.queue.before_fork()
        assert scene.store.calls[-1] == "close"
        other = threading.Thread(target=scene.put, args=(0,))
        other.start()
        other.join(10)
        assert scene.store.data == []
        scene.queue.after_fork()
        scene.put(1)
        assert scene.store.data == EVENTS[:2]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[QueueMaker]:
    made = QueueMaker("sqlite", tmp_path, log=False)
    yield made
    made.close_all()


class TestInterruption:
    """A signal handler that tracks runs in the thread whose call it interrupts."""

    @pytest.mark.parametrize("act", ["put", "claim", "ack", "release", "poll", "settled"])
    def test_a_put_before_any_line_of_a_call_is_stored_when_that_returns(
        self, act: str, make: QueueMaker
    ) -> None:
        put_events: list[bytes] = []
        queue = make()
        assert isinstance(queue, LeasedQueue)

        def put() -> None:
            put_events.append(b"%d" % len(put_events))
            assert list(queue.put(put_events[-1])) == []

        calls = {
            "put": put,
            "claim": lambda: queue.claim(3),
            "ack": lambda: queue.ack(1),
            "release": queue.release,
            "poll": queue.poll,
            "settled": lambda: queue.settled(queue.tail()),
        }
        for at in itertools.count(1):
            put()
            if act in {"ack", "release"}:
                queue.claim(3)
            if not interrupted(calls[act], at, put):
                break
            queue.release()
            queue.claim(1)  # stores what an interrupted call left, if it was not a put
            queue.release()
            if act == "put":
                assert len(queue._transit.memory) == 0, f"line {at}"
            stored = get_stored(queue)
            assert sorted(stored) == sorted(put_events[len(put_events) - len(stored) :]), (
                f"line {at}"
            )
            if len(put_events) > 60:
                take_all(queue)
                put_events.clear()
        assert at > 10
