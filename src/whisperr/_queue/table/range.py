"""Decides at which id a relay starts to scan for free rows: after its last claim, or at the first.

A scan from the first id visits all dead rows of delivered events until the database has removed
them. While a long transaction is open it removes none, and every scan is slower than the one
before. So a relay continues after the last row that it claimed. But rows with lower ids can become
free later: when a transaction commits late, another relay releases rows, or a lease expires. Only a
full scan finds these.

Invariant: the table counts as empty only after a full scan that found fewer rows than it asked for.
While every scan finds as many as it asked for, a full scan is made once a second. Slow full scans
take at most a tenth of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeVar

    class HasId(Protocol):
        """What `ClaimRange` needs of a claimed row."""

        @property
        def id(self) -> int: ...

    ClaimedRow = TypeVar("ClaimedRow", bound=HasId)

# Seconds between two full scans while other scans find rows. If full scans are quick, rows of a
# transaction that commits late wait no longer than this.
FULL_SCAN_INTERVAL = 1.0
# A full scan quicker than this (seconds) may be followed by another one at once. After a slower
# one, pause for this many times its duration, which leaves nine tenths of the time for deliveries.
_QUICK = 0.1
_PAUSE = 9.0


class ClaimRange:
    """Remembers how far one relay has claimed, and when it made its last full scan."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: int | None = None  # the last claimed id; None: the next scan is a full one
        self._found_all = False  # whether the latest scan found as many rows as it asked for
        self._due_at = 0.0  # the time of the next full scan, even while all scans find enough
        self._allowed_at = 0.0  # the earliest time of the next full scan, if one does not
        self.is_exhausted: bool = False  # whether the latest scan was full and left no free row

    def reset(self) -> None:
        """Make a full scan next: rows were released, or the table may have changed otherwise."""
        self._last = None

    def scan(
        self, claim: Callable[[int | None], Sequence[ClaimedRow]], count: int
    ) -> Sequence[ClaimedRow]:
        """Return the rows of `claim`, which claims `count` free rows above an id, ordered by id.

        It gets None for a full scan, and is called again if there are no free rows above the last
        id.
        """
        last = self._last
        if last is not None and not self._is_due():
            rows = claim(last)
            if rows or not self._is_allowed():
                self.is_exhausted = False
                self._keep(rows, count)
                return rows
        began = self._clock()
        rows = claim(None)
        ended = self._clock()
        seconds = ended - began
        self._allowed_at = ended + (seconds * _PAUSE if seconds > _QUICK else 0.0)
        self._due_at = max(self._allowed_at, ended + FULL_SCAN_INTERVAL)
        self._keep(rows, count)
        self.is_exhausted = not self._found_all
        return rows

    @property
    def may_find_more(self) -> bool:
        """Whether to scan again at once, because there may be more free rows."""
        return self._found_all or (not self.is_exhausted and self._is_allowed())

    def _is_due(self) -> bool:
        return self._clock() >= (self._due_at if self._found_all else self._allowed_at)

    def _is_allowed(self) -> bool:
        return self._clock() >= self._allowed_at

    def _keep(self, rows: Sequence[ClaimedRow], count: int) -> None:
        self._found_all = len(rows) >= count
        if rows:
            self._last = rows[-1].id
