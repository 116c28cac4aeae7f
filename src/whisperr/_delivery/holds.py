"""Holds: times until which no batch is sent. The table in `scheduler` explains the kinds. Pure.

Threads: one caller at a time sets holds; any thread may end or read them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whisperr._options import Config

# The kinds of holds, weakest first.
PACE, PAUSE, RETRY, BLOCKED = range(4)
_LARGE_EVENT_BYTES = 4096  # ten times a usual one; sizes are not checked for every event


class Holds:
    """The end (monotonic, seconds) of each kind of hold."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = [0.0] * (BLOCKED + 1)

    def set(self, kind: int, until: float) -> None:
        """Set the end of this kind of hold, replacing the former one."""
        self._until[kind] = until

    def end_below(self, kind: int) -> None:
        """End every weaker hold."""
        self._until[:kind] = [0.0] * kind

    def until(self, kind: int) -> float:
        """Return the end of this kind of hold."""
        return self._until[kind]

    def until_from(self, kind: int) -> float:
        """Return the latest end of this kind of hold and the stronger ones."""
        return max(self._until[kind:])


def get_full_at(config: Config) -> int:
    """Return how many waiting events end the pace: a full batch, or half of a queue's bound."""
    return min(
        config.max_batch_size,
        config.max_queue_size // 2,
        config.max_queue_bytes // (2 * _LARGE_EVENT_BYTES),
    )
