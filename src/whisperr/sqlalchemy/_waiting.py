"""Keeps the events of a session that are written when it commits.

An AsyncSession cannot do I/O in a call that is not awaited, so the row of such a call is written
just before the commit. A rollback before that drops the events of its savepoint or transaction.
While a test captures, no row is written, and the events are queued after the commit.

Threads: the session's. The state of a session is in its `info` and ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session, SessionTransaction

    from whisperr._integrations.deferred import DeferredEvent
    from whisperr.protocols import Sink

_KEY = "whisperr.sqlalchemy"
_TOO_LATE = "the session was already committing; call `await outbox.atrack(...)` before the commit"


class _Waiting(NamedTuple):
    transaction: SessionTransaction
    event: DeferredEvent
    sink: Sink | None  # None: a test captures


class WaitingEvents:
    """The events that one session must still write or queue."""

    def __init__(self, session: Session) -> None:
        self._waiting: list[_Waiting] = []
        self._session = ref(session)
        event.listen(session, "before_commit", self._before_commit)
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_transaction_end", self._after_end)

    def belong_to(self, session: Session) -> bool:
        """Return whether this belongs to the session; another may be made with its `info`."""
        return self._session() is session

    def add(self, session: Session, deferred: DeferredEvent, sink: Sink | None) -> None:
        """Keep an event until the innermost transaction of the session ends."""
        if session.get_transaction() is None:
            session.begin()
        transaction = _get_innermost(session)
        assert transaction is not None  # it has just begun
        self._waiting.append(_Waiting(transaction, deferred, sink))

    def _before_commit(self, session: Session) -> None:
        """Write the waiting rows in order; a savepoint passes them to its parent."""
        transaction = _get_innermost(session)
        outer = None if transaction is None else transaction.parent
        if outer is not None:
            self._waiting = [
                one._replace(transaction=outer) if one.transaction is transaction else one
                for one in self._waiting
            ]
            return
        for one in self._pull(transaction, lambda one: one.sink is not None):
            assert one.sink is not None
            one.event.store(one.sink)

    def _after_commit(self, session: Session) -> None:
        transaction = _get_innermost(session)
        if transaction is not None and transaction.parent is not None:
            return
        for one in self._pull(transaction):
            if one.sink is None:
                one.event.queue()
            else:
                one.event.refuse(_TOO_LATE)

    def _after_end(self, _: Session, transaction: SessionTransaction) -> None:
        """Drop the events that were rolled back."""
        for one in self._pull(transaction):
            one.event.cancel()

    def _pull(
        self,
        transaction: SessionTransaction | None,
        select: Callable[[_Waiting], bool] = lambda _: True,
    ) -> list[_Waiting]:
        """Remove and return what waits for the end of a transaction."""
        pulled = [one for one in self._waiting if one.transaction is transaction and select(one)]
        self._waiting = [one for one in self._waiting if one not in pulled]
        return pulled


def get_waiting_events(session: Session) -> WaitingEvents:
    """Return the waiting events of a session; the first call starts to listen to its commits."""
    found = session.info.get(_KEY)
    if not (isinstance(found, WaitingEvents) and found.belong_to(session)):
        found = session.info[_KEY] = WaitingEvents(session)
    return found


def _get_innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()
