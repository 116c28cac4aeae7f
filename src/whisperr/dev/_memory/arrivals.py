"""The memory of a local server: the latest requests and arrivals, and counts of all of them.

A reader has a cursor and no queue, so a slow or absent reader costs nothing. Arrivals that the
memory drops before they are read are counted as missed. Waits end with an arrival; nothing polls.

Threads: any may call any method.
"""

from __future__ import annotations

import math
import re
import secrets
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from threading import TIMEOUT_MAX, Condition
from typing import TYPE_CHECKING, Any

from whisperr.dev._ingest.model import BATCH_PATH

from .filter import make_filter
from .sizes import Kept, measure_arrival, measure_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whisperr.dev._ingest.model import Arrival, ArrivalStatus, ReceivedRequest

    from .journal import Journal

_KEPT_REQUESTS = 10_000
_KEPT_BYTES = 64 * 1024 * 1024  # of requests, and as much of arrivals
_ARRIVAL_BYTES = 6_554  # on average, which is as much for the 10,000 that are kept by default
_REMEMBERED_IDS = 1_000_000
_MAX_ID_CHARS = 64  # of a longer one, a hash is remembered
_MAX_NAMES = 1_000  # event types, and user agents, that are counted by their names
_MAX_NAME_CHARS = 200
_OTHERS = "(others)"
_CURSOR = re.compile(r"([0-9a-f]{1,32})\.([0-9]{1,15})\.([0-9]{1,15})")


