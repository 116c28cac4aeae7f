"""The server of the simulated fleet: what it answers at a moment, and how many requests came when.

Nothing is sent: a request is a count in the second in which it was made.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Trouble(NamedTuple):
    """What happens between two moments, in seconds from the start.

    `limit`: requests that it takes in each second of that time; none: an outage. `status`: what
    the others get. `retry_after`: what it asks them for, in seconds.
    """

    start: float
    end: float
    limit: int = 0
    status: int = 503
    retry_after: int | None = None


class Server:
    """Answers at once, and counts."""

    def __init__(self, trouble: Trouble | None) -> None:
        self._trouble = trouble
        self._refused: Answer = Answer(503)
        if trouble is not None:
            asked = {} if trouble.retry_after is None else {"retry-after": str(trouble.retry_after)}
            headers: Mapping[str, str] = asked
            self._refused = Answer(trouble.status, headers)
        self.requests: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()

    def answer(self, now: float) -> Answer:
        """Answer one request that is made now."""
        second = int(now)
        self.requests[second] += 1
        trouble = self._trouble
        if (
            trouble is not None
            and trouble.start <= now < trouble.end
            and self.taken[second] >= trouble.limit
        ):
            return self._refused
        self.taken[second] += 1
        return _OK


_OK = Answer(202, {}, b"")
