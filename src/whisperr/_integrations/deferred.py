"""Step 2, in two moments: encoded and stamped now, queued later. For the doors.

An event may have to wait for a commit, or for its user, who cannot always be read where `track`
is called. Everything else about it is settled at once: its bytes, its time and its id. Until it
is queued it is nobody's: it is not accepted, not held, and not counted.

Threads: any thread may prepare and any other may queue. Nothing here waits.
"""

from __future__ import annotations

from whisperr._client import get_pipeline
from whisperr._delivery.pipeline import get_call_site
from whisperr._events.event import NO_USER, join_user
from whisperr._events.identify import encode_identify
from whisperr._events.layout import split_at_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whisperr._client import Whisperr
    from whisperr._delivery.pipeline import Pipeline

UNKNOWN = object()
"""Stands for a user that is named when the event is queued."""


class DeferredEvent:
    """An event or an identify whose bytes are made and that waits to be queued, once."""

    __slots__ = ("_call", "_client", "_head", "_place", "_tail", "message_id")

    def __init__(
        self,
        client: Whisperr,
        call: str,
        head: bytes,
        tail: bytes | None = None,
        message_id: str | None = None,
    ) -> None:
        self.message_id: str | None = message_id
        self._client = client
        self._call = call
        self._head = head
        self._tail = tail  # None: the head is all of it
        self._place = get_call_site()  # of the caller's line, for what may be said later

    def queue(self, user: object = None) -> bool:
        """Accept it, with this user if it has none yet; False when it was refused.

        `before_send` sees an event without a user now, with the user in place. A refusal is
        reported with the line that prepared it, and raised in strict mode.
        """
        pipeline = self._pipeline()
        if pipeline.closing:
            pipeline.refuse_closed(self._call, self._place)
            return False
        data = self._head
        if self._tail is not None:
            join = join_user if self._call == "identify" else pipeline.encoder.add_user
            try:
                data = join(self._head, user, self._tail)
            except Exception as error:  # noqa: BLE001  # bad data, whatever it raises, is reported
                pipeline.refuse(error, self._call, self._place)
                return False
        return pipeline.put(data, self._place)

    @property
    def outbox(self) -> object:
        """The buffer that it will be written to for another process to deliver; None: no such."""
        return outbox_of(self._client)

    def nobody(self) -> None:
        """Let it go: its user turned out to be an anonymous visitor."""
        nobody(self._client, self._call)

    def refuse(self, error: Exception) -> None:
        """Report that it will never be queued, and why; raises in strict mode, as bad data does."""
        self._pipeline().refuse(error, self._call, self._place)

    def _pipeline(self) -> Pipeline:
        """Return the one of the process that this runs in: it may be a fork of the first."""
        pipeline = get_pipeline(self._client)
        assert pipeline is not None  # a disabled client prepares nothing
        return pipeline


def defer_event(
    client: Whisperr,
    user: object,
    event_type: object,
    properties: object = None,
    context: object = None,
    occurred_at: object = None,
    message_id: object = None,
) -> DeferredEvent | None:
    """Encode one event to be queued later; None when it was refused, which is reported.

    `user` may be UNKNOWN. With a user the event is complete, so `before_send` sees it here.
    """
    pipeline = get_pipeline(client)
    if pipeline is None:
        return None
    if pipeline.closing:
        pipeline.refuse_closed("track")
        return None
    given = (event_type, properties, context, occurred_at, message_id)
    try:
        if user is UNKNOWN:
            chosen, head, tail = pipeline.encoder.encode_without_user(*given)
            return DeferredEvent(client, "track", head, tail, chosen)
        chosen, data = pipeline.encoder.event(user, *given)
        return DeferredEvent(client, "track", data, None, chosen)
    except Exception as error:  # noqa: BLE001  # bad data, whatever it raises, is reported
        pipeline.refuse(error, "track")
        return None


def defer_identify(client: Whisperr, **known: object) -> DeferredEvent | None:
    """Encode what is known about a user who is named later; None when it was refused."""
    pipeline = get_pipeline(client)
    if pipeline is None:
        return None
    if pipeline.closing:
        pipeline.refuse_closed("identify")
        return None
    try:
        head, tail = split_at_user(encode_identify(NO_USER, **known), NO_USER)
        return DeferredEvent(client, "identify", head, tail)
    except Exception as error:  # noqa: BLE001  # bad data, whatever it raises, is reported
        pipeline.refuse(error, "identify")
        return None


def is_on(client: Whisperr) -> bool:
    """Say whether a client does anything at all."""
    return get_pipeline(client) is not None


def outbox_of(client: Whisperr) -> object:
    """Return the buffer that other processes deliver; None when this one does."""
    pipeline = get_pipeline(client)
    return None if pipeline is None or pipeline.delivered_by is None else pipeline.sink


def nobody(client: Whisperr, call: str) -> None:
    """Say, with `debug`, that there is no user to send something for."""
    pipeline = get_pipeline(client)
    if pipeline is not None:
        pipeline.reporter.detail("%s: the visitor is anonymous; nothing is sent", call)


def refuse(client: Whisperr, call: str, error: Exception) -> None:
    """Report a call whose user could not be read, as bad data is reported."""
    pipeline = get_pipeline(client)
    if pipeline is not None:
        pipeline.refuse(error, call)
