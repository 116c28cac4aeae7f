"""The Redis store: one stream or several, which the processes of a fleet share.

Invariant: an entry of a stream is an event; entries are ordered by id. An event's user decides
which stream it is added to, so each user's order is kept. The process that last claimed a stream
delivers from it. Every change to a stream is one script (`scripts`). A process delivers from one
stream at a time, taking turns through all of them.

Invariant: `OwnEvents.live` has the own events that have not ended, as far as this process knows. If
one disappeared from its stream, another process ended it and recorded the outcome, or it was lost
there. Each is counted once, whatever outcomes Redis has.

Threads: one at a time may add events (`append`, `adopt`), and meanwhile one may call the other
methods: each has its own connection, and neither waits for the other. Every call has a time limit,
and a signal handler that raises may interrupt it: the next call repeats the script or finds its
effect.
"""

from __future__ import annotations

import os
import time
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from whisperr._contract import MAX_BATCH_BYTES
from whisperr._events.layout import get_user
from whisperr._queue.clock import ExpiryClock
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr._queue.store import EXPIRED as EXPIRED_MESSAGE
from whisperr._queue.store import get_claim_wait, get_lease_end, select_batch
from whisperr.errors import Loss, NotNow

from . import scripts
from .dead_letters import DeadLetterStreams
from .entries import count_others, is_event, parse_entries, to_events, to_list
from .keys import get_key
from .own import OwnEvents
from .stream import DELIVERED, DROPPED, EXPIRED, OUTCOMES, Run, Stream, Sums, parse_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from .connection import Connection
    from .entries import Entry

# How many own entries one script checks: few first, as the oldest usually exists; then many.
_CHECKED_AT_FIRST = 10
_CHECKED_AT_ONCE = 1_000
# No process sets a longer lease: a request takes seconds, and a wait a minute.
_LONGEST_LEASE_MS = 86_400_000


class _Added(NamedTuple):
    """The result of adding events to a stream."""

    stream: Stream
    runs: list[Run]
    gone: list[int]
    dropped: list[Entry]


