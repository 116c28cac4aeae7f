"""Keep what arrived: the latest requests and events, counts of all of them, and who waits.

Any thread may call any method. A wait is woken by arrivals, never by a clock that ticks.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from .cursor import News, Place, news_after
from .filter import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whisperr.dev._ingest.validation import Problem

    from .journal import Store

Kind = Literal["event", "identify"]
Status = Literal["accepted", "duplicate", "refused"]

_KEPT_REQUESTS = 10_000
_KEPT_BODY_BYTES = 64 * 1024 * 1024
_REMEMBERED_IDS = 1_000_000
_BATCH_PATH = "/v1/events/batch"
_SECRET_HEADERS = {"x-api-key", "authorization", "proxy-authorization", "cookie"}


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it came, and what was answered; `status` is None when nothing was.

    `connection` counts connections from 1. `headers` have lower-case names and hold the key.
    `fault` names the rehearsed fault that met the request.
    """

    number: int
    connection: int
    received_at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None
    fault: str | None

    @property
    def masked_headers(self) -> dict[str, str]:
        """The headers as they may be shown and stored: of a key, its kind only."""
        return {name: _masked(name, value) for name, value in self.headers.items()}


def _masked(name: str, value: str) -> str:
    if name not in _SECRET_HEADERS:
        return value
    return f"{value[:4]}…" if value.startswith(("wrk_", "wpk_")) else "…"


@dataclass(frozen=True)
class Arrival:
    """One event or identify as it came: `body` is its JSON, `request` the number of its request.

    `index` is its place in that request, from 0.
    `status`: `"accepted"`, `"duplicate"` (its `$message_id` came before) or `"refused"` for
    `problems`.
    """

    seq: int
    received_at: float
    kind: Kind
    status: Status
    user: str | None
    type: str | None
    request: int
    body: Any
    problems: tuple[Problem, ...] = ()
    index: int = 0

    @property
    def message_id(self) -> str | None:
        """The `$message_id` of an event; None for an identify."""
        context = self.body.get("context") if isinstance(self.body, dict) else None
        value = context.get("$message_id") if isinstance(context, dict) else None
        return value if isinstance(value, str) else None

    def matches(
        self,
        *,
        kind: str | None = None,
        user: str | None = None,
        type: str | None = None,  # noqa: A002  # the word of the filter
        status: str | None = None,
        after: int = 0,
    ) -> bool:
        """Say whether it passes a filter; `type` may have wildcards: `payment_*`."""
        return (
            self.seq > after
            and kind in {None, self.kind}
            and user in {None, self.user}
            and status in {None, self.status}
            and (type is None or (self.type is not None and fnmatchcase(self.type, type)))
        )


def fits_of(q: str = "", **filters: Any) -> Callable[[Arrival], bool]:  # noqa: ANN401  # likewise
    """Return one test for the filters of `Arrival.matches` and `q`, the filter box's text.

    Raises FilterError, a ValueError.
    """
    fits = parsed(q)
    return lambda arrival: arrival.matches(**filters) and fits(arrival)


