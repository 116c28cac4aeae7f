"""Events that follow a transaction: made now, queued when it commits, gone when it rolls back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from whisperr import InvalidEvent
from whisperr._integrations.deferred import defer_event

from ._client import get_client
from .outbox.buffer import Rows, use_database

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from whisperr._integrations.deferred import DeferredEvent


def track_on_commit(
    user_id: object,
    event_type: str,
    properties: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    occurred_at: datetime | None = None,
    message_id: str | None = None,
    using: str | None = None,
) -> str | None:
    """Track when the current transaction commits; never when it rolls back.

    The arguments are those of `Whisperr.track`. Everything is encoded and stamped now, and bad
    data is reported now. Outside a transaction it is queued at once. `using` names the database;
    the default one when left out. Returns the message id, None when it was refused.

    With the outbox its row is written now, in the transaction on `using`.
    """
    prepared = defer_event(
        get_client(), user_id, event_type, properties, context, occurred_at, message_id
    )
    return None if prepared is None else queue_on_commit(prepared, using)


def queue_on_commit(prepared: DeferredEvent, using: str | None) -> str | None:
    """Queue an event when the transaction commits; return its message id, None when refused.

    A row of the outbox follows the transaction by itself, if it is in the same database.
    """
    outbox = prepared.outbox
    if isinstance(outbox, Rows) and outbox.follows(using):
        with use_database(using):
            return prepared.message_id if prepared.queue() else None
    try:
        connection = transaction.get_connection(using)
        if connection.connection is None:  # and none is made: nothing can be open on it
            return prepared.message_id if prepared.queue() else None
        connection.on_commit(prepared.queue, robust=True)
    except SynchronousOnlyOperation:  # an event loop, where Django has no transactions
        return prepared.message_id if prepared.queue() else None
    except Exception as error:  # noqa: BLE001  # an unknown database, transactions by hand
        prepared.refuse(InvalidEvent(f"track_on_commit: Django raised {type(error).__name__}"))
        return None
    return prepared.message_id
