"""Events that follow a transaction: encoded now, queued at its commit, discarded at a rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from whisperr import InvalidEvent, Whisperr
from whisperr._integrations.deferred import DeferredEvent, defer_event, get_sink
from whisperr._integrations.tracker import Fields, TrackArguments, same_parameters

from .conf import get_settings_client
from .outbox.buffer import Rows, use_database

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
    return queue_on_commit(deferred, using)


def queue_on_commit(deferred: DeferredEvent | None, using: str | None) -> str | None:
    """Queue an event when the transaction commits; return its message id, None when rejected.

    A row of the outbox follows the transaction by itself, if it is in the same database.
    """
    if deferred is None:
        return None
    sink = get_sink(get_settings_client())
    if isinstance(sink, Rows) and sink.follows(using):
        with use_database(using):
            return deferred.message_id if deferred.queue() else None
    try:
        connection = transaction.get_connection(using)
        if connection.connection is not None:  # else nothing can be open on it, and none is made
            connection.on_commit(deferred.queue, robust=True)
            return deferred.message_id
    except SynchronousOnlyOperation:
        pass  # an event loop, where Django has no transactions
    except Exception as error:  # noqa: BLE001  # an unknown database, transactions by hand
        deferred.reject(InvalidEvent(f"track_on_commit: Django raised {type(error).__name__}"))
        return None
    return deferred.message_id if deferred.queue() else None