class Arrivals:
    """The memory of one server: the latest `keep` arrivals and requests, and counts of all.

    With a store it begins with what that holds, and writes along. The store is called with the
    lock held: the file has the order of the memory.
    """

    def __init__(self, keep: int, store: Store | None = None) -> None:
        self._changed = Condition()
        self._closed = False
        self._store = store
        self._arrivals: deque[Arrival] = deque(maxlen=keep)
        self._requests: deque[ReceivedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self._clear()
        if store is not None:
            self._load(store)

    def _clear(self) -> None:
        self._epoch = secrets.token_hex(6)
        self._noted = 0
        self._arrivals.clear()
        self._requests.clear()
        self._body_bytes = 0
        self._seq = 0
        self._number = 0
        self._ids: dict[str, None] = {}
        self._statuses: Counter[str] = Counter()
        self._types: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._agents: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._batches = 0

    def _load(self, store: Store) -> None:
        for noted, request, arrivals in store.load():
            self._count(request)
            self._noted, self._number = noted, max(self._number, request.number)
            for arrival in arrivals:
                self._add(arrival)
        self._epoch = store.begin(self._epoch, self._records)

    def reset(self) -> None:
        """Forget everything, also which ids came before."""
        with self._changed:
            self._clear()
            if self._store is not None:
                self._store.restart(self._epoch)
            self._changed.notify_all()

    def next_number(self) -> int:
        """Return the number of the next request, from 1."""
        with self._changed:
            self._number += 1
            return self._number

    def keep(self, request: ReceivedRequest, arrivals: Iterable[Arrival] = ()) -> list[Arrival]:
        """Keep one request and what it brought, in order: number it, mark duplicates, wake."""
        with self._changed:
            self._count(request)
            self._noted += 1
            taken = []
            for fresh in arrivals:
                doubled = fresh.status == "accepted" and fresh.message_id in self._ids
                status: Status = "duplicate" if doubled else fresh.status
                taken.append(replace(fresh, seq=self._seq + 1, status=status))
                self._add(taken[-1])
            if self._store is not None:
                self._store.append(self._noted, request, taken)
            self._changed.notify_all()
        return taken

    def _add(self, arrival: Arrival) -> None:
        self._seq = arrival.seq
        self._arrivals.append(arrival)
        self._statuses[arrival.status] += 1
        self._kinds[arrival.kind] += 1
        if arrival.type is not None:
            self._types[arrival.type] += 1
        if arrival.status == "accepted" and arrival.message_id is not None:
            self._ids[arrival.message_id] = None
            if len(self._ids) > _REMEMBERED_IDS:
                self._ids.pop(next(iter(self._ids)))

    def _count(self, request: ReceivedRequest) -> None:
        """Hold a request and count it; the oldest bodies go when they take too much memory."""
        self._answers[str(request.status or "none")] += 1
        self._agents[request.headers.get("user-agent", "")] += 1
        self._batches += request.path == _BATCH_PATH
        if request.fault is not None:
            self._faults[request.fault] += 1
        if len(self._requests) == _KEPT_REQUESTS:
            self._body_bytes -= len(self._requests[0].body)
        self._requests.append(request)
        self._body_bytes += len(request.body)
        while self._body_bytes > _KEPT_BODY_BYTES:
            self._body_bytes -= len(self._requests.popleft().body)

    def _records(self) -> list[tuple[int, ReceivedRequest, list[Arrival]]]:
        """Return what is kept as the store writes it: each request with what it brought."""
        brought: dict[int, list[Arrival]] = {}
        for arrival in self._arrivals:
            brought.setdefault(arrival.request, []).append(arrival)
        first = self._noted - len(self._requests) + 1
        return [
            (first + place, request, brought.get(request.number, []))
            for place, request in enumerate(self._requests)
        ]

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of `matches`
        """Return the kept arrivals that pass the filters of `Arrival.matches`, oldest first.

        `q` is one more: the text of the filter box. Raises FilterError, a ValueError.
        """
        fits = fits_of(**filters)
        with self._changed:
            return [one for one in self._arrivals if fits(one)]

    def news(self, place: Place | None, limit: int) -> News:
        """Return the next `limit` arrivals and requests after a place; from the start if None."""
        with self._changed:
            end = Place(self._epoch, self._seq, self._noted)
            return news_after(place, end, self._arrivals, self._requests, limit)

    def place(self) -> Place:
        """Return the place behind everything that came."""
        with self._changed:
            return Place(self._epoch, self._seq, self._noted)

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
                "requests": sum(self._answers.values()),
                "batches": self._batches,
                "answers": dict(self._answers),
                "faults": dict(self._faults),
                "types": dict(self._types),
                "agents": dict(self._agents),
                "last": self._seq,
            }

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until `reached()`, asked after every change, for `timeout` seconds at most.

        A closed server waits no longer: nothing will come.
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
        """Let every wait ask again: something else than the memory has changed."""
        with self._changed:
            self._changed.notify_all()

    def end_waits(self) -> None:
        """End every wait, now and from now on: the server closes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close_store(self) -> None:
        """Let the file go; what arrived can still be asked for."""
        with self._changed:
            if self._store is not None:
                self._store.close()
