"""Events that are encoded now and queued later, once their user is known or a transaction commits.

The call fixes everything else: the bytes, the time, the id, and the context variables with which
the user will be read. A waiting event counts as accepted and held, within the bounds of the queue.
Events that still wait when the client is shut down are reported as lost. If there turns out to be
no user or no commit, the event counts neither as accepted nor as held.

Threads: one thread may defer an event and another may queue it. The pending events of a request
belong to its event loop and to the threads that run its sync code; a `deque` needs no lock.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from types import coroutine
from typing import TYPE_CHECKING, Any

from whisperr._client import get_pipeline
from whisperr._delivery.reporter import get_call_site
from whisperr._events.event import NO_USER, join_user
from whisperr._events.identify import encode_identify
from whisperr._events.layout import split_at_user
from whisperr._process.interruption import is_interruption
from whisperr.errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
    from contextvars import Context

    from whisperr._client import Whisperr
    from whisperr._delivery.pipeline import Pipeline
    from whisperr.protocols import Sink

    # A message id, and the bytes before and after the user; None: all are before it.
    Encoded = tuple[str | None, bytes, bytes | None]
    Encode = Callable[["Pipeline"], Encoded]

UNKNOWN = object()
"""Stands for a user that is not known until the event is queued."""

_ENDED = "external_user_id: the request is over and resolve_user is async; await atrack() there"
_CANCELLED = "external_user_id: the request was cancelled before its user was read"


class DeferredEvent:
    """An encoded event or identify that waits to be queued, once.

    `tail` is None if `head` is the whole event. The client's pipeline counts it while it waits.
    """

    __slots__ = (
        "_pipeline",
        "call",
        "call_site",
        "client",
        "counted_bytes",
        "head",
        "message_id",
        "tail",
    )

    def __init__(self, client: Whisperr, call: str, encoded: Encoded, call_site: str) -> None:
        self.counted_bytes: int = 0  # written by `Deferrals` only
        self._pipeline = _require_pipeline(client)
        self.client: Whisperr = client
        self.call: str = call
        self.message_id: str | None
        self.head: bytes
        self.tail: bytes | None
        self.message_id, self.head, self.tail = encoded
        self.call_site: str = call_site  # later it is not on the stack any more

    def cancel(self) -> None:
        """Drop the event if it still waits, without a report: there was no user or no commit."""
        if self.counted_bytes:
            self._pipeline.deferrals.release(self)

    def __del__(self) -> None:
        """Cancel an event that nothing can queue any more, as after a rollback."""
        if hasattr(self, "counted_bytes"):  # not when an interruption came before the first line
            self.cancel()

    def queue(self, user: object = None) -> bool:
        """Queue the event, for this user if it has none yet; return whether it was accepted.

        `before_send` sees an event that was deferred without a user now, with its user. A rejection
        is reported with the call site that deferred the event, and raised in strict mode. A client
        that is shutting down still takes the event, because it was accepted before.
        """
        pipeline = self._end_wait()
        if pipeline is None:
            return False
        data = self.head
        if self.tail is not None:
            join = join_user if self.call == "identify" else pipeline.encoder.add_user
            try:
                data = join(self.head, user, self.tail)
            except Exception as error:  # bad data, whatever it raises, is reported
                if is_interruption(error):
                    raise
                pipeline.reject(error, self.call, self.call_site)
                return False
        return pipeline.put(data, self.call_site)

    def store(self, sink: Sink) -> bool:
        """Put the event into a sink that is not the client's; return whether it was accepted."""
        pipeline = self._end_wait()
        return pipeline is not None and pipeline.put_into(sink, self.head, self.call_site)

    def _end_wait(self) -> Pipeline | None:
        """Return the pipeline that takes the event now, or None, which is then reported."""
        if not self._pipeline.deferrals.release(self):
            return None  # it was reported as lost when the client was shut down
        # The pipeline of this process, which may be a fork of the one that deferred the event.
        pipeline = _require_pipeline(self.client)
        if pipeline.closing and pipeline is not self._pipeline:
            pipeline.reject_closed(self.call, self.call_site)
            return None
        return pipeline

    def refuse(self, reason: str) -> None:
        """Report that the event could not be stored, and why."""
        pipeline = self._end_wait()
        if pipeline is not None:
            pipeline.not_accepted("not_stored", f"{self.call}: {reason}", self.call_site)

    def reject(self, error: Exception) -> None:
        """Report that the event will never be queued, and why; strict mode raises the error."""
        if self._pipeline.deferrals.release(self):
            _require_pipeline(self.client).reject(error, self.call, self.call_site)

    def settle(self, user: object) -> bool:
        """Queue the event for `user`, or report that there is no user, or why it is unknown."""
        if isinstance(user, InvalidEvent):
            self.reject(user)
        elif user is None:
            self.cancel()
            report_anonymous(self.client, self.call)
        else:
            return self.queue(user)
        return False


