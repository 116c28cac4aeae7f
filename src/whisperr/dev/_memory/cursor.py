"""What is new for a reader: its place in the memory of the server, and what came since.

A reader keeps a place and no queue: one that is slow, or away for a while, costs the server
nothing. What the memory has let go meanwhile is counted as missed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque

    from .arrivals import Arrival, ReceivedRequest

_PLACE = re.compile(r"([0-9a-f]{1,32})\.([0-9]{1,15})\.([0-9]{1,15})")


@dataclass(frozen=True)
class Place:
    """How far a reader is: up to which arrival and which request, of which run of the server.

    `epoch` names the run: a server that forgets, by a reset or a restart, begins another one.
    """

    epoch: str
    seq: int = 0
    noted: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.noted}"

    @classmethod
    def read(cls, text: str) -> Place | None:
        """Return the place that `str` wrote; None for any other text."""
        found = _PLACE.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3])) if found else None


@dataclass(frozen=True)
class News:
    """What came after a place: `now` is the new place, `fresh` that the reader starts over.

    `missed` counts arrivals that the memory no longer holds. `more`: there is more to fetch.
    """

    now: Place
    fresh: bool
    missed: int
    more: bool
    arrivals: tuple[Arrival, ...]
    requests: tuple[ReceivedRequest, ...]


def news_after(
    place: Place | None,
    end: Place,
    arrivals: deque[Arrival],
    requests: deque[ReceivedRequest],
    limit: int,
) -> News:
    """Return the next `limit` arrivals and requests after `place`; `end` is the latest place."""
    fresh = place is None or place.epoch != end.epoch
    start = Place(end.epoch) if place is None or fresh else place
    first = bisect_right(arrivals, start.seq, key=lambda arrival: arrival.seq)
    found = tuple(islice(arrivals, first, first + limit))
    skipped = max(start.noted - (end.noted - len(requests)), 0)
    answered = tuple(islice(requests, skipped, skipped + limit))
    now = Place(
        end.epoch,
        found[-1].seq if found else end.seq,
        min(max(start.noted, end.noted - len(requests)) + len(answered), end.noted),
    )
    kept_from = arrivals[0].seq if arrivals else end.seq + 1
    missed = 0 if fresh else max(kept_from - 1 - start.seq, 0)
    return News(now, fresh, missed, now != end, found, answered)
