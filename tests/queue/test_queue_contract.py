"""The contract of queues: in memory, in a SQLite file, in Redis."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.queue.queues import KINDS, QueueMaker, store, take_all
from whisperr._contract import MAX_BATCH_BYTES
from whisperr._events.layout import IDENTIFY_HEAD
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, get_size
from whisperr.protocols import Queue, SharedQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = (b"a", b"b", b"c", b"d", b"e")
IDENTIFY = IDENTIFY_HEAD + b'"u"}'


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueMaker]:
    redis = request.getfixturevalue("redis_server") if request.param == "redis" else None
    made = QueueMaker(request.param, tmp_path, redis)
    yield made
    made.close_all()


class TestPut:
    def test_it_is_a_queue_as_the_protocol_says(self, make: QueueMaker) -> None:
        queue = make()
        assert isinstance(queue, Queue)
        assert isinstance(queue, SharedQueue) == (make.kind != "memory")

    def test_the_order_is_kept(self, make: QueueMaker) -> None:
        assert take_all(make(*NAMES)) == list(NAMES)

    def test_it_counts_events_and_their_memory(self, make: QueueMaker) -> None:
        queue = make(b"12345", b"1")
        assert (len(queue), queue.held_bytes) == (2, 6 + 2 * EVENT_OVERHEAD_BYTES)

    @pytest.mark.skipif(
        sys.implementation.name != "cpython", reason="sys.getsizeof: only CPython answers it"
    )
    def test_the_memory_of_an_event_is_what_the_interpreter_says(self, make: QueueMaker) -> None:
        queue = make(b"x" * 200)
        slot = 8
        assert queue.held_bytes == sys.getsizeof(b"x" * 200) + slot

    def test_one_too_many_drops_the_oldest(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b", b"c", max_events=3)
        assert list(queue.put(b"d")) == [b"a"]
        assert take_all(queue) == [b"b", b"c", b"d"]

    def test_too_many_bytes_drop_as_many_of_the_oldest_as_it_takes(self, make: QueueMaker) -> None:
        queue = make(*NAMES, max_bytes=get_size(NAMES))
        assert list(queue.put(b"xx")) == [b"a", b"b"]
        assert take_all(queue) == [b"c", b"d", b"e", b"xx"]

    def test_an_event_larger_than_the_whole_queue_is_refused_alone(self, make: QueueMaker) -> None:
        queue = make(b"a", max_bytes=100)
        large = b"x" * (100 - EVENT_OVERHEAD_BYTES + 1)
        assert list(queue.put(large)) == [large]
        assert take_all(queue) == [b"a"]

    def test_an_event_that_just_fits_fills_the_queue(self, make: QueueMaker) -> None:
        queue = make(b"a", max_bytes=100)
        largest = b"x" * (100 - EVENT_OVERHEAD_BYTES)
        assert list(queue.put(largest)) == [b"a"]
        assert (take_all(queue), queue.held_bytes) == ([largest], 0)

    def test_with_room_for_one_event_the_newest_is_kept(self, make: QueueMaker) -> None:
        queue = make(max_events=1)
        assert [list(queue.put(data)) for data in NAMES] == [[], [b"a"], [b"b"], [b"c"], [b"d"]]


class TestClaim:
    def test_the_oldest_events_come_first(self, make: QueueMaker) -> None:
        queue = make(*NAMES)
        assert list(queue.claim(2)) == [b"a", b"b"]
        assert (len(queue), queue.held_bytes) == (3, get_size(NAMES[2:]))

    def test_without_events_the_batch_is_empty(self, make: QueueMaker) -> None:
        assert list(make().claim(5)) == []

    def test_a_batch_is_a_run_of_events_or_one_identify(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b", IDENTIFY, IDENTIFY, b"c")
        batches = []
        while len(queue):
            batches.append(list(queue.claim(10)))
            queue.ack(10)
        assert batches == [[b"a", b"b"], [IDENTIFY], [IDENTIFY], [b"c"]]

    def test_a_batch_is_bounded_in_bytes(self, make: QueueMaker) -> None:
        queue = make(*[b"x" * (MAX_BATCH_BYTES // 3)] * 4, max_bytes=10 * MAX_BATCH_BYTES)
        assert len(queue.claim(10)) == 2

    def test_what_is_claimed_makes_room_and_is_not_dropped(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b", max_events=2)
        assert list(queue.claim(2)) == [b"a", b"b"]
        assert [list(queue.put(data)) for data in (b"c", b"d", b"e")] == [[], [], [b"c"]]
        assert take_all(queue) == [b"a", b"b", b"d", b"e"]

    def test_a_batch_that_was_returned_does_not_change(self, make: QueueMaker) -> None:
        queue = make(*NAMES)
        batch = queue.claim(3)
        queue.ack(1)
        queue.release()
        assert list(batch) == [b"a", b"b", b"c"]


class TestAck:
    @pytest.mark.parametrize(("count", "owned"), [(0, 0), (1, 1), (3, 3), (4, 3), (500, 3)])
    def test_it_forgets_as_many_as_are_owned(
        self, make: QueueMaker, count: int, owned: int
    ) -> None:
        queue = make(*NAMES)
        queue.claim(3)
        assert queue.ack(count) == owned
        assert take_all(queue) == list(NAMES[owned:])

    def test_without_a_batch_nothing_is_owned(self, make: QueueMaker) -> None:
        assert make(*NAMES).ack(2) == 0

    def test_after_a_drain_nothing_is_owned(self, make: QueueMaker) -> None:
        queue = make(*NAMES)
        queue.claim(3)
        queue.drain()
        assert queue.ack(3) == 0


class TestRelease:
    def test_the_rest_of_the_batch_is_the_front_again(self, make: QueueMaker) -> None:
        queue = make(*NAMES)
        queue.claim(3)
        queue.ack(1)
        assert list(queue.release()) == []
        assert (len(queue), queue.held_bytes) == (4, get_size(NAMES[1:]))
        assert take_all(queue) == list(NAMES[1:])

    def test_the_same_batch_is_sent_again(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b")
        batch = queue.claim(10)
        queue.put(b"c")
        queue.release()
        assert queue.claim(10) == batch
        queue.ack(10)
        assert list(queue.claim(10)) == [b"c"]

    def test_events_that_come_after_its_end_are_another_batch(self, make: QueueMaker) -> None:
        queue = make(b"a")
        queue.claim(10)
        queue.release()
        queue.claim(10)
        queue.ack(1)
        queue.put(b"b")
        queue.put(b"c")
        assert list(queue.claim(10)) == [b"b", b"c"]

    def test_a_part_of_it_that_is_claimed_and_released_stays_in_order(
        self, make: QueueMaker
    ) -> None:
        queue = make(*NAMES)
        queue.claim(4)
        queue.release()
        queue.claim(2)
        queue.release()
        assert take_all(queue) == list(NAMES)

    def test_without_room_the_oldest_events_are_dropped(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b", b"c", max_events=3)
        queue.claim(2)
        store(queue, b"d")
        assert list(queue.release()) == [b"a"]
        assert take_all(queue) == [b"b", b"c", b"d"]

    def test_without_a_batch_nothing_changes(self, make: QueueMaker) -> None:
        queue = make(*NAMES)
        assert list(queue.release()) == []
        assert take_all(queue) == list(NAMES)


class TestPositions:
    def test_the_tail_grows_with_every_event_and_never_shrinks(self, make: QueueMaker) -> None:
        queue = make(*NAMES, max_events=5)
        ends = [queue.tail()]
        for change in (
            lambda: queue.claim(2),
            lambda: queue.ack(2),
            queue.drain,
            lambda: queue.put(b"f"),
        ):
            change()
            ends.append(queue.tail())
        assert ends == [5, 5, 5, 5, 6]

    def test_a_position_is_settled_when_everything_before_it_has_ended(
        self, make: QueueMaker
    ) -> None:
        queue = make(b"a", b"b")
        position = queue.tail()
        queue.put(b"c")
        seen = [queue.settled(position)]
        for change in (lambda: queue.claim(2), lambda: queue.ack(1), lambda: queue.ack(1)):
            change()
            seen.append(queue.settled(position))
        assert seen == [False, False, False, True]

    def test_a_batch_that_was_released_has_not_ended(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b")
        queue.claim(2)
        queue.ack(1)
        queue.release()
        assert [queue.settled(position) for position in (0, 1, 2)] == [True, True, False]

    def test_a_part_of_a_batch_that_was_released_can_be_claimed(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b", b"c")
        queue.claim(3)
        queue.release()
        queue.claim(1)
        queue.ack(1)
        assert [queue.settled(position) for position in (1, 2)] == [True, False]
        assert list(queue.claim(10)) == [b"b", b"c"]

    def test_dropped_events_have_ended(self, make: QueueMaker) -> None:
        queue = make(b"a", b"b", max_events=2)
        queue.put(b"c")
        assert [queue.settled(position) for position in (1, 2, 3)] == [True, False, False]

    def test_what_is_dropped_behind_a_claimed_batch_does_not_settle_it(
        self, make: QueueMaker
    ) -> None:
        queue = make(max_events=1)
        queue.put(b"a")
        queue.claim(1)
        queue.put(b"b")
        queue.put(b"c")
        assert not queue.settled(1)

    def test_in_an_empty_queue_the_tail_is_settled(self, make: QueueMaker) -> None:
        queue = make()
        assert queue.settled(queue.tail())
