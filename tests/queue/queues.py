"""Queues of every kind, for tests that hold for all of them, with their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.redis_server import connect
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.memory import MemoryQueue
from whisperr._queue.redis.connection import RedisConnection
from whisperr._queue.redis.store import RedisStore
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.buffers import SQLiteBuffer, parse_buffer_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.redis_server import RedisServer
    from whisperr.errors import Reason
    from whisperr.protocols import Accounting, BufferConfig, Queue

KINDS = ("memory", "sqlite", "redis")
ROOM = 1_000_000


class RecordingAccounting:
    """Records what a queue reports to the pipeline."""

    def __init__(self) -> None:
        self.settled: dict[str, int] = {}
        self.losses: list[tuple[str, list[bytes]]] = []
        self.kept: list[str | None] = []
        self.hosts: list[str | None] = []
        self.reports: list[str] = []
        self.problem: str | None = None
        self.lost_own = 0
        self.lost_others = 0
        self.loss_messages: list[str] = []

    def lost(
        self,
        events: Sequence[bytes],
        reason: Reason,
        message: str,
        status: int | None = None,
        *,
        kept: str | None = None,
        host: str | None = None,
    ) -> None:
        self.losses.append((reason, list(events)))
        self.kept.append(kept)
        self.hosts.append(host)

    def settled_elsewhere(self, outcome: str, count: int) -> None:
        self.settled[outcome] = self.settled.get(outcome, 0) + count

    def lost_in_store(self, own: int, message: str, others: int = 0) -> None:
        self.lost_own += own
        self.lost_others += others
        self.loss_messages.append(message)

    def not_durable(self, message: str, count: int) -> None:
        self.reports.append(message)

    def store_problem(self, problem: str | None) -> None:
        self.problem = problem


def get_accounting(queue: LeasedQueue) -> RecordingAccounting:
    accounting = queue._accounting
    assert isinstance(accounting, RecordingAccounting)
    return accounting


def open_directly(
    config: BufferConfig, max_events: int, max_bytes: int, accounting: Accounting
) -> LeasedQueue:
    """Open a queue without a log and without a storer: `put` returns when an event is stored."""
    if isinstance(config, SQLiteBuffer):
        store = SQLiteStore(config.path, config.synchronous, config.lease, max_events, max_bytes)
        return LeasedQueue(store, max_events, max_bytes, accounting)
    queue = config.open(max_events, max_bytes, accounting)
    assert isinstance(queue, LeasedQueue)
    queue._storer = None
    return queue


class QueueMaker:
    """Makes queues of one kind, each with its own store, and closes them all."""

    def __init__(
        self, kind: str, directory: Path, redis: RedisServer | None = None, *, log: bool = True
    ) -> None:
        """Without `log`, an event is in the file when `put` returns."""
        self.kind = kind
        self._log = log
        self._redis = redis
        self._directory = directory
        self._made: list[Queue] = []

    def __call__(self, *events: bytes, max_events: int = 100, max_bytes: int = ROOM) -> Queue:
        """Make one that holds these events."""
        queue = self._make(f"store {len(self._made)}", max_events, max_bytes)
        self._made.append(queue)
        for data in events:
            assert list(queue.put(data)) == []
        return queue

    def _make(self, name: str, max_events: int, max_bytes: int) -> Queue:
        accounting: Accounting = RecordingAccounting()
        if self.kind == "memory":
            return MemoryQueue(max_events, max_bytes)
        if self.kind == "sqlite":
            file = SQLiteBuffer(self._directory / f"{name}.db")
            if self._log:
                return file.open(max_events, max_bytes, accounting)
            return open_directly(file, max_events, max_bytes, accounting)
        assert self._redis is not None
        stream = f"{self._directory.name} {name}".replace(" ", "-")
        config = parse_buffer_url(self._redis.url(stream, timeout=5))
        return open_directly(config, max_events, max_bytes, accounting)

    def close_all(self) -> None:
        for queue in self._made:
            queue.drain()


def get_stored(queue: LeasedQueue) -> list[bytes]:
    """Return all events in the store of a queue, in order, including claimed ones."""
    if queue._transit.log is not None:
        queue.store_pending()
    store = queue._store
    if isinstance(store, RedisStore):
        assert isinstance(store._connection, RedisConnection)
        client = connect(store._connection._server.port)
        entries = [e for stream in store._streams for e in client.xrange(stream.keys[0])]
        return [data for _, fields in entries for data in fields.values()]
    assert isinstance(store, SQLiteStore)
    query = "SELECT data FROM event ORDER BY position"
    rows = store._session.read(lambda db, _: db.execute(query).fetchall())
    return [data for (data,) in rows]


def store(queue: Queue, data: bytes) -> None:
    """Put an event and wait until it is in the store, if the queue has one."""
    queue.put(data)
    if isinstance(queue, LeasedQueue):
        queue.store_pending()


def take_all(queue: Queue) -> list[bytes]:
    """Remove all events, including claimed ones, and return them, oldest first."""
    if not isinstance(queue, LeasedQueue):
        return list(queue.drain())
    events = get_stored(queue)
    queue.release()
    while batch := queue.claim(1_000):
        queue.ack(len(batch))
    return events