def _require_pipeline(client: Whisperr) -> Pipeline:
    pipeline = get_pipeline(client)
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
    """Encode an event that is queued later; return None if it is rejected or lost (reported).

    `user` may be UNKNOWN. With a user the event is complete, so `before_send` sees it here.
    """
    given = (event_type, properties, context, occurred_at, message_id)

    def encode(pipeline: Pipeline) -> Encoded:
        if user is UNKNOWN:
            return pipeline.encoder.encode_without_user(*given)
        return (*pipeline.encoder.encode(user, *given), None)

    return defer(client, "track", encode)


def defer_identify(client: Whisperr, **details: object) -> DeferredEvent | None:
    """Encode an identify whose user is named later; return None if it is rejected."""

    def encode(_: Pipeline) -> Encoded:
        return (None, *split_at_user(encode_identify(NO_USER, **details), NO_USER))

    return defer(client, "identify", encode)


def defer(client: Whisperr, call: str, encode: Encode) -> DeferredEvent | None:
    """Return the result of `encode` as a deferred event, or None if it is rejected or lost."""
    encoded = encode_now(client, call, encode)
    if encoded is None:
        return None
    deferred = DeferredEvent(client, call, encoded, get_call_site())
    size = len(deferred.head) + len(deferred.tail or b"")
    return deferred if _require_pipeline(client).defer(deferred, size) else None


def encode_now(
    client: Whisperr, call: str, encode: Encode, call_site: str | None = None
) -> Encoded | None:
    """Return the result of `encode` for the client's current pipeline, or None if it is rejected.

    `call_site` names the application's call if that is no longer on the stack.
    """
    pipeline = get_pipeline(client)
    if pipeline is None:
        return None
    if pipeline.closing:
        pipeline.reject_closed(call, call_site)
        return None
    try:
        return encode(pipeline)
    except Exception as error:  # bad data, whatever it raises, is reported
        if is_interruption(error):
            raise
        pipeline.reject(error, call, call_site)
        return None


def settle_all(settled: Iterable[tuple[DeferredEvent, object]]) -> bool:
    """Settle each event with its user; return whether all were accepted.

    In strict mode the first error is raised after all are settled.
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
    """Return the sink into which a client puts events, None if the client delivers itself."""
    pipeline = get_pipeline(client)
    return None if pipeline is None else pipeline.sink


def report_anonymous(client: Whisperr, call: str, reason: str = "the visitor is anonymous") -> None:
    """Log, with `debug`, that nothing is sent because there is no user."""
    pipeline = get_pipeline(client)
    if pipeline is not None:
        pipeline.reporter.debug("%s: %s; nothing is sent", call, reason)


class Unread:
    """A user that only an `await` can read.

    `source` is the same object for reads with the same result in the same context. `reader` names
    the reading function, for reports. `context` has the variables of the call that tracks. None:
    those of the code that settles the event, if that has them, too, or if the framework keeps
    threads or loops in variables that would be dead by then (asgiref).
    """

    _context: Context | None = None

    def __init__(
        self,
        read: Callable[[], Any],
        source: object,
        reader: str = "resolve_user",
        context: Context | None = None,
    ) -> None:
        self._read = read
        self.source = source
        self.reader = reader
        self._context = context

    async def read(self) -> object:
        """Return the user's id, None for an anonymous visitor, or an InvalidEvent."""
        try:
            if self._context is None:
                return await self._read()
            return await run_in_context(self._context, self._call())
        except Exception as error:  # of a project's own function: reported
            if is_interruption(error):
                raise
            return to_invalid_event(error, self.reader)

    async def _call(self) -> object:
        return await self._read()

    def reads_like(self, other: Unread) -> bool:
        """Return whether another read has the same result, so that this one can be skipped."""
        return self.source is other.source and _is_same(self._context, other._context)


