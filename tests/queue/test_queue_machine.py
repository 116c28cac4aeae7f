"""After any sequence of calls, a queue has the same contents as a plain list."""

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

from tests.queue.queues import RecordingAccounting, open_directly
from whisperr._contract import MAX_BATCH_BYTES
from whisperr._events.layout import EVENT_HEAD, IDENTIFY_HEAD, is_identify
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, MemoryQueue
from whisperr.buffers import SQLiteBuffer, parse_buffer_url

if TYPE_CHECKING:
    from tests.redis_server import RedisServer
    from whisperr._queue.durable import LeasedQueue
    from whisperr.protocols import BufferConfig, Queue

LARGE = MAX_BATCH_BYTES // 3


class QueueMachine(RuleBasedStateMachine):
    """Compares with a list of what waits, a list of what is claimed, and positions by number."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.waiting: list[bytes] = []
        self.returned = 0  # how many at the front of `waiting` were released as one batch
        self.claimed: list[bytes] = []
        self.positions: dict[bytes, int] = {}
        self.ended: set[bytes] = set()

    @initialize(
        max_events=st.integers(1, 8),
        max_bytes=st.sampled_from([200, 1_000, 20_000, 3 * MAX_BATCH_BYTES]),
        batch=st.integers(1, 5),
    )
    def start(self, max_events: int, max_bytes: int, batch: int) -> None:
        self.max_events, self.max_bytes, self.batch = max_events, max_bytes, batch
        self.queue = self.new()

    def new(self) -> Queue:
        return MemoryQueue(self.max_events, self.max_bytes)

    @rule(
        head=st.sampled_from([EVENT_HEAD, EVENT_HEAD, IDENTIFY_HEAD]),
        size=st.one_of(st.integers(0, 200), st.integers(3_900, 4_200), st.just(LARGE)),
    )
    def put(self, head: bytes, size: int) -> None:
        data = head + b"%d." % next(self.numbers) + b"x" * size
        dropped = list(self.queue.put(data))
        if len(data) + EVENT_OVERHEAD_BYTES > self.max_bytes:
            assert dropped == [data]
            return
        self.positions[data] = len(self.positions)
        self.waiting.append(data)
        assert dropped == self.overflow()

    @precondition(lambda self: not self.claimed)
    @rule()
    def claim(self) -> None:
        events = self.waiting[: self.returned] if self.returned else self.waiting
        wanted = self.next_batch(events)
        assert list(self.queue.claim(self.batch)) == wanted
        self.claimed = wanted
        self.waiting = self.waiting[len(wanted) :]
        self.returned = max(self.returned - len(wanted), 0)

    @rule(count=st.integers(0, 6))
    def ack(self, count: int) -> None:
        owned = min(count, len(self.claimed))
        assert self.queue.ack(count) == owned
        self.ended.update(self.claimed[:owned])
        self.claimed = self.claimed[owned:]

    @precondition(lambda self: self.claimed)
    @rule()
    def release(self) -> None:
        dropped = list(self.queue.release())
        self.waiting = self.claimed + self.waiting
        self.returned, self.claimed = len(self.claimed), []
        assert dropped == self.overflow()

    @rule()
    def drain(self) -> None:
        self.drain_now()

    def drain_now(self) -> None:
        assert list(self.queue.drain()) == self.claimed + self.waiting
        self.ended.update(self.claimed, self.waiting)
        self.claimed, self.waiting, self.returned = [], [], 0

    @invariant()
    def it_knows_how_much_waits(self) -> None:
        if self.positions:
            assert len(self.queue) == len(self.waiting)
            assert self.queue.held_bytes == self.size(self.waiting)

    @invariant()
    def its_bounds_hold(self) -> None:
        if self.positions:
            assert len(self.queue) <= self.max_events
            assert self.queue.held_bytes <= self.max_bytes

    @invariant()
    def a_position_is_settled_when_all_before_it_has_ended(self) -> None:
        if not self.positions:
            return
        assert self.queue.tail() == len(self.positions)
        alive = [at for data, at in self.positions.items() if data not in self.ended]
        first = min(alive, default=len(self.positions))
        for position in range(len(self.positions) + 1):
            assert self.queue.settled(position) == (position <= first)

    def overflow(self) -> list[bytes]:
        dropped = []
        while len(self.waiting) > self.max_events or self.size(self.waiting) > self.max_bytes:
            dropped.append(self.waiting.pop(0))
            self.returned = max(self.returned - 1, 0)
        self.ended.update(dropped)
        return dropped

    def next_batch(self, events: list[bytes]) -> list[bytes]:
        batch: list[bytes] = []
        for data in events[: self.batch]:
            alone = is_identify(data) or any(map(is_identify, batch))
            full = sum(map(len, [*batch, data])) > MAX_BATCH_BYTES - 100
            if batch and (alone or full):
                break
            batch.append(data)
        return batch

    @staticmethod
    def size(events: list[bytes]) -> int:
        return sum(map(len, events)) + EVENT_OVERHEAD_BYTES * len(events)


class LeasedQueueMachine(QueueMachine):
    """The same with a store, where draining gives up only the lease."""

    queue: LeasedQueue

    def new(self) -> Queue:
        self.accounting = RecordingAccounting()
        config = self.configure()
        return open_directly(config, self.max_events, self.max_bytes, self.accounting)

    def configure(self) -> BufferConfig:
        raise NotImplementedError

    def drain_now(self) -> None:
        assert list(self.queue.drain()) == []
        if self.claimed:
            self.waiting = self.claimed + self.waiting
            self.returned, self.claimed = len(self.claimed), []
        dropped = self.overflow()
        assert self.accounting.losses == ([("queue_full", dropped)] if dropped else [])
        self.accounting.losses.clear()
        self.queue._closed = False  # a closed queue does not ask its store any more: go on

    def teardown(self) -> None:
        if hasattr(self, "accounting"):
            self.queue.drain()


class SQLiteMachine(LeasedQueueMachine):
    def configure(self) -> BufferConfig:
        self.home = TemporaryDirectory()
        return SQLiteBuffer(f"{self.home.name}/events.db")

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "home"):
            self.home.cleanup()


class RedisMachine(LeasedQueueMachine):
    redis: RedisServer
    stream_numbers = itertools.count()

    def configure(self) -> BufferConfig:
        return parse_buffer_url(self.redis.url(f"machine-{next(self.stream_numbers)}", timeout=5))


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
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
