"""The deferred events of one request, in order, until their user can be read.

Threads: the event loop, and the threads that sync code of the request runs in; a `deque` needs no
lock for that.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whisperr.errors import InvalidEvent

from .deferred import DeferredEvent, settle_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ENDED = "external_user_id: the request is over and resolve_user is async; await atrack() there"
_CANCELLED = "external_user_id: the request was cancelled before its user was read"


@dataclass(eq=False)
class Unread:
    """A user that takes an `await` to read.

    `source` is the same object for reads that have the same result. `reader` names what reads the
    user, for reports.
    """

    _read: Callable[[], Any]
    source: object
    reader: str = "resolve_user"

    async def read(self) -> object:
        """Return the user's id, None for an anonymous visitor, or why it cannot be read."""
        try:
            return await self._read()
        except Exception as error:  # noqa: BLE001  # of a project's own function: reported
            return to_invalid_event(error, self.reader)


class Pending:
    """Events and identifies of one request that wait for their user."""

    __slots__ = ("_ended", "_queue")

    def __init__(self) -> None:
        self._queue: deque[tuple[DeferredEvent, Unread]] = deque()
        self._ended = False

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
        """End the request: the middleware settles what is pending now, and nothing after that."""
        self._ended = True

    async def settle(self) -> None:
        """Read the users, each source once, and queue what is pending.

        Raises InvalidEvent in strict mode only. When the task is cancelled, what still waits for
        its user is reported as lost.
        """
        try:
            await self._settle()
        except InvalidEvent:
            raise
        except BaseException:
            with suppress(InvalidEvent):
                self.reject(_CANCELLED)
            raise

    async def _settle(self) -> None:
        # By the id of a source; the source is kept, so that no other object gets its id.
        users: dict[int, tuple[object, object]] = {}
        settled: list[tuple[DeferredEvent, object]] = []
        try:
            while self._queue:
                first = self._queue[0]
                deferred, user = first
                if id(user.source) not in users:
                    users[id(user.source)] = (user.source, await user.read())
                # A login or logout may have taken it meanwhile.
                if self._queue and self._queue[0] is first:
                    self._queue.popleft()
                    settled.append((deferred, users[id(user.source)][1]))
        finally:
            await self.finish(settled)

    async def finish(self, settled: Sequence[tuple[DeferredEvent, object]]) -> bool:
        """Queue events whose users have been read; return whether all were accepted."""
        return settle_all(settled)

    def pull(
        self, select: Callable[[Unread], bool] = lambda _: True
    ) -> list[tuple[DeferredEvent, Unread]]:
        """Take out what waits for the selected users; the rest stays, in its order."""
        pending = tuple(self._queue)
        self._queue.clear()
        self._queue.extend(pair for pair in pending if not select(pair[1]))
        return [pair for pair in pending if select(pair[1])]

    def reject(self, reason: str, select: Callable[[Unread], bool] = lambda _: True) -> None:
        """Report what waits for the selected users as lost."""
        settle_all([(deferred, InvalidEvent(reason)) for deferred, _ in self.pull(select)])


def to_invalid_event(error: Exception, reader: str = "resolve_user") -> InvalidEvent:
    """Return what is reported; never the text of a foreign error, which may repeat data."""
    if isinstance(error, InvalidEvent):
        return error
    return InvalidEvent(f"external_user_id: {reader} raised {type(error).__name__}")
