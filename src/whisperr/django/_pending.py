"""Keeps the events of a Django request until their user can be read.

In an event loop, reading a user may take an `await`. With the outbox, events with a known user
wait, too, because an event loop may not write rows.

Threads: the event loop, and a thread that Django runs for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import Error

from whisperr import InvalidEvent
from whisperr._integrations.deferred import (
    DeferredEvent,
    Pending,
    Unread,
    get_sink,
    settle_all,
)

from ._user import LazyUser, in_event_loop
from .conf import get_settings_client

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHANGED = (
    "external_user_id: the user changed before it could be read; "
    "await request.whisperr.atrack() before a login or logout"
)
_BLOCKED = (
    "external_user_id: reading the user would block the event loop that this sync request runs in"
)

# An event loop keeps only weak references to its tasks.
_tasks: set[asyncio.Task[None]] = set()


class KnownUser(Unread):
    """A known user, whose event waits for a thread that may use the database."""

    def __init__(self, key: object) -> None:
        self.source: object = key

    async def read(self) -> object:
        """Return the user's id."""
        return self.source


class DjangoPending(Pending):
    """The events and identifies of one request that wait for their user, also after the view."""

    _settling = False

    def add(self, deferred: DeferredEvent | None, user: Unread) -> str | None:
        """Keep an event until the view ends; after the view, as in a stream, a task settles it."""
        if deferred is None:
            return None
        self._queue.append((deferred, user))
        if self._ended and not self._settling:  # a running `settle` finds this event in its order
            self._settling = True
            try:
                task = asyncio.get_running_loop().create_task(self.settle())
                _tasks.add(task)
                task.add_done_callback(_tasks.discard)
            except BaseException:  # no loop, or an interruption: the next event tries again
                self._settling = False
                raise
        return deferred.message_id

    async def settle(self) -> None:
        self._settling = True
        try:
            while self:  # also events that are added while rows are written
                await super().settle()
        finally:
            self._settling = False

    def settle_in_sync(self) -> None:
        """Settle in a sync chain, whose thread usually has no event loop."""
        if in_event_loop():  # async code makes a sync request, as notebooks and tests do
            self.settle_loaded()
            known = self.pull(lambda user: isinstance(user, KnownUser))
            settle_all([(deferred, user.source) for deferred, user in known])
            self.reject(_BLOCKED)
        else:
            async_to_sync(self.settle)()

    async def finish(self, settled: Sequence[tuple[DeferredEvent, object]]) -> bool:
        if settled and writes_rows():
            return await sync_to_async(_write_rows)(settled)
        return settle_all(settled)

    def settle_loaded(self) -> None:
        """Queue the events whose user has been loaded in the meantime.

        With the outbox they keep waiting, now with a known user, because this may be an event loop
        or a transaction of other code.
        """
        if writes_rows():
            self._queue = deque((deferred, _to_known(user)) for deferred, user in self._queue)
        else:
            loaded = self.pull(lambda user: isinstance(user, LazyUser) and user.is_loaded)
            settle_all([(deferred, _to_known(user).source) for deferred, user in loaded])


def _to_known(user: Unread) -> Unread:
    return KnownUser(user.get_id()) if isinstance(user, LazyUser) and user.is_loaded else user


def _write_rows(settled: Sequence[tuple[DeferredEvent, object]]) -> bool:
    """Do what `settle_all` does, and settle the others even if a transaction is lost."""
    accepted = True
    first: Exception | None = None
    for pair in settled:
        try:
            accepted &= settle_all([pair])
        except (InvalidEvent, Error) as error:  # noqa: PERF203  # the others are settled as well
            first = first or error
    if first is not None:
        raise first
    return accepted


def writes_rows() -> bool:
    """Return whether events become outbox rows, which an event loop may not write."""
    return get_sink(get_settings_client()) is not None


def _user_changes(request: object = None, **_: object) -> None:
    """Queue the events whose user is loaded, and report the others as lost.

    The user of the others cannot be read any more, and is not the new one. Django reads the user of
    the session before a logout, so only the users of a login, of resolvers and of tokens are not
    loaded.
    """
    pending = getattr(getattr(request, "whisperr", None), "pending", None)
    if isinstance(pending, DjangoPending) and pending:
        pending.settle_loaded()
        pending.reject(_CHANGED, lambda user: not isinstance(user, KnownUser))


# Django sends both signals before the view continues, so no event gets the wrong user.
user_logged_in.connect(_user_changes, dispatch_uid="whisperr.django.pending")
user_logged_out.connect(_user_changes, dispatch_uid="whisperr.django.pending")