class RedisStore:
    """The streams, as one process uses them. `Store` explains the methods.

    `source` identifies this process, from 0 to 2**63 - 1: that of its log, or a random number.
    """

    def __init__(
        self,
        connection: Connection,
        names: Sequence[str],
        lease: float,
        max_events: int,
        max_bytes: int,
        wall_clock: Callable[[], float] = time.time,
        *,
        source: int | None = None,
        dead_letters: bool = False,
    ) -> None:
        self._connection = connection
        self._append_connection = connection.make_another()
        self._lease = lease
        source = int.from_bytes(os.urandom(8), "big") >> 1 if source is None else source
        self._me = b"%d" % source
        # The bounds are divided among the streams, as no script reads two of them.
        bounds = (-(-max_events // len(names)), -(-max_bytes // len(names)))
        self._for_all_scripts = (self._me, EVENT_OVERHEAD_BYTES, *bounds)
        self._streams = [Stream(name, source) for name in names]
        self._own = OwnEvents(self._me)
        self._turn = 0
        self._current = self._streams[0]
        self._claimed: list[Entry] = []
        self._acks = 0  # a number for the next acknowledgement
        self._misses = 0
        self._rejected: deque[int] = deque()  # how many were set aside, by each script
        self._expiry_clock = ExpiryClock(wall_clock)
        self._dead_letters = DeadLetterStreams(len(names), wanted=dead_letters)

    @property
    def waiting(self) -> int:
        return sum(one.sums.rows - self._get_claimed(one).taken_rows for one in self._streams)

    @property
    def waiting_bytes(self) -> int:
        return sum(one.sums.size - self._get_claimed(one).taken_size for one in self._streams)

    @property
    def appended_to(self) -> int:
        return self._own.appended_to

    @property
    def kept(self) -> str | None:
        return self._dead_letters.kept

    # -- the thread that appends

    def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
        """Add own events, each to its user's stream; return events dropped to make room."""
        own, numbers = self._own, range(number, number + len(events))
        try:
            own.begin_append(numbers)
            results = [self._append_to(*share) for share in self._share(events, numbers)]
            # Not before all streams have their events: after a failure the caller keeps all of
            # them, so none may be counted as stored.
            for one in results:
                one.stream.runs.extend(one.runs)
            gone = [number for one in results for number in one.gone]
            return own.commit(numbers, gone, [entry for one in results for entry in one.dropped])
        finally:
            own.end_append(numbers, has_failed=own.appended_to != numbers.stop)

    def adopt(self, events: Sequence[bytes], source: int, number: int) -> Sequence[bytes]:
        """Add events of a process that has ended, with its source and its numbers.

        They are Foreign here. Return events dropped to make room. Called again with the same
        numbers, it stores none twice.
        """
        numbers = range(number, number + len(events))
        dropped: list[Entry] = []
        for stream, share, data in self._share(events, numbers):
            dropped += self._add(stream, source, share[-1], share, data).dropped
        return self._own.drop(dropped)

    def _share(
        self, events: Sequence[bytes], numbers: range
    ) -> Iterator[tuple[Stream, Sequence[int], Sequence[bytes]]]:
        """Yield each stream that gets events, with their numbers and the events."""
        if len(self._streams) == 1:
            yield self._streams[0], numbers, events
            return
        shares: dict[int, tuple[list[int], list[bytes]]] = {}
        for number, data in zip(numbers, events, strict=True):
            at = crc32(get_user(data)) % len(self._streams)
            share = shares.setdefault(at, ([], []))
            share[0].append(number)
            share[1].append(data)
        for at, (some, their) in shares.items():
            yield self._streams[at], some, their

    def _append_to(self, stream: Stream, numbers: Sequence[int], events: Sequence[bytes]) -> _Added:
        tried_to, stream.tried_to = stream.tried_to, max(stream.tried_to, numbers[-1])
        return self._add(stream, int(self._me), tried_to, numbers, events)

    def _add(
        self,
        stream: Stream,
        source: int,
        tried_to: int,
        numbers: Sequence[int],
        events: Sequence[bytes],
    ) -> _Added:
        keys = list(stream.keys)
        keys[3] = get_key(stream.name, f"last:{source}")
        listed = b"" if isinstance(numbers, range) else b" ".join(b"%d" % one for one in numbers)
        before = stream.sums
        (ids, heads, data, rejected), sums = self._append_connection.run(
            scripts.APPEND,
            keys,
            (*self._for_all_scripts, source, tried_to, numbers[0], listed, *events),
        )
        stream.update(Sums(*sums), before, has_added=True)
        self._rejected.append(rejected)
        return _Added(stream, *parse_runs(numbers, ids), parse_entries(heads, data))

    # -- the thread that delivers

    def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Claim the next free stream; return its batch and its events that are too old to send.

        Raise NotNow if other processes have claimed all streams with events.
        """
        self.forget()
        left = 0.0
        lease = int(self._lease * 1_000)
        for step in range(len(self._streams)):
            stream = self._streams[(self._turn + step) % len(self._streams)]
            began = time.monotonic()
            others, heads, data, rejected = self._run(
                stream, scripts.CLAIM, lease, _LONGEST_LEASE_MS, max_events, MAX_BATCH_BYTES
            )
            self._rejected.append(rejected)
            if heads:
                self._turn += step + 1
                self._misses = 0
                entries = parse_entries(heads, data, self._own.get_marker())
                return self._choose(stream, entries, max_events, began)
            if stream.sums.rows:
                left = max(left, others / 1_000)
        if left:
            self._misses += 1
            raise NotNow(get_claim_wait(self._misses - 1, left))
        return (), ()

    def take_rejected(self) -> int:
        return sum(self._rejected.popleft() for _ in range(len(self._rejected)))

    def extend(self, seconds: float) -> bool:
        if not self._claimed:
            return False
        milliseconds = int(get_lease_end(0.0, seconds, self._lease) * 1_000)
        if not self._run(self._current, scripts.EXTEND, milliseconds):
            self._claimed = []
        return bool(self._claimed)

    def ack(self, count: int, loss: Loss | None) -> int:
        own, part = self._own, self._claimed[:count]
        if not part:
            return 0
        lost = min(loss.count, len(part)) if loss is not None else 0
        described = self._dead_letters.describe(loss, len(part))
        outcomes = [*repeat(described[0], lost), *repeat(DELIVERED, len(part) - lost)]
        mine = {one.number: end for one, end in zip(part, outcomes, strict=True) if one.is_own}
        own.outcomes |= mine
        values = (self._acks, len(self._claimed), lost, *described)
        others = count_others(part, outcomes, self._me) if len(mine) < len(part) else ()
        owned, kept = self._run(self._current, scripts.ACK, *values, *to_list(part), *others)
        self._dead_letters.note(loss, kept)
        rest = self._claimed[owned:] if owned else []
        if owned:
            own.note_ends(part, outcomes)
        ended = map(own.live.pop, mine if owned else (), repeat(None))
        known = map(own.outcomes.pop, mine, repeat(None))
        # One step for a signal handler. Before it, the same acknowledgement is sent again.
        _ = [*ended], [*known]
        self._claimed = rest
        self._acks += 1
        return int(owned)

    def forget(self) -> None:
        self._claimed = []
        self._acks += 1  # the next acknowledgement is another one

    def release(self) -> Sequence[bytes]:
        """Give up the claim and the lease; return events dropped to make room."""
        last = self._claimed[-1].id if self._claimed else b""
        self.forget()
        heads, data, rejected = self._run(self._current, scripts.RELEASE, last)
        self._rejected.append(rejected)
        dropped = parse_entries(heads, data)
        self._own.note_ends(dropped, repeat(DROPPED))
        return self._own.drop(dropped)

    def settled(self, number: int) -> bool:
        return all(self._is_gone(stream, number) for stream in self._streams)

    def poll(self) -> Mapping[str, int]:
        """Update `waiting`; return by outcome how many own events ended elsewhere, each once."""
        self._dead_letters.prune(self._connection, [one.keys for one in self._streams])
        ended = self._own.take_gone()
        for stream in self._streams:
            self._find_gone(stream)
        return self._own.settle(ended)

    def close(self) -> None:
        self._connection.close()
        self._append_connection.close()

    def _get_claimed(self, stream: Stream) -> Sums:
        """Return the sums of a stream if this process has claimed from it, else empty ones."""
        is_claimed = stream.sums.is_mine and self._claimed and stream is self._current
        return stream.sums if is_claimed else _NOTHING

    def _is_gone(self, stream: Stream, number: int) -> bool:
        """Return whether no own event before this number is left in a stream."""
        if stream.get_first(self._own.live) < number:
            self._find_gone(stream)
        return stream.get_first(self._own.live) >= number

    def _find_gone(self, stream: Stream) -> None:
        """End the oldest own events that disappeared from a stream, and read their outcomes.

        Events that are claimed here are skipped: they end with their acknowledgement.
        """
        own = self._own
        is_current = stream is self._current
        claimed = {one.number for one in self._claimed if one.is_own} if is_current else set()
        most = _CHECKED_AT_FIRST
        while True:
            stream.get_first(own.live)
            numbers, text = stream.get_oldest(most, own.live, claimed)
            before = own.appends
            gone_to, gone, *endings = self._run(stream, scripts.GONE, text, *OUTCOMES)
            counts, unmatched = stream.count_endings(endings)
            unmatched += own.unmatched
            own.unmatched, stream.endings = unmatched, counts
            found = numbers[:gone]
            if gone == len(numbers) > 0:
                found += stream.get_before(gone_to, claimed)
            own.miss(found, before)
            if gone < len(numbers) or not numbers:
                return
            most = _CHECKED_AT_ONCE

    def _choose(
        self, stream: Stream, entries: list[Entry], max_events: int, began: float
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Choose the batch among the oldest entries, and remove those that are too old."""
        # Entries cannot be changed, so another client added a damaged one in our format.
        damaged = [one for one in entries if not one.is_own and not is_event(one)]
        events = [one for one in entries if one.is_own or is_event(one)] if damaged else entries
        batch, expired = select_batch(events, max_events, self._expiry_clock.get_now())
        self._current, self._claimed = stream, batch
        is_late = time.monotonic() - began > self._lease / 2
        # In the usual case the batch is exactly what CLAIM recorded, and nothing is to be marked.
        if is_late or len(batch) < len(entries):
            others = count_others(expired, repeat(EXPIRED), self._me)
            loss = Loss(len(expired), "expired", EXPIRED_MESSAGE) if expired else None
            owned, kept = self._run(
                stream,
                scripts.MARK,
                batch[-1].id if batch else b"",
                len(batch),
                sum(one.size for one in batch),
                len(entries),
                *to_list(expired),
                b" ".join(one.id for one in damaged),
                *self._dead_letters.describe(loss, len(expired)),
                *others,
            )
            self._dead_letters.note(loss, kept)
            if not owned:
                # This took longer than the lease lasts, and another process claimed the events.
                self._claimed = []
                return (), ()
        self._rejected.append(len(damaged))
        result = to_events(batch), to_events(expired)
        self._own.note_ends(expired, repeat(EXPIRED))
        numbers = [one.number for one in expired if one.is_own]
        _ = [*map(self._own.live.pop, numbers, repeat(None))]
        return result

    def _run(self, stream: Stream, script: str, *values: object) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script and return its result; update the sums of the stream."""
        before = stream.sums
        result, sums = self._connection.run(script, stream.keys, (*self._for_all_scripts, *values))
        stream.update(Sums(*sums), before, has_added=False)
        return result


_NOTHING = Sums()
