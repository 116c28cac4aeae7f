"""Events that are encoded now and queued later, when their user is known or a commit has happened.

Everything else about such an event is fixed at once: its bytes, its time and its id. Until it is
queued it is not accepted, not held, and not counted.

Threads: any thread may defer an event and any other may queue it. Nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whisperr._client import get_pipeline
from whisperr._delivery.pipeline import get_call_site
from whisperr._events.event import NO_USER, join_user
from whisperr._events.identify import encode_identify
from whisperr._events.layout import split_at_user
from whisperr.errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whisperr._client import Whisperr
    from whisperr._delivery.pipeline import Pipeline
    from whisperr.protocols import Sink

    # A message id, and the bytes before and after the user.
    Encoded = tuple[str | None, bytes, bytes | None]

UNKNOWN = object()
"""Stands for a user that is named when the event is queued."""


@dataclass(eq=False, repr=False, slots=True)  # its bytes are not for logs
class DeferredEvent:
    """An encoded event or identify that waits to be queued, once."""

    client: Whisperr
    call: str
    message_id: str | None
    head: bytes
    tail: bytes | None  # None: the head is all of it
    call_site: str = field(default_factory=get_call_site)  # later it is not on the stack any more

    def queue(self, user: object = None) -> bool:
        """Queue it, for this user if it has none yet; return whether it was accepted.

        `before_send` sees an event without a user now, with the user in place. A rejection is
        reported with the call site that deferred it, and raised in strict mode.
        """
        pipeline = self._pipeline()
        if pipeline.closing:
            pipeline.reject_closed(self.call, self.call_site)
            return False
        data = self.head
        if self.tail is not None:
            join = join_user if self.call == "identify" else pipeline.encoder.add_user
            try:
                data = join(self.head, user, self.tail)
            except Exception as error:  # noqa: BLE001  # bad data, whatever it raises, is reported
                pipeline.reject(error, self.call, self.call_site)
                return False
        return pipeline.put(data, self.call_site)

    def reject(self, error: Exception) -> None:
        """Report that it will never be queued, and why; strict mode raises the error."""
        self._pipeline().reject(error, self.call, self.call_site)

    def settle(self, user: object) -> bool:
        """End the wait: queue it for `user`, or report that there is none, or why it is unknown."""
        if isinstance(user, InvalidEvent):
            self.reject(user)
        elif user is None:
            report_anonymous(self.client, self.call)
        else:
            return self.queue(user)
        return False

    def _pipeline(self) -> Pipeline:
        """Return the pipeline of this process, which may be a fork of the one that deferred it."""
        pipeline = get_pipeline(self.client)
        assert pipeline is not None  # a disabled client defers nothing
        return pipeline


def defer_event(
    client: Whisperr,
    user: object,
    event_type: object,
    properties: object = None,
    context: object = None,
    *,
    occurred_at: object = None,
    message_id: object = None,
) -> DeferredEvent | None:
    """Encode one event to be queued later; None when it was rejected, which is reported.

    `user` may be UNKNOWN. With a user the event is complete, so `before_send` sees it here.
    """
    given = (event_type, properties, context, occurred_at, message_id)

    def encode(pipeline: Pipeline) -> Encoded:
        if user is UNKNOWN:
            return pipeline.encoder.encode_without_user(*given)
        return (*pipeline.encoder.encode(user, *given), None)

    return _defer(client, "track", encode)


def defer_identify(client: Whisperr, **details: object) -> DeferredEvent | None:
    """Encode what is known about a user that is named later; None when it was rejected."""

    def encode(_: Pipeline) -> Encoded:
        return (None, *split_at_user(encode_identify(NO_USER, **details), NO_USER))

    return _defer(client, "identify", encode)


def _defer(
    client: Whisperr, call: str, encode: Callable[[Pipeline], Encoded]
) -> DeferredEvent | None:
    pipeline = get_pipeline(client)
    if pipeline is None:
        return None
    if pipeline.closing:
        pipeline.reject_closed(call)
        return None
    try:
        return DeferredEvent(client, call, *encode(pipeline))
    except Exception as error:  # noqa: BLE001  # bad data, whatever it raises, is reported
        pipeline.reject(error, call)
        return None


def settle_all(settled: Iterable[tuple[DeferredEvent, object]]) -> bool:
    """Settle each event with its user; return whether all were accepted.

    In strict mode the first error is raised when all are settled.
    """
    accepted = True
    first: InvalidEvent | None = None
    for deferred, user in settled:
        try:
            accepted &= deferred.settle(user)
        except InvalidEvent as error:  # noqa: PERF203  # the others are settled as well
            first = first or error
    if first is not None:
        raise first
    return accepted


def get_sink(client: Whisperr) -> Sink | None:
    """Return where a client puts events for others to deliver; None if it delivers itself."""
    pipeline = get_pipeline(client)
    return None if pipeline is None else pipeline.sink


def report_anonymous(client: Whisperr, call: str) -> None:
    """Log, with `debug`, that nothing is sent because the visitor is anonymous."""
    pipeline = get_pipeline(client)
    if pipeline is not None:
        pipeline.accounting.debug("%s: the visitor is anonymous; nothing is sent", call)
