"""The memory of a local server: the latest requests and arrivals, and counts of all of them.

Any thread may call any method. A wait ends with an arrival; nothing polls.
"""

from __future__ import annotations

import secrets
import time
from bisect import bisect_right
from collections import Counter, deque
from dataclasses import replace
from itertools import islice
from threading import Condition
from typing import TYPE_CHECKING, Any

from whisperr.dev._ingest.model import BATCH_PATH

from .cursor import Changes, Cursor
from .filter import make_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whisperr.dev._ingest.model import Arrival, ArrivalStatus, ReceivedRequest

    from .journal import Journal

_KEPT_REQUESTS = 10_000
_KEPT_BODY_BYTES = 64 * 1024 * 1024
_REMEMBERED_IDS = 1_000_000


class Arrivals:
    """The latest `keep` arrivals and requests, and counts of all.

    With a journal it begins with what the file holds, and writes each request to it. Lock: the
    journal is called with the lock held, so that the file has the order of the memory; the
    callbacks `on_request` and `on_arrival` are called in the thread of `keep`, without it.
    """

    def __init__(
        self,
        keep: int,
        journal: Journal | None = None,
        *,
        on_arrival: Callable[[Arrival], object] | None = None,
        on_request: Callable[[ReceivedRequest], object] | None = None,
    ) -> None:
        self._changed = Condition()
        self._closed = False
        self._journal = journal
        self._on_arrival = on_arrival
        self._on_request = on_request
        self._arrivals: deque[Arrival] = deque(maxlen=keep)
        self._requests: deque[ReceivedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self._clear()
        if journal is not None:
            self._load(journal)

    def _clear(self) -> None:
        self._epoch = secrets.token_hex(6)
        self._request_count = 0
        self._arrivals.clear()
        self._requests.clear()
        self._body_bytes = 0
        self._seq = 0
        self._number = 0
        self._ids: dict[str, None] = {}
        self._statuses: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._counters: dict[str, Counter[str]] = {
            name: Counter() for name in ("answers", "faults", "types", "agents")
        }
        self._batches = 0

    def _load(self, journal: Journal) -> None:
        for position, request, arrivals in journal.load():
            self._add_request(request)
            self._request_count = position
            self._number = max(self._number, request.number)
            for arrival in arrivals:
                self._add_arrival(arrival)
        self._epoch = journal.begin(self._epoch, self._records)

    def reset(self) -> None:
        """Forget everything, also which message ids have arrived."""
        with self._changed:
            self._clear()
            if self._journal is not None:
                self._journal.restart(self._epoch)
            self._changed.notify_all()

    def next_number(self) -> int:
        """Return the number of the next request, from 1."""
        with self._changed:
            self._number += 1
            return self._number

    def keep(self, request: ReceivedRequest, arrivals: Iterable[Arrival] = ()) -> None:
        """Keep one request and its arrivals: number them, mark duplicates, end waits."""
        with self._changed:
            self._add_request(request)
            self._request_count += 1
            kept = []
            for fresh in arrivals:
                is_duplicate = fresh.status == "accepted" and fresh.message_id in self._ids
                status: ArrivalStatus = "duplicate" if is_duplicate else fresh.status
                kept.append(replace(fresh, seq=self._seq + 1, status=status))
                self._add_arrival(kept[-1])
            if self._journal is not None:
                self._journal.append(self._request_count, request, kept)
            self._changed.notify_all()
        if self._on_request is not None:
            self._on_request(request)
        if self._on_arrival is not None:
            for arrival in kept:
                self._on_arrival(arrival)

    def _add_arrival(self, arrival: Arrival) -> None:
        self._seq = arrival.seq
        self._arrivals.append(arrival)
        self._statuses[arrival.status] += 1
        self._kinds[arrival.kind] += 1
        if arrival.type is not None:
            self._counters["types"][arrival.type] += 1
        if arrival.status == "accepted" and arrival.message_id is not None:
            self._ids[arrival.message_id] = None
            if len(self._ids) > _REMEMBERED_IDS:
                self._ids.pop(next(iter(self._ids)))

    def _add_request(self, request: ReceivedRequest) -> None:
        """Keep a request and count it; the oldest are dropped when bodies take too much memory."""
        self._counters["answers"][str(request.status or "none")] += 1
        self._counters["agents"][request.headers.get("user-agent", "")] += 1
        self._batches += request.path == BATCH_PATH
        if request.fault is not None:
            self._counters["faults"][request.fault] += 1
        if len(self._requests) == _KEPT_REQUESTS:
            self._body_bytes -= len(self._requests[0].body)
        self._requests.append(request)
        self._body_bytes += len(request.body)
        while self._body_bytes > _KEPT_BODY_BYTES:
            self._body_bytes -= len(self._requests.popleft().body)

    def _records(self) -> list[tuple[int, ReceivedRequest, list[Arrival]]]:
        """Return what is kept as the journal writes it: each request with its arrivals."""
        by_request: dict[int, list[Arrival]] = {}
        for arrival in self._arrivals:
            by_request.setdefault(arrival.request, []).append(arrival)
        first = self._request_count - len(self._requests) + 1
        return [
            (first + index, request, by_request.get(request.number, []))
            for index, request in enumerate(self._requests)
        ]

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of `matches`
        """Return the kept arrivals that pass the filters of `Arrival.matches`, oldest first.

        `q` is one more: the text of the filter box. Raises FilterError, a ValueError.
        """
        passes = make_filter(**filters)
        with self._changed:
            return [one for one in self._arrivals if passes(one)]

    def changes(self, cursor: Cursor | None, limit: int) -> Changes:
        """Return the next `limit` arrivals and requests after a cursor; from the start if None."""
        with self._changed:
            end = self.cursor()
            fresh = cursor is None or cursor.epoch != end.epoch
            start = Cursor(end.epoch) if cursor is None or fresh else cursor
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
        return Changes(new, fresh, missed, new != end, arrivals, requests)

    def cursor(self) -> Cursor:
        """Return the cursor of a reader that has read everything."""
        with self._changed:
            return Cursor(self._epoch, self._seq, self._request_count)

    def request(self, number: int) -> ReceivedRequest | None:
        """Return one request, if it is still kept."""
        with self._changed:
            return next((one for one in self._requests if one.number == number), None)

    def requests(self, after: int = 0) -> list[ReceivedRequest]:
        """Return the kept requests with a number above `after`, in the order of their answers."""
        with self._changed:
            return [request for request in self._requests if request.number > after]

    def summary(self) -> dict[str, Any]:
        """Return the counts of everything since the start or the last reset."""
        with self._changed:
            return {
                "accepted": self._statuses["accepted"],
                "duplicates": self._statuses["duplicate"],
                "refused": self._statuses["refused"],
                "events": self._kinds["event"],
                "identifies": self._kinds["identify"],
                "requests": sum(self._counters["answers"].values()),
                "batches": self._batches,
                **{name: dict(counter) for name, counter in self._counters.items()},
                "last": self._seq,
            }

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait for `reached()`, called after every change; return whether it came true in time.

        `timeout` is in seconds. Returns at once when the memory is closed.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not reached():
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    return False
                self._changed.wait(left)
            return True

    def wake(self) -> None:
        """Make every wait call `reached()` again, because something outside the memory changed."""
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
