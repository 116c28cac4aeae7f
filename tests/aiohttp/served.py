"""An application of aiohttp, with its own server and under gunicorn."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aiohttp import web

from whisperr.aiohttp import get_tracker, setup

_tasks: set[asyncio.Task[Any]] = set()


async def get_user(request: web.Request) -> str | None:
    await asyncio.sleep(0.5)  # long enough for the server to be stopped meanwhile
    return request.headers.get("X-User")


async def cancel(request: web.Request) -> web.Response:
    return web.Response(text=str(get_tracker(request).track("subscription_cancelled")))


async def later(request: web.Request) -> web.Response:
    """Track in a task that outlives the request, and waits for the user."""
    task = asyncio.create_task(get_tracker(request).atrack("report_made"))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return web.Response(text="soon")


app = web.Application()
setup(app, resolve_user=get_user)
app.router.add_post("/cancel", cancel)
app.router.add_post("/later", later)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))
