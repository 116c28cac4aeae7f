"""What the leased queue needs of a store, and what stores share: leases, and the choice of a batch.

A store keeps the events of several processes outside of all of them: a SQLite file, Redis streams,
the table of the Django outbox. The process that claims a batch writes its lease into the store: a
token, and from when until when the lease holds, by the wall clock of the machine (SQLite) or of the
server (Redis, databases).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from whisperr._events.batch import BatchBuilder
from whisperr._events.layout import get_oldest_time, is_expired
from whisperr.errors import StoreError

from .memory import EVENT_OVERHEAD_BYTES, Foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol, TypeVar

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

            Called again with the same numbers after a failure: none may be stored twice. Raises
            StoreFullError when there is no room, but the store works.
            """
            ...

        @property
        def appended_to(self) -> int:
            """The number after the last event of the latest `append` that stored all. No I/O.

            It is known even when that call was interrupted before it returned.
            """
            ...

        def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
            """Return the next batch, and the events that were too old to send, which are gone.

            Raises NotNow when other processes deliver what there is.
            """
            ...

        def take_rejected(self) -> int:
            """Return how many entries were set aside since the last call: no events. No I/O."""
            ...

        @property
        def kept(self) -> str | None:
            """What became of the events that the latest `claim` or `ack` lost. No I/O.

            For reports: that they are kept as dead letters, and what to do. "" when they could not
            be kept; None for a store that keeps none.
            """
            ...

        def extend(self, seconds: float) -> bool:
            """Make the lease outlast so many seconds; False when the claim is lost."""
            ...

        def ack(self, count: int, loss: Loss | None) -> int:
            """Remove the first claimed events; return how many of them were still owned.

            After a StoreError it is called again, later, with the same arguments; nothing else is
            claimed, released or forgotten in between.
            """
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
            """Learn what waits; return how many own events ended elsewhere, by outcome, each once.

            LOST_IN_STORE: those that are gone although no process recorded why. None when that
            needed no look into the store.
            """
            ...

        def close(self) -> None:
            """Close the connection; the next use opens another one."""
            ...


# What is said of events that a store removes because of their age.
EXPIRED = "older than the 30 days that the server accepts"
# What `Store.poll` calls own events that are gone although no process recorded why.
LOST_IN_STORE = "lost_in_store"


class StoreFullError(StoreError):
    """Raised when a store has no room for more, but can be read and emptied."""


# Seconds that a lease lasts unless it is extended. More than the default `request_timeout`, so that
# an ordinary batch needs no second write.
LEASE = 15.0
SHORTEST_LEASE, LONGEST_LEASE = 1.0, 3_600.0
# The longest that a claim lasts without being extended again, whatever wait was announced. What
# says that it lasts longer is damaged.
LONGEST_CLAIM = 2 * LONGEST_LEASE
# Seconds until the next claim while another process delivers: soon at first, then less often.
_FIRST_REST = 0.02
_LONGEST_REST = 0.5


class Entry(NamedTuple):
    """One event in a store: its key there, the process that put it, and its bytes."""

    key: Any
    source: Any
    data: bytes

    @property
    def size(self) -> int:
        """The memory that the event would take, in bytes."""
        return len(self.data) + EVENT_OVERHEAD_BYTES


def get_lease_end(now: float, seconds: float, lease: float) -> float:
    """Return until when to extend a lease for a request or a wait of so many seconds.

    A third of the lease is added: for writing down the result of the request.
    """
    return now + min(seconds + lease / 3, LONGEST_CLAIM)


def get_rest(misses: int, seconds_left: float) -> float:
    """Return how long to wait before the next claim, after `misses` claims in vain."""
    return min(_FIRST_REST * 2.0 ** min(misses, 10), _LONGEST_REST, seconds_left)


def to_events(entries: Iterable[Entry], me: object, own: int | None = None) -> list[bytes]:
    """Return the events of entries, those that other processes put as Foreign.

    So are own ones after the first `own` of them: a store that was restored from a copy has events
    again that have ended before.
    """
    events: list[bytes] = []
    for one in entries:
        is_own = one.source == me and own != 0
        events.append(one.data if is_own else Foreign(one.data))
        if is_own and own is not None:
            own -= 1
    return events


def select_batch(
    entries: Iterable[Stored], max_events: int, now: float
) -> tuple[list[Stored], list[Stored]]:
    """Return the batch that these events begin with, and those among them that are too old.

    `entries` are the oldest events of the store, in order; `now` is that of an ExpiryClock.
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
