"""Compares the calls of a soak with what arrived. Pure, apart from the inbox.

Invariant: every accepted call arrives; an event is accepted once by its `$message_id`, however
often it arrives; the events of one thread arrive in their order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from whisperr import Stats
    from whisperr.dev import Arrival

# A call: its number within its thread, and the message id of an event; None for an identify.
Call = tuple[int, "str | None"]


class Received(NamedTuple):
    """The part of an arrival that the soak needs, so that a long one fits into memory."""

    seq: int
    status: str
    thread: int
    number: int
    message_id: str | None


class Inbox:
    """Keeps what arrives. The threads of the server call it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._arrivals: list[Received] = []

    def add(self, arrival: Arrival) -> None:
        """Keep one arrival; one without our marks has the number -1."""
        body = arrival.body if isinstance(arrival.body, dict) else {}
        mark = body.get("properties") if arrival.kind == "event" else body.get("traits")
        mark = mark if isinstance(mark, dict) else {}
        thread, number = mark.get("thread", -1), mark.get("number", -1)
        received = Received(arrival.seq, arrival.status, thread, number, arrival.message_id)
        with self._lock:
            self._arrivals.append(received)

    @property
    def arrivals(self) -> list[Received]:
        """What arrived, in the order of the server."""
        with self._lock:
            return sorted(self._arrivals)


@dataclass
class Figures:
    """The figures of one round, or the sums of many. `problems` are sentences."""

    events: int = 0
    identifies: int = 0
    requests: int = 0
    retries: int = 0
    pauses: int = 0
    duplicates: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the invariant was violated."""
        return bool(self.lost or self.doubled or self.out_of_order or self.problems)

    def __add__(self, other: Figures) -> Self:
        sums: dict[str, Any] = {}
        for one in fields(self):
            ours, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(ours, dict):
                sums[one.name] = dict(Counter(ours) + Counter(theirs))
            else:
                sums[one.name] = ours + theirs
        return type(self)(**sums)


def compare(calls: Sequence[Sequence[Call]], arrivals: Sequence[Received], stats: Stats) -> Figures:
    """Compare the calls of each thread with what arrived and with the counts of the client."""
    made = {(thread, number): id_ for thread, own in enumerate(calls) for number, id_ in own}
    events = sum(id_ is not None for id_ in made.values())
    first: dict[tuple[int, int], str | None] = {}
    accepted: Counter[tuple[int, int]] = Counter()
    latest = [-1] * len(calls)
    figures = Figures(events, len(made) - events, stats.requests, stats.retries)
    for received in arrivals:
        call = (received.thread, received.number)
        if call not in made or made[call] != received.message_id or received.status == "refused":
            figures.problems.append(f"arrived but was not sent: {received}")
            continue
        if received.status == "accepted" and received.message_id is not None:
            accepted[call] += 1
        if call in first:
            figures.duplicates += 1
            continue
        first[call] = received.message_id
        if received.number < latest[received.thread]:
            figures.out_of_order += 1
        latest[received.thread] = max(latest[received.thread], received.number)
    figures.lost = len(made.keys() - first.keys())
    figures.doubled = sum(count > 1 for count in accepted.values())
    figures.problems += _check_counts(stats, len(made))
    return figures


def _check_counts(stats: Stats, calls: int) -> list[str]:
    """Return a problem unless the client counts everything as delivered."""
    is_right = (
        stats.accepted == stats.delivered == calls
        and stats.held == stats.held_bytes == 0
        and not stats.dropped
        and not stats.not_accepted
    )
    return [] if is_right else [f"{calls} calls, but {stats}"]
