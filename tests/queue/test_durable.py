"""Step 3, durable: what happens to events while the store fails, and when it works again."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, identify
from tests.queue.places import Heard, Make, everything, stored_in
from tests.queue.test_memory import interrupted
from whisperr._queue.durable import PATIENCE, POLL_INTERVAL, RETRY, LeasedQueue
from whisperr.errors import NotNow, StoreError
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from whisperr.errors import Reason

EVENTS = [event(number) for number in range(8)]
BUSY = NotNow(0.25)


class Shelf:
    """A store in a list, for one process, that fails when told to."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes]] = []
        self.taken = 0
        self.problem: str | None = None
        self.refusal: NotNow | None = None
        self.endings: dict[str, int] = {}
        self.owned = True
        self.calls: list[str] = []
        self.held = threading.Event()
        self.held.set()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        assert self.held.wait(10)
        if self.problem is not None:
            raise StoreError(self.problem)

    @property
    def waiting(self) -> int:
        return len(self.rows) - self.taken

    @property
    def waiting_bytes(self) -> int:
        return sum(len(data) for _, data in self.rows[self.taken :])

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        self._called("append")
        self.rows += [(number + at, data) for at, data in enumerate(events)]
        return ()

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        self._called("claim")
        if self.refusal is not None:
            raise self.refusal
        self.taken = min(max_events, len(self.rows))
        return [data for _, data in self.rows[: self.taken]], ()

    def extend(self, seconds: float) -> bool:
        self._called("extend")
        return self.owned

    def ack(self, count: int, lost: int, reason: Reason | None) -> int:
        self._called("ack")
        if not self.owned:
            return 0
        count = min(count, self.taken)
        del self.rows[:count]
        self.taken -= count
        return count

    def release(self) -> Sequence[bytes]:
        self._called("release")
        self.taken = 0
        return ()

    def forget(self) -> None:
        self.taken = 0

    def settled(self, number: int) -> bool:
        self._called("settled")
        return all(at >= number for at, _ in self.rows)

    def poll(self) -> Mapping[str, int]:
        self._called("poll")
        endings, self.endings = self.endings, {}
        return endings

    def close(self) -> None:
        self.calls.append("close")

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.rows]


class Scene:
    """A durable buffer over a shelf, and what it says."""

    def __init__(self, max_events: int = 100) -> None:
        self.clock = FakeClock()
        self.shelf = Shelf()
        self.heard = Heard()
        self.one = LeasedQueue(self.shelf, max_events, 1_000_000, self.clock)
        self.one.attach(self.heard)

    def put(self, *numbers: int) -> list[bytes]:
        return [gone for number in numbers for gone in self.one.put(EVENTS[number])]

    def fail(self, problem: str | None = "disk full") -> None:
        self.shelf.problem = problem

    def mend(self) -> None:
        self.shelf.problem = None
        self.clock.now += RETRY


