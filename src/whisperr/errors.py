"""What the client tells about failures: the value given to `on_error`, and one exception.

Pure: no thread, no lock, no input or output.
"""

from __future__ import annotations

from ._frozen import Frozen
from ._process.imports import json_loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal

    ErrorType = Literal["auth", "dropped", "not_durable", "retry_exhausted"]
    Reason = Literal[
        "queue_full",
        "rejected",
        "refused_in_batch",
        "too_large",
        "expired",
        "shutdown",
        "invalid",
        "vetoed",
        "closed",
        "not_stored",
    ]


class InvalidEvent(ValueError):  # noqa: N818  # reads as what it is
    """A call whose data cannot become an event. Raised to the caller only with `strict=True`.

    Its text names the argument, says what is wrong with it and what is allowed. It never
    contains the value of a property, a trait or an address.
    """


class NotNow(Exception):  # noqa: N818  # an answer, not a failure
    """What `Buffer.take` raises when there may be something, but not for this process now.

    - `seconds`: when to ask again, from now.
    - `problem`: one line about what is wrong; None when another process is delivering.
    """

    def __init__(self, seconds: float, problem: str | None = None) -> None:
        super().__init__(problem or "another process delivers")
        self.seconds = seconds
        self.problem = problem


class StoreError(Exception):
    """What `Buffer.put` may raise when others deliver from it: the store cannot be used now.

    The text says why, for people. Stores of durable buffers raise it as well; those keep the
    event in memory then.
    """


class Loss(Frozen):
    """Why some events of a batch are gone; what `Queue.ack` is told.

    - `count`: how many of the acknowledged events, counted from the first.
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
    """What `on_error` receives: one loss or one pause, or many of a kind in summary.

    - `type`: `"auth"` (the key was refused; events are kept), `"retry_exhausted"` (the server
      did not answer or answered 429 or 5xx too often; events are kept), `"dropped"` (events
      are gone) or `"not_durable"` (only with a durable buffer: its store cannot be used, so
      events are kept in memory and would be lost with the process).
    - `message`: one line for people. It holds no key and no payload.
    - `status`: the HTTP status, None when there was no answer or no request.
    - `reason`: why events were dropped (`"queue_full"`, `"rejected"`, `"refused_in_batch"`,
      `"too_large"`, `"expired"`, `"shutdown"`) or never accepted (`"invalid"`, `"vetoed"`,
      `"closed"`, `"not_stored"`); None for the types that keep them.
    - `count`: how many events this is about.
    - `events`: the dropped events as dictionaries in the shape of the wire, so that they can be
      written elsewhere. May be shorter than `count`: events that never were accepted are not
      in it, nor those that the server refused without saying which, nor what is over 8 MiB.
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
        """The dropped events, decoded when asked for: a summary may hold thousands."""
        loads = json_loads()
        raw: tuple[Mapping[str, Any] | bytes, ...] = object.__getattribute__(self, "_events")
        return tuple(loads(e) if isinstance(e, bytes) else dict(e) for e in raw)

    def _fields(self) -> dict[str, Any]:
        names = ("type", "message", "status", "reason", "count", "events")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return self.message
