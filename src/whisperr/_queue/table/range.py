"""Decides from which id on a relay looks for free rows: behind its last claim, or from the first.

A scan from the first id walks over everything that was delivered before, until the database has
removed it: while a long transaction is open nothing is removed, and every scan is slower than the
one before. So a relay continues behind the last row that it has claimed. Rows with lower ids may
become free behind its back: of transactions that commit late, given back by other relays, with a
lease that has run out. Only a full scan finds these.

Invariant: nothing counts as empty before a full scan has found fewer rows than it asked for. While
every scan finds as many as it asked for, a full scan is made once a second. Full scans that are
slow take a tenth of the time at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeVar

    class HasId(Protocol):
        """What a claimed row must have."""

        @property
        def id(self) -> int: ...

    ClaimedRow = TypeVar("ClaimedRow", bound=HasId)

# Seconds between two full scans while rows are found without them: so long, at most, do rows wait
# whose transaction has committed late, if full scans are quick.
FULL_SCAN_INTERVAL = 1.0
# A quicker full scan may follow another one at once (seconds). A slower one is followed by a pause
# of so many times its own duration, so that nine tenths of the time are left for deliveries.
_QUICK = 0.1
_PAUSE = 9.0


class ClaimRange:
    """Remembers how far one relay has claimed, and when it made its last full scan."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: int | None = None  # the last claimed id; None: the next scan is a full one
        self._found_all = False  # the latest scan found as many rows as it asked for
        self._due_at = 0.0  # from then on a full scan is made, while all scans find enough,
        self._allowed_at = 0.0  # and from then on as soon as one does not
        self.is_exhausted: bool = False  # the latest scan was a full one, and left no free row

    def reset(self) -> None:
        """Make a full scan next: rows were given back, or it is unknown what is in the table."""
        self._last = None

    def scan(
        self, claim: Callable[[int | None], Sequence[ClaimedRow]], count: int
    ) -> Sequence[ClaimedRow]:
        """Return what `claim` finds, which gets an id and claims `count` free rows above it.

        It gets None for a full scan, and is called a second time when there is nothing above the
        last id. Its rows are in the order of their ids.
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
        """Whether to scan again at once: there may be free rows, also if the latest found few."""
        return self._found_all or (not self.is_exhausted and self._is_allowed())

    def _is_due(self) -> bool:
        return self._clock() >= (self._due_at if self._found_all else self._allowed_at)

    def _is_allowed(self) -> bool:
        return self._clock() >= self._allowed_at

    def _keep(self, rows: Sequence[ClaimedRow], count: int) -> None:
        self._found_all = len(rows) >= count
        if rows:
            self._last = rows[-1].id
