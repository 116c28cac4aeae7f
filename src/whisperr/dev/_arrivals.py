"""Keep what arrived: the latest requests and events, counts of all of them, and who waits.

Any thread may call any method. A wait is woken by arrivals, never by a clock that ticks.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._judge import Problem

Status = Literal["accepted", "duplicate", "refused"]

_KEPT_REQUESTS = 10_000
_KEPT_BODY_BYTES = 64 * 1024 * 1024
_REMEMBERED_IDS = 1_000_000


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


@dataclass(frozen=True)
class Arrival:
    """One event or identify as it came: `body` is its JSON, `request` the number of its request.

    `status`: `"accepted"`, `"duplicate"` (its `$message_id` came before) or `"refused"` for
    `problems`.
    """

    seq: int
    received_at: float
    kind: Literal["event", "identify"]
    status: Status
    user: str | None
    type: str | None
    request: int
    body: Any
    problems: tuple[Problem, ...] = ()

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


class Arrivals:
    """The memory of one server: the latest `keep` arrivals and requests, and counts of all."""

    def __init__(self, keep: int) -> None:
        self._changed = Condition()
        self._arrivals: deque[Arrival] = deque(maxlen=keep)
        self._requests: deque[ReceivedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self._clear()

    def _clear(self) -> None:
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

    def reset(self) -> None:
        """Forget everything, also which ids came before."""
        with self._changed:
            self._clear()
            self._changed.notify_all()

    def next_number(self) -> int:
        """Return the number of the next request, from 1."""
        with self._changed:
            self._number += 1
            return self._number

    def take(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Keep the arrivals of one request in order: number them, mark duplicates, wake waiters."""
        taken = []
        with self._changed:
            for fresh in arrivals:
                self._seq += 1
                status = fresh.status
                if status == "accepted" and not self._is_first(fresh.message_id):
                    status = "duplicate"
                arrival = replace(fresh, seq=self._seq, status=status)
                self._statuses[status] += 1
                self._kinds[arrival.kind] += 1
                if arrival.type is not None:
                    self._types[arrival.type] += 1
                self._arrivals.append(arrival)
                taken.append(arrival)
            self._changed.notify_all()
        return taken

    def note(self, request: ReceivedRequest) -> None:
        """Keep one request; the oldest bodies go when they take too much memory."""
        with self._changed:
            self._answers[str(request.status or "none")] += 1
            self._agents[request.headers.get("user-agent", "")] += 1
            if request.fault is not None:
                self._faults[request.fault] += 1
            if len(self._requests) == _KEPT_REQUESTS:
                self._body_bytes -= len(self._requests[0].body)
            self._requests.append(request)
            self._body_bytes += len(request.body)
            while self._body_bytes > _KEPT_BODY_BYTES:
                self._body_bytes -= len(self._requests.popleft().body)
            self._changed.notify_all()

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of `matches`
        """Return the kept arrivals that pass the filters of `Arrival.matches`, oldest first."""
        with self._changed:
            return [arrival for arrival in self._arrivals if arrival.matches(**filters)]

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
                "answers": dict(self._answers),
                "faults": dict(self._faults),
                "types": dict(self._types),
                "agents": dict(self._agents),
                "last": self._seq,
            }

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until `reached()`, asked after every change, for `timeout` seconds at most."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not reached():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def wake(self) -> None:
        """Let every wait ask again: the server closes."""
        with self._changed:
            self._changed.notify_all()

    def _is_first(self, message_id: str | None) -> bool:
        if message_id is None:
            return True
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > _REMEMBERED_IDS:
            self._ids.pop(next(iter(self._ids)))
        return True
