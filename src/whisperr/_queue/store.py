"""The `Store` protocol of the leased queue, and what stores share: leases and batch selection.

A store keeps the events of several processes outside of them: in a SQLite file, in Redis streams,
or in the table of an outbox. A process that claims a batch writes a lease into the store: a token,
and the start and end of the lease by the wall clock of the machine (SQLite) or the server (Redis,
databases).
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

        The caller numbers its own events from 0; those of other processes are returned as Foreign.
        A claimed event stays claimed until `ack` or `release`, or until its lease has expired and
        another process claims it.
        """

        @property
        def waiting(self) -> int:
            """How many events it held when last used, not counting those claimed here. No I/O."""
            ...

        @property
        def waiting_bytes(self) -> int:
            """The memory that `waiting` events would take, in bytes. No I/O."""
            ...

        def append(self, events: Sequence[bytes], number: int) -> Sequence[bytes]:
            """Add own events, the first with this number; return events dropped to make room.

            After a failure it is called again with the same numbers, and must store none twice.
            Raise StoreFullError if the store works but has no room.
            """
            ...

        @property
        def appended_to(self) -> int:
            """The number after the last event of the latest successful `append`. No I/O.

            Set even if that call was interrupted before it returned.
            """
            ...

        def claim(self, max_events: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
            """Return the next batch, and the events that were removed as too old to send.

            Raise NotNow if other processes have claimed all events.
            """
            ...

        def take_rejected(self) -> int:
            """Return how many entries were set aside as damaged since the last call. No I/O."""
            ...

        @property
        def kept(self) -> str | None:
            """What a report says about the events that the latest `claim` or `ack` lost. No I/O.

            That they are kept as dead letters, and what to do; "" if they could not be kept; None
            if the store keeps no dead letters.
            """
            ...

        def extend(self, seconds: float) -> bool:
            """Make the lease last at least `seconds` more; return False if the claim is lost."""
            ...

        def ack(self, count: int, loss: Loss | None) -> int:
            """Remove the first claimed events; return how many of them were still owned.

            After a StoreError it is called again later with the same arguments, with no call of
            `claim`, `release` or `forget` in between.
            """
            ...

        def release(self) -> Sequence[bytes]:
            """Let any process claim the rest of the batch; return events dropped to make room."""
            ...

        def forget(self) -> None:
            """Count the claimed batch as waiting again, without asking the store. No I/O.

            Called if the store could not answer, so that the fate of the batch is unknown.
            """
            ...

        def settled(self, number: int) -> bool:
            """Return whether no own event before this number is in the store."""
            ...

        def poll(self) -> Mapping[str, int] | None:
            """Update `waiting`; return by outcome how many own events ended elsewhere, each once.

            LOST_IN_STORE: those that disappeared without a recorded outcome. Return None if the
            store did not have to be read.
            """
            ...

        def close(self) -> None:
            """Close the connection; the next use opens another one."""
            ...


# The report about events that a store removes because of their age.
EXPIRED = "older than the 30 days that the server accepts"
# The error for a path that cannot be created.
NO_DIRECTORY = "its directory does not exist; create it, or correct the path"
# The outcome in `Store.poll` of own events that disappeared without a recorded outcome.
LOST_IN_STORE = "lost_in_store"


class StoreFullError(StoreError):
    """Raised when a store has no room for more, but can be read and emptied."""


# Seconds that a lease lasts unless extended. Longer than the default `request_timeout`, so that an
# ordinary batch needs no second write.
LEASE = 15.0
SHORTEST_LEASE, LONGEST_LEASE = 1.0, 3_600.0
# Seconds that a claim lasts at most without another extension. An entry with a longer one is
# damaged.
LONGEST_CLAIM = 2 * LONGEST_LEASE
# Seconds until the next claim while another process delivers: short at first, then longer.
_FIRST_WAIT = 0.02
_LONGEST_WAIT = 0.5


class Entry(NamedTuple):
    """One event in a store: its key, the process that put it, and its bytes."""

    key: Any
    source: Any
    data: bytes

    @property
    def size(self) -> int:
        """The memory that the event would take, in bytes."""
        return len(self.data) + EVENT_OVERHEAD_BYTES


def get_lease_end(now: float, seconds: float, lease: float) -> float:
    """Return the new end of a lease that must cover a request or a wait of `seconds`.

    A third of the lease is added, for recording the result of the request.
    """
    return now + min(seconds + lease / 3, LONGEST_CLAIM)


def get_claim_wait(misses: int, seconds_left: float) -> float:
    """Return the seconds to wait before the next claim, after `misses` claims that found none."""
    return min(_FIRST_WAIT * 2.0 ** min(misses, 10), _LONGEST_WAIT, seconds_left)


def to_events(entries: Iterable[Entry], me: object, own: int | None = None) -> list[bytes]:
    """Return the events of entries; those that other processes put are Foreign.

    So are own ones beyond the first `own`: a store that was restored from a copy contains events
    again that were already counted.
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
    """Return the batch at the beginning of these events, and those that are too old to send.

    `entries` are the oldest events of the store, in order; `now` comes from an ExpiryClock.
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
