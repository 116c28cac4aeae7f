"""Applications that real servers run for the tests beside this file."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from whisperr.fastapi import Tracker, WhisperrMiddleware, flush_on_shutdown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_tasks: set[asyncio.Task[Any]] = set()


def get_user(scope: Any) -> str | None:
    return HTTPConnection(scope).headers.get("x-user")


async def get_user_slowly(scope: Any) -> str | None:
    await asyncio.sleep(0.5)
    return get_user(scope)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    sys.stderr.write("the lifespan of the application runs\n")
    yield


def make(resolve_user: Any = get_user) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.add_middleware(WhisperrMiddleware, resolve_user=resolve_user)

    @app.post("/cancel")
    async def cancel(whisperr: Tracker) -> str | None:
        return whisperr.track("subscription_cancelled")

    @app.post("/later")
    async def later(whisperr: Tracker) -> None:
        """Track in a task that outlives the request, and waits for the user."""
        task = asyncio.create_task(whisperr.atrack("subscription_cancelled"))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    return app


app = make()
slow = make(get_user_slowly)
mounted = Starlette(routes=[Mount("/shop", app=make())])
wrapped = flush_on_shutdown(Starlette(routes=[Mount("/shop", app=make())]))
