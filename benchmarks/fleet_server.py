"""The server of the simulated fleet: its answers, and the requests of each second.

Nothing is sent: a request only adds to the count of its second.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Trouble(NamedTuple):
    """What happens between two moments, in seconds from the start.

    `limit`: how many requests it accepts in each of these seconds; 0 is an outage. `status` and
    `retry_after` (in seconds): its answer to the rest.
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
            retry = {} if trouble.retry_after is None else {"retry-after": str(trouble.retry_after)}
            headers: Mapping[str, str] = retry
            self._refused = Answer(trouble.status, headers)
        self.requests: Counter[int] = Counter()
        self.accepted: Counter[int] = Counter()

    def answer(self, now: float) -> Answer:
        """Answer one request made now."""
        second = int(now)
        self.requests[second] += 1
        trouble = self._trouble
        if (
            trouble is not None
            and trouble.start <= now < trouble.end
            and self.accepted[second] >= trouble.limit
        ):
            return self._refused
        self.accepted[second] += 1
        return _OK


_OK = Answer(202, {}, b"")
