"""`request.whisperr`, the client for the user of one request, and events that follow a commit.

The user is read when something is tracked, never before. Where reading it takes an `await`, the
event is encoded at once and waits for its user, until the middleware can read it.

Threads: a request may be worked on by several, one after the other.
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


class DjangoRequestTracker(DeferringTracker):
    """Tracks for the user of one request: `request.whisperr`.

    The user is `str(request.user.pk)` or what WHISPERR_RESOLVE_USER returns, at the moment of the
    call. Nothing is sent for an anonymous visitor. In an event loop, where the user may take an
    `await` to read, `track` and `identify` encode at once and the middleware finds the user
    after the view; `atrack` and `aidentify` read it before they return.
    """

    __slots__ = ("_request",)

    pending: DjangoPending

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(get_settings_client, partial(read_user, request), DjangoPending())
        self._request = request

    @property
    def user_id(self) -> str | None:
        """The user's id as it is sent; None for an anonymous visitor, or if it cannot be read.

        Raises django.core.exceptions.SynchronousOnlyOperation in an event loop when the user is
        not loaded: `await request.whisperr.auser_id()` there.
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
        event_type: str,
        properties: Fields = None,
        context: Fields = None,
        *,
        using: str | None = None,
        **arguments: Unpack[TrackArguments],
    ) -> str | None:
        """Track when the current transaction commits; see `whisperr.django.track_on_commit`.

        The user is the one of now. In an event loop, where Django has no transactions, it is
        `track`.
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
            self.pending.settle_loaded()  # what was tracked first is queued first
        return KnownUser(user) if user is not None and in_event_loop() and writes_rows() else user

    async def _aread_user(self) -> object:
        await self.pending.settle()  # what was tracked first is queued first
        return await super()._aread_user()


class WhisperrRequest(HttpRequest):
    """A request as views get it behind the middleware; for annotations.

    def upgrade(request: WhisperrRequest) -> HttpResponse:
        request.whisperr.track("plan_upgraded")
    """

    whisperr: DjangoRequestTracker


@same_parameters(Whisperr.track)
def track_on_commit(
    user_id: object,
    event_type: str,
    properties: Fields = None,
    context: Fields = None,
    *,
    using: str | None = None,
    **arguments: Unpack[TrackArguments],
) -> str | None:
    """Track when the current transaction commits; never when it rolls back.

    The arguments are those of `Whisperr.track`. Everything is encoded and stamped now, and bad
    data is reported now. Outside a transaction it is queued at once. `using` names the database;
    the default one when left out. Returns the message id, None when it was rejected.

    With the outbox its row is written now, in the transaction on `using`.
    """
    client = get_settings_client()
    deferred = defer_event(client, user_id, event_type, properties, context, **arguments)
    return _queue_on_commit(deferred, using)


def _queue_on_commit(deferred: DeferredEvent | None, using: str | None) -> str | None:
    """Queue an event when the transaction commits; return its message id, None when rejected.

    A row of the outbox follows the transaction by itself, if it is in the same database.
    """
    if deferred is None:
        return None
    sink = get_sink(get_settings_client())
    if isinstance(sink, Rows) and sink.follows(using):
        accepted = call_with_database(using, deferred.queue)
        return deferred.message_id if accepted else None
    try:
        connection = transaction.get_connection(using)
        if connection.connection is not None:  # else nothing can be open on it, and none is made
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
    """Queue an event after the commit; like a robust callback it stops no other callback.

    A robust one itself would also keep interruptions from the caller, and that another transaction,
    of the database of the outbox, is lost.
    """
    try:
        deferred.queue()
    except Exception as error:
        if is_interruption(error) or isinstance(error, Error):
            raise
        log(
            "error",
            "track_on_commit: 1 event is lost, as it could not be queued after the commit: %s; "
            'run "manage.py whisperr_check"',
            get_raise_site(error),
        )
