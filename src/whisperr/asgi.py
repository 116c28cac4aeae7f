"""The ASGI integration: `request.state.whisperr`, and delivery before a server's shutdown ends.

It needs no framework. The guide is docs/asgi.md. Servers such as uvicorn end on SIGTERM without
running `atexit`; the last thing that they run is the lifespan protocol. Not every framework speaks
it (Django refuses it), so it is answered here.

Threads: runs in the event loop; waiting for delivery happens in other threads.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ._client import Whisperr
from ._integrations.client import get_client_factory
from ._integrations.deferred import Pending, Unread
from ._integrations.flushing import flush_all
from ._integrations.tracker import DeferringTracker, is_async
from ._process.exit import EXIT_TIMEOUT
from .errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    # Every framework has types of its own for the three arguments of ASGI.
    App = Callable[[Any, Any, Any], Awaitable[object]]
    Wrapped = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]

__all__ = ["RequestTracker", "WhisperrMiddleware", "flush_on_shutdown"]

_STARTUP = "lifespan.startup"
_SHUTDOWN = "lifespan.shutdown"


class RequestTracker(DeferringTracker):
    """Tracks for the user of one request: `request.state.whisperr`.

    Nothing is sent for an anonymous visitor. With an async resolver, the events of `track` and
    `identify` are queued when the request is over, for the user of that moment; `atrack` and
    `aidentify` ask the resolver before they return.
    """

    __slots__ = ("_is_async",)

    def __init__(
        self,
        get_client: Callable[[], Whisperr],
        scope: MutableMapping[str, Any],
        resolve_user: Callable[[Any], object] | None,
    ) -> None:
        resolve = _get_identity if resolve_user is None else resolve_user
        super().__init__(get_client, partial(resolve, scope), Pending())
        self._is_async = is_async(resolve, inspect.iscoroutinefunction)

    def _read_user(self) -> object:
        return Unread(self._resolve, source=self) if self._is_async else self._resolve()


class WhisperrMiddleware:
    """Put a `RequestTracker` on every request: `request.state.whisperr`, `scope["state"]`.

        app.add_middleware(WhisperrMiddleware, resolve_user=get_user)

    - `client`: a client, or a function that returns one. None: one for the process, made from the
      environment; a missing key is a ValueError when the application starts.
    - `resolve_user`: a function, sync or async, that takes the ASGI scope and returns the user's
      id, None for an anonymous visitor. Left out: the `identity` of `scope["user"]`, as
      Starlette's AuthenticationMiddleware sets it.
    - `flush_timeout`: how many seconds delivery may take when the server shuts down; the
      lifespan is treated as by `flush_on_shutdown`.

    The resolver is asked when something is tracked. Websockets pass through untouched.
    """

    def __init__(
        self,
        app: App,
        client: Whisperr | Callable[[], Whisperr] | None = None,
        *,
        resolve_user: Callable[[Any], object] | None = None,
        flush_timeout: float = EXIT_TIMEOUT,
    ) -> None:
        self._app = app
        self._get_client = get_client_factory(client)
        self._resolve = resolve_user
        self._lifespan = flush_on_shutdown(app, self._get_client, timeout=flush_timeout)
        self._get_client()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            tracker = RequestTracker(self._get_client, scope, self._resolve)
            scope.setdefault("state", {})["whisperr"] = tracker
            try:
                await self._app(scope, receive, send)
            finally:
                tracker.pending.end()
                if tracker.pending:
                    await tracker.pending.settle()
        else:
            await self._app(scope, receive, send)


def flush_on_shutdown(
    app: App,
    client: Whisperr | Callable[[], Whisperr] | None = None,
    *,
    timeout: float = EXIT_TIMEOUT,
) -> Wrapped:
    """Wrap an ASGI application so that what is held is delivered when its server shuts down.

        application = flush_on_shutdown(get_asgi_application())

    - `client`: the client to flush, or a function that returns it at the shutdown. None: every
      client of the process.
    - `timeout`: how many seconds delivery may take, for all clients together. What is left then
      stays queued; the end of the process may still deliver it.

    Requests pass through untouched. The application's own lifespan is kept; when it has none, it
    is answered here. Needs a server that speaks lifespan (uvicorn, hypercorn, granian).
    """

    async def flush() -> None:
        if client is None:
            await asyncio.to_thread(flush_all, timeout)
        else:
            await (client if isinstance(client, Whisperr) else client()).aflush(timeout)

    async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespan(receive, send, flush).run(app, scope)
        else:
            await app(scope, receive, send)

    return wrapped


@dataclass
class _Lifespan:
    """One run of the lifespan protocol: the application's answers, and ours where it has none."""

    receive_message: Receive
    send_message: Send
    flush: Callable[[], Awaitable[object]]
    asked: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)

    async def run(self, app: App, scope: MutableMapping[str, Any]) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            # An application that raises before it has sent anything does not speak lifespan
            # (ASGI, Lifespan Protocol): the server continues.
            if self.answered:
                if _SHUTDOWN in self.asked and not self.is_answered(_SHUTDOWN):
                    await self.flush()
                raise
        if f"{_STARTUP}.failed" in self.answered:
            return
        for question in (_STARTUP, _SHUTDOWN):
            while question not in self.asked:
                await self.receive()
            if not self.is_answered(question):
                await self.send({"type": f"{question}.complete"})

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self.receive_message()
        self.asked.add(message["type"])
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.answered.add(message["type"])
        if message["type"].startswith(_SHUTDOWN):
            await self.flush()
        await self.send_message(message)

    def is_answered(self, question: str) -> bool:
        return not self.answered.isdisjoint({f"{question}.complete", f"{question}.failed"})


def _get_identity(scope: MutableMapping[str, Any]) -> object:
    """Return the `identity` that Starlette's authentication left in the scope."""
    user = scope.get("user")
    if user is None:
        raise InvalidEvent(
            "external_user_id: the request has no user; give WhisperrMiddleware a resolve_user, "
            "or put it inside AuthenticationMiddleware"
        )
    return user.identity if user.is_authenticated else None
