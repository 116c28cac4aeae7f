"""What keeps a batch from being sent until a moment; the table of `scheduler` says when.

Pure. One caller at a time sets a hold; any thread may end or read them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whisperr._options import Config

# The kinds of holds, the weakest first.
PACE, PAUSE, RETRY, BLOCKED = range(4)
_LARGE_EVENT_BYTES = 4096  # ten times a usual one; bytes are not looked at for every event


class Holds:
    """Until when (monotonic, seconds) each kind of hold lasts."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = [0.0] * (BLOCKED + 1)

    def set(self, kind: int, until: float) -> None:
        """Hold until then, whatever was set for this kind before."""
        self._until[kind] = until

    def end_below(self, kind: int) -> None:
        """End every weaker hold."""
        self._until[:kind] = [0.0] * kind

    def until(self, kind: int) -> float:
        """Return until when holds of this kind last."""
        return self._until[kind]

    def until_from(self, kind: int) -> float:
        """Return until when holds of this kind or a stronger one last."""
        return max(self._until[kind:])


def get_full_at(config: Config) -> int:
    """Return how many waiting events end the pace: at half of a bound nothing may wait for it."""
    return min(
        config.max_batch_size,
        config.max_queue_size // 2,
        config.max_queue_bytes // (2 * _LARGE_EVENT_BYTES),
    )
