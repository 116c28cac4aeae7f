"""`request.whisperr`, which tracks for the user of one request, and events that follow a commit.

The user is read when the view tracks, never before. If reading it takes an `await`, the event is
encoded at once and waits until the middleware has read its user.

Threads: several threads may work on a request, one after the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error, transaction
from django.http import HttpRequest

from whisperr import InvalidEvent, Whisperr
from whisperr._delivery.reporter import get_raise_site
from whisperr._integrations.deferred import UNKNOWN, DeferredEvent, Unread, defer_event, get_sink
from whisperr._integrations.tracker import (
    DeferringTracker,
    Fields,
    TrackArguments,
    check_names,
    same_parameters,
    to_user_id,
)
from whisperr._process.interruption import is_interruption
from whisperr._process.logger import log

from ._pending import DjangoPending, KnownUser, writes_rows
from ._user import in_event_loop, read_user
from .conf import get_settings_client
from .outbox.buffer import Rows, call_with_database

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from whisperr.events import Event


class RequestTracker(DeferringTracker):
    """Tracks for the user of one request: `request.whisperr`.

    The user is `str(request.user.pk)`, or the id that `WHISPERR_RESOLVE_USER` returns, at the time
    of the call. A user that an endpoint of django-ninja has put into `request.auth` counts before
    the user of the session. For an anonymous visitor nothing is sent.

    In an async view, reading the user may need the database. Then `track` and `identify` encode at
    once, and the middleware reads the user after the view. `atrack` and `aidentify` read the user
    before they return.

    .. versionadded:: 1.0
    """

    __slots__ = ("_request",)

    pending: DjangoPending

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(get_settings_client, partial(read_user, request), DjangoPending())
        self._request = request

    @property
    def user_id(self) -> str | None:
        """The user's id as it is sent; None for an anonymous visitor, or if it cannot be read.

        Raises:
            django.core.exceptions.SynchronousOnlyOperation: The view is async and the user is not
                loaded. Use `await request.whisperr.auser_id()` there.
        """
        user = self._find_user(self.client, "user_id")
        if isinstance(user, KnownUser):
            user = user.source
        elif isinstance(user, Unread):
            raise SynchronousOnlyOperation("use `await request.whisperr.auser_id()` here")
        return to_user_id(self.client, user)

    @same_parameters(Whisperr.track)
    def track_on_commit(
        self,
        event_type: str | Event,
        properties: Fields = None,
        context: Fields = None,
        *,
        using: str | None = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Queue one event of the user when the current transaction commits, never if it rolls back.

        The event is encoded, gets its time and its user, and is checked now. Outside of a
        transaction it is queued at once. In an event loop, where Django has no transactions, this
        is `track`. With the outbox, the row is written now, in the transaction.

        Args:
            event_type: The name of the event in lowercase snake case, or an `Event`.
            properties: A dictionary that describes the event.
            context: A dictionary about the circumstances.
            using: The alias of the database of the transaction. None: the default database.
            occurred_at: An aware `datetime`, at most 30 days ago. None means now.
            message_id: Your own unique id. None generates one.

        Returns:
            The message id of the event, or None when nothing is sent.

        Raises:
            InvalidEvent: The input or the user is bad, and the client is `strict`.
            django.db.Error: With the outbox, the database has ended the transaction.
        """
        check_names(arguments, TrackArguments)
        client = self.client
        user = self._find_user(client, "track") if client.enabled else None
        if user is None:
            return None
        given = (event_type, properties, context)
        if isinstance(user, Unread):
            return self._defer(defer_event(client, UNKNOWN, *given, **arguments), user)
        return _queue_on_commit(defer_event(client, user, *given, **arguments), using)

    def _read_user(self) -> object:
        user = self._resolve()
        if isinstance(user, Unread):
            return user
        if self.pending:
            self.pending.settle_loaded()  # earlier events are queued first
        return KnownUser(user) if user is not None and in_event_loop() and writes_rows() else user

    async def _aread_user(self) -> object:
        await self.pending.settle()  # earlier events are queued first
        return await super()._aread_user()


class WhisperrRequest(HttpRequest):
    """The type of a request behind the middleware: an `HttpRequest` with `whisperr`.

    Use it for annotations.

    Example::

        def upgrade(request: WhisperrRequest) -> HttpResponse:
            request.whisperr.track("plan_upgraded")
            return HttpResponse("thank you")

    .. versionadded:: 1.0
    """

    whisperr: RequestTracker
    """The tracker for the user of the request."""


@same_parameters(Whisperr.track)
def track_on_commit(
    user_id: object,
    event_type: str | Event,
    properties: Fields = None,
    context: Fields = None,
    *,
    using: str | None = None,
    **arguments: Unpack[TrackArguments],
) -> str | None:
    """Queue one event when the current transaction commits, never if it rolls back.

    The event is encoded, gets its time, and is checked now. Outside of a transaction it is queued
    at once. With the outbox, the row is written now, in the transaction.

    Args:
        user_id: Your id of the user: a string, or anything with a useful string form.
        event_type: The name of the event in lowercase snake case, or an `Event`.
        properties: A dictionary that describes the event.
        context: A dictionary about the circumstances.
        using: The alias of the database of the transaction. None: the default database.
        occurred_at: An aware `datetime`, at most 30 days ago. None means now.
        message_id: Your own unique id. None generates one.

    Returns:
        The message id of the event, or None when it was not accepted.

    Raises:
        InvalidEvent: The input is bad, and the client is `strict`.
        django.db.Error: With the outbox, the database has ended the transaction.

    .. versionadded:: 1.0
    """
    client = get_settings_client()
    deferred = defer_event(client, user_id, event_type, properties, context, **arguments)
    return _queue_on_commit(deferred, using)


def _queue_on_commit(deferred: DeferredEvent | None, using: str | None) -> str | None:
    """Queue an event when the transaction commits; return its message id, None if rejected.

    A row of the outbox is part of the transaction already, if it is in the same database.
    """
    if deferred is None:
        return None
    sink = get_sink(get_settings_client())
    if isinstance(sink, Rows) and sink.follows(using):
        accepted = call_with_database(using, deferred.queue)
        return deferred.message_id if accepted else None
    try:
        connection = transaction.get_connection(using)
        if connection.connection is not None:  # otherwise no transaction can be open on it
            connection.on_commit(partial(_queue_after_commit, deferred))
            return deferred.message_id
    except SynchronousOnlyOperation:
        pass  # an event loop, where Django has no transactions
    except Exception as error:  # an unknown database, transactions by hand
        if is_interruption(error):
            raise
        deferred.reject(InvalidEvent(f"track_on_commit: Django raised {type(error).__name__}"))
        return None
    return deferred.message_id if deferred.queue() else None


def _queue_after_commit(deferred: DeferredEvent) -> None:
    """Queue an event after the commit; a failure does not stop other callbacks of the commit.

    This is not a robust callback of Django's, which would also hide interruptions, and the loss of
    another transaction, in the outbox's database, from the caller.
    """
    try:
        deferred.queue()
    except Exception as error:
        if is_interruption(error) or isinstance(error, Error):
            raise
        log(
            "error",
            "track_on_commit: 1 event is lost because it could not be queued after the commit: %s; "
            'run "manage.py whisperr_check"',
            get_raise_site(error),
            count=1,
        )
