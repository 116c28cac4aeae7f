"""The ASGI integration: a tracker for each request, and delivery when the server shuts down.

It needs no framework::

    app.add_middleware(WhisperrMiddleware, resolve_user=get_user)

    async def export(request):
        request.state.whisperr.track("export_failed", {"rows": 120})

Servers such as uvicorn end on SIGTERM without running `atexit`. The lifespan protocol is the last
thing that they run, so the middleware delivers there.

.. versionadded:: 1.0
"""

# Threads: runs in the event loop, of asyncio or trio; other threads wait for delivery.

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ._client import Whisperr, get_pipeline
from ._integrations.client import get_client_factory, require_client
from ._integrations.flushing import flush_before_end
from ._integrations.tracker import ResolvingTracker
from ._options import OVERRIDES
from ._process.event_loop import in_event_loop, run_in_thread
from ._process.exit import EXIT_TIMEOUT, pipelines
from ._process.interruption import is_interruption
from ._process.logger import log
from ._process.timeout import parse_timeout
from .errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import NoReturn

    from typing_extensions import Self

    from ._delivery.pipeline import Pipeline
    from ._process.event_loop import Waiting
    from ._process.exit import Running

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    # Every framework has types of its own for the three arguments of ASGI.
    App = Callable[[Any, Any, Any], Awaitable[object]]
    Wrapped = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]

__all__ = ["RequestTracker", "WhisperrMiddleware", "flush_on_shutdown"]

_STARTUP = "lifespan.startup"
_SHUTDOWN = "lifespan.shutdown"
_NAME = "whisperr"  # of the tracker in `scope["state"]`
_NO_LIFESPAN = (
    "WhisperrMiddleware has seen no lifespan of the server: queued events are lost when it ends, "
    "unless your own code awaits ashutdown() then; wrap the outermost application: "
    "app = flush_on_shutdown(app)"
)