@coroutine
def run_in_context(context: Context, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await a coroutine, running each of its steps with these context variables, in any loop."""
    step: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        try:
            awaited = context.run(step, given)
        except StopIteration as end:
            return end.value
        finally:
            given = None  # no cycle of an exception with this frame
        try:
            given = yield awaited
            step = work.send
        except BaseException as error:  # noqa: BLE001  # also a cancellation: for the coroutine
            step, given = work.throw, error


def _is_same(one: Context | None, other: Context | None) -> bool:
    """Return whether two contexts hold the same objects, by identity and never by `==`."""
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and all(
        variable in other and other[variable] is value for variable, value in one.items()
    )


class Pending:
    """Events and identifies of one request that wait for their user."""

    _ended = False

    def __init__(self) -> None:
        self._queue: deque[tuple[DeferredEvent, Unread]] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, deferred: DeferredEvent | None, user: Unread) -> str | None:
        """Keep an event until the request ends; return its id, None when it was rejected."""
        if deferred is None:
            return None
        if self._ended:
            deferred.reject(InvalidEvent(_ENDED))
            return None
        self._queue.append((deferred, user))
        return deferred.message_id

    def end(self) -> None:
        """End the request: the middleware settles what is pending now, but no later events."""
        self._ended = True

    async def settle(self) -> None:
        """Read the users, each source once per context, and queue what is pending.

        Raises InvalidEvent only in strict mode. If the task is cancelled, events that still wait
        for their user are reported as lost.
        """
        try:
            await self._settle()
        except InvalidEvent:
            raise
        except BaseException:
            with suppress(InvalidEvent):
                self.reject(_CANCELLED)
            raise

    async def settle_now(self) -> None:
        """Settle what is pending while the connection stays open; a cancellation loses nothing."""
        await self._settle()

    async def _settle(self) -> None:
        reads: list[tuple[Unread, object]] = []
        settled: list[tuple[DeferredEvent, object]] = []
        try:
            while self._queue:
                deferred, unread = first = self._queue[0]
                found = [user for other, user in reads if unread.reads_like(other)]
                if not found:
                    found = [await unread.read()]
                    reads.append((unread, found[0]))
                # A login or logout, or another task, may have taken it meanwhile.
                if self._queue and self._queue[0] is first:
                    self._queue.popleft()
                    settled.append((deferred, found[0]))
        finally:
            await self.finish(settled)

    async def finish(self, settled: Sequence[tuple[DeferredEvent, object]]) -> bool:
        """Queue events whose users are read; return whether all were accepted."""
        return settle_all(settled)

    def pull(
        self, select: Callable[[Unread], bool] = lambda _: True
    ) -> list[tuple[DeferredEvent, Unread]]:
        """Remove and return what waits for the selected users; the rest keeps its order."""
        pending: list[tuple[DeferredEvent, Unread]] = []
        with suppress(IndexError):  # it is empty; another thread may be adding
            pending.extend(iter(self._queue.popleft, None))
        self._queue.extend(pair for pair in pending if not select(pair[1]))
        return [pair for pair in pending if select(pair[1])]

    def reject(self, reason: str, select: Callable[[Unread], bool] = lambda _: True) -> None:
        """Report what waits for the selected users as lost."""
        settle_all([(deferred, InvalidEvent(reason)) for deferred, _ in self.pull(select)])


def to_invalid_event(error: Exception, reader: str = "resolve_user") -> InvalidEvent:
    """Return the error to report, never with the text of a foreign error, which may hold data."""
    if isinstance(error, InvalidEvent):
        return error
    return InvalidEvent(f"external_user_id: {reader} raised {type(error).__name__}")
