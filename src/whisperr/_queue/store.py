"""What the leased queue needs of a store, and how a batch is chosen from the oldest events in it.

A store keeps the events of several processes outside of all of them: a SQLite file, Redis streams,
the table of the Django outbox.
"""

from __future__ import annotations

from whisperr._events.batch import BatchBuilder
from whisperr._events.layout import get_oldest_time, is_expired

from .memory import EVENT_OVERHEAD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Protocol, TypeVar

    from whisperr.errors import Loss

    class HasData(Protocol):
        """What an event in a store must have."""

        @property
        def data(self) -> bytes: ...

    Stored = TypeVar("Stored", bound=HasData)

    class Store(Protocol):
        """Keeps events for several processes. One caller at a time; methods may raise StoreError.

        Own events are numbered by the caller, from 0 on; those of other processes come out as
        Foreign. What `claim` returned stays claimed until `ack` or `release`, or until its lease
        has run out and another process claims it.
        """

        @property
        def waiting(self) -> int:
            """How many events it held when last used, without those claimed here. No I/O."""
            ...

        @property
        def waiting_bytes(self) -> int:
            """The memory that they would take, in bytes. No I/O."""
            ...

        def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
            """Add own events, the first with this number; return those dropped for them.

            Called again with the same numbers after a failure: none may be stored twice.
            """
            ...

        def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
            """Return the next batch, and the events that were too old to send, which are gone.

            Raises NotNow when other processes deliver what there is.
            """
            ...

        def extend(self, seconds: float) -> bool:
            """Make the lease outlast so many seconds; False when the claim is lost."""
            ...

        def ack(self, count: int, loss: Loss | None) -> int:
            """Remove the first claimed events; return how many of them were still owned."""
            ...

        def release(self) -> Sequence[bytes]:
            """Let any process claim the rest of the batch; return the events dropped for it."""
            ...

        def forget(self) -> None:
            """Count the claimed batch as waiting again, whatever the store says. No I/O.

            Called when it is not known what became of it: the store could not answer.
            """
            ...

        def settled(self, number: int) -> bool:
            """Return whether no own event before this number is in the store."""
            ...

        def poll(self) -> Mapping[str, int] | None:
            """Learn what waits; return how many own events other processes settled, by outcome.

            None when that needed no look into the store.
            """
            ...

        def close(self) -> None:
            """Close the connection; the next use opens another one."""
            ...


class Entry:
    """One event in a store: its key there, the process that put it, and its bytes."""

    __slots__ = ("data", "key", "source")

    def __init__(self, key: Any, source: Any, data: bytes) -> None:  # noqa: ANN401  # of the store
        self.key = key
        self.source = source
        self.data = data

    @property
    def size(self) -> int:
        """The memory that the event would take, in bytes."""
        return len(self.data) + EVENT_OVERHEAD_BYTES


def select_batch(
    entries: Iterable[Stored], max_events: int, now: float
) -> tuple[list[Stored], list[Stored]]:
    """Return the batch that these events begin with, and those among them that are too old.

    `entries` are the oldest events of the store, in order; `now` is the wall clock in seconds.
    """
    oldest, builder = get_oldest_time(now), BatchBuilder(max_events)
    batch: list[Stored] = []
    expired: list[Stored] = []
    for entry in entries:
        if is_expired(entry.data, oldest):
            expired.append(entry)
        elif builder.add(entry.data):
            batch.append(entry)
        else:
            break
    return batch, expired
