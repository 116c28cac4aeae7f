"""A leased queue with a log accepts events and moves them into its store."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

import pytest

from tests.interrupting import interrupt_everywhere
from tests.queue.fake_store import EVENTS, Scene
from whisperr._queue.intake import RETRY
from whisperr._queue.transit import _MOST_GROUPS, _MOST_MOVED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def scene(logs: Path) -> Scene:
    return Scene(logs=logs)


def refuse_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", refuse)


def deliver(scene: Scene) -> list[bytes]:
    """Claim and acknowledge everything."""
    delivered: list[bytes] = []
    while batch := scene.queue.claim(100):
        delivered += batch
        assert scene.queue.ack(len(batch)) == len(batch)
    return delivered


class TestLog:
    def test_a_put_leaves_the_store_alone(self, scene: Scene) -> None:
        calls = len(scene.store.calls)
        scene.put(0, 1, 2)
        assert len(scene.store.calls) == calls
        queue = scene.queue
        assert (len(queue), queue.stored, queue.unstored, queue.tail()) == (3, 3, 0, 3)
        assert not queue.settled(1)

    def test_a_claim_moves_it_into_the_store_first(self, scene: Scene) -> None:
        scene.put(0, 1, 2)
        assert list(scene.queue.claim(2)) == EVENTS[:2]
        assert scene.store.data == EVENTS[:3]
        assert scene.queue.ack(2) == 2
        assert [scene.queue.settled(number) for number in (2, 3)] == [True, False]
        assert deliver(scene) == EVENTS[2:3]
        assert scene.queue.settled(3)

    def test_a_poll_moves_it_so_that_others_can_deliver_it(self, scene: Scene) -> None:
        scene.put(0)
        scene.queue.poll()
        assert scene.store.data == EVENTS[:1]

    def test_one_call_moves_no_more_than_a_claim_can_wait_for(
        self, scene: Scene, logs: Path
    ) -> None:
        most = _MOST_GROUPS * _MOST_MOVED_AT_ONCE
        scene = Scene(max_events=2 * most, logs=logs)
        for _ in range(most + 10):
            scene.put(0)
        scene.queue.claim(1)
        assert len(scene.store.rows) == most
        assert scene.queue.tail() == most + 10

    def test_the_oldest_are_dropped_over_the_bound(self, logs: Path) -> None:
        scene = Scene(max_events=3, logs=logs)
        assert scene.put(0, 1, 2, 3, 4) == EVENTS[:2]
        assert deliver(scene) == EVENTS[2:5]

    def test_an_event_that_is_larger_than_all_bounds_drops_itself_alone(self, scene: Scene) -> None:
        scene.put(0)
        large = b"x" * 2_000_000
        assert list(scene.queue.put(large)) == [large]
        assert scene.queue.tail() == 1


class TestStoreThatFails:
    def test_events_are_delivered_from_the_log(self, scene: Scene) -> None:
        scene.put(0, 1, 2)
        scene.fail()
        assert list(scene.queue.claim(2)) == EVENTS[:2]
        assert scene.queue.extend(5)
        assert scene.queue.ack(2) == 2
        assert scene.queue.settled(2)
        assert list(scene.queue.claim(2)) == EVENTS[2:3]
        assert scene.accounting.reports == []
        assert scene.accounting.problem == "disk full"

    def test_a_batch_of_the_log_that_was_released_goes_into_the_store(self, scene: Scene) -> None:
        scene.put(0, 1)
        scene.fail()
        assert list(scene.queue.claim(1)) == EVENTS[:1]
        scene.queue.release()
        scene.mend()
        assert list(scene.queue.claim(5)) == EVENTS[:2]
        assert scene.store.data == EVENTS[:2]

    def test_while_a_batch_of_the_log_is_under_way_nothing_newer_overtakes_it(
        self, scene: Scene
    ) -> None:
        scene.put(0)
        scene.fail()
        scene.queue.claim(1)
        scene.put(1)
        scene.mend()
        scene.queue.poll()
        assert scene.store.data == []
        assert scene.queue.ack(1) == 1
        scene.queue.poll()
        assert scene.store.data == EVENTS[1:2]

    def test_at_the_end_the_log_keeps_what_waits_for_the_next_process(
        self, scene: Scene, logs: Path
    ) -> None:
        scene.put(0, 1)
        scene.fail()
        assert list(scene.queue.drain()) == []
        assert (scene.queue.stored, scene.queue.settled(2)) == (2, False)
        following = Scene(logs=logs)
        assert len(following.queue) > 0  # so that its thread is started
        following.queue.poll()
        assert following.store.data == EVENTS[:2]
        assert following.store.calls.count("append") == 0
        assert [*logs.iterdir()] == []


class TestLogThatFails:
    def test_events_are_stored_by_the_call(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        scene.put(0)
        with monkeypatch.context() as patch:
            refuse_writes(patch)
            scene.put(1, 2)
        assert scene.store.data == EVENTS[:3]
        assert (scene.queue.tail(), scene.queue.unstored) == (3, 0)
        (record,) = caplog.messages
        assert "Input/output error; events go directly to the store" in record

    def test_it_is_used_again_after_a_while(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            refuse_writes(patch)
            scene.put(0)
        scene.put(1)
        assert scene.store.data == EVENTS[:2]
        scene.clock.now += RETRY
        scene.put(2)
        assert scene.store.data == EVENTS[:2]
        assert (scene.queue.stored, scene.queue.tail()) == (3, 3)
        assert deliver(scene) == EVENTS[:3]
        assert scene.queue.settled(3)

    def test_without_a_store_either_memory_keeps_them_in_their_order(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene.put(0)
        scene.fail()
        with monkeypatch.context() as patch:
            refuse_writes(patch)
            scene.put(1, 2)
        scene.clock.now += RETRY
        scene.put(3)  # what is in memory is older: not into the log
        assert (scene.queue.stored, scene.queue.unstored) == (1, 3)
        assert scene.accounting.reports == ["disk full"]
        scene.mend()
        scene.queue.poll()
        scene.put(4)
        assert deliver(scene) == EVENTS[:5]
        assert [number for number, _ in scene.store.rows] == []
        assert scene.queue.settled(5)

    def test_no_number_is_used_twice_after_switching_to_memory_and_back(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        numbers: list[int] = []
        append = scene.store.append

        def record(events: Sequence[bytes], number: int) -> Sequence[bytes]:
            numbers.extend(range(number, number + len(events)))
            return append(events, number)

        monkeypatch.setattr(scene.store, "append", record)
        for _ in range(3):
            scene.put(0, 1)
            with monkeypatch.context() as patch:
                refuse_writes(patch)
                scene.put(2, 3)
            scene.clock.now += RETRY
        deliver(scene)
        assert numbers == list(range(12))


class TestFork:
    def test_what_is_in_memory_is_stored_first(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0)
        scene.mend()
        assert scene.queue.before_fork()
        scene.queue.after_fork()
        assert scene.store.data == EVENTS[:1]


class Story:
    """Events before, between and after the calls that are interrupted."""

    def __init__(self, logs: Path, act: str) -> None:
        self.scene = Scene(logs=logs)
        self.scene.put(0, 1)
        queue = self.scene.queue
        if act == "ack":
            self.scene.fail()
            queue.claim(1)
        calls: dict[str, Callable[[], Any]] = {
            "put": lambda: self.scene.put(2),
            "claim": lambda: queue.claim(1),
            "ack": lambda: queue.ack(1),
            "poll": queue.poll,
        }
        self.act = calls[act]

    def check(self) -> None:
        scene = self.scene
        assert not scene.queue._access.is_mine
        scene.mend()
        scene.queue.release()
        scene.put(3)
        stored = deliver(scene)
        assert sorted(set(stored)) == sorted(stored)
        assert stored[-1] == EVENTS[3]
        assert scene.queue.settled(scene.queue.tail())
        assert len(scene.queue) == 0


@pytest.mark.parametrize("act", ["put", "claim", "ack", "poll"])
def test_after_any_exception_of_a_handler_each_event_is_stored_once(
    act: str, tmp_path: Path
) -> None:
    made = itertools.count()

    def run(interrupt: Callable[[Callable[[], object]], object]) -> None:
        story = Story(tmp_path / str(next(made)), act)
        interrupt(story.act)
        story.check()

    assert interrupt_everywhere(run) > 10
