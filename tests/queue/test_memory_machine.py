"""Step 3, whatever happens in whatever order: the buffer does what a plain list would do."""

from __future__ import annotations

import itertools
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.queue.places import Heard
from whisperr._contract import MAX_BATCH_BYTES
from whisperr._events.layout import EVENT_HEAD, IDENTIFY_HEAD, is_identify
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, MemoryQueue
from whisperr.buffers import SQLiteBuffer, parse_buffer_url

if TYPE_CHECKING:
    from tests.redis_server import RedisServer
    from whisperr.buffers import Place
    from whisperr.protocols import Buffer

LARGE = MAX_BATCH_BYTES // 3


class BufferMachine(RuleBasedStateMachine):
    """Compares with a list of what waits, a list of what is taken, and positions by number."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.waiting: list[bytes] = []
        self.returned = 0  # how many at the front of `waiting` were put back as one batch
        self.taken: list[bytes] = []
        self.positions: dict[bytes, int] = {}
        self.ended: set[bytes] = set()

    @initialize(
        max_events=st.integers(1, 8),
        max_bytes=st.sampled_from([200, 1_000, 20_000, 3 * MAX_BATCH_BYTES]),
        batch=st.integers(1, 5),
    )
    def start(self, max_events: int, max_bytes: int, batch: int) -> None:
        self.max_events, self.max_bytes, self.batch = max_events, max_bytes, batch
        self.buffer = self.new()

    def new(self) -> Buffer:
        return MemoryQueue(self.max_events, self.max_bytes)

    @rule(
        head=st.sampled_from([EVENT_HEAD, EVENT_HEAD, IDENTIFY_HEAD]),
        size=st.one_of(st.integers(0, 200), st.integers(3_900, 4_200), st.just(LARGE)),
    )
    def put(self, head: bytes, size: int) -> None:
        data = head + b"%d." % next(self.numbers) + b"x" * size
        gone = list(self.buffer.put(data))
        if len(data) + EVENT_OVERHEAD_BYTES > self.max_bytes:
            assert gone == [data]
            return
        self.positions[data] = len(self.positions)
        self.waiting.append(data)
        assert gone == self.overflow()

    @precondition(lambda self: not self.taken)
    @rule()
    def claim(self) -> None:
        line = self.waiting[: self.returned] if self.returned else self.waiting
        wanted = self.next_batch(line)
        assert list(self.buffer.claim(self.batch)) == wanted
        self.taken = wanted
        self.waiting = self.waiting[len(wanted) :]
        self.returned = max(self.returned - len(wanted), 0)

    @rule(count=st.integers(0, 6))
    def ack(self, count: int) -> None:
        owned = min(count, len(self.taken))
        assert self.buffer.ack(count) == owned
        self.ended.update(self.taken[:owned])
        self.taken = self.taken[owned:]

    @precondition(lambda self: self.taken)
    @rule()
    def release(self) -> None:
        gone = list(self.buffer.release())
        self.waiting = self.taken + self.waiting
        self.returned, self.taken = len(self.taken), []
        assert gone == self.overflow()

    @rule()
    def clear(self) -> None:
        self.clear_now()

    def clear_now(self) -> None:
        assert list(self.buffer.drain()) == self.taken + self.waiting
        self.ended.update(self.taken, self.waiting)
        self.taken, self.waiting, self.returned = [], [], 0

    @invariant()
    def it_says_how_much_waits(self) -> None:
        if self.positions:
            assert len(self.buffer) == len(self.waiting)
            assert self.buffer.held_bytes == self.size(self.waiting)

    @invariant()
    def its_bounds_hold(self) -> None:
        if self.positions:
            assert len(self.buffer) <= self.max_events
            assert self.buffer.held_bytes <= self.max_bytes

    @invariant()
    def a_mark_is_passed_when_all_before_it_has_ended(self) -> None:
        if not self.positions:
            return
        assert self.buffer.tail() == len(self.positions)
        alive = [at for data, at in self.positions.items() if data not in self.ended]
        first = min(alive, default=len(self.positions))
        for mark in range(len(self.positions) + 1):
            assert self.buffer.settled(mark) == (mark <= first)

    def overflow(self) -> list[bytes]:
        gone = []
        while len(self.waiting) > self.max_events or self.size(self.waiting) > self.max_bytes:
            gone.append(self.waiting.pop(0))
            self.returned = max(self.returned - 1, 0)
        self.ended.update(gone)
        return gone

    def next_batch(self, line: list[bytes]) -> list[bytes]:
        batch: list[bytes] = []
        for data in line[: self.batch]:
            alone = is_identify(data) or any(map(is_identify, batch))
            full = sum(map(len, [*batch, data])) > MAX_BATCH_BYTES - 100
            if batch and (alone or full):
                break
            batch.append(data)
        return batch

    @staticmethod
    def size(events: list[bytes]) -> int:
        return sum(map(len, events)) + EVENT_OVERHEAD_BYTES * len(events)


class DurableMachine(BufferMachine):
    """The same over a store: there, clearing gives nothing up but the lease."""

    buffer: LeasedQueue

    def new(self) -> Buffer:
        self.heard = Heard()
        one = self.place().open(self.max_events, self.max_bytes)
        assert isinstance(one, LeasedQueue)
        one.attach(self.heard)
        return one

    def place(self) -> Place:
        raise NotImplementedError

    def clear_now(self) -> None:
        assert list(self.buffer.drain()) == []
        if self.taken:
            self.waiting = self.taken + self.waiting
            self.returned, self.taken = len(self.taken), []
        gone = self.overflow()
        assert self.heard.losses == ([("queue_full", gone)] if gone else [])
        self.heard.losses.clear()
        self.buffer._closed = False  # a closed one says of nothing that it has ended: go on

    def teardown(self) -> None:
        if hasattr(self, "heard"):
            self.buffer.drain()


class SQLiteMachine(DurableMachine):
    def place(self) -> Place:
        self.home = TemporaryDirectory()
        return SQLiteBuffer(f"{self.home.name}/events.db")

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "home"):
            self.home.cleanup()


class RedisMachine(DurableMachine):
    redis: RedisServer
    numbers_of_places = itertools.count()

    def place(self) -> Place:
        return parse_buffer_url(
            self.redis.url(f"machine-{next(self.numbers_of_places)}", timeout=5)
        )


TestBufferMachine = BufferMachine.TestCase
TestBufferMachine.settings = settings(
    deadline=None, max_examples=200, stateful_step_count=30, derandomize=True, database=None
)
TestSQLiteMachine = SQLiteMachine.TestCase
TestSQLiteMachine.settings = settings(
    deadline=None, max_examples=40, stateful_step_count=30, derandomize=True, database=None
)


def test_redis_does_the_same(redis_server: RedisServer) -> None:
    class Here(RedisMachine):
        redis = redis_server

    run_state_machine_as_test(Here, settings=TestSQLiteMachine.settings)
