"""Step 3: what is held, in which order, and what goes when there is no room."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.queue.places import KINDS, ROOM, Make, everything
from whisperr._contract import MAX_BATCH_BYTES
from whisperr._events.layout import IDENTIFY_HEAD
from whisperr._queue import memory as _buffer
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, MemoryQueue, _first
from whisperr.protocols import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

NAMES = (b"a", b"b", b"c", b"d", b"e")
IDENTIFY = IDENTIFY_HEAD + b'"u"}'


@pytest.fixture(params=KINDS)
def buffer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    redis = request.getfixturevalue("redis_server") if request.param == "redis" else None
    made = Make(request.param, tmp_path, redis)
    yield made
    made.end()


def in_memory(*events: bytes) -> MemoryQueue:
    one = MemoryQueue(100, ROOM)
    for data in events:
        one.put(data)
    return one


def bytes_of(*events: bytes) -> int:
    return sum(len(data) + EVENT_OVERHEAD_BYTES for data in events)


class TestPut:
    def test_it_is_a_buffer_as_the_protocol_says(self, buffer: Make) -> None:
        assert isinstance(buffer(), Buffer)

    def test_the_order_is_kept(self, buffer: Make) -> None:
        assert everything(buffer(*NAMES)) == list(NAMES)

    def test_it_counts_events_and_their_memory(self, buffer: Make) -> None:
        one = buffer(b"12345", b"1")
        assert (len(one), one.held_bytes) == (2, 6 + 2 * EVENT_OVERHEAD_BYTES)

    @pytest.mark.skipif(
        sys.implementation.name != "cpython", reason="sys.getsizeof: only CPython answers it"
    )
    def test_the_memory_of_an_event_is_what_the_interpreter_says(self, buffer: Make) -> None:
        one = buffer(b"x" * 200)
        place_in_line = 8
        assert one.held_bytes == sys.getsizeof(b"x" * 200) + place_in_line

    def test_one_too_many_drops_the_oldest(self, buffer: Make) -> None:
        one = buffer(b"a", b"b", b"c", max_events=3)
        assert list(one.put(b"d")) == [b"a"]
        assert everything(one) == [b"b", b"c", b"d"]

    def test_too_many_bytes_drop_as_many_of_the_oldest_as_it_takes(self, buffer: Make) -> None:
        one = buffer(*NAMES, max_bytes=bytes_of(*NAMES))
        assert list(one.put(b"xx")) == [b"a", b"b"]
        assert everything(one) == [b"c", b"d", b"e", b"xx"]

    def test_an_event_larger_than_the_whole_buffer_is_refused_alone(self, buffer: Make) -> None:
        one = buffer(b"a", max_bytes=100)
        large = b"x" * (100 - EVENT_OVERHEAD_BYTES + 1)
        assert list(one.put(large)) == [large]
        assert everything(one) == [b"a"]

    def test_an_event_that_just_fits_takes_all_the_room(self, buffer: Make) -> None:
        one = buffer(b"a", max_bytes=100)
        largest = b"x" * (100 - EVENT_OVERHEAD_BYTES)
        assert list(one.put(largest)) == [b"a"]
        assert (everything(one), one.held_bytes) == ([largest], 0)

    def test_with_room_for_one_the_newest_stays(self, buffer: Make) -> None:
        one = buffer(max_events=1)
        assert [list(one.put(data)) for data in NAMES] == [[], [b"a"], [b"b"], [b"c"], [b"d"]]


class TestThreads:
    @pytest.mark.parametrize(("max_events", "max_bytes"), [(1_000, 40_000), (500, ROOM)])
    def test_what_many_threads_add_while_one_takes_all_arrives_in_order(
        self, max_events: int, max_bytes: int
    ) -> None:
        """The switch interval is short, so that threads meet in the middle of calls."""
        one = MemoryQueue(max_events, max_bytes)
        came: list[list[bytes]] = [[] for _ in range(4)]
        gone: list[list[bytes]] = [[] for _ in range(4)]

        def add(number: int) -> None:
            for turn in range(2_000):
                data = b"%d %d %s" % (number, turn, b"x" * (turn % 7))
                came[number].append(data)
                gone[number] += one.put(data)

        threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        taken: list[bytes] = []
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                taken += one.claim(50)
                one.ack(50)
        finally:
            sys.setswitchinterval(before)
            for thread in threads:
                thread.join()
        assert len(one) <= max_events
        held = one.held_bytes
        left = everything(one)
        assert held == bytes_of(*left) <= max_bytes
        taken += left
        dropped = {data for mine in gone for data in mine}
        for number, mine in enumerate(came):
            kept = [data for data in taken if data.startswith(b"%d " % number)]
            assert kept == [data for data in mine if data not in dropped]
        assert one.tail() == 8_000


class TestTake:
    def test_it_hands_out_the_oldest_first(self, buffer: Make) -> None:
        one = buffer(*NAMES)
        assert list(one.claim(2)) == [b"a", b"b"]
        assert (len(one), one.held_bytes) == (3, bytes_of(*NAMES[2:]))

    def test_nothing_to_take_is_an_empty_batch(self, buffer: Make) -> None:
        assert list(buffer().claim(5)) == []

    def test_a_batch_is_a_run_of_events_or_one_identify(self, buffer: Make) -> None:
        one = buffer(b"a", b"b", IDENTIFY, IDENTIFY, b"c")
        batches = []
        while len(one):
            batches.append(list(one.claim(10)))
            one.ack(10)
        assert batches == [[b"a", b"b"], [IDENTIFY], [IDENTIFY], [b"c"]]

    def test_a_batch_is_bounded_in_bytes(self, buffer: Make) -> None:
        one = buffer(*[b"x" * (MAX_BATCH_BYTES // 3)] * 4, max_bytes=10 * MAX_BATCH_BYTES)
        assert len(one.claim(10)) == 2

    def test_what_is_taken_makes_room_and_is_not_dropped(self, buffer: Make) -> None:
        one = buffer(b"a", b"b", max_events=2)
        assert list(one.claim(2)) == [b"a", b"b"]
        assert [list(one.put(data)) for data in (b"c", b"d", b"e")] == [[], [], [b"c"]]
        assert everything(one) == [b"a", b"b", b"d", b"e"]

    def test_the_batch_that_was_handed_out_does_not_change(self, buffer: Make) -> None:
        one = buffer(*NAMES)
        batch = one.claim(3)
        one.ack(1)
        one.release()
        assert list(batch) == [b"a", b"b", b"c"]


class TestDone:
    @pytest.mark.parametrize(("count", "owned"), [(0, 0), (1, 1), (3, 3), (4, 3), (500, 3)])
    def test_it_forgets_as_many_as_are_owned(self, buffer: Make, count: int, owned: int) -> None:
        one = buffer(*NAMES)
        one.claim(3)
        assert one.ack(count) == owned
        assert everything(one) == list(NAMES[owned:])

    def test_without_a_batch_nothing_is_owned(self, buffer: Make) -> None:
        assert buffer(*NAMES).ack(2) == 0

    def test_after_clear_nothing_is_owned(self, buffer: Make) -> None:
        one = buffer(*NAMES)
        one.claim(3)
        one.drain()
        assert one.ack(3) == 0


class TestPutBack:
    def test_the_rest_of_the_batch_is_the_front_again(self, buffer: Make) -> None:
        one = buffer(*NAMES)
        one.claim(3)
        one.ack(1)
        assert list(one.release()) == []
        assert (len(one), one.held_bytes) == (4, bytes_of(*NAMES[1:]))
        assert everything(one) == list(NAMES[1:])

    def test_the_same_batch_is_sent_again(self, buffer: Make) -> None:
        one = buffer(b"a", b"b")
        batch = one.claim(10)
        one.put(b"c")
        one.release()
        assert one.claim(10) == batch
        one.ack(10)
        assert list(one.claim(10)) == [b"c"]

    def test_what_comes_when_it_has_ended_is_no_part_of_it(self, buffer: Make) -> None:
        one = buffer(b"a")
        one.claim(10)
        one.release()
        one.claim(10)
        one.ack(1)
        one.put(b"b")
        one.put(b"c")
        assert list(one.claim(10)) == [b"b", b"c"]

    def test_a_part_of_it_taken_and_put_back_stays_in_order(self, buffer: Make) -> None:
        one = buffer(*NAMES)
        one.claim(4)
        one.release()
        one.claim(2)
        one.release()
        assert everything(one) == list(NAMES)

    def test_without_room_the_oldest_go(self, buffer: Make) -> None:
        one = buffer(b"a", b"b", b"c", max_events=3)
        one.claim(2)
        one.put(b"d")
        assert list(one.release()) == [b"a"]
        assert everything(one) == [b"b", b"c", b"d"]

    def test_without_a_batch_nothing_changes(self, buffer: Make) -> None:
        one = buffer(*NAMES)
        assert list(one.release()) == []
        assert everything(one) == list(NAMES)


class TestPositions:
    def test_the_end_grows_with_every_event_and_never_shrinks(self, buffer: Make) -> None:
        one = buffer(*NAMES, max_events=5)
        ends = [one.tail()]
        for change in (lambda: one.claim(2), lambda: one.ack(2), one.drain, lambda: one.put(b"f")):
            change()
            ends.append(one.tail())
        assert ends == [5, 5, 5, 5, 6]

    def test_a_mark_is_passed_when_everything_before_it_has_ended(self, buffer: Make) -> None:
        one = buffer(b"a", b"b")
        mark = one.tail()
        one.put(b"c")
        seen = [one.settled(mark)]
        for change in (lambda: one.claim(2), lambda: one.ack(1), lambda: one.ack(1)):
            change()
            seen.append(one.settled(mark))
        assert seen == [False, False, False, True]

    def test_a_batch_that_was_put_back_has_not_ended(self, buffer: Make) -> None:
        one = buffer(b"a", b"b")
        one.claim(2)
        one.ack(1)
        one.release()
        assert [one.settled(position) for position in (0, 1, 2)] == [True, True, False]

    def test_a_part_of_a_batch_that_was_put_back_can_be_taken(self, buffer: Make) -> None:
        one = buffer(b"a", b"b", b"c")
        one.claim(3)
        one.release()
        one.claim(1)
        one.ack(1)
        assert [one.settled(position) for position in (1, 2)] == [True, False]
        assert list(one.claim(10)) == [b"b", b"c"]

    def test_dropped_events_have_ended(self, buffer: Make) -> None:
        one = buffer(b"a", b"b", max_events=2)
        one.put(b"c")
        assert [one.settled(position) for position in (1, 2, 3)] == [True, False, False]

    def test_what_is_dropped_behind_a_taken_batch_does_not_pass_it(self, buffer: Make) -> None:
        one = buffer(max_events=1)
        one.put(b"a")
        one.claim(1)
        one.put(b"b")
        one.put(b"c")
        assert not one.settled(1)

    def test_after_clear_every_mark_of_what_was_in_memory_is_passed(self) -> None:
        one = in_memory(*NAMES)
        one.claim(2)
        one.drain()
        assert one.settled(one.tail())

    def test_an_empty_buffer_has_passed_its_end(self, buffer: Make) -> None:
        one = buffer()
        assert one.settled(one.tail())


def interrupted(call: Callable[[], object], at: int, handler: Callable[[], object]) -> bool:
    """Run `call` with `handler` before the line that is its `at`th; False if it has fewer."""
    package = str(Path(_buffer.__file__).parent)
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
    """A full buffer, with what came into it, what went out of it and what is taken."""

    def __init__(self, room: int = 1) -> None:
        self.one = MemoryQueue(len(NAMES) * room, bytes_of(*NAMES) * room)
        self.came: list[bytes] = []
        self.gone: list[bytes] = []
        self.taken: list[bytes] = []
        self.answers: list[bool] = []
        for _ in NAMES:
            self.put()

    def put(self) -> None:
        data = b"%d" % len(self.came)
        self.came.append(data)
        self.gone += self.one.put(data)

    def claim(self) -> None:
        self.taken += self.one.claim(3)

    def ack(self) -> None:
        ended = self.one.ack(2)
        self.gone += self.taken[:ended]
        del self.taken[:ended]

    def release(self) -> None:
        self.gone += self.one.release()
        self.taken.clear()

    def ask(self) -> None:
        self.answers.append(self.one.settled(3))

    def drain(self) -> None:
        self.gone += self.one.drain()
        self.taken.clear()


class TestInterruption:
    """A signal handler that tracks runs in the thread whose call it interrupts."""

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
            held = scene.one.held_bytes
            left = everything(scene.one)
            assert sorted(scene.gone + left) == sorted(scene.came), f"events, line {at}"
            assert held == bytes_of(*left[len(scene.taken) :]), f"bytes, line {at}"
        assert at > 3

    @pytest.mark.parametrize("act", ["claim", "ack", "release"])
    def test_a_mark_asked_for_before_any_line_of_a_call_is_not_passed_too_early(
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


def test_a_part_of_a_line_is_read_though_somebody_adds_to_it_meanwhile() -> None:
    class Busy(deque[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("deque mutated during iteration")

    line = Busy([b"1", b"2", b"3"])
    assert _first(line, 2) == [b"1", b"2"]
    assert _first(line, 9, 1) == [b"2", b"3"]
