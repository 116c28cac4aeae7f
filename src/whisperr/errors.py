"""The reports and exceptions of the package: what `on_error` receives, and what is raised.

Pure: no thread, no lock, no I/O.
"""

from __future__ import annotations

from ._frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    ErrorType = Literal["auth", "delayed", "dropped", "not_durable", "retry_exhausted"]
    Reason = Literal[
        "queue_full",
        "rejected",
        "refused_in_batch",
        "too_large",
        "expired",
        "shutdown",
        "lost_in_store",
        "invalid",
        "vetoed",
        "closed",
        "not_stored",
    ]


class InvalidEvent(ValueError):  # noqa: N818  # a public name
    """A call whose data cannot become an event. Raised to the caller only with `strict=True`.

    The text names the argument, what is wrong with it and what is allowed. It never contains the
    value of a property, a trait or an address.
    """


class MissingKey(ValueError):  # noqa: N818  # a state
    """Raised when a client is made without a key: none is given, or in the environment; or empty.

    The text says where to get one, and how to go on without.
    """


class NotNow(Exception):  # noqa: N818  # a result, not a failure
    """Raised by `Queue.claim` when events may wait, but this process cannot claim them now.

    - `seconds`: how long to wait before the next `claim`.
    - `problem`: what is wrong with the store, in one line; None when another process delivers.
    """

    def __init__(self, seconds: float, problem: str | None = None) -> None:
        super().__init__(problem or "another process delivers")
        self.seconds = seconds
        self.problem = problem


class StoreError(Exception):
    """Raised by `Sink.put` when the store cannot be used now: the event is not accepted.

    The text says why, for people. The stores of durable queues raise it as well; such a queue then
    keeps the event in memory.
    """


class Loss(Frozen):
    """Why some events of a batch are lost; an argument of `Queue.ack`.

    - `count`: how many of the acknowledged events are lost, counted from the first.
    - `reason`: as in `stats().dropped`, such as `"rejected"`.
    - `message`: one line for people. `status`: the HTTP status of the answer, None without one.
    """

    __slots__ = ("count", "message", "reason", "status")

    count: int
    reason: Reason
    message: str
    status: int | None

    def __init__(
        self, count: int, reason: Reason, message: str = "", status: int | None = None
    ) -> None:
        self._set(count=count, reason=reason, message=message, status=status)


class WhisperrError(Frozen):
    """The argument of `on_error`: one loss or one pause, or a summary of many of the same kind.

    - `type`:
      - `"dropped"`: events are lost, or a call became no event.
      - `"auth"`: the server refused the key. Delivery pauses; events are kept.
      - `"retry_exhausted"`: delivery pauses after too many attempts, or at once when no attempt can
        succeed, as with a wrong path in `base_url`; events are kept.
      - `"delayed"`: delivery fails and is tried again; events are kept. Reported once in an outage:
        at the first failure to connect, after two time-outs, after three answers of 429 or 5xx.
      - `"not_durable"`: the store of a durable buffer cannot be used, so events are kept in memory
        and would be lost with the process.
    - `message`: the line of the log without `whisperr: `: what happened, where, what becomes of the
      events, and the next step. It contains no key and no payload.
    - `status`: the HTTP status, None when there was no answer or no request.
    - `reason`: why events were dropped (`"queue_full"`, `"rejected"`, `"refused_in_batch"`,
      `"too_large"`, `"expired"`, `"shutdown"`, `"lost_in_store"`) or never accepted (`"invalid"`,
      `"vetoed"`, `"closed"`, `"not_stored"`); None for the types that keep them.
    - `count`: how many events the report is about; of a type that keeps them, how many wait.
    - `events`: the dropped events as dictionaries in the format of the wire, so that they can be
      stored elsewhere. May be fewer than `count`: it leaves out events that were never accepted,
      events that the server refused without naming them, those that are gone from a store, and
      everything over 8 MiB.
    """

    __slots__ = ("_events", "count", "message", "reason", "status", "type")

    type: ErrorType
    message: str
    status: int | None
    reason: Reason | None
    count: int

    def __init__(
        self,
        type: ErrorType,  # noqa: A002  # the documented name of the field
        message: str,
        status: int | None = None,
        reason: Reason | None = None,
        count: int = 0,
        events: Sequence[Mapping[str, Any] | bytes] = (),
    ) -> None:
        self._set(type=type, message=message, status=status, reason=reason, count=count)
        self._set(_events=tuple(events))

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """The dropped events. Decoded at each access, because a summary may hold thousands."""
        from json import loads

        raw: tuple[Mapping[str, Any] | bytes, ...] = object.__getattribute__(self, "_events")
        return tuple(loads(e) if isinstance(e, bytes) else dict(e) for e in raw)

    def _fields(self) -> dict[str, Any]:
        names = ("type", "message", "status", "reason", "count", "events")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        """Return every field but the events, of which it has the number: a log gets no payload."""
        raw: tuple[object, ...] = object.__getattribute__(self, "_events")
        names = ("type", "message", "status", "reason", "count")
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({fields}, events=<{len(raw)}>)"

    def __str__(self) -> str:
        return self.message
