"""Moves the events that processes left in their logs when they ended into the store.

Threads: one at a time; the lock for adding to the store ensures that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .left import LeftLog, LeftLogs

    class AdoptingStore(Protocol):
        """A store that takes events of processes which have ended."""

        def adopt(self, events: Sequence[bytes], source: int, number: int) -> Sequence[bytes]:
            """Add events of another process, out of its log; return those dropped for them.

            `source` and `number` are those of that process. Called again with the same numbers:
            none may be stored twice. Raises StoreError.
            """
            ...


_MOST_MOVED_AT_ONCE = 500


class Adoption:
    """The logs that others left, as one process takes them over, one after the other.

    - `dropped`: what the store dropped for room, until it is reported.
    - `rejected`: how many lines were no events, until that is reported.
    - `problem`: why logs could not be looked at, until that is reported.
    """

    def __init__(self, logs: LeftLogs, store: AdoptingStore) -> None:
        self._logs = logs
        self._store = store
        self._current: LeftLog | None = None
        self.dropped: list[bytes] = []
        self.problem: str | None = None
        self.rejected = 0

    def is_any_there(self) -> bool:
        """Return whether there is a log, also of a process that runs: it may end, or store it."""
        try:
            return self._logs.is_any_there()
        except StoreError:
            return False  # `move_some` finds it again, to be reported

    def move_some(self) -> bool:
        """Move one group of events; return whether there may be more. Raises StoreError."""
        try:
            if self._current is None:
                self._current = self._logs.adopt()
            left = self._current
            if left is None:
                return False
            number, events = left.claim(_MOST_MOVED_AT_ONCE)
        except StoreError as error:  # of the logs; the store may work
            self.problem = str(error)
            self.close()
            return False
        if events:
            self.dropped += self._store.adopt(events, left.source, number)
            left.ack(len(events))
        else:
            self.rejected += left.take_rejected()
            self.close()
        return True

    def close(self) -> None:
        """Let go of the current log: what is in it waits for this process or another one."""
        current, self._current = self._current, None
        if current is not None:
            current.close()

    def take_dropped(self) -> list[bytes]:
        """Return what the store dropped for room, once."""
        dropped, self.dropped = self.dropped, []
        return dropped

    def take_problem(self) -> str | None:
        """Return why logs could not be looked at, once."""
        problem, self.problem = self.problem, None
        return problem

    def take_rejected(self) -> int:
        """Return how many lines were no events, once."""
        rejected, self.rejected = self.rejected, 0
        return rejected
