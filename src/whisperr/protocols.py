"""The protocols of what replaces a part of the client: the options `buffer` and `transport`.

A class of yours needs the methods of a protocol; it need not inherit from it. The documentation has
a worked example of a transport, a queue and a sink.

.. versionadded:: 1.0
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
    """Sends a request and returns the answer, without a retry.

    One thread at a time calls it.
    """

    def send(self, request: Request, timeout: float) -> Answer:
        """Send one request and return its answer.

        Any exception means that no answer came; the client then sends the same bytes again later.

        Args:
            request: The path and the body.
            timeout: Seconds after which it must have returned or raised, whatever happens.
        """

    def close(self) -> None:
        """Close all connections. A later `send` may open new ones."""


class Accounting(Protocol):
    """Counts and reports what becomes of events. A buffer receives one when it is opened.

    Any thread may call any method; none waits or raises. After the client was shut down, a report
    is emitted at once, in the calling thread.
    """

    def lost(
        self,
        events: Sequence[bytes],
        reason: Reason,
        message: str,
        status: int | None = None,
        *,
        kept: str | None = None,
        host: str | None = None,
    ) -> None:
        """Report events that are lost, and count those of them that this process accepted.

        Args:
            events: The lost events, as they were put.
            reason: The reason, as in `stats().dropped`.
            message: What happened, in one line for people.
            status: The HTTP status of the answer; None without an answer.
            kept: Where the buffer keeps them as dead letters, and what to do with them. `""` when
                it could not keep them, None when it keeps none.
            host: The host and port that answered, for the log; None if they are not known.
        """

    def settled_elsewhere(self, outcome: str, count: int) -> None:
        """Count events of this process that another process delivered, or dropped and reported.

        Args:
            outcome: `"delivered"`, or the reason of the loss. A newer version of this package may
                have stored a reason that this version does not know.
            count: How many events.
        """

    def lost_in_store(self, own: int, message: str, others: int = 0) -> None:
        """Count and report events that were lost or damaged in a store.

        Args:
            own: How many of them this process accepted.
            message: What happened, in one line for people.
            others: How many of them other processes accepted. These are reported only.
        """

    def not_durable(self, message: str, count: int) -> None:
        """Report that events are in memory only, because the store cannot be used.

        Args:
            message: What is wrong with the store, in one line for people.
            count: How many events.
        """

    def store_problem(self, problem: str | None) -> None:
        """Record `problem`, what is wrong with the store, for `stats().problem`.

        None means that the store works again.
        """


@runtime_checkable
class Sink(Protocol):
    """Takes encoded events that another process delivers.

    Any thread may call any method.
    """

    @property
    def delivered_by(self) -> str:
        """A readable name of what delivers, such as "`manage.py whisperr_relay`"."""

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event and return the events that were dropped for it, oldest first.

        Args:
            data: The event: the bytes of one JSON object.

        Raises:
            StoreError: The event cannot be stored, and so is not accepted.
        """


@runtime_checkable
class Queue(Protocol):
    """Keeps encoded events in order until the delivery thread of this process has sent them.

    Any thread may call any method. Only `claim` raises, and only `NotNow`.

    An event is the bytes of one JSON object. Each event has a larger position than all earlier
    ones. What `claim` returned belongs to the queue until `ack` or `release`.
    """

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event at the end and return the events that were dropped, oldest first.

        The last of them is the event itself when it cannot be kept at all.

        Args:
            data: The event: the bytes of one JSON object.
        """

    def claim(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch: consecutive events, or one identify. Empty when nothing waits.

        The built-in queues also stop at 512 KiB, so that a request stays small.

        Args:
            max_events: The most events that the batch may have.

        Raises:
            NotNow: Another process delivers at the moment, or the store cannot be used.
        """

    def ack(self, count: int, loss: Loss | None = None) -> int:
        """Forget the first claimed events and return how many of them the queue still owned.

        Args:
            count: How many of the claimed events are over.
            loss: Why `loss.count` of them are lost, by convention the first ones. The server has
                all others. None when it has all of them.
        """

    def release(self) -> Sequence[bytes]:
        """Put the rest of the batch back at the front and return the events dropped for it."""

    def drain(self) -> Sequence[bytes]:
        """Remove the events that would be lost with the process and return them, oldest first."""

    def tail(self) -> int:
        """Return the position after the newest event."""

    def settled(self, position: int) -> bool:
        """Return whether every event before a position was delivered or dropped.

        Args:
            position: What `tail` returned.
        """

    def __len__(self) -> int:
        """Return how many events wait. It must be cheap: the client calls it for every event."""

    @property
    def held_bytes(self) -> int:
        """The memory that waiting events take, in bytes."""


@runtime_checkable
class SharedQueue(Queue, Protocol):
    """A queue that several processes share. One process at a time claims an event."""

    def extend(self, seconds: float) -> bool:
        """Keep the claim while a request or a wait takes place.

        Args:
            seconds: For how long, in seconds.

        Returns:
            False when another process has taken over, so that the batch is not ours any more.
        """

    def poll(self) -> float:
        """Find out what other processes did and return the seconds until the next poll."""

    @property
    def stored(self) -> int:
        """How many events are in a place that survives this process, as last seen. No I/O."""

    @property
    def unstored(self) -> int:
        """How many events are in the memory of this process only. No I/O."""


@runtime_checkable
class BufferConfig(Protocol):
    """Describes where events wait. Each process that uses the client opens it for itself."""

    def open(self, max_events: int, max_bytes: int, accounting: Accounting) -> Sink | Queue:
        """Return the sink or the queue of this process. The client calls it once in each process.

        Args:
            max_events: The client's `max_queue_size`.
            max_bytes: The client's `max_queue_bytes`.
            accounting: Counts and reports what becomes of the events.
        """


Buffer: TypeAlias = BufferConfig | Queue | Sink
"""What the option `buffer` takes besides a URL: a config that opens one, a queue, or a sink."""
