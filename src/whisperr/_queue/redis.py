"""Step 3, in Redis: the store that a fleet shares, as one stream or several.

The law: an entry is an event, in the order of its id. Which stream an event goes into is decided
by its user, so each user's order is kept. Who claimed a stream last delivers from it; everything
that changes a stream is one script (`_redis_scripts`). A process delivers from one stream at a
time, from all of them in turn.

Threads: one at a time; `LeasedQueue` sees to that. Every call has a time limit.
"""

from __future__ import annotations

import os
import time
from collections import deque
from zlib import crc32

from whisperr._events.batch import BatchBuilder
from whisperr._events.layout import get_oldest_time, get_user, is_expired
from whisperr.errors import NotNow

from . import redis_scripts as scripts
from .lease import get_lease_end, get_rest
from .memory import EVENT_OVERHEAD_BYTES, Foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from whisperr.errors import Reason

    from .redis_connection import Link

# How many own entries one question asks about.
_SOME = 200


class Entry:
    """One event in a stream."""

    __slots__ = ("data", "id", "size", "source")

    def __init__(self, id_: bytes, fields: Sequence[bytes]) -> None:
        self.id = id_
        self.source = fields[1]
        self.data = fields[5]
        self.size = len(self.data) + EVENT_OVERHEAD_BYTES


class Stream:
    """One stream as this process last saw it."""

    __slots__ = ("bytes", "keys", "last", "own", "rows")

    def __init__(self, name: str, source: bytes) -> None:
        self.keys = (name, f"{name}:state", f"{name}:lease")
        self.last = f"{name}:last:{source.decode()}"
        self.own: deque[tuple[int, bytes]] = deque()  # number and id of own events, oldest first
        self.rows = 0
        self.bytes = 0