class RequestTracker(ResolvingTracker):
    """Tracks for the user of one request or websocket: `request.state.whisperr`.

    For an anonymous visitor it sends nothing. With an async `resolve_user`, `track` and `identify`
    encode at once, and queue when the request ends or before the next message of a websocket.
    `atrack` and `aidentify` resolve the user before they return.
    """

    __slots__ = ()

    def __init__(
        self,
        get_client: Callable[[], Whisperr],
        scope: MutableMapping[str, Any],
        resolve_user: Callable[[Any], object] | None,
    ) -> None:
        resolve = _get_identity if resolve_user is None else resolve_user
        super().__init__(get_client, scope, resolve)

    def settle_at(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return a `receive` or `send` that queues pending events first, for long websockets."""
        if not self._is_async:  # nothing is ever pending
            return call

        async def settle_and_call(*message: Any) -> Any:  # noqa: ANN401  # of the protocol
            if self.pending:
                await self.pending.settle_now()
            return await call(*message)

        return settle_and_call


class WhisperrMiddleware:
    """Gives every request and websocket a `RequestTracker`: `request.state.whisperr`.

    It also delivers queued events when the server shuts down, as `flush_on_shutdown` does.

    Example::

        app.add_middleware(WhisperrMiddleware, resolve_user=get_user)

    Args:
        app: The ASGI application to wrap.
        client: A client, or a function that returns one. None: one client for the process, made
            from the environment.
        resolve_user: A function, sync or async, that takes the ASGI scope and returns the user's
            id, or None for an anonymous visitor. It is called when something is tracked, with the
            context variables of that call. None: the `identity` of `scope["user"]`, which
            Starlette's `AuthenticationMiddleware` sets.
        flush_timeout: Seconds that delivery may take when the server shuts down. None: until
            delivery succeeds or the retries are used up.

    Raises:
        MissingKey: `client` is None and the environment has no key. The server does not start
            then. A server without a lifespan does start: its requests get a disabled client, and
            the log says so.
        TypeError: `flush_timeout` is not a number.
        ValueError: `flush_timeout` is negative, or a variable has a wrong value.
    """

    def __init__(
        self,
        app: App,
        client: Whisperr | Callable[[], Whisperr] | None = None,
        *,
        resolve_user: Callable[[Any], object] | None = None,
        flush_timeout: float | None = EXIT_TIMEOUT,
    ) -> None:
        seconds = parse_timeout(flush_timeout, "flush_timeout")
        self._app = app
        self._get_client = get_client_factory(client)
        self._resolve = resolve_user
        self._lifespan = flush_on_shutdown(app, self._get_client, timeout=seconds)
        self._is_lifespan_checked = False
        self._problem = _find_problem(client)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # of any framework
        """Serve one connection, as ASGI asks."""
        kind = scope["type"]
        if kind == "lifespan":
            if self._problem is not None:
                await _refuse_startup(self._problem, receive, send)
            await self._lifespan(scope, receive, send)
        elif kind in {"http", "websocket"}:
            self._check()
            tracker = RequestTracker(self._get_client, scope, self._resolve)
            _set_tracker(scope, tracker)
            if kind == "websocket":
                receive, send = tracker.settle_at(receive), tracker.settle_at(send)
            try:
                await self._app(scope, receive, send)
            finally:
                tracker.pending.end()
                if tracker.pending:
                    await tracker.pending.settle()
        else:
            await self._app(scope, receive, send)

    def _check(self) -> None:
        """Report once that nothing will deliver at the end; raise why there is no client.

        A missing key stops no request, because a server without a lifespan has started already.
        """
        if self._problem is not None:
            self._get_client()
            self._problem = None
        if not self._is_lifespan_checked:
            self._is_lifespan_checked = True
            client = self._get_client()
            if OVERRIDES.pipeline is None and client.enabled and not _is_flushed(client):
                log("warning", "%s", _NO_LIFESPAN)


class _RequestState(dict[str, Any]):
    """The `scope["state"]` of one request, whose server may share its state among requests.

    Only the tracker is kept here. Everything else is written through, because middlewares around
    ours read what an endpoint writes.
    """

    __slots__ = ("_of_server",)

    def __init__(self, of_server: MutableMapping[str, Any], tracker: RequestTracker) -> None:
        super().__init__(of_server, **{_NAME: tracker})
        self._of_server = of_server

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401  # of any application
        super().__setitem__(key, value)
        if key != _NAME:
            self._of_server[key] = value

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        if key != _NAME:
            self._of_server.pop(key, None)

    def pop(self, key: str, *default: Any) -> Any:  # noqa: ANN401  # likewise
        value = super().pop(key, *default)
        if key != _NAME:
            self._of_server.pop(key, None)
        return value

    # The methods of `dict` do not call those above; the ones of MutableMapping do.
    popitem = MutableMapping.popitem
    clear = MutableMapping.clear
    update = MutableMapping.update
    setdefault = MutableMapping.setdefault

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]  # noqa: ANN401  # as of `dict`
        self.update(other)
        return self


def _set_tracker(scope: MutableMapping[str, Any], tracker: RequestTracker) -> None:
    """Put the tracker into a state that belongs to this request only.

    The scope itself belongs to the connection and is not copied: middlewares around ours read from
    it what the router found.
    """
    state = scope.get("state")
    scope["state"] = {_NAME: tracker} if state is None else _RequestState(state, tracker)


def _find_problem(client: Whisperr | Callable[[], Whisperr] | None) -> Exception | None:
    """Return why there is no client, for the lifespan to report; raise it outside of a loop.

    Frameworks make their middleware in the lifespan. If that raises, a server takes the application
    to have no lifespan, and starts anyway.
    """
    try:
        require_client(client)
    except Exception as error:
        if is_interruption(error) or not in_event_loop():
            raise
        return error
    return None


async def _refuse_startup(problem: Exception, receive: Receive, send: Send) -> NoReturn:
    """Answer that the startup failed, and raise the reason (ASGI, Lifespan Protocol)."""
    while (await receive())["type"] != _STARTUP:
        pass
    text = (
        str(problem) if isinstance(problem, ValueError) else f"{type(problem).__name__}: {problem}"
    )
    await send({"type": f"{_STARTUP}.failed", "message": f"whisperr: {text}"})
    raise problem


# What each running lifespan will flush: a client, a function that returns it, or None for all.
_flushed: list[Whisperr | Callable[[], Whisperr] | None] = []


def _is_flushed(client: Whisperr) -> bool:
    """Return whether a running lifespan will flush this client."""
    for one in tuple(_flushed):
        if one is None or one is client:
            return True
        try:
            if not isinstance(one, Whisperr) and one() is client:
                return True
        except Exception as error:  # of a project's own function; the shutdown reports it
            if is_interruption(error):
                raise
    return False


def _find_pipeline(client: Whisperr | Callable[[], Whisperr]) -> Pipeline | None:
    """Return the pipeline of this client, or None if the project's function fails (reported)."""
    try:
        return get_pipeline(client if isinstance(client, Whisperr) else client())
    except Exception as error:  # of a project's own function
        if is_interruption(error):
            raise
        log(
            "warning",
            "the function that returns the client raised %s, so nothing is delivered at the end; "
            "correct the function that you passed to flush_on_shutdown()",
            type(error).__name__,
        )
        return None


def flush_on_shutdown(
    app: App,
    client: Whisperr | Callable[[], Whisperr] | None = None,
    *,
    timeout: float | None = EXIT_TIMEOUT,
) -> Wrapped:
    """Wrap an ASGI application so that queued events are delivered when its server shuts down.

    Requests pass through unchanged, and the application's own lifespan still runs. The server must
    speak lifespan, as uvicorn, hypercorn and granian do, with asyncio or trio.

    Example::

        application = flush_on_shutdown(get_asgi_application())

    Args:
        app: The ASGI application to wrap.
        client: The client to flush, or a function that returns it at the shutdown. None: every
            client of the process.
        timeout: Seconds that delivery may take, for all clients together; the end of the process
            may deliver what is left. None: until delivery succeeds or the retries are used up.

    Returns:
        The wrapped application, to give to the server.

    Raises:
        TypeError: `timeout` is not a number.
        ValueError: `timeout` is negative or NaN.
    """
    seconds = parse_timeout(timeout)

    def flush(waiting: Waiting) -> None:
        mine: Sequence[Running] = pipelines()
        if client is not None:
            pipeline = _find_pipeline(client)
            mine = [] if pipeline is None else [pipeline]
        flush_before_end(mine, seconds, waiting)

    async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        _flushed.append(client)
        try:
            lifespan = _Lifespan(receive, send, partial(run_in_thread, flush, shield=True))
            await lifespan.run(app, scope)
        finally:
            _flushed.remove(client)

    return wrapped


@dataclass
class _Lifespan:
    """One run of the lifespan protocol, which answers for an application that does not."""

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
    """Return the `identity` that Starlette's authentication put into the scope."""
    user = scope.get("user")
    if user is None:
        raise InvalidEvent(
            "external_user_id: the request has no user; give WhisperrMiddleware a resolve_user, "
            "or put it inside AuthenticationMiddleware"
        )
    return user.identity if user.is_authenticated else None
