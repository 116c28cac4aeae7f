"""The aiohttp integration: a tracker for each request, and delivery when the application ends.

Example::

    from whisperr.aiohttp import get_tracker, setup

    app = web.Application()
    setup(app, resolve_user=get_user)

    async def upgrade(request):
        get_tracker(request).track("plan_upgraded")
        return web.Response(text="done")

.. versionadded:: 1.0
"""

# Threads: runs in the event loop; another thread waits for delivery.

from __future__ import annotations

try:
    from aiohttp import web
except ModuleNotFoundError as _missing:
    if _missing.name != "aiohttp":
        raise
    raise ImportError(
        "whisperr.aiohttp needs aiohttp: pip install 'whisperr[aiohttp]'"
    ) from _missing

from functools import partial
from typing import TYPE_CHECKING, Any

from ._client import get_pipeline
from ._integrations.client import get_client_factory, require_client
from ._integrations.flushing import flush_before_end
from ._integrations.tracker import ResolvingTracker
from ._process.event_loop import run_in_thread
from ._process.exit import EXIT_TIMEOUT
from ._process.timeout import parse_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from ._client import Whisperr

__all__ = ["RequestTracker", "get_tracker", "setup"]


class RequestTracker(ResolvingTracker):
    """Tracks for the user of one request: `get_tracker(request)`.

    For an anonymous visitor it sends nothing. With an async `resolve_user`, `track` and `identify`
    encode at once, and queue when the handler has ended. `atrack` and `aidentify` resolve the user
    before they return; use them in a websocket or another handler that runs for long.
    """

    __slots__ = ()


# From aiohttp 3.14 on, a text as the key of a request is a warning.
_KEY: Any = web.RequestKey("whisperr", RequestTracker) if hasattr(web, "RequestKey") else "whisperr"


def setup(
    app: web.Application,
    client: Whisperr | Callable[[], Whisperr] | None = None,
    *,
    resolve_user: Callable[[web.Request], object],
    flush_timeout: float | None = EXIT_TIMEOUT,
) -> None:
    """Give every request of an application a tracker, and deliver when the application ends.

    Call it before the application starts, or before it is added to another one. The requests of
    its sub-applications have the tracker, too.

    Args:
        app: The application. It gets a middleware, and a receiver of `on_cleanup`, which aiohttp
            calls once the handlers and the cleanup contexts have ended.
        client: A client, or a function that returns one. None: one client for the process, made
            from the environment.
        resolve_user: A function, sync or async, that takes the request and returns the user's id,
            or None for an anonymous visitor. It is called when something is tracked, with the
            context variables of that call.
        flush_timeout: Seconds that delivery may take when the application ends; the end of the
            process may deliver what is left. None: until delivery succeeds or the retries are used
            up.

    Raises:
        MissingKey: `client` is None and the environment has no key. It is a ValueError.
        RuntimeError: The application has started, or belongs to another one already.
        TypeError: `flush_timeout` is not a number.
        ValueError: `flush_timeout` is negative, or a variable has a wrong value.
    """
    seconds = parse_timeout(flush_timeout, "flush_timeout")
    require_client(client)
    get_client = get_client_factory(client)

    @web.middleware
    async def track_for_user(request: web.Request, handler: Handler) -> web.StreamResponse:
        tracker = RequestTracker(get_client, request, resolve_user)
        request[_KEY] = tracker
        try:
            return await handler(request)
        finally:
            tracker.pending.end()
            if tracker.pending:
                await tracker.pending.settle()

    async def deliver(_: web.Application) -> None:
        pipeline = get_pipeline(get_client())
        if pipeline is not None:
            await run_in_thread(partial(flush_before_end, [pipeline], seconds), shield=True)

    app.middlewares.append(track_for_user)
    app.on_cleanup.append(deliver)


def get_tracker(request: web.BaseRequest) -> RequestTracker:
    """Return the tracker of a request.

    Args:
        request: The request that aiohttp passes to the handler.

    Returns:
        The tracker, whose `client` is the client itself, for events of other users.

    Raises:
        RuntimeError: `setup` has not been called for the application of this request.
    """
    try:
        tracker: RequestTracker = request[_KEY]
    except KeyError:
        raise RuntimeError(
            "this request has no tracker: call whisperr.aiohttp.setup(app, resolve_user=...)"
        ) from None
    return tracker
