"""Beside steps 3 to 5: count what happened to every event.

The law: accepted = delivered + dropped + held, at every moment. Threads: any, also from a signal
handler; the lock is re-entrant and held for a few instructions, and no call happens between the
reading and the writing of a count. What every `track()` counts is counted in C, without the lock.
"""

from __future__ import annotations

import itertools
from _thread import RLock

from whisperr._frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from whisperr.errors import Reason

    State = Literal["running", "paused", "closed", "disabled"]

_NEVER_ACCEPTED: tuple[Reason, ...] = ("invalid", "vetoed", "closed", "not_stored")
_DROPPED: tuple[Reason, ...] = (
    "queue_full",
    "rejected",
    "refused_in_batch",
    "too_large",
    "expired",
    "shutdown",
)
_REASONS: tuple[Reason, ...] = (*_NEVER_ACCEPTED, *_DROPPED)


class Stats(Frozen):
    """What one client did in this process so far; accepted = delivered + dropped + held.

    With the Django outbox another process delivers, so that what was accepted stays `held` here.

    - `accepted`, `delivered`, `held`: events and identifies, counted.
    - `dropped`: accepted ones that are gone, by reason (`"queue_full"`, `"rejected"`,
      `"refused_in_batch"`, `"too_large"`, `"expired"`, `"shutdown"`).
    - `not_accepted`: calls that became no event, by reason (`"invalid"`, `"vetoed"`, `"closed"`,
      `"not_stored"`).
    - `held_bytes`: what waiting events take, in bytes; with a shared buffer those of all.
    - `stored`: events in a shared buffer, those of all processes; 0 for one in memory. In the
      Django outbox at most 10,000 are counted, and 0 where its table cannot be read.
    - `requests`, `retries`: requests made, and those of them that repeated a failed one.
    - `state`: `"running"`, `"paused"` (after giving up; a flush or time ends it), `"closed"`,
      `"disabled"`.
    - `problem`: why the last attempt failed, in one line; None after a success.
    """

    __slots__ = (
        "accepted",
        "delivered",
        "dropped",
        "held",
        "held_bytes",
        "not_accepted",
        "problem",
        "requests",
        "retries",
        "state",
        "stored",
    )

    accepted: int
    delivered: int
    dropped: Mapping[str, int]
    held: int
    held_bytes: int
    not_accepted: Mapping[str, int]
    problem: str | None
    requests: int
    retries: int
    state: State
    stored: int

    def __init__(
        self,
        accepted: int = 0,
        delivered: int = 0,
        dropped: Mapping[str, int] | None = None,
        held: int = 0,
        held_bytes: int = 0,
        not_accepted: Mapping[str, int] | None = None,
        problem: str | None = None,
        requests: int = 0,
        retries: int = 0,
        state: State = "running",
        stored: int = 0,
    ) -> None:
        self._set(accepted=accepted, delivered=delivered, held=held, held_bytes=held_bytes)
        self._set(dropped=dict(dropped or {}), not_accepted=dict(not_accepted or {}))
        self._set(problem=problem, requests=requests, retries=retries, state=state)
        self._set(stored=stored)


class Ledger:
    """The counts of one client in one process."""

    __slots__ = ("_accepted", "_lock", "accept", "delivered", "dropped", "requests", "retries")

    def __init__(self) -> None:
        self._lock = RLock()
        self._accepted = itertools.count()
        # Count one event before it is put into the buffer. One step in C: nothing can come in
        # between, and it takes a fifth of the time of the lock.
        self.accept = self._accepted.__next__
        self.delivered = 0
        self.dropped = dict.fromkeys(_REASONS, 0)
        self.requests = 0
        self.retries = 0

    @property
    def accepted(self) -> int:
        """Return how many events were accepted: only its text, `count(7)`, does not count on."""
        return int(repr(self._accepted)[len("count(") : -1])

    def deliver(self, count: int) -> None:
        """Count events that the server has."""
        with self._lock:
            self.delivered += count

    def drop(self, reason: Reason, count: int) -> None:
        """Count events that are gone, or calls that never became one."""
        with self._lock:
            self.dropped[reason] += count

    def request(self, *, again: bool) -> None:
        """Count a request, and whether it repeats a failed one."""
        with self._lock:
            self.requests += 1
            self.retries += again

    def stats(self, held_bytes: int, state: State, problem: str | None, stored: int = 0) -> Stats:
        """Return the counts of one moment."""
        with self._lock:
            delivered, ends = self.delivered, dict(self.dropped)
            requests, retries = self.requests, self.retries
            accepted = self.accepted  # last: it goes on, and nothing may end more than began
        refused = {str(reason): n for reason, n in ends.items() if n and reason in _NEVER_ACCEPTED}
        dropped = {str(reason): n for reason, n in ends.items() if n and reason in _DROPPED}
        return Stats(
            accepted=accepted,
            delivered=delivered,
            dropped=dropped,
            held=accepted - delivered - sum(dropped.values()),
            held_bytes=held_bytes,
            not_accepted=refused,
            problem=problem,
            requests=requests,
            retries=retries,
            state=state,
            stored=stored,
        )