class RedisStore:
    """One process's way into the streams."""

    def __init__(
        self,
        link: Link,
        names: Sequence[str],
        lease: float,
        max_events: int,
        max_bytes: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._link = link
        self._lease = lease
        # Each stream gets its share of the bounds: no script looks at two of them.
        self._bounds = (-(-max_events // len(names)), -(-max_bytes // len(names)))
        self._now = wall_clock
        self._me = str(int.from_bytes(os.urandom(8), "big") >> 1).encode()
        self._endings = f"{names[0]}:endings:"
        self._known_endings: dict[str, int] = {}
        self._streams = [Stream(name, self._me) for name in names]
        self._turn = 0
        self._at = self._streams[0]
        self._taken: list[Entry] = []
        self._misses = 0

    @property
    def waiting(self) -> int:
        """How many events waited when last seen, without those taken here."""
        return sum(stream.rows for stream in self._streams)

    @property
    def waiting_bytes(self) -> int:
        """Their bytes."""
        return sum(stream.bytes for stream in self._streams)

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add own events, each to the stream of its user; return those that had to go for them."""
        shares: dict[int, list[object]] = {}
        for at, data in enumerate(events):
            index = crc32(get_user(data)) % len(self._streams) if len(self._streams) > 1 else 0
            shares.setdefault(index, []).extend((number + at, data))
        dropped: list[bytes] = []
        for index, share in shares.items():
            stream = self._streams[index]
            fixed = (self._me, self._endings, EVENT_OVERHEAD_BYTES, *self._bounds)
            keys = (*stream.keys[:2], stream.last)
            ids, gone, sums = self._run(scripts.APPEND, keys, *fixed, *share)
            stream.own += [
                (int(str(n)), id_) for n, id_ in zip(share[::2], ids, strict=True) if id_
            ]
            self._see(stream, sums)
            dropped += self._events(gone)
        return dropped

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Claim the next stream that has something for us; return its batch and what is too old.

        Raises NotNow when other processes deliver all of it.
        """
        self._look_at_all()
        left = 0.0
        for step in range(len(self._streams)):
            stream = self._streams[(self._turn + step) % len(self._streams)]
            if not stream.rows:
                continue
            milliseconds = int(self._lease * 1_000)
            fixed = (self._me, milliseconds, max_events, EVENT_OVERHEAD_BYTES)
            out, raw = self._run(scripts.CLAIM, stream.keys, *fixed)
            if raw:
                self._turn += step + 1
                self._misses = 0
                return self._mark(stream, [Entry(id_, fields) for id_, fields in raw], max_events)
            left = max(left, int(out) / 1_000)
        if left:
            self._misses += 1
            raise NotNow(get_rest(self._misses - 1, left))
        return (), ()

    def extend(self, seconds: float) -> bool:
        """Make the lease last; False when another process has claimed the stream."""
        if not self._taken:
            return False
        milliseconds = int(get_lease_end(0.0, seconds, self._lease) * 1_000)
        held = bool(self._run(scripts.HOLD, self._at.keys, self._me, milliseconds))
        if not held:
            self._taken = []
        return held

    def ack(self, count: int, lost: int, reason: Reason | None) -> int:
        """Forget the first taken events; return how many of them were still owned."""
        part = self._taken[:count]
        if not part:
            return 0
        whole = int(len(part) == len(self._taken))
        values: list[object] = []
        for at, entry in enumerate(part):
            outcome = (reason or "delivered") if at < lost else "delivered"
            values += [entry.id, entry.source, entry.size, outcome]
        owned, sums = self._run(
            scripts.DONE, self._at.keys, self._me, self._endings, whole, *values
        )
        self._taken = self._taken[owned:] if owned else []
        self._see(self._at, sums)
        return int(owned)

    def forget(self) -> None:
        """Take the taken batch for one that waits, whatever the stream says."""
        self._taken = []

    def release(self) -> Sequence[bytes]:
        """Give the taken batch and the lease back; return what had to go for it."""
        last = self._taken[-1].id if self._taken else b""
        self._taken = []
        fixed = (self._me, self._endings, EVENT_OVERHEAD_BYTES, *self._bounds, last)
        gone, sums = self._run(scripts.PUT_BACK, self._at.keys, *fixed)
        self._see(self._at, sums)
        return self._events(gone)

    def settled(self, number: int) -> bool:
        """Say whether no own event before `number` is in a stream."""
        for stream in self._streams:
            while stream.own and stream.own[0][0] < number and self._prune(stream):
                pass
            if stream.own and stream.own[0][0] < number:
                return False
        return True

    def poll(self) -> Mapping[str, int]:
        """Learn how much waits, and how own events ended elsewhere since the last look."""
        self._look_at_all()
        for stream in self._streams:
            while stream.own and self._prune(stream):
                pass
        raw: Mapping[bytes, bytes] = self._link.call(
            "HGETALL", f"{self._endings}{self._me.decode()}"
        )
        total = {outcome.decode(): int(count) for outcome, count in raw.items()}
        news = {
            outcome: count - self._known_endings.get(outcome, 0)
            for outcome, count in total.items()
            if count > self._known_endings.get(outcome, 0)
        }
        self._known_endings = total or self._known_endings
        return news

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        self._link.close()

    def _prune(self, stream: Stream) -> bool:
        """Forget own entries at the front that are gone; False when the first one is there."""
        some = [id_ for _, id_ in list(stream.own)[:_SOME]]
        gone = int(self._run(scripts.GONE, stream.keys[:1], *some))
        for _ in range(gone):
            stream.own.popleft()
        return gone == len(some)

    def _mark(
        self, stream: Stream, entries: list[Entry], max_events: int
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Choose the batch among the oldest entries, and remove those that are too old."""
        oldest, run = get_oldest_time(self._now()), BatchBuilder(max_events)
        batch: list[Entry] = []
        expired: list[Entry] = []
        for entry in entries:
            if is_expired(entry.data, oldest):
                expired.append(entry)
            elif run.add(entry.data):
                batch.append(entry)
            else:
                break
        old: list[object] = []
        for entry in expired:
            old += [entry.id, entry.source, entry.size]
        last = batch[-1].id if batch else b""
        size = sum(entry.size for entry in batch)
        fixed = (self._me, self._endings, last, len(batch), size)
        owned, sums = self._run(scripts.MARK, stream.keys, *fixed, *old)
        if not owned:  # it took longer than the lease lasts, and somebody else was faster
            batch, expired = [], []
        self._at, self._taken = stream, batch
        self._see(stream, sums)
        return [self._event(e.source, e.data) for e in batch], [
            self._event(e.source, e.data) for e in expired
        ]

    def _look_at_all(self) -> None:
        for stream in self._streams:
            self._see(stream, self._run(scripts.SUMS, stream.keys[:2]))

    def _see(self, stream: Stream, sums: Sequence[Any]) -> None:
        """Keep what waits in a stream: all entries but those that this process has taken."""
        rows, size, owner, taken_rows, taken_bytes = sums
        mine = owner == self._me and self._taken and stream is self._at
        stream.rows = int(rows) - (int(taken_rows) if mine else 0)
        stream.bytes = int(size) - (int(taken_bytes) if mine else 0)

    def _event(self, source: bytes, data: bytes) -> bytes:
        return data if source == self._me else Foreign(data)

    def _events(self, flat: Sequence[bytes]) -> list[bytes]:
        return [self._event(s, d) for s, d in zip(flat[::2], flat[1::2], strict=True)]

    def _run(self, script: str, keys: Sequence[str], *values: object) -> Any:  # noqa: ANN401  # as many shapes as scripts
        return self._link.run(script, keys, values)
