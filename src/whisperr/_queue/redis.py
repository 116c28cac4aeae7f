"""The Redis store: one stream or several, which the processes of a fleet share.

Invariant: an entry of a stream is an event, in the order of its id. The user of an event decides
which stream it is added to, so each user's order is kept. The process that claimed a stream last
delivers from it; everything that changes a stream is one script (`redis_scripts`). A process
delivers from one stream at a time, from all of them in turn.

Invariant: `Stream.own` has the own events that have not ended as far as this process knows. One
that is gone from the stream was settled by another process, which left its outcome, or was lost
there. Each ends once, whatever the outcomes in Redis say.

Threads: one at a time; `LeasedQueue` ensures that. Every call has a time limit, and may be
interrupted by a signal handler that raises: what a script did is repeated or found again.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from whisperr._events.layout import get_kind, get_user
from whisperr.errors import NotNow

from . import redis_scripts as scripts
from .clock import ExpiryClock
from .memory import EVENT_OVERHEAD_BYTES, Foreign
from .store import LOST_IN_STORE, Entry, get_lease_end, get_rest, select_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence
    from typing import Any

    from whisperr.errors import Loss

    from .redis_connection import RedisConnection

# How many own entries one script checks.
_CHECKED_AT_ONCE = 200
# No process sets a lease that lasts for longer: a request has seconds, a wait a minute.
_LONGEST_LEASE_MS = 86_400_000
_MOST_DIGITS = 15  # of a count of events


class Stream:
    """One stream as this process last saw it."""

    def __init__(self, name: str, source: bytes) -> None:
        self.keys = (
            name,
            f"{name}:state",
            f"{name}:lease",
            f"{name}:last:{source.decode()}",
            f"{name}:rejected",
        )
        self.own: dict[bytes, int] = {}  # id and number of own events, oldest first
        self.tried_to = -1  # up to which number an earlier attempt may have added events
        self.rows = 0
        self.bytes = 0


class _Added(NamedTuple):
    """What adding to a stream changed: ids, what ends them, and what was dropped for room."""

    stream: Stream
    vanished: Iterator[object]
    ids: dict[bytes, int]
    ended: Iterator[object]
    missing: int
    dropped: list[bytes]


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
        self._unmatched: Counter[str] = Counter()  # outcomes of own events not yet found gone
        self._missing = 0  # own events found gone, whose outcome is not yet known
        self._lost = 0  # those of them that have none
        # Each stream gets its share of the bounds: no script looks at two of them.
        bounds = (-(-max_events // len(names)), -(-max_bytes // len(names)))
        self._for_all_scripts = (self._me, self._endings, EVENT_OVERHEAD_BYTES, *bounds)
        self._streams = [Stream(name, self._me) for name in names]
        self._turn = 0
        self._current = self._streams[0]
        self._claimed: list[Entry] = []
        # Outcomes of an acknowledgement that has not returned: it may have reached the server.
        self._outcomes: dict[bytes, str] = {}
        self._acks = 0  # a number for the next acknowledgement
        self._misses = 0
        self._rejected = 0
        self._expiry_clock = ExpiryClock(wall_clock)
        self.appended_to = 0
        self.kept: str | None = None

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
        results = [self._append_to(self._streams[at], share) for at, share in shares.items()]
        # Not before all streams have theirs: else the caller keeps all of them, and what is in one
        # of the streams is not counted from there.
        update = map(
            dict.update, *zip(*((one.stream.own, one.ids) for one in results), strict=True)
        )
        vanished = chain.from_iterable([one.vanished for one in results])
        end, ended = number + len(events), chain.from_iterable([one.ended for one in results])
        missing = self._missing + sum(one.missing for one in results)
        dropped = [data for one in results for data in one.dropped]
        # One step for a signal handler: until then the scripts run again, and find their entries.
        _ = [*vanished], [*update], [*ended]
        self._missing = missing
        self.appended_to = end
        return dropped

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Claim the next stream that is free; return its batch and its events that are too old.

        Raises NotNow when other processes deliver all that waits.
        """
        self.forget()
        left = 0.0
        lease = int(self._lease * 1_000)
        for step in range(len(self._streams)):
            stream = self._streams[(self._turn + step) % len(self._streams)]
            others, raw, foreign = self._run(
                stream, scripts.CLAIM, lease, _LONGEST_LEASE_MS, max_events
            )
            self._rejected += foreign
            if raw:
                self._turn += step + 1
                self._misses = 0
                return self._mark(stream, [Entry(*one) for one in raw], max_events)
            if stream.rows:
                left = max(left, others / 1_000)
        if left:
            self._misses += 1
            raise NotNow(get_rest(self._misses - 1, left))
        return (), ()

    def take_rejected(self) -> int:
        """Return how many entries were set aside since the last call: no events."""
        rejected, self._rejected = self._rejected, 0
        return rejected

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
        outcomes: dict[bytes, str] = {}
        for at, entry in enumerate(part):
            outcome = "delivered" if loss is None or at >= loss.count else loss.reason
            outcomes[entry.key] = outcome
            values += [entry.key, entry.source, entry.size, outcome]
        self._outcomes |= outcomes
        owned = int(self._run(self._current, scripts.ACK, self._acks, is_all, *values))
        rest = self._claimed[owned:] if owned else []
        ended = _pop(self._current.own, [entry.key for entry in part[:owned]])
        known = _pop(self._outcomes, [*outcomes])
        # One step for a signal handler: until then the same acknowledgement is made again.
        _ = [*ended], [*known]
        self._claimed = rest
        self._acks += 1
        return owned

    def forget(self) -> None:
        """Count the claimed batch as waiting again, whatever the stream says."""
        self._claimed = []
        self._acks += 1  # the next acknowledgement is about something else

    def release(self) -> Sequence[bytes]:
        """Give up the claim and the lease; return the events dropped for it."""
        last = self._claimed[-1].key if self._claimed else b""
        self.forget()
        over, foreign = self._run(self._current, scripts.RELEASE, last)
        self._rejected += foreign
        dropped = _to_events([Entry(*one) for one in over], self._current.own)
        _ = [*_pop(self._current.own, [id_ for id_, _, _ in over])]
        return dropped

    def settled(self, number: int) -> bool:
        """Return whether no own event before this number is in a stream."""
        return all(self._is_gone(stream, number) for stream in self._streams)

    def poll(self) -> Mapping[str, int]:
        """Learn what waits; return how many own events ended elsewhere, by outcome, each once."""
        for stream in self._streams:
            self._find_gone(stream)
        changes: dict[str, int] = {}
        missing, unmatched = self._missing, self._unmatched.copy()
        for outcome, count in self._unmatched.items():
            changes[outcome] = min(count, missing)
            missing -= changes[outcome]
            unmatched[outcome] -= changes[outcome]
        changes[LOST_IN_STORE] = self._lost
        result = {outcome: count for outcome, count in changes.items() if count}
        self._missing, self._unmatched, self._lost = missing, unmatched, 0
        return result

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        self._connection.close()

    def _append_to(self, stream: Stream, share: Sequence[tuple[int, bytes]]) -> _Added:
        """Add own events to one stream; return what is to be remembered of that."""
        numbers = [number for number, _ in share]
        values = [(number, int(number <= stream.tried_to), data) for number, data in share]
        stream.tried_to = max(stream.tried_to, numbers[-1])
        ids, over, foreign = self._run(stream, scripts.APPEND, *chain.from_iterable(values))
        self._rejected += foreign
        added = {id_: number for number, id_ in zip(numbers, ids, strict=True) if id_}
        # Stored by an attempt whose answer was lost, and gone since.
        missing = ids.count(b"")
        # The server gives ids again when the stream was deleted.
        again = [id_ for id_, number in added.items() if stream.own.get(id_, number) != number]
        missing += len(again)
        own = {id_ for id_, _, _ in over if id_ in stream.own or id_ in added}
        dropped = _to_events([Entry(*one) for one in over], own)
        ended = _pop(stream.own, [*own])
        return _Added(stream, _pop(stream.own, again), added, ended, missing, dropped)

    def _is_gone(self, stream: Stream, number: int) -> bool:
        """Return whether no own event before this number is left."""
        if self._get_first(stream) < number:
            self._find_gone(stream)
        return self._get_first(stream) >= number

    def _get_first(self, stream: Stream) -> float:
        return min(islice(stream.own.values(), 1), default=float("inf"))

    def _find_gone(self, stream: Stream) -> None:
        """Forget the oldest own events that are gone, and learn their outcomes.

        What is claimed here is not looked at: it ends with its acknowledgement.
        """
        claimed = {entry.key for entry in self._claimed} if stream is self._current else ()
        while True:
            ids = [*islice((id_ for id_ in stream.own if id_ not in claimed), _CHECKED_AT_ONCE)]
            gone, raw = self._run(stream, scripts.GONE, *ids)
            self._learn_endings(raw)
            left = len(stream.own) - gone
            ended = _pop(stream.own, ids[:gone])
            unmatched = self._unmatched + Counter(
                self._outcomes[id_] for id_ in ids[:gone] if id_ in self._outcomes
            )
            _ = [*ended]
            self._missing += gone
            self._unmatched = unmatched
            if gone < _CHECKED_AT_ONCE or not left:
                break
        # All outcomes until now are known: what has none was not settled by any process.
        lost = max(self._missing - self._unmatched.total(), 0)
        self._missing -= lost
        self._lost += lost

    def _learn_endings(self, raw: Sequence[bytes]) -> None:
        """Take the outcomes that other processes counted; what is no count is damage."""
        pairs = zip(raw[::2], raw[1::2], strict=True)
        total = Counter(
            {name.decode("ascii", "replace"): int(n) for name, n in pairs if _is_count(n)}
        )
        known = self._known_endings
        if any(total[name] < n for name, n in known.items()):
            known = Counter()  # another client deleted them: they count from 0 again
        unmatched = self._unmatched + (total - known)
        self._unmatched, self._known_endings = unmatched, total

    def _mark(
        self, stream: Stream, entries: list[Entry], max_events: int
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Choose the batch among the oldest entries, and remove those that are too old."""
        # No entry can be changed; a damaged one was added by another client, in our form.
        damaged = {one.key for one in entries if one.key not in stream.own and not _is_event(one)}
        events = [entry for entry in entries if entry.key not in damaged]
        batch, expired = select_batch(events, max_events, self._expiry_clock.get_now())
        last = batch[-1].key if batch else b""
        size = sum(entry.size for entry in batch)
        old = [value for one in expired for value in (one.key, one.source, one.size)]
        self._current, self._claimed = stream, batch
        if not self._run(
            stream, scripts.MARK, last, len(batch), size, len(expired), *old, *damaged
        ):
            # It took longer than the lease lasts, and another process claimed them.
            self._claimed = []
            return (), ()
        self._rejected += len(damaged)
        result = _to_events(batch, stream.own), _to_events(expired, stream.own)
        _ = [*_pop(stream.own, [entry.key for entry in expired])]
        return result

    def _run(self, stream: Stream, script: str, *values: object) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script and return its result; keep how much waits: what is not claimed here."""
        arguments = (*self._for_all_scripts, *values)
        result, sums = self._connection.run(script, stream.keys, arguments)
        rows, size, is_mine, claimed_rows, claimed_bytes = sums
        mine = is_mine and self._claimed and stream is self._current
        stream.rows = rows - (claimed_rows if mine else 0)
        stream.bytes = size - (claimed_bytes if mine else 0)
        return result


def _to_events(entries: Sequence[Entry], own: Container[bytes]) -> list[bytes]:
    """Return the events of entries; all but those of `own` as Foreign.

    An own event that has ended may come back, from a copy of the stream. It counts no second time.
    """
    return [one.data if one.key in own else Foreign(one.data) for one in entries]


def _pop(known: dict[bytes, Any], ids: Sequence[bytes]) -> Iterator[object]:
    """Return what forgets these ids in one step in C, when it is iterated over."""
    return map(known.pop, ids, repeat(None))


def _is_event(entry: Entry) -> bool:
    """Return whether data begins and ends as an event or an identify does."""
    return entry.data.endswith(b"}") and get_kind(entry.data) != "unreadable"


def _is_count(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS
