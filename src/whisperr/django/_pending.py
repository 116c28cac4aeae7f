"""What a request tracked before its user could be read, in order, until it can be.

With the outbox also what has a user and waits for its row to be written: an event loop may not.

Threads: the event loop, and a thread that Django runs for it; a `deque` needs no lock for that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.signals import user_logged_in, user_logged_out

from whisperr import InvalidEvent

from ._user import Known, in_event_loop, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whisperr._integrations.deferred import DeferredEvent

    from ._user import Unread

_CHANGED = (
    "external_user_id: the user changed before it could be read; "
    "await request.whisperr.atrack() before a login or logout"
)
_BLOCKED = (
    "external_user_id: reading the user would block the event loop that this sync request runs in"
)
_CANCELLED = "external_user_id: the request was cancelled before its user was read"

# The loop itself keeps only weak references to its tasks.
_tasks: set[asyncio.Task[None]] = set()


class Waiting:
    """Events and identifies of one request that wait for their user."""

    __slots__ = ("_ended", "_queue", "_settling")

    def __init__(self) -> None:
        self._queue: deque[tuple[DeferredEvent, Unread]] = deque()
        self._ended = False
        self._settling = False

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, prepared: DeferredEvent, user: Unread) -> None:
        """Let one wait for the end of the view; after it, as in a stream, read the user soon."""
        self._queue.append((prepared, user))
        if self._ended and not self._settling:  # who settles finds this one as well, in its order
            self._settling = True
            task = asyncio.get_running_loop().create_task(self.asettle())
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)

    def end(self) -> None:
        """Say that the view is over: nobody settles what comes from now on."""
        self._ended = True

    async def asettle(self) -> None:
        """Read the users and queue what waits. Raises InvalidEvent in strict mode only."""
        self._settling = True
        try:
            await self._settle()
        except asyncio.CancelledError:
            self._refuse(_CANCELLED)
            raise
        finally:
            self._settling = False

    async def _settle(self) -> None:
        # By the id of a source; the source is kept, so that no other gets its id.
        known: dict[int, tuple[object, object]] = {}
        ends: list[tuple[DeferredEvent, object]] = []
        try:
            while self._queue:
                prepared, user = self._queue[0]
                if id(user.source) not in known:
                    known[id(user.source)] = (user.source, await _read(user))
                if self._take(prepared):
                    ends.append((prepared, known[id(user.source)][1]))
        finally:
            if any(prepared.outbox is not None for prepared, _ in ends):
                await sync_to_async(_end)(ends)
            else:
                _end(ends)

    def _take(self, prepared: DeferredEvent) -> bool:
        """Take the first one; False when a login or logout took it while its user was read."""
        if not self._queue or self._queue[0][0] is not prepared:
            return False
        self._queue.popleft()
        return True

    def settle(self) -> None:
        """Do the same in a sync chain, whose thread usually has no event loop."""
        if in_event_loop():  # a sync request made from async code, as notebooks and tests do
            known = self._pull(lambda user: isinstance(user, Known))
            _end([(prepared, user.key) for prepared, user in known if isinstance(user, Known)])
            self._refuse(_BLOCKED)
        else:
            async_to_sync(self.asettle)()

    def found(self, key: object) -> None:
        """Queue what waits for the user of the session, whose key was found meanwhile.

        What is to become a row goes on waiting and knows its user now: this may be an event loop,
        or somebody else's transaction.
        """
        waiting = tuple(self._queue)
        self._queue.clear()
        ends = []
        for prepared, user in waiting:
            if user.by_session and prepared.outbox is not None:
                self._queue.append((prepared, Known(key)))
            elif user.by_session:
                ends.append((prepared, key))
            else:
                self._queue.append((prepared, user))
        _end(ends)

    def logged_out(self, user: object) -> None:
        """Give what waits to the user who leaves; a resolver cannot be asked any more."""
        self.found(key_of(user))
        self._refuse(_CHANGED, _is_unknown)

    def logged_in(self) -> None:
        """Report what waits as lost: whose it was cannot be read any more, and it is not theirs."""
        self._refuse(_CHANGED, _is_unknown)

    def _refuse(self, text: str, such: Callable[[Unread], bool] = lambda _: True) -> None:
        """Report as lost what waits for such users."""
        _end([(prepared, InvalidEvent(text)) for prepared, _ in self._pull(such)])

    def _pull(self, such: Callable[[Unread], bool]) -> list[tuple[DeferredEvent, Unread]]:
        """Take out what waits for such users; the rest goes on waiting, in its order."""
        waiting = tuple(self._queue)
        self._queue.clear()
        self._queue.extend(pair for pair in waiting if not such(pair[1]))
        return [pair for pair in waiting if such(pair[1])]


def _is_unknown(user: Unread) -> bool:
    return not isinstance(user, Known)


async def queue_soon(prepared: DeferredEvent, user: object) -> bool:
    """Queue one from an event loop; a row is written in the thread that may do so."""
    if prepared.outbox is None:
        return prepared.queue(user)
    return await sync_to_async(prepared.queue)(user)


async def _read(user: Unread) -> object:
    """Return the user's key, or why it cannot be read."""
    try:
        return await user.read()
    except InvalidEvent as error:
        return error


def _end(ends: Sequence[tuple[DeferredEvent, object]]) -> None:
    """Queue each for its user, or report why it has none; in strict mode raise when all is done."""
    raised = None
    for prepared, key in ends:
        try:
            if isinstance(key, InvalidEvent):
                prepared.refuse(key)
            elif key is None:
                prepared.nobody()
            else:
                prepared.queue(key)
        except InvalidEvent as error:  # noqa: PERF203  # each has to end
            raised = raised or error
    if raised is not None:
        raise raised


def _of(request: object) -> Waiting | None:
    waiting = getattr(getattr(request, "whisperr", None), "waiting", None)
    return waiting if isinstance(waiting, Waiting) else None


def _logged_in(request: object = None, **_: object) -> None:
    waiting = _of(request)
    if waiting:
        waiting.logged_in()


def _logged_out(request: object = None, user: object = None, **_: object) -> None:
    waiting = _of(request)
    if waiting:
        waiting.logged_out(user)


# Both come before the view can go on, so that no event is given to the wrong user.
user_logged_in.connect(_logged_in, dispatch_uid="whisperr.django.waiting")
user_logged_out.connect(_logged_out, dispatch_uid="whisperr.django.waiting")
