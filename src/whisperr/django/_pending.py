"""Reads the user of a Django request, when asked, and keeps events until it can be read.

In an event loop `request.user` may need the database, which only `await` may reach. A user that
cannot be read at once is returned as Unread, which reads the user of that moment later. With the
outbox, events whose user is known wait as well, because an event loop may not write rows.

Threads: the event loop, and a thread that Django runs for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import LazyObject, empty

from whisperr import InvalidEvent
from whisperr._integrations.deferred import (
    DeferredEvent,
    Pending,
    Unread,
    get_sink,
    settle_all,
    to_invalid_event,
)
from whisperr._integrations.tracker import is_async

from .conf import RESOLVE_USER, get_resolver, get_settings_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest

_CHANGED = (
    "external_user_id: the user changed before it could be read; "
    "await request.whisperr.atrack() before a login or logout"
)
_BLOCKED = (
    "external_user_id: reading the user would block the event loop that this sync request runs in"
)

# The loop itself keeps only weak references to its tasks.
_tasks: set[asyncio.Task[None]] = set()
_REQUEST_USER = "reading request.user"


class SessionUser(Unread):
    """The user that Django finds by the session."""


class KnownUser(Unread):
    """A user that is known, of an event that waits for a thread that may use the database."""

    def __init__(self, key: object) -> None:
        self.source: object = key

    async def read(self) -> object:
        """Return the user's id."""
        return self.source


def read_user(request: HttpRequest) -> object:
    """Return the user's id, None for an anonymous visitor, or Unread. Raises InvalidEvent."""
    try:
        resolve = get_resolver()
        return _authenticated(request) if resolve is None else _resolve(resolve, request)
    except Exception as error:
        reader = RESOLVE_USER if getattr(settings, RESOLVE_USER, None) else _REQUEST_USER
        raise to_invalid_event(error, reader) from error


def get_key(user: Any) -> object:  # noqa: ANN401  # a project's own user model
    """Return the primary key of an authenticated user, None of any other."""
    return user.pk if user is not None and user.is_authenticated else None


def _resolve(resolve: Callable[[HttpRequest], Any], request: HttpRequest) -> object:
    if is_async(resolve, iscoroutinefunction):
        if in_event_loop():
            return Unread(partial(resolve, request), resolve, RESOLVE_USER)
        return async_to_sync(resolve)(request)
    try:
        return resolve(request)
    except SynchronousOnlyOperation:
        if not in_event_loop():
            raise
        return Unread(partial(sync_to_async(resolve), request), resolve, RESOLVE_USER)


def _authenticated(request: HttpRequest) -> object:
    if not hasattr(request, "user"):
        raise InvalidEvent(
            "external_user_id: the request has no user; put AuthenticationMiddleware before "
            f"WhisperrMiddleware, or set {RESOLVE_USER}"
        )
    user = request.user
    is_loaded = not isinstance(user, LazyObject) or vars(user).get("_wrapped") is not empty
    if is_loaded or not in_event_loop():
        return get_key(user)
    # What Django's own `request.auser` has read already.
    known = vars(request).get("_acached_user")
    if known is not None:
        return get_key(known)
    auser = getattr(request, "auser", None)
    if auser is None:
        return SessionUser(sync_to_async(partial(get_key, user)), user, _REQUEST_USER)
    if _reads_the_session(auser) and request.session.session_key is None:
        return None  # without a session cookie Django would find no user either

    async def read_key() -> object:
        return get_key(await auser())

    return SessionUser(read_key, auser, _REQUEST_USER)


def _reads_the_session(auser: object) -> bool:
    """Return whether this is Django's own `request.auser`; by name, as its import needs models."""
    function = getattr(auser, "func", None)
    name = (getattr(function, "__module__", ""), getattr(function, "__name__", ""))
    return name == ("django.contrib.auth.middleware", "auser")


def in_event_loop() -> bool:
    """Return whether this runs in an event loop, where nothing may wait for the database."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class DjangoPending(Pending):
    """Events and identifies of one request that wait for their user, also after the view."""

    _settling = False

    def add(self, deferred: DeferredEvent | None, user: Unread) -> str | None:
        """Keep an event until the view ends; after it, as in a stream, a task settles it soon."""
        if deferred is None:
            return None
        self._queue.append((deferred, user))
        if self._ended and not self._settling:  # `settle` finds this one as well, in its order
            self._settling = True
            task = asyncio.get_running_loop().create_task(self.settle())
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
        return deferred.message_id

    async def settle(self) -> None:
        self._settling = True
        try:
            while self:  # also what is added while rows are written
                await super().settle()
        finally:
            self._settling = False

    def settle_in_sync(self) -> None:
        """Settle in a sync chain, whose thread usually has no event loop."""
        if in_event_loop():  # a sync request made from async code, as notebooks and tests do
            known = self.pull(lambda user: isinstance(user, KnownUser))
            settle_all([(deferred, user.source) for deferred, user in known])
            self.reject(_BLOCKED)
        else:
            async_to_sync(self.settle)()

    async def finish(self, settled: Sequence[tuple[DeferredEvent, object]]) -> bool:
        if settled and writes_rows():
            return await sync_to_async(settle_all)(settled)
        return settle_all(settled)

    def found(self, key: object) -> None:
        """Queue what waits for the user of the session, whose key was found meanwhile.

        With the outbox it stays and knows its user now: this may be an event loop, or a
        transaction of other code.
        """
        if writes_rows():
            self._queue = deque(
                (deferred, KnownUser(key) if isinstance(user, SessionUser) else user)
                for deferred, user in self._queue
            )
        else:
            waiting = self.pull(lambda user: isinstance(user, SessionUser))
            settle_all([(deferred, key) for deferred, _ in waiting])


def writes_rows() -> bool:
    """Return whether events become rows of the outbox, which an event loop may not write."""
    return get_sink(get_settings_client()) is not None


def _user_changes(signal: object, request: object = None, user: object = None, **_: object) -> None:
    """Give what waits to the user that leaves; at a login, and for a resolver, report it as lost.

    Its user cannot be read any more, and is not the new one.
    """
    pending = getattr(getattr(request, "whisperr", None), "pending", None)
    if isinstance(pending, DjangoPending) and pending:
        if signal is user_logged_out:
            pending.found(get_key(user))
        pending.reject(_CHANGED, lambda user: not isinstance(user, KnownUser))


# Django sends both before the view continues, so that no event is given to the wrong user.
user_logged_in.connect(_user_changes, dispatch_uid="whisperr.django.pending")
user_logged_out.connect(_user_changes, dispatch_uid="whisperr.django.pending")
