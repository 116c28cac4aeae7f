"""How far a reader has read, and what is new for it.

A reader has a cursor and no queue: a slow or absent one costs the server nothing. Arrivals that
the memory drops meanwhile are counted as missed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest

_CURSOR = re.compile(r"([0-9a-f]{1,32})\.([0-9]{1,15})\.([0-9]{1,15})")


@dataclass(frozen=True)
class Cursor:
    """The last arrival that a reader has read, and how many requests, in one epoch of the memory.

    A memory that forgets, because of a reset or a restart without a journal, begins a new epoch.
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


@dataclass(frozen=True)
class Changes:
    """What arrived after a cursor; `cursor` is the new one.

    `fresh`: the reader starts over. `missed` counts arrivals that the memory has dropped.
    `more`: there is more to read.
    """

    cursor: Cursor
    fresh: bool
    missed: int
    more: bool
    arrivals: tuple[Arrival, ...]
    requests: tuple[ReceivedRequest, ...]


def get_changes(
    cursor: Cursor | None,
    end: Cursor,
    arrivals: deque[Arrival],
    requests: deque[ReceivedRequest],
    limit: int,
) -> Changes:
    """Return the next `limit` arrivals and requests after `cursor`; `end` is the latest one."""
    fresh = cursor is None or cursor.epoch != end.epoch
    start = Cursor(end.epoch) if cursor is None or fresh else cursor
    first = bisect_right(arrivals, start.seq, key=lambda arrival: arrival.seq)
    found = tuple(islice(arrivals, first, first + limit))
    dropped_requests = end.requests - len(requests)
    skipped = max(start.requests - dropped_requests, 0)
    answered = tuple(islice(requests, skipped, skipped + limit))
    now = Cursor(
        end.epoch,
        found[-1].seq if found else end.seq,
        min(max(start.requests, dropped_requests) + len(answered), end.requests),
    )
    kept_from = arrivals[0].seq if arrivals else end.seq + 1
    missed = 0 if fresh else max(kept_from - 1 - start.seq, 0)
    return Changes(now, fresh, missed, now != end, found, answered)
