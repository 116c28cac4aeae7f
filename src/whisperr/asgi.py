"""The ASGI door: `request.state.whisperr`, and delivery before a server confirms its shutdown.

Pure ASGI: it needs no framework. The guide is docs/asgi.md.

Servers such as uvicorn end on SIGTERM without running `atexit`; the last thing they run is the
lifespan protocol. Not every framework speaks it: Django refuses it, so it is answered here.

Threads: runs in the event loop; waiting for delivery happens in other threads.
"""

from __future__ import annotations

import asyncio

from ._client import Whisperr, get_pipeline
from ._integrations.client import get_client_factory
from ._integrations.pending import RequestTracker
from ._process.exit import EXIT_TIMEOUT, pipelines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
    from typing import Any

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    # Every framework has types of its own for the three arguments of ASGI.
    App = Callable[[Any, Any, Any], Awaitable[object]]
    Wrapped = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]

__all__ = ["RequestTracker", "WhisperrMiddleware", "flush_on_shutdown"]

_STARTUP = "lifespan.startup"
_SHUTDOWN = "lifespan.shutdown"


class WhisperrMiddleware:
    """Put a `RequestTracker` on every request: `request.state.whisperr`, `scope["state"]`.

        app.add_middleware(WhisperrMiddleware, resolve_user=user_of)

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
        self._client_of = get_client_factory(client)
        self._resolve = resolve_user
        self._ends = flush_on_shutdown(app, self._client_of, timeout=flush_timeout)
        self._client_of()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await self._ends(scope, receive, send)
        elif scope["type"] == "http":
            tracker = RequestTracker(self._client_of, scope, self._resolve)
            scope.setdefault("state", {})["whisperr"] = tracker
            try:
                await self._app(scope, receive, send)
            finally:
                await tracker.settle()
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

    - `client`: whose events; a callable is asked at the shutdown. None: every client of the
      process.
    - `timeout`: how many seconds delivery may take, for all clients together. What is left then
      stays queued; the end of the process may still deliver it.

    Requests pass through untouched. The application's own lifespan is kept; when it has none, it
    is answered here. Needs a server that speaks lifespan (uvicorn, hypercorn, granian).
    """

    async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespan(receive, send, lambda: _flush(client, timeout)).run(app, scope)
        else:
            await app(scope, receive, send)

    return wrapped


class _Lifespan:
    """One run of the protocol: the application's answers, ours where it gives none."""

    def __init__(
        self, receive: Receive, send: Send, flush: Callable[[], Awaitable[object]]
    ) -> None:
        self._receive = receive
        self._send = send
        self._flush = flush
        self._asked: set[str] = set()
        self._answered: set[str] = set()

    async def run(self, app: App, scope: MutableMapping[str, Any]) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            # An application that raises before it has said anything does not speak lifespan
            # (ASGI, Lifespan Protocol): the server is to go on.
            if self._answered:
                if _SHUTDOWN in self._asked and not self._answered_to(_SHUTDOWN):
                    await self._flush()
                raise
        if f"{_STARTUP}.failed" in self._answered:
            return
        for question in (_STARTUP, _SHUTDOWN):
            while question not in self._asked:
                await self.receive()
            if not self._answered_to(question):
                await self.send({"type": f"{question}.complete"})

    async def receive(self) -> Message:
        message = await self._receive()
        self._asked.add(message["type"])
        return message

    async def send(self, message: Message) -> None:
        self._answered.add(message["type"])
        if message["type"].startswith(_SHUTDOWN):
            await self._flush()
        await self._send(message)

    def _answered_to(self, question: str) -> bool:
        return not self._answered.isdisjoint({f"{question}.complete", f"{question}.failed"})


async def _flush(client: Whisperr | Callable[[], Whisperr] | None, timeout: float) -> None:
    """Flush all at the same time: one that its server lets wait takes no time from another."""
    if client is None:
        mine = pipelines()
    else:
        one = get_pipeline(client if isinstance(client, Whisperr) else client())
        mine = [] if one is None else [one]
    await asyncio.gather(*(asyncio.to_thread(pipeline.flush, timeout) for pipeline in mine))
