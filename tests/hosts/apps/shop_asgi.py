"""An ASGI application; each request tracks one event. With LIFESPAN=1 it shuts its client down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from whisperr import Whisperr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

whisperr = Whisperr(flush_at=1_000_000, flush_interval=float(os.environ["FLUSH_INTERVAL"]))
whisperr.track("host", "app_loaded", {"n": os.getpid()})


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        if os.environ["LIFESPAN"] == "1":
            await whisperr.ashutdown()
        await send({"type": "lifespan.shutdown.complete"})
        return
    message_id = whisperr.track("user", "request_made", {"n": int(scope["query_string"])})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{os.getpid()} {message_id}".encode()})
