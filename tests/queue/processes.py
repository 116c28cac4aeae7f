"""Queues over one store, as in several processes, with clocks that the test advances."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from tests.queue.queues import ROOM, RecordingAccounting, get_stored
from whisperr._queue.durable import LeasedQueue
from whisperr._queue.redis.connection import RedisConnection
from whisperr._queue.redis.dead_letters import RedisDeadLetters
from whisperr._queue.redis.keys import get_key
from whisperr._queue.redis.store import RedisStore
from whisperr._queue.redis.url import parse_server
from whisperr._queue.sqlite.dead_letters import SQLiteDeadLetters
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr._secret import Secret
from whisperr.buffers import RedisBuffer, parse_buffer_url
from whisperr.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer
    from whisperr._queue.dead_letters import DeadLetters

LEASE = 15.0


class Processes(ABC):
    """The processes of one store."""

    def __init__(self) -> None:
        self.steady = 0.0  # their monotonic clock
        self.made: list[LeasedQueue] = []
        self.dead_letters = False  # whether those that start from now on keep them

    def start(self, max_events: int = 100, max_bytes: int = ROOM) -> LeasedQueue:
        """Return the queue of a new process."""
        self.made.append(self.make(max_events, max_bytes, RecordingAccounting()))
        return self.made[-1]

    def close_all(self) -> None:
        for queue in self.made:
            queue.drain()

    def pass_retry(self) -> None:
        """Advance the clocks until a store that failed is used again."""
        self.steady += 10

    @abstractmethod
    def make(self, max_events: int, max_bytes: int, accounting: RecordingAccounting) -> LeasedQueue:
        """Open the queue of a process."""

    @abstractmethod
    def get_stored(self) -> list[bytes]:
        """Return all events in the store, in order, including claimed ones."""

    @abstractmethod
    def get_lease_left(self) -> float:
        """Return how many seconds the lease in the store still lasts."""

    @abstractmethod
    def end_lease(self) -> None:
        """Make the lease in the store run out."""

    def open_dead_letters(self) -> DeadLetters:
        """Return the dead letters as the command line opens them; outboxes have another command."""
        raise NotImplementedError

    @abstractmethod
    def fail(self) -> None:
        """Make the store unusable."""

    @abstractmethod
    def mend(self) -> None:
        """Make the store usable again."""


class SQLiteProcesses(Processes):
    """Processes that share a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.now = FakeClock().wall()
        self._locker: sqlite3.Connection | None = None

    def make(self, max_events: int, max_bytes: int, accounting: RecordingAccounting) -> LeasedQueue:
        store = SQLiteStore(
            str(self.path),
            "NORMAL",
            LEASE,
            max_events,
            max_bytes,
            lambda: self.now,
            lambda: self.steady,
            dead_letters=self.dead_letters,
        )
        return LeasedQueue(store, max_events, max_bytes, accounting, clock=lambda: self.steady)

    def get_stored(self) -> list[bytes]:
        return get_stored(self.made[0])

    def open_dead_letters(self) -> SQLiteDeadLetters:
        return SQLiteDeadLetters(str(self.path))

    def pass_time(self, seconds: float) -> None:
        """Advance both clocks."""
        self.now += seconds
        self.steady += seconds

    def get_lease_left(self) -> float:
        ((until,),) = self.query("SELECT until FROM state")
        return float(str(until)) - self.now

    def end_lease(self) -> None:
        self.now += self.get_lease_left()

    def fail(self) -> None:
        self._locker = sqlite3.connect(self.path, isolation_level=None)
        self._locker.execute("BEGIN IMMEDIATE")

    def mend(self) -> None:
        assert self._locker is not None
        self._locker.close()

    def query(self, text: str) -> list[tuple[object, ...]]:
        """Run a statement in another connection."""
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            return db.execute(text).fetchall()
        finally:
            db.close()


class RedisProcesses(Processes):
    """Processes that share streams."""

    def __init__(self, redis: RedisServer, stream: str, **options: object) -> None:
        super().__init__()
        self.redis = redis
        self.stream = stream
        self.client = redis.connect()  # of an administrator
        self._options = options

    def make(self, max_events: int, max_bytes: int, accounting: RecordingAccounting) -> LeasedQueue:
        queue = parse_buffer_url(self._get_url()).open(max_events, max_bytes, accounting)
        assert isinstance(queue, LeasedQueue)
        queue._clock = lambda: self.steady
        queue._storer = None  # so that an event is in the store when `put` returns
        return queue

    def _get_url(self) -> str:
        options = {"timeout": 5, "dead_letters": self.dead_letters, **self._options}
        return self.redis.url(self.stream, **options)

    @property
    def store(self) -> RedisStore:
        """The store of the first process."""
        store = self.made[0]._store
        assert isinstance(store, RedisStore)
        return store

    def get_stored(self) -> list[bytes]:
        return get_stored(self.made[0])

    def open_dead_letters(self) -> RedisDeadLetters:
        config = parse_buffer_url(self._get_url())
        assert isinstance(config, RedisBuffer)
        server = parse_server(Secret(config.url))
        assert server is not None
        return RedisDeadLetters(RedisConnection(server, 5.0), config.streams)

    def get_lease_left(self) -> float:
        return int(self.client.pttl(get_key(self.stream, "lease"))) / 1_000

    def end_lease(self) -> None:
        assert self.client.delete(get_key(self.stream, "lease")) == 1

    def fail(self) -> None:
        self.redis.stop()

    def mend(self) -> None:
        self.redis.start()
