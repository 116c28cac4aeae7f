"""The thread that moves events into a store across a network."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.queue.fake_store import EVENTS, Scene
from whisperr._process import threads
from whisperr._queue.storer import NAME, Storer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr._queue.storer import Pending

LIMIT = 30.0


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def get_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene(storer=Storer())
    yield made
    made.store.free.set()
    made.mend()
    made.queue.drain()


class TestStoring:
    def test_events_are_in_the_store_soon_after_the_call(self, scene: Scene) -> None:
        scene.put(0, 1, 2)
        wait_until(lambda: scene.store.data == EVENTS[:3])
        wait_until(lambda: scene.queue.unstored == 0)

    def test_a_call_never_waits_for_the_store(self, scene: Scene) -> None:
        scene.store.free.clear()
        scene.put(0, 1)
        wait_until(lambda: "append" in scene.store.calls)
        scene.put(2)
        assert (scene.queue.unstored, scene.queue.stored) == (3, 0)
        scene.store.free.set()
        wait_until(lambda: scene.store.data == EVENTS[:3])

    def test_events_on_their_way_to_the_store_count_as_unstored(self, scene: Scene) -> None:
        scene.store.free.clear()
        scene.put(0)
        wait_until(lambda: "append" in scene.store.calls)
        assert scene.queue.unstored == 1

    def test_what_comes_while_it_stores_follows_as_one_group(self, scene: Scene) -> None:
        scene.store.free.clear()
        scene.put(0)
        wait_until(lambda: "append" in scene.store.calls)
        scene.put(1, 2, 3)
        scene.store.free.set()
        wait_until(lambda: scene.store.data == EVENTS[:4])
        assert scene.store.calls.count("append") == 2

    def test_a_claim_does_not_wait_for_what_is_being_added(self, scene: Scene) -> None:
        scene.put(0)
        wait_until(lambda: scene.store.data == EVENTS[:1])
        scene.store.free.clear()
        scene.put(1)
        wait_until(lambda: scene.store.calls[-1] == "append")
        release = threading.Timer(0.05, scene.store.free.set)
        release.start()
        assert list(scene.queue.claim(5))[:1] == EVENTS[:1]
        release.join()

    def test_a_flush_does_not_wait_for_the_thread(self, scene: Scene) -> None:
        scene.queue._scheduled = True  # it is going to, but not yet
        scene.queue._transit.put(EVENTS[0])
        assert list(scene.queue.claim(5)) == EVENTS[:1]

    def test_what_follows_a_group_that_was_stored_at_once_is_stored_as_well(self) -> None:
        class AtOnce(Storer):
            """Stores before `schedule` returns, as a thread may."""

            def schedule(self, queue: Pending) -> bool:
                queue.store_pending()
                return True

        scene = Scene(storer=AtOnce())
        scene.put(0)
        scene.put(1)
        assert scene.store.data == EVENTS[:2]

    def test_a_store_that_fails_is_tried_again(self, scene: Scene) -> None:
        scene.fail()
        scene.put(0)
        wait_until(lambda: scene.accounting.reports == ["disk full"])
        scene.put(1)
        assert scene.queue.unstored == 2
        scene.mend()
        wait_until(lambda: scene.store.data == EVENTS[:2])


class TestThread:
    def test_all_queues_of_a_process_share_one_that_ends_with_the_last(self) -> None:
        storer = Storer()
        scenes = [Scene(storer=storer) for _ in range(5)]
        threads_seen = set()
        for scene in scenes:
            scene.put(0)
            threads_seen.add(storer._thread)
        for scene in scenes:
            wait_until(lambda scene=scene: scene.store.data == EVENTS[:1])  # type: ignore[misc]
        (thread,) = threads_seen
        assert thread in get_threads()
        for scene in scenes:
            scene.queue.drain()
        wait_until(lambda: thread not in get_threads())

    def test_one_that_has_ended_is_followed_by_another(self) -> None:
        storer = Storer()
        for _ in range(20):
            scene = Scene(storer=storer)
            scene.put(0)
            wait_until(lambda scene=scene: scene.store.data == EVENTS[:1])  # type: ignore[misc]
            scene.queue.drain()

    def test_where_no_thread_can_run_the_call_stores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threads, "may_start", lambda: False)
        scene = Scene(storer=Storer())
        scene.put(0)
        assert scene.store.data == EVENTS[:1]

    def test_a_queue_whose_store_hangs_does_not_stop_those_after_it_for_ever(self) -> None:
        storer = Storer()
        hanging, other = Scene(storer=storer), Scene(storer=storer)
        hanging.store.free.clear()
        hanging.put(0)
        wait_until(lambda: "append" in hanging.store.calls)
        other.put(1)
        hanging.store.free.set()  # each call of a store has a time limit
        wait_until(lambda: other.store.data == EVENTS[1:2])
        for scene in (hanging, other):
            scene.queue.drain()
