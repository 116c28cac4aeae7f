"""Buffers of every kind for the tests that hold for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr._queue.durable import LeasedQueue
from whisperr._queue.memory import MemoryQueue
from whisperr._queue.redis import RedisStore
from whisperr._queue.sqlite import SQLiteStore
from whisperr.buffers import SQLiteBuffer, parse_buffer_url
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.redis_server import RedisServer
    from whisperr.errors import Reason
    from whisperr.protocols import Buffer

KINDS = ("memory", "sqlite", "redis")
ROOM = 1_000_000


class Make:
    """Make buffers of one kind, each in a place of its own, and close them all."""

    def __init__(self, kind: str, directory: Path, redis: RedisServer | None = None) -> None:
        self.kind = kind
        self._redis = redis
        self._directory = directory
        self._made: list[Buffer] = []

    def __call__(
        self, *events: bytes, max_events: int = 100, max_bytes: int = ROOM, at: str | None = None
    ) -> Buffer:
        """Make one that holds these events; `at` names a place to share."""
        one = self._new(at or f"place {len(self._made)}", max_events, max_bytes)
        self._made.append(one)
        for data in events:
            assert list(one.put(data)) == []
        return one

    def _new(self, name: str, max_events: int, max_bytes: int) -> Buffer:
        if self.kind == "memory":
            return MemoryQueue(max_events, max_bytes)
        if self.kind == "redis":
            assert self._redis is not None
            stream = f"{self._directory.name} {name}".replace(" ", "-")
            return parse_buffer_url(self._redis.url(stream, timeout=5)).open(max_events, max_bytes)
        place = SQLiteBuffer(self._directory / f"{name}.db")
        return place.open(max_events, max_bytes)

    def end(self) -> None:
        for one in self._made:
            one.drain()


class Outbox(MemoryQueue):
    """A buffer that others deliver, which can be out of reach."""

    delivered_by = "`a relay`"
    broken = False

    def put(self, data: bytes) -> Sequence[bytes]:
        if self.broken:
            raise StoreError("it is away")
        return super().put(data)

    def __len__(self) -> int:
        return 0

    def settled(self, position: int) -> bool:
        return True

    def drain(self) -> Sequence[bytes]:
        return ()


class Heard:
    """What a durable buffer tells its pipeline."""

    def __init__(self) -> None:
        self.endings: dict[str, int] = {}
        self.losses: list[tuple[str, list[bytes]]] = []
        self.problems: list[str] = []

    def ended_elsewhere(self, outcome: str, count: int) -> None:
        self.endings[outcome] = self.endings.get(outcome, 0) + count

    def lost(self, events: Sequence[bytes], reason: Reason, message: str) -> None:
        self.losses.append((reason, list(events)))

    def not_durable(self, message: str, count: int) -> None:
        self.problems.append(message)


def stored_in(one: LeasedQueue) -> list[bytes]:
    """Look into the place behind a durable buffer: everything, in order, also what is taken."""
    store = one._store
    if isinstance(store, RedisStore):
        keys = [stream.keys[0] for stream in store._streams]
        entries = [e for key in keys for e in store._link.call("XRANGE", key, "-", "+")]
        return [fields[b"d"] for _, fields in entries]
    assert isinstance(store, SQLiteStore)
    rows = store._read(lambda db: db.execute("SELECT data FROM event ORDER BY position").fetchall())
    return [data for (data,) in rows]


def everything(one: Buffer) -> list[bytes]:
    """Take everything out, also what is taken, oldest first."""
    if not isinstance(one, LeasedQueue):
        return list(one.drain())
    rest = stored_in(one)
    one.release()
    while batch := one.claim(1_000):
        one.ack(len(batch))
    return rest
