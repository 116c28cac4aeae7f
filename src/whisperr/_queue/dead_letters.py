"""Dead letters: what stores keep of the events that are lost by the word of the server.

An event that was refused, or that is too old to be accepted, is not sent again by itself. Where a
buffer is asked to, its store keeps it, with the reason, within the bounds below. It counts as
dropped all the same; when it is replayed, it is an event that no process accepted. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from whisperr.errors import Loss

    class DeadLetters(Protocol):
        """The dead letters of one store, for the command. Methods raise StoreError."""

        def read(self) -> Iterator[DeadLetter]:
            """Yield them, newest first. Others may add and remove some meanwhile."""
            ...

        def find(self, ids: Sequence[str]) -> Sequence[DeadLetter]:
            """Return those of these ids that are there, in that order."""
            ...

        def replay(self, ids: Sequence[str], max_events: int, max_bytes: int) -> Moved:
            """Put these at the end of the queue, as far as no more than that waits there then.

            In the order of the ids; the bytes of an event stay as they are.
            """
            ...

        def drop(self, ids: Sequence[str]) -> int:
            """Delete these; return how many were there."""
            ...

        def close(self) -> None:
            """Close the connection."""
            ...


# The bounds of one store. The oldest are deleted: what waits for a person for three months is not
# waited for, and both disks and memory of Redis end. Bytes, because a batch of events of a
# megabyte each is what a server refuses for its size.
MOST = 10_000
MOST_BYTES = 64 << 20
LONGEST_AGE_DAYS = 90
LONGEST_AGE = LONGEST_AGE_DAYS * 86_400.0
# Reports say what became of lost events: kept, as the first two have it, or not, for the third.
KEPT = 'kept among the dead letters; run "whisperr dead-letters list"'
KEPT_FOR_OLDEST = (
    "kept among the dead letters, whose oldest were deleted for that; "
    'run "whisperr dead-letters list"'
)
NOT_KEPT = ""
# The process of replayed events: none. They are Foreign wherever they are delivered.
SOURCE = 0
_LONGEST_MESSAGE = 500


class DeadLetter(NamedTuple):
    """One event that is kept; `refused_at` is seconds since 1970, None when it is damaged.

    `status`: of the answer that refused it, None without one. What is damaged has no data.
    """

    id: str
    refused_at: float | None
    reason: str
    status: int | None
    message: str
    data: bytes


class Moved(NamedTuple):
    """How many dead letters were replayed, and how many were left because the queue is full."""

    replayed: int
    left: int


def explain(loss: Loss, events: int) -> str:
    """Return why so many events of one request are kept, for people.

    A server that refuses some of them without saying which leaves it open: all are kept.
    """
    if loss.count == events:
        return loss.message[:_LONGEST_MESSAGE]
    return (
        f"{loss.message[:_LONGEST_MESSAGE]}; it did not say which, and to replay all of them is "
        "harmless, since their ids are the same"
    )
