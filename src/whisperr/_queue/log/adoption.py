"""Moves the events that ended processes left in their logs into the store.

Threads: one at a time, which the lock for adding to the store ensures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .left import LeftLog, LeftLogs

    class AdoptingStore(Protocol):
        """A store that accepts events of processes that have ended."""

        def adopt(self, events: Sequence[bytes], source: int, number: int) -> Sequence[bytes]:
            """Add events from the log of another process; return the events dropped to make room.

            `source` and `number` are those of that process. A second call with the same numbers
            must not store an event twice. Raises StoreError.
            """
            ...


_MOST_MOVED_AT_ONCE = 500


class Adoption:
    """Takes over the logs that other processes left, one after the other.

    What is to be reported:

    - `dropped`: the events that the store dropped to make room.
    - `rejected`: the number of lines that were not events.
    - `problem`: why the logs could not be read.
    """

    def __init__(self, logs: LeftLogs, store: AdoptingStore) -> None:
        self._logs = logs
        self._store = store
        self._current: LeftLog | None = None
        self.dropped: list[bytes] = []
        self.problem: str | None = None
        self.rejected = 0

    def is_any_there(self) -> bool:
        """Return whether there is a log, also one of a running process, which may end."""
        try:
            return self._logs.is_any_there()
        except StoreError:
            return False  # `move_some` meets the same error and reports it

    def move_some(self) -> bool:
        """Move one group of events; return whether there may be more. Raises StoreError."""
        try:
            if self._current is None:
                self._current = self._logs.adopt()
            left = self._current
            if left is None:
                return False
            number, events = left.claim(_MOST_MOVED_AT_ONCE)
        except StoreError as error:  # reading the logs failed; the store may work
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
        """Close the current log; what is left in it waits for this process or another one."""
        current, self._current = self._current, None
        if current is not None:
            current.close()

    def take_dropped(self) -> list[bytes]:
        """Return and forget the events that the store dropped to make room."""
        dropped, self.dropped = self.dropped, []
        return dropped

    def take_problem(self) -> str | None:
        """Return and forget why the logs could not be read."""
        problem, self.problem = self.problem, None
        return problem

    def take_rejected(self) -> int:
        """Return and forget how many lines were not events."""
        rejected, self.rejected = self.rejected, 0
        return rejected