@dataclass(frozen=True)
class Cursor:
    """The position of a reader: its last arrival and request, in one epoch of the memory.

    A reset, or a restart without a journal, begins a new epoch.
    """

    epoch: str
    seq: int = 0
    requests: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.requests}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor that `str` wrote; None for any other text."""
        found = _CURSOR.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3])) if found else None


def _get_id(arrival: Arrival) -> str | None:
    """Return the message id, or a hash of a long one; None if there is none."""
    message_id = arrival.message_id
    if message_id is None or len(message_id) <= _MAX_ID_CHARS:
        return message_id
    return blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def _count_arrivals(request: ReceivedRequest, arrivals: Iterable[Arrival]) -> ReceivedRequest:
    """Return the request with the counts of its accepted, duplicate and refused arrivals."""
    counts = Counter(arrival.status for arrival in arrivals)
    return replace(
        request,
        accepted=counts["accepted"],
        duplicates=counts["duplicate"],
        refused=counts["refused"],
    )


@dataclass(frozen=True)
class Changes:
    """What arrived after a cursor; `cursor` is the new one.

    - `fresh`: the reader must start over. `missed`: how many arrivals the memory has dropped.
    - `more`: there is more to read. `oldest`: the number of the oldest kept arrival.
    """

    cursor: Cursor
    fresh: bool
    missed: int
    more: bool
    oldest: int
    arrivals: tuple[Arrival, ...]
    requests: tuple[ReceivedRequest, ...]


class Arrivals:
    """The latest `keep` arrivals and requests, and counts of all.

    With a journal it begins with what the file holds, and writes each request to it. Lock: the
    journal is called with the lock held, so that the file has the order of the memory; the
    callbacks `on_request` and `on_arrival` are called in the thread of `keep`, without it.
    """

    def __init__(
        self,
        keep: int,
        journal: Journal | None,
        on_arrival: Callable[[Arrival], object] | None,
        on_request: Callable[[ReceivedRequest], object] | None,
    ) -> None:
        self._changed = Condition()
        self._closed = False
        self._journal = journal
        self._on_arrival = on_arrival
        self._on_request = on_request
        kept_arrivals: Kept[Arrival] = Kept(keep, max(_KEPT_BYTES, keep * _ARRIVAL_BYTES))
        kept_requests: Kept[ReceivedRequest] = Kept(_KEPT_REQUESTS, _KEPT_BYTES)
        self._kept_arrivals, self._kept_requests = kept_arrivals, kept_requests
        self._arrivals, self._requests = kept_arrivals.items, kept_requests.items
        self._clear()
        if journal is not None:
            for request, arrivals in journal.load():
                self._add_request(request)
                for arrival in arrivals:
                    self._add_arrival(arrival, measure_arrival(arrival))
            self._epoch = journal.begin(secrets.token_hex(6), self._records)

    def _clear(self) -> None:
        self._epoch = secrets.token_hex(6)
        self._kept_arrivals.clear()
        self._kept_requests.clear()
        self._seq = 0  # of the last arrival
        self._number = 0  # of the last request
        self._ids: dict[str, None] = {}
        self._totals: Counter[str] = Counter()
        self._counters: dict[str, Counter[str]] = {
            name: Counter() for name in ("answers", "faults", "types", "agents")
        }

    def reset(self) -> None:
        """Forget everything, including the message ids that have arrived."""
        with self._changed:
            self._clear()
            if self._journal is not None:
                self._journal.restart(self._epoch)
            self._changed.notify_all()

    def keep(self, request: ReceivedRequest, arrivals: Iterable[Arrival] = ()) -> None:
        """Keep one request and its arrivals: number them, mark duplicates, end waits."""
        measured = [(one, measure_arrival(one)) for one in arrivals]
        with self._changed:
            number = self._number + 1
            kept = []
            for fresh, size in measured:
                is_duplicate = fresh.status == "accepted" and _get_id(fresh) in self._ids
                status: ArrivalStatus = "duplicate" if is_duplicate else fresh.status
                kept.append(replace(fresh, seq=self._seq + 1, request=number, status=status))
                self._add_arrival(kept[-1], size)
            request = _count_arrivals(replace(request, number=number), kept)
            self._add_request(request)
            if self._journal is not None:
                self._journal.append(request, kept)
            self._changed.notify_all()
        if self._on_request is not None:
            self._on_request(request)
        if self._on_arrival is not None:
            for arrival in kept:
                self._on_arrival(arrival)

    def _add_arrival(self, arrival: Arrival, size: int) -> None:
        self._seq = arrival.seq
        self._kept_arrivals.add(arrival, size)
        self._totals.update((arrival.status, arrival.kind))
        if arrival.type is not None:
            self._count("types", arrival.type)
        message_id = _get_id(arrival)
        if arrival.status == "accepted" and message_id is not None:
            self._ids[message_id] = None
            if len(self._ids) > _REMEMBERED_IDS:
                self._ids.pop(next(iter(self._ids)))

    def _add_request(self, request: ReceivedRequest) -> None:
        """Keep a request and count it."""
        self._number = max(self._number, request.number)
        self._totals["requests"] += 1
        self._totals["batches"] += request.path == BATCH_PATH
        self._count("answers", str(request.status or "none"))
        self._count("agents", request.headers.get("user-agent", ""))
        if request.fault is not None:
            self._count("faults", request.fault)
        self._kept_requests.add(request, measure_request(request))

    def _count(self, what: str, name: str) -> None:
        """Count a name; beyond a number of names, the others are counted together."""
        counter, name = self._counters[what], name[:_MAX_NAME_CHARS]
        counter[name if name in counter or len(counter) < _MAX_NAMES else _OTHERS] += 1

    def _records(self) -> list[tuple[ReceivedRequest, list[Arrival]]]:
        """Return what is kept in the form of the journal: each request with its arrivals."""
        by_request: dict[int, list[Arrival]] = {}
        for arrival in self._arrivals:
            by_request.setdefault(arrival.request, []).append(arrival)
        return [(one, by_request.get(one.number, [])) for one in self._requests]

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of `matches`
        """Return the kept arrivals that pass the filters of `Arrival.matches`, oldest first.

        `q` is one more: the text of the filter box. Raises FilterError, a ValueError.
        """
        passes = make_filter(**filters)
        with self._changed:
            return [one for one in self._arrivals if passes(one)]

    def changes(self, cursor: Cursor, limit: int) -> Changes:
        """Return the next `limit` arrivals and requests after a cursor, or of a new epoch."""
        with self._changed:
            end = self.cursor()
            fresh = cursor.epoch != end.epoch
            start = Cursor(end.epoch) if fresh else cursor
            first = bisect_right(self._arrivals, start.seq, key=lambda arrival: arrival.seq)
            arrivals = tuple(islice(self._arrivals, first, first + limit))
            first_kept = self._arrivals[0].seq if self._arrivals else end.seq + 1
            dropped = end.requests - len(self._requests)
            skipped = max(start.requests - dropped, 0)
            requests = tuple(islice(self._requests, skipped, skipped + limit))
        seq = arrivals[-1].seq if arrivals else end.seq
        count = min(max(start.requests, dropped) + len(requests), end.requests)
        new = Cursor(end.epoch, seq, count)
        missed = 0 if fresh else max(first_kept - 1 - start.seq, 0)
        more = new != end
        return Changes(new, fresh, missed, more, first_kept, arrivals, requests)

    def cursor(self) -> Cursor:
        """Return the cursor of a reader that has read everything."""
        with self._changed:
            return Cursor(self._epoch, self._seq, self._number)

    def requests(self, after: int = 0) -> list[ReceivedRequest]:
        """Return the kept requests with a number above `after`, in the order of their answers."""
        with self._changed:
            return [request for request in self._requests if request.number > after]

    def summary(self) -> dict[str, Any]:
        """Return the counts of everything since the start or the last reset."""
        with self._changed:
            totals = self._totals
            return {
                "accepted": totals["accepted"],
                "duplicates": totals["duplicate"],
                "refused": totals["refused"],
                "events": totals["event"],
                "identifies": totals["identify"],
                "requests": totals["requests"],
                "batches": totals["batches"],
                **{name: dict(counter) for name, counter in self._counters.items()},
                "last": self._seq,
            }

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait for `reached()`, called after every change; return whether it came true in time.

        `timeout` is in seconds; raises ValueError when it is not a number. Returns at once when
        the memory is closed.
        """
        if math.isnan(timeout):  # a wait for it would end at once and start again, endlessly
            raise ValueError("timeout: must be a number of seconds, got nan")
        with self._changed:
            longest = min(timeout, TIMEOUT_MAX)
            self._changed.wait_for(lambda: reached() or self._closed, longest)
            return reached()

    def wake(self) -> None:
        """Make every wait call `reached()` again, after a change outside the memory."""
        with self._changed:
            self._changed.notify_all()

    def end_waits(self) -> None:
        """End every wait, now and from now on, because the server closes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close_journal(self) -> None:
        """Close the file; the arrivals can still be read."""
        with self._changed:
            if self._journal is not None:
                self._journal.close()
