"""The Redis store: one stream or several, which the processes of a fleet share.

Invariant: an entry of a stream is an event, in the order of its id. The user of an event decides
which stream it is added to, so each user's order is kept. The process that claimed a stream last
delivers from it; everything that changes a stream is one script (`redis_scripts`). A process
delivers from one stream at a time, from all of them in turn.

Threads: one at a time; `LeasedQueue` ensures that. Every call has a time limit.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from itertools import chain, islice
from typing import TYPE_CHECKING
from zlib import crc32

from whisperr._events.layout import get_user
from whisperr.errors import NotNow

from . import redis_scripts as scripts
from .clock import ExpiryClock
from .memory import EVENT_OVERHEAD_BYTES
from .store import Entry, get_lease_end, get_rest, select_batch, to_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from whisperr.errors import Loss

    from .redis_connection import RedisConnection

# How many own entries one script checks.
_CHECKED_AT_ONCE = 200


class Stream:
    """One stream as this process last saw it."""

    def __init__(self, name: str, source: bytes) -> None:
        self.keys = (name, f"{name}:state", f"{name}:lease", f"{name}:last:{source.decode()}")
        self.own: deque[tuple[int, bytes]] = deque()  # number and id of own events, oldest first
        self.rows = 0
        self.bytes = 0


class RedisStore:
    """The streams, as one process uses them."""

    def __init__(
        self,
        connection: RedisConnection,
        names: Sequence[str],
        lease: float,
        max_events: int,
        max_bytes: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._lease = lease
        self._me = str(int.from_bytes(os.urandom(8), "big") >> 1).encode()
        self._endings = f"{names[0]}:endings:"
        self._known_endings: Counter[str] = Counter()
        # Each stream gets its share of the bounds: no script looks at two of them.
        bounds = (-(-max_events // len(names)), -(-max_bytes // len(names)))
        self._for_all_scripts = (self._me, self._endings, EVENT_OVERHEAD_BYTES, *bounds)
        self._streams = [Stream(name, self._me) for name in names]
        self._turn = 0
        self._current = self._streams[0]
        self._claimed: list[Entry] = []
        self._misses = 0
        self._expiry_clock = ExpiryClock(wall_clock)
        self.appended_to = 0

    @property
    def waiting(self) -> int:
        """How many events waited when last seen, without those claimed here."""
        return sum(stream.rows for stream in self._streams)

    @property
    def waiting_bytes(self) -> int:
        """The memory that they would take, in bytes."""
        return sum(stream.bytes for stream in self._streams)

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add own events, each to the stream of its user; return the events dropped for them."""
        shares: dict[int, list[tuple[int, bytes]]] = {}
        for numbered in enumerate(events, number):
            user = get_user(numbered[1]) if len(self._streams) > 1 else b""
            shares.setdefault(crc32(user) % len(self._streams), []).append(numbered)
        dropped: list[bytes] = []
        for index, share in shares.items():
            stream = self._streams[index]
            ids, over = self._run(stream, scripts.APPEND, *chain.from_iterable(share))
            stream.own += [(n, id_) for (n, _), id_ in zip(share, ids, strict=True) if id_]
            dropped += to_events([Entry(*one) for one in over], self._me)
        self.appended_to = number + len(events)
        return dropped

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Claim the next stream that is free; return its batch and its events that are too old.

        Raises NotNow when other processes deliver all that waits.
        """
        left = 0.0
        for step in range(len(self._streams)):
            stream = self._streams[(self._turn + step) % len(self._streams)]
            others, raw = self._run(stream, scripts.CLAIM, int(self._lease * 1_000), max_events)
            if raw:
                self._turn += step + 1
                self._misses = 0
                entries = [Entry(id_, fields[1], fields[5]) for id_, fields in raw]
                return self._mark(stream, entries, max_events)
            if stream.rows:
                left = max(left, int(others) / 1_000)
        if left:
            self._misses += 1
            raise NotNow(get_rest(self._misses - 1, left))
        return (), ()

    def take_rejected(self) -> int:
        """Return how many entries were set aside since the last call."""
        return 0

    def extend(self, seconds: float) -> bool:
        """Make the lease outlast so many seconds; False when another process took the stream."""
        if not self._claimed:
            return False
        milliseconds = int(get_lease_end(0.0, seconds, self._lease) * 1_000)
        if not self._run(self._current, scripts.EXTEND, milliseconds):
            self._claimed = []
        return bool(self._claimed)

    def ack(self, count: int, loss: Loss | None) -> int:
        """Remove the first claimed events; return how many of them were still owned."""
        part = self._claimed[:count]
        if not part:
            return 0
        is_all = int(len(part) == len(self._claimed))
        values: list[object] = []
        for at, entry in enumerate(part):
            outcome = "delivered" if loss is None or at >= loss.count else loss.reason
            values += [entry.key, entry.source, entry.size, outcome]
        owned = int(self._run(self._current, scripts.ACK, is_all, *values))
        self._claimed = self._claimed[owned:] if owned else []
        return owned

    def forget(self) -> None:
        """Count the claimed batch as waiting again, whatever the stream says."""
        self._claimed = []

    def release(self) -> Sequence[bytes]:
        """Give up the claim and the lease; return the events dropped for it."""
        last = self._claimed[-1].key if self._claimed else b""
        self._claimed = []
        over = self._run(self._current, scripts.RELEASE, last)
        return to_events([Entry(*one) for one in over], self._me)

    def settled(self, number: int) -> bool:
        """Return whether no own event before this number is in a stream."""
        return all(self._is_gone(stream, number) for stream in self._streams)

    def poll(self) -> Mapping[str, int]:
        """Learn what waits; return how many own events other processes settled, by outcome."""
        for stream in self._streams:
            self._run(stream, scripts.SUMS)
            self._is_gone(stream, stream.own[-1][0] + 1 if stream.own else 0)
        raw = self._connection.call("HGETALL", f"{self._endings}{self._me.decode()}")
        total = Counter({outcome.decode(): int(count) for outcome, count in raw.items()})
        changes = total - self._known_endings
        self._known_endings = total or self._known_endings
        return changes

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        self._connection.close()

    def _is_gone(self, stream: Stream, number: int) -> bool:
        """Return whether no own event before this number is left; forget those that are gone."""
        own = stream.own
        while own and own[0][0] < number:
            some = [id_ for _, id_ in islice(own, _CHECKED_AT_ONCE)]
            gone = int(self._run(stream, scripts.GONE, *some))
            for _ in range(gone):
                own.popleft()
            if gone < len(some):
                break
        return not own or own[0][0] >= number

    def _mark(
        self, stream: Stream, entries: list[Entry], max_events: int
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Choose the batch among the oldest entries, and remove those that are too old."""
        batch, expired = select_batch(entries, max_events, self._expiry_clock.get_now())
        last = batch[-1].key if batch else b""
        size = sum(entry.size for entry in batch)
        old = [value for one in expired for value in (one.key, one.source, one.size)]
        self._current, self._claimed = stream, batch
        if not self._run(stream, scripts.MARK, last, len(batch), size, *old):
            # It took longer than the lease lasts, and another process claimed them.
            self._claimed = []
            return (), ()
        return to_events(batch, self._me), to_events(expired, self._me)

    def _run(self, stream: Stream, script: str, *values: object) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script and return its result; keep how much waits: what is not claimed here."""
        arguments = (*self._for_all_scripts, *values)
        result, sums = self._connection.run(script, stream.keys, arguments)
        rows, size, owner, claimed_rows, claimed_bytes = sums
        mine = owner == self._me and self._claimed and stream is self._current
        stream.rows = int(rows) - (int(claimed_rows) if mine else 0)
        stream.bytes = int(size) - (int(claimed_bytes) if mine else 0)
        return result
