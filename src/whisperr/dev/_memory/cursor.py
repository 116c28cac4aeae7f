"""How far a reader has read, and what is new for it.

A reader has a cursor and no queue: a slow or absent one costs the server nothing. Arrivals that
the memory drops meanwhile are counted as missed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
