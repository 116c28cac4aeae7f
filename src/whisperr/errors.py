"""The reports that `on_error` receives, and the exceptions that the package raises.

Pure: no thread, no lock, no I/O.
"""

from __future__ import annotations

from ._frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    ErrorType = Literal[
        "auth", "delayed", "dropped", "incomplete", "not_durable", "retry_exhausted"
    ]
    """The values of `WhisperrError.type`.

    .. versionadded:: 1.0
    """
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
    """The values of `WhisperrError.reason`, and the keys of the counts of losses in `Stats`.

    .. versionadded:: 1.0
    """

__all__ = ["InvalidEvent", "Loss", "MissingKey", "NotNow", "StoreError", "WhisperrError"]


class InvalidEvent(ValueError):  # noqa: N818  # a public name
    """Raised for a call whose data cannot become an event, only with `strict=True`.

    The text names the argument, what is wrong with it and what is allowed. It never contains the
    value of a property, a trait or an address.

    .. versionadded:: 1.0
    """


class MissingKey(ValueError):  # noqa: N818  # a state
    """Raised when a client is made without a key: neither an argument nor the environment has one.

    The text says where to get a key, and how to go on without one.

    .. versionadded:: 1.0
    """


class NotNow(Exception):  # noqa: N818  # a result, not a failure
    """Raised by `Queue.claim` when events may wait, but this process cannot claim them now.

    Attributes:
        seconds (float): Seconds to wait before the next `claim`.
        problem (str | None): What is wrong with the store, in one line; None when another process
            delivers.

    .. versionadded:: 1.0
    """

    def __init__(self, seconds: float, problem: str | None = None) -> None:
        super().__init__(problem or "another process delivers")
        self.seconds: float = seconds
        self.problem: str | None = problem


class StoreError(Exception):
    """Raised by `Sink.put` when the store cannot be used now, so that the event is not accepted.

    The text says why, for people. The stores of durable queues raise it as well; such a queue then
    keeps the event in memory.

    .. versionadded:: 1.0
    """


class Loss(Frozen):
    """Why some events of a batch are lost; an argument of `Queue.ack`.

    Attributes:
        count: How many of the acknowledged events are lost, counted from the first.
        reason: The reason, as in `stats().dropped`, such as `"rejected"`.
        message: What happened, in one line for people.
        status: The HTTP status of the answer; None without an answer.
        host: The host and port that answered; None if they are not known.

    .. versionadded:: 1.0
    """

    __slots__ = ("count", "host", "message", "reason", "status")

    count: int
    reason: Reason
    message: str
    status: int | None
    host: str | None

    def __init__(
        self,
        count: int,
        reason: Reason,
        message: str = "",
        status: int | None = None,
        host: str | None = None,
    ) -> None:
        self._set(count=count, reason=reason, message=message, status=status, host=host)


class WhisperrError(Frozen):
    """The argument of `on_error`: one loss, refusal or pause, or a summary of many of one kind.

    Attributes:
        type: What happened:

            - `"dropped"`: events are lost, or a call became no event.
            - `"auth"`: the server refused the key. Delivery pauses; the events are kept.
            - `"retry_exhausted"`: delivery pauses after too many failed attempts, or at once when
              no attempt can succeed, as with a wrong path in `base_url`. The events are kept.
            - `"delayed"`: delivery fails and is tried again; the events are kept. Reported once in
              an outage: at the first failure to connect, after two timeouts, or after three
              answers of 429 or 5xx.
            - `"incomplete"`: an event was accepted without some of its default or scoped
              properties, which cannot be read or encoded.
            - `"not_durable"`: the store of a durable buffer cannot be used, so that events are
              kept in memory, and would be lost with the process.
        message: The line of the log: what happened and where, what becomes of the events, and the
            next step. It contains no key and no payload.
        status: The HTTP status; None when there was no answer or no request.
        reason: Why events were dropped: `"queue_full"`, `"rejected"`, `"refused_in_batch"`,
            `"too_large"`, `"expired"`, `"shutdown"` or `"lost_in_store"`; or why they were not
            accepted: `"invalid"`, `"closed"` or `"not_stored"`. None for the types that keep the
            events.
        count: How many events the report is about; of a type that keeps them, how many wait.

    .. versionchanged:: 1.0
        Added `reason`, `count` and `events`. New types are `"delayed"`, `"incomplete"`
        and `"not_durable"`.
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
        """The dropped events, as dictionaries in the format of the wire, to store elsewhere.

        There may be fewer than `count`. Missing are events that were never accepted, events that
        the server refused without naming them, events that are gone from a store, and everything
        over 8 MiB. They are decoded at each access, because a summary may hold thousands.
        """
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
