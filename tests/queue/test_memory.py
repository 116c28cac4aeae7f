"""The queue in memory, used by several threads, and interrupted by signal handlers."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.queue.queues import ROOM, take_all
from whisperr._queue import memory
from whisperr._queue.memory import MemoryQueue, get_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

NAMES = (b"a", b"b", b"c", b"d", b"e")


class TestThreads:
    @pytest.mark.parametrize(("max_events", "max_bytes"), [(1_000, 40_000), (500, ROOM)])
    def test_what_many_threads_add_while_one_claims_all_arrives_in_order(
        self, max_events: int, max_bytes: int
    ) -> None:
        """Use a short switch interval, so that threads switch in the middle of calls."""
        queue = MemoryQueue(max_events, max_bytes)
        put_events: list[list[bytes]] = [[] for _ in range(4)]
        dropped_events: list[list[bytes]] = [[] for _ in range(4)]

        def add(number: int) -> None:
            for turn in range(2_000):
                data = b"%d %d %s" % (number, turn, b"x" * (turn % 7))
                put_events[number].append(data)
                dropped_events[number] += queue.put(data)

        threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        taken: list[bytes] = []
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                taken += queue.claim(50)
                queue.ack(50)
        finally:
            sys.setswitchinterval(before)
            for thread in threads:
                thread.join()
        assert len(queue) <= max_events
        held = queue.held_bytes
        left = take_all(queue)
        assert held == get_size(left) <= max_bytes
        taken += left
        dropped = {data for mine in dropped_events for data in mine}
        for number, mine in enumerate(put_events):
            kept = [data for data in taken if data.startswith(b"%d " % number)]
            assert kept == [data for data in mine if data not in dropped]
        assert queue.tail() == 8_000


def interrupted(call: Callable[[], object], at: int, handler: Callable[[], object]) -> bool:
    """Run `call` with `handler` before the line that is its `at`th; False if it has fewer."""
    package = str(Path(memory.__file__).parent)
    lines = 0

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal lines
        if kind == "line" and frame.f_code.co_filename.startswith(package):
            lines += 1
            if lines == at:
                handler()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines >= at


class Scene:
    """A full queue, with the events that were put, that have ended and that are claimed."""

    def __init__(self, room: int = 1) -> None:
        self.queue = MemoryQueue(len(NAMES) * room, get_size(NAMES) * room)
        self.put_events: list[bytes] = []
        self.ended: list[bytes] = []
        self.claimed: list[bytes] = []
        self.answers: list[bool] = []
        for _ in NAMES:
            self.put()

    def put(self) -> None:
        data = b"%d" % len(self.put_events)
        self.put_events.append(data)
        self.ended += self.queue.put(data)

    def claim(self) -> None:
        self.claimed += self.queue.claim(3)

    def ack(self) -> None:
        ended = self.queue.ack(2)
        self.ended += self.claimed[:ended]
        del self.claimed[:ended]

    def release(self) -> None:
        self.ended += self.queue.release()
        self.claimed.clear()

    def ask(self) -> None:
        self.answers.append(self.queue.settled(3))

    def drain(self) -> None:
        self.ended += self.queue.drain()
        self.claimed.clear()


class TestInterruption:
    """A signal handler that tracks runs in the thread whose call it interrupts."""

    @pytest.mark.parametrize("act", ["claim", "put", "release"])
    def test_a_drain_before_any_line_of_a_call_loses_nothing_and_keeps_the_sums(
        self, act: str
    ) -> None:
        """A signal handler that shuts down; the events it leaves are drained after the call."""
        for at in itertools.count(1):
            scene = Scene(room=4)
            if act == "release":
                scene.claim()
            if not interrupted(getattr(scene, act), at, scene.drain):
                break
            scene.drain()
            assert (len(scene.queue), scene.queue.held_bytes) == (0, 0), f"line {at}"
            assert len(scene.ended) == len(set(scene.ended)), f"line {at}"
            assert set(scene.ended) == set(scene.put_events), f"line {at}"
        assert at > 3

    @pytest.mark.parametrize("room", [1, 4], ids=["full", "with room"])
    @pytest.mark.parametrize(
        "acts",
        [
            ("put",),
            ("claim",),
            ("claim", "ack"),
            ("claim", "put", "release"),
            ("claim", "put", "put", "release"),
            ("claim", "drain"),
        ],
        ids=" ".join,
    )
    def test_a_put_before_any_line_of_a_call_loses_nothing_and_keeps_the_sums(
        self, acts: tuple[str, ...], room: int
    ) -> None:
        for at in itertools.count(1):
            scene = Scene(room)
            *before, last = acts
            for act in before:
                getattr(scene, act)()
            if not interrupted(getattr(scene, last), at, scene.put):
                break
            held = scene.queue.held_bytes
            left = take_all(scene.queue)
            assert sorted(scene.ended + left) == sorted(scene.put_events), f"events, line {at}"
            assert held == get_size(left[len(scene.claimed) :]), f"bytes, line {at}"
        assert at > 3

    @pytest.mark.parametrize("act", ["claim", "ack", "release"])
    def test_a_position_asked_for_before_any_line_of_a_call_is_not_settled_too_early(
        self, act: str
    ) -> None:
        for at in itertools.count(1):
            scene = Scene()
            if act != "claim":
                scene.claim()
            if not interrupted(getattr(scene, act), at, scene.ask):
                break
            assert scene.answers == [False], f"line {at}"
        assert at > 3


def test_a_part_of_the_queue_is_read_though_another_thread_adds_to_it_meanwhile() -> None:
    class Busy(deque[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("deque mutated during iteration")

        __reversed__ = __iter__

    events = Busy([b"1", b"2", b"3"])
    assert memory._slice(events, 2) == [b"1", b"2"]
    assert memory._get_last(events, 1) == [b"2", b"3"]


def test_what_is_added_while_the_newest_are_counted_is_counted_once() -> None:
    class Adding(deque[bytes]):
        """A deque to which another thread adds an event whenever its length is read."""

        added = False

        def __len__(self) -> int:
            if not self.added:
                self.added = True
                self.append(b"added")
            return super().__len__()

    events = Adding([b"1", b"2", b"3"])
    assert sorted(memory._get_last(events, 1)) == [b"2", b"3", b"added"]


class Walked(deque[bytes]):
    """A deque that counts the events over which a call iterates."""

    steps = 0

    def __iter__(self) -> Iterator[bytes]:
        for data in super().__iter__():
            self.steps += 1
            yield data

    def __reversed__(self) -> Iterator[bytes]:
        for data in super().__reversed__():
            self.steps += 1
            yield data

    def __getitem__(self, at: Any) -> Any:
        self.steps += min(abs(at), abs(len(self) - at))
        return super().__getitem__(at)


CALLS: dict[str, Callable[[MemoryQueue], object]] = {
    "put": lambda queue: queue.put(b"new"),
    "claim": lambda queue: queue.claim(10),
    "claim, ack and put": lambda queue: (queue.claim(10), queue.ack(5), queue.put(b"new")),
    "claim and release": lambda queue: (queue.claim(10), queue.release()),
    "held_bytes": lambda queue: queue.held_bytes,
    "held": lambda queue: queue.held,
    "len": len,
    "tail": lambda queue: queue.tail(),
    "settled": lambda queue: queue.settled(queue.tail()),
}


@pytest.mark.parametrize("bound", ["count", "bytes"])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_walks_over_all_that_waits_in_a_full_queue(call: str, bound: str) -> None:
    steps = []
    for waiting in (1_000, 50_000):
        size = waiting * get_size([b"new"])
        queue = MemoryQueue(*((waiting, 9 * ROOM) if bound == "count" else (ROOM, size)))
        for _ in range(waiting):
            queue.put(b"new")
        assert queue.held_bytes == size  # each event is counted once
        queue._items = walked = Walked(queue._items)
        walked.steps = 0
        for _ in range(3):
            CALLS[call](queue)
        assert len(queue) > waiting - 50
        steps.append(walked.steps)
    assert steps[0] == steps[1] < 200


def test_after_a_drain_every_position_is_settled() -> None:
    queue = MemoryQueue(100, ROOM)
    for data in NAMES:
        queue.put(data)
    queue.claim(2)
    queue.drain()
    assert queue.settled(queue.tail())
