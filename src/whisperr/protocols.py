"""The two places where a part of one's own can be plugged in: `buffer=` and `transport=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ._contract import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .errors import Reason

__all__ = ["Answer", "Buffer", "Request", "Transport"]


@runtime_checkable
class Transport(Protocol):
    """A way from a request to an answer. Called by one thread at a time; decides nothing."""

    def send(self, request: Request, timeout: float) -> Answer:
        """Send one request and return its answer within `timeout` seconds, whatever happens.

        Any exception means that no answer came: the same bytes are sent again later.
        """
        ...

    def close(self) -> None:
        """Let go of connections; a later `send` may open new ones."""
        ...


@runtime_checkable
class Buffer(Protocol):
    """A place that keeps encoded events in order. Any thread may call any method.

    Nothing here raises but `take`, and that only NotNow. A shared buffer may also have `look`
    and `attach`; see `whisperr.buffers`. One that keeps what the server refused may have
    `explain(message, status)`: called before such a `done`, with a line that says why and the
    HTTP status. One that others deliver has `delivered_by`, which says who does, for people; its
    `put` may raise StoreError, and the event is not accepted.

    An event is the bytes of one JSON object. Events have positions that grow. What `take` handed
    out stays owned by the buffer until `done` or `put_back`.
    """

    def put(self, data: bytes) -> Sequence[bytes]:
        """Add one event at the end; return those that had to go for it, oldest first."""
        ...

    def take(self, max_events: int) -> Sequence[bytes]:
        """Return the next batch: a run of at most `max_events` events, or one identify.

        Raises NotNow when another process delivers at the moment, or when the store cannot be
        used.
        """
        ...

    def hold(self, seconds: float) -> bool:
        """Keep the taken batch for so long: a request or a wait begins. False: it is lost.

        A buffer that only one process uses has nothing to do. A shared one makes its claim last,
        and says whether another process has taken over meanwhile.
        """
        ...

    def done(self, count: int, lost: int = 0, reason: Reason | None = None) -> int:
        """Forget the first `count` taken events; return how many of them were still owned.

        The server has all of them but `lost`, which are gone for `reason`.
        """
        ...

    def put_back(self) -> Sequence[bytes]:
        """Return what is left of the taken batch to the front; return those that had to go."""
        ...

    def clear(self) -> Sequence[bytes]:
        """Give up what would be lost with the process; return it, oldest first."""
        ...

    def end(self) -> int:
        """Return the position after the newest event."""
        ...

    def passed(self, position: int) -> bool:
        """Say whether every event before `position` has ended."""
        ...

    def __len__(self) -> int:
        """Return how many events wait to be taken; cheap, it is asked for every event."""
        ...

    @property
    def held_bytes(self) -> int:
        """The memory that waiting events take, in bytes."""
        ...
