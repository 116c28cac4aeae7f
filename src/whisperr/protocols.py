"""What a client can be given in place of its own parts: `buffer=` and `transport=`.

The guide with a worked example of each is docs/delivery/extending.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from ._contract import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .errors import Loss, Reason

__all__ = [
    "Accounting",
    "Answer",
    "Buffer",
    "BufferConfig",
    "Queue",
    "Request",
    "SharedQueue",
    "Sink",
    "Transport",
]


@runtime_checkable
class Transport(Protocol):
    """Sends a request and returns the answer, without a retry. Called by one thread at a time."""

    def send(self, request: Request, timeout: float) -> Answer:
        """Send one request and return its answer within `timeout` seconds, whatever happens.

        Any exception means that no answer came: the same bytes are sent again later.
        """

    def close(self) -> None:
        """Let go of connections; a later `send` may open new ones."""


class Accounting(Protocol):
    """Counts and reports what becomes of events. A buffer receives it when it is opened.

    Any thread may call any method; none waits or raises. After the end of the client a report is
    emitted at once, in the calling thread.
    """

    def lost(
        self,
        events: Sequence[bytes],
        reason: Reason,
        message: str,
        status: int | None = None,
        *,
        kept: str | None = None,
    ) -> None:
        """Report events that are gone, and count those of them that this process accepted.

        `kept`: where the buffer has them as dead letters, and what to do with them; "" when it
        could not keep them, None when it keeps none.
        """

    def settled_elsewhere(self, outcome: str, count: int) -> None:
        """Count own events that another process delivered, or dropped and reported.

        `outcome` is `"delivered"` or the reason of the loss; a newer version of this package may
        have stored one that this version does not know.
        """

    def lost_in_store(self, own: int, message: str, others: int = 0) -> None:
        """Count and report events that a store lost, or that were damaged in it.

        `own` of them this process accepted; `others` are reported only.
        """

    def not_durable(self, message: str, count: int) -> None:
        """Report that so many events are in memory only, because the store cannot be used."""

    def store_problem(self, problem: str | None) -> None:
        """Record what is wrong with the store for `stats().problem`; None when it works again."""


@runtime_checkable
class Sink(Protocol):
    """Takes encoded events that another process delivers. Any thread may call any method."""

    @property
    def delivered_by(self) -> str:
        """A readable name of what delivers, such as "`manage.py whisperr_relay`"."""

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event; return the events that had to be dropped for it, oldest first.

        Raises StoreError when the event cannot be stored: it is not accepted then.
        """


@runtime_checkable
class Queue(Protocol):
    """Keeps encoded events in order until the delivery thread of this process has sent them.

    Any thread may call any method. Nothing here raises but `claim`, and that only NotNow.

    An event is the bytes of one JSON object. The position of an event is larger than that of every
    earlier one. What `claim` returned stays owned by the queue until `ack` or `release`.
    """

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event at the end; return the events that had to be dropped, oldest first.

        The event itself is the last of them when it cannot be kept at all.
        """

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch: at most `max_events` consecutive events, or one identify.

        The built-in queues also stop at 512 KiB, so that a request stays small.

        Empty when nothing waits. Raises NotNow when another process delivers at the moment, or
        when the store cannot be used.
        """

    def ack(self, count: int, loss: Loss | None = None) -> int:
        """Forget the first `count` claimed events; return how many of them were still owned.

        The server has all of them but `loss.count`; by convention those are the first ones.
        """

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front; return the events dropped for it."""

    def drain(self) -> Sequence[bytes]:
        """Give up what would be lost with the process; return it, oldest first."""

    def tail(self) -> int:
        """Return the position after the newest event."""

    def settled(self, position: int) -> bool:
        """Return whether every event before `position` was delivered or dropped."""

    def __len__(self) -> int:
        """Return how many events wait. It must be cheap: it is called for every event."""

    @property
    def held_bytes(self) -> int:
        """The memory that waiting events take, in bytes."""


@runtime_checkable
class SharedQueue(Queue, Protocol):
    """A queue that several processes share. Each event is claimed by one of them at a time."""

    def extend(self, seconds: float) -> bool:
        """Keep the claim for this many seconds: a request or a wait begins.

        Returns False when another process has taken over: the batch is not ours any more.
        """

    def poll(self) -> float:
        """Learn what other processes did; return the seconds until the next poll."""

    @property
    def stored(self) -> int:
        """How many events are where they survive this process, as last seen. No I/O."""

    @property
    def unstored(self) -> int:
        """How many events are in the memory of this process only. No I/O."""


@runtime_checkable
class BufferConfig(Protocol):
    """Says where events wait. Each process that uses the client opens it for itself."""

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> Sink | Queue:
        """Return the sink or the queue of this process. The client calls it once per process."""


Buffer: TypeAlias = BufferConfig | Queue | Sink
"""What `buffer=` takes besides a URL: a config that opens one, a queue, or a sink."""
