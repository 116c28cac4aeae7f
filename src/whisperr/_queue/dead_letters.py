"""Dead letters: events that the server refused or would refuse, kept in a store for a person.

An event that was refused, or is too old to be accepted, is not sent again automatically. If the
buffer is configured to keep dead letters, its store keeps it with the reason, within the bounds
below. It counts as dropped all the same; when it is replayed, no process counts it as accepted.
Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from whisperr.errors import Loss

    class DeadLetters(Protocol):
        """The dead letters of one store, for the command line. Methods raise StoreError."""

        def read(self) -> Iterator[DeadLetter]:
            """Yield them, newest first. Other processes may add and remove some meanwhile."""
            ...

        def find(self, ids: Sequence[str]) -> Sequence[DeadLetter]:
            """Return those with these ids that exist, in that order."""
            ...

        def replay(self, ids: Sequence[str], max_events: int, max_bytes: int) -> Moved:
            """Move these to the end of the queue, in the order of the ids, unchanged.

            Stop before more than `max_events` or `max_bytes` would wait there.
            """
            ...

        def drop(self, ids: Sequence[str]) -> int:
            """Delete these; return how many existed."""
            ...

        def close(self) -> None: ...


# The bounds of one store; beyond them the oldest are deleted. After three months no operator comes
# back to them, and both disks and Redis' memory are finite. Bytes are bounded too, because a server
# refuses events for their size.
MOST = 10_000
MOST_BYTES = 64 << 20
LONGEST_AGE_DAYS = 90
LONGEST_AGE = LONGEST_AGE_DAYS * 86_400.0
# What a report says about lost events: kept, kept in place of older ones, or not kept.
KEPT = 'kept as dead letters; run "whisperr dead-letters list"'
KEPT_FOR_OLDEST = (
    "kept as dead letters, in place of the oldest ones, which were deleted; "
    'run "whisperr dead-letters list"'
)
NOT_KEPT = ""
# The source of replayed events: no process. They are Foreign wherever they are delivered.
SOURCE = 0
_LONGEST_MESSAGE = 500


class DeadLetter(NamedTuple):
    """One kept event.

    - `refused_at`: seconds since 1970; None if the entry is damaged, which then has no `data`.
    - `status`: of the answer that refused it; None without one.
    """

    id: str
    refused_at: float | None
    reason: str
    status: int | None
    message: str
    data: bytes


class Moved(NamedTuple):
    """How many dead letters were replayed, and how many stayed because the queue is full."""

    replayed: int
    left: int


def explain(loss: Loss, events: int) -> str:
    """Return for people why these many events of one request are kept.

    If the server refused some of them without saying which, all are kept.
    """
    if loss.count == events:
        return loss.message[:_LONGEST_MESSAGE]
    return (
        f"{loss.message[:_LONGEST_MESSAGE]}; it did not say which; replaying all of them is "
        "harmless, because they keep their ids"
    )