class TestStoring:
    def test_an_event_is_in_the_store_when_put_returns(self) -> None:
        scene = Scene()
        scene.put(0)
        assert scene.shelf.data == EVENTS[:1]
        scene.put(1, 2)
        assert scene.shelf.data == EVENTS[:3]
        assert (len(scene.one), scene.one.stored) == (3, 3)

    def test_construction_looks_once_and_leaves_nothing_open(self) -> None:
        assert Scene().shelf.calls == ["poll", "close"]

    def test_endings_of_other_processes_are_told_when_looking(self) -> None:
        scene = Scene()
        scene.shelf.endings = {"delivered": 3, "rejected": 1}
        assert scene.one.poll() == POLL_INTERVAL
        assert scene.heard.endings == {"delivered": 3, "rejected": 1}
        scene.one.poll()
        assert scene.heard.endings == {"delivered": 3, "rejected": 1}

    def test_while_another_process_delivers_take_says_when_to_ask_again(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.shelf.refusal = BUSY
        with pytest.raises(NotNow) as caught:
            scene.one.claim(10)
        assert (caught.value.seconds, caught.value.problem) == (0.25, None)

    def test_what_is_taken_from_memory_after_a_batch_of_the_store_ends_once(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.one.claim(10)
        assert scene.one.ack(1) == 1
        assert scene.one.settled(1)
        scene.fail()
        scene.put(1)
        assert list(scene.one.claim(10)) == EVENTS[1:2]
        assert scene.one.extend(5)
        assert scene.one.ack(1) == 1
        scene.mend()
        assert list(scene.one.claim(10)) == []

    def test_a_lost_lease_is_no_longer_held_and_ends_nothing(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.one.claim(10)
        assert scene.one.extend(5)
        scene.shelf.owned = False
        assert not scene.one.extend(5)
        assert scene.one.ack(2) == 0
        assert scene.shelf.data == EVENTS[:2]


class TestFailing:
    def test_events_go_to_memory_and_into_the_store_when_it_works_again(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail()
        assert scene.put(1, 2) == []
        assert scene.shelf.data == EVENTS[:1]
        assert len(scene.one) == 3
        scene.mend()
        scene.put(3)
        assert scene.shelf.data == EVENTS[:4]
        assert scene.one.problem is None

    def test_a_failing_store_is_left_alone_for_a_while(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0)
        calls = len(scene.shelf.calls)
        scene.put(1, 2)
        assert not scene.one.settled(3)
        assert len(scene.shelf.calls) == calls
        scene.clock.now += RETRY
        scene.put(3)
        assert len(scene.shelf.calls) == calls + 1

    def test_it_is_told_once_a_minute(self) -> None:
        scene = Scene(max_events=1_000)
        scene.fail()
        told = []
        for _ in range(130):
            scene.put(0)
            told.append(len(scene.heard.problems))
            scene.clock.now += 1.0
        assert told == [1] * 60 + [2] * 60 + [3] * 10
        assert scene.heard.problems[0] == "disk full; events are kept in memory"

    def test_a_problem_at_construction_is_told_when_somebody_listens(self) -> None:
        shelf, heard = Shelf(), Heard()
        shelf.problem = "no such directory"
        one = LeasedQueue(shelf, 10, 1_000)
        one.attach(heard)
        assert heard.problems == ["no such directory; events are kept in memory"]

    def test_what_is_in_memory_is_delivered_from_there(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1, 2)
        sent: list[bytes] = []
        while batch := scene.one.claim(2):
            assert scene.one.extend(5)
            assert not scene.one.settled(len(sent) + 1)
            sent += batch
            assert scene.one.ack(len(batch)) == len(batch)
            assert scene.one.settled(len(sent))
        assert sent == EVENTS[:3]
        assert (len(scene.one), scene.one.held_bytes) == (0, 0)

    def test_a_batch_from_memory_that_was_put_back_is_the_same_batch_again(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1, 2)
        scene.one.ack(len(scene.one.claim(1)))
        assert list(scene.one.claim(1)) == EVENTS[1:2]
        scene.one.release()
        assert len(scene.one) == 2
        assert list(scene.one.claim(10)) == EVENTS[1:2]

    def test_a_batch_from_memory_that_was_put_back_is_stored_before_the_line(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1, 2)
        scene.one.ack(len(scene.one.claim(1)))
        scene.one.claim(1)
        scene.one.release()
        scene.mend()
        scene.put(3)
        assert scene.shelf.rows == list(zip([1, 2, 3], EVENTS[1:4], strict=True))

    def test_a_batch_from_memory_on_its_way_is_not_stored_meanwhile(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0, 1)
        scene.one.claim(1)
        scene.mend()
        scene.put(2)
        assert scene.shelf.data == EVENTS[1:3]
        assert not scene.one.settled(1)
        assert scene.one.ack(1) == 1
        assert scene.one.settled(1)

    def test_memory_overtakes_stored_events_only_when_the_store_fails_again(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail("locked")
        scene.put(1)
        with pytest.raises(NotNow) as caught:
            scene.one.claim(10)
        assert (caught.value.seconds, caught.value.problem) == (RETRY, None)
        scene.clock.now += RETRY
        assert list(scene.one.claim(10)) == EVENTS[1:2]

    def test_a_store_that_was_only_busy_keeps_the_order(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail("locked")
        scene.put(1)
        with pytest.raises(NotNow):
            scene.one.claim(10)
        scene.mend()
        assert list(scene.one.claim(10)) == EVENTS[:2]

    def test_with_only_stored_events_there_is_nothing_to_take_and_a_problem(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.fail()
        with pytest.raises(NotNow) as caught:
            scene.one.claim(10)
        assert caught.value.problem == "disk full"
        assert 0 < caught.value.seconds <= RETRY
        assert not scene.one.settled(1)

    def test_what_cannot_be_marked_as_done_counts_as_not_done(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.one.claim(10)
        scene.fail()
        assert scene.one.ack(1) == 0
        scene.mend()
        assert list(scene.one.claim(10)) == EVENTS[:1]

    def test_memory_is_bounded_and_the_oldest_go(self) -> None:
        scene = Scene(max_events=3)
        scene.fail()
        assert scene.put(0, 1, 2) == []
        assert scene.put(3, 4) == EVENTS[:2]

    def test_an_error_of_ours_leaves_the_event_in_memory(self) -> None:
        class Broken(Shelf):
            def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
                raise KeyboardInterrupt

        one = LeasedQueue(Broken(), 10, 10_000)
        with pytest.raises(KeyboardInterrupt):
            one.put(EVENTS[0])
        assert len(one) == 1
        assert not one.settled(1)


class TestClear:
    def test_it_gives_up_only_what_is_in_memory(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.one.claim(1)
        scene.fail()
        scene.put(2, 3)
        assert list(scene.one.drain()) == EVENTS[2:4]
        assert scene.shelf.data == EVENTS[:2]
        assert not scene.one.settled(4)

    def test_what_is_on_its_way_goes_back_to_others(self) -> None:
        scene = Scene()
        scene.put(0, 1)
        scene.one.claim(2)
        assert list(scene.one.drain()) == []
        assert scene.shelf.calls[-2:] == ["settled", "close"]
        assert "release" in scene.shelf.calls
        assert scene.one.ack(2) == 0

    def test_it_stores_what_it_can_before(self) -> None:
        scene = Scene()
        scene.fail()
        scene.put(0)
        scene.mend()
        assert list(scene.one.drain()) == []
        assert scene.shelf.data == EVENTS[:1]

    def test_afterwards_nothing_opens_the_store_to_ask(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.one.drain()
        calls = len(scene.shelf.calls)
        assert not scene.one.settled(1)
        assert len(scene.shelf.calls) == calls

    def test_when_all_had_ended_that_is_still_known(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.one.claim(1)
        scene.one.ack(1)
        scene.one.drain()
        assert scene.one.settled(scene.one.tail())


class TestThreads:
    def test_a_lease_is_prolonged_however_long_another_thread_stores(self) -> None:
        scene = Scene()
        scene.put(0)
        scene.one.claim(1)
        scene.shelf.held.clear()
        other = threading.Thread(target=scene.put, args=(1,))
        other.start()
        while scene.shelf.calls[-1] != "append":
            threading.Event().wait(0.001)
        threading.Timer(2 * PATIENCE, scene.shelf.held.set).start()
        assert scene.one.extend(5)
        assert scene.shelf.calls[-1] == "extend"
        other.join(10)

    def test_a_store_that_another_thread_waits_for_holds_nobody_up_for_long(self) -> None:
        scene = Scene()
        scene.shelf.held.clear()
        other = threading.Thread(target=scene.put, args=(0,))
        other.start()
        while "append" not in scene.shelf.calls:
            threading.Event().wait(0.001)
        scene.put(1)
        assert scene.heard.problems == [
            f"the store was busy for longer than {PATIENCE:g} s; events are kept in memory"
        ]
        scene.shelf.held.set()
        other.join(10)
        assert scene.shelf.data == EVENTS[:2]

    def test_before_a_fork_the_store_is_closed_and_nobody_else_may_open_it(self) -> None:
        scene = Scene()
        assert scene.one.before_fork()
        assert scene.shelf.calls[-1] == "close"
        other = threading.Thread(target=scene.put, args=(0,))
        other.start()
        other.join(10)
        assert scene.shelf.data == []
        scene.one.after_fork()
        scene.put(1)
        assert scene.shelf.data == EVENTS[:2]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made = Make("sqlite", tmp_path)
    yield made
    made.end()


class TestInterruption:
    """A signal handler that tracks runs in the thread whose call it interrupts."""

    @pytest.mark.parametrize("act", ["put", "claim", "ack", "release", "poll", "settled"])
    def test_a_put_before_any_line_of_a_call_is_stored_when_that_returns(
        self, act: str, make: Make
    ) -> None:
        came: list[bytes] = []
        one = make()
        assert isinstance(one, LeasedQueue)

        def put() -> None:
            came.append(b"%d" % len(came))
            assert list(one.put(came[-1])) == []

        calls = {
            "put": put,
            "claim": lambda: one.claim(3),
            "ack": lambda: one.ack(1),
            "release": one.release,
            "poll": one.poll,
            "settled": lambda: one.settled(one.tail()),
        }
        for at in itertools.count(1):
            put()
            if act in {"ack", "release"}:
                one.claim(3)
            if not interrupted(calls[act], at, put):
                break
            one.release()
            one.claim(1)  # stores what an interrupted call left, if it was not a put
            one.release()
            if act == "put":
                assert len(one._line) == 0, f"line {at}"
            stored = stored_in(one)
            assert sorted(stored) == sorted(came[len(came) - len(stored) :]), f"line {at}"
            if len(came) > 60:
                everything(one)
                came.clear()
        assert at > 10


def test_identifies_keep_their_place_on_the_way_into_the_store() -> None:
    scene = Scene()
    scene.fail()
    line = [event(0), identify(1), identify(2), event(3)]
    for data in line:
        scene.one.put(data)
    scene.mend()
    scene.one.put(event(4))
    assert scene.shelf.rows == list(enumerate([*line, event(4)]))
