"""Events are delivered when the application ends, within a time limit, while its loop runs."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.hosts.host import BOUND
from whisperr import Answer, Request, Whisperr
from whisperr.aiohttp import get_tracker, setup
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def never(request: web.Request) -> str:
    raise AssertionError("the user was read")


def end(app: web.Application, visits: int = 0) -> None:
    """Start an application, visit it and end it."""

    async def run() -> None:
        async with TestClient(TestServer(app)) as browser:
            for _ in range(visits):
                response = await browser.get("/")
                assert response.status == 200

    asyncio.run(asyncio.wait_for(run(), BOUND))


class Waiting:
    """A transport whose request is answered once the event loop has answered it."""

    def __init__(self) -> None:
        self.sending = threading.Event()
        self.answered = threading.Event()

    def send(self, request: Request, timeout: float) -> Answer:
        self.sending.set()
        if not self.answered.wait(BOUND):
            raise TimeoutError
        return Answer(202)

    def close(self) -> None:
        """Close nothing."""


def test_the_event_loop_runs_while_the_events_are_delivered() -> None:
    transport = Waiting()
    client = Whisperr("wrk_test", transport=transport)
    client.track("ada", "seen")
    app = web.Application()
    setup(app, client, resolve_user=never)

    async def run() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        cleanup = asyncio.ensure_future(runner.cleanup())
        assert await asyncio.to_thread(transport.sending.wait, BOUND)
        assert not cleanup.done()
        transport.answered.set()  # by the event loop, which does not wait
        await cleanup

    asyncio.run(asyncio.wait_for(run(), BOUND))
    assert (client.stats().delivered, client.stats().held) == (1, 0)
    assert client.shutdown() is True


def test_a_cleanup_that_is_cancelled_ends_and_keeps_the_event() -> None:
    transport = Waiting()
    client = Whisperr("wrk_test", transport=transport)
    client.track("ada", "seen")
    app = web.Application()
    setup(app, client, resolve_user=never, flush_timeout=None)

    async def run() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        cleanup = asyncio.ensure_future(runner.cleanup())
        assert await asyncio.to_thread(transport.sending.wait, BOUND)
        cleanup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cleanup

    try:
        asyncio.run(asyncio.wait_for(run(), BOUND))
        assert client.stats().held == 1
    finally:
        transport.answered.set()
    assert client.shutdown() is True


def test_what_the_cleanup_of_the_application_tracks_is_delivered(
    client: Whisperr, server: LocalServer
) -> None:
    app = web.Application()

    async def context(_: web.Application) -> AsyncIterator[None]:
        yield
        client.track("ada", "job_stopped")

    setup(app, client, resolve_user=never)
    app.cleanup_ctx.append(context)
    end(app)
    assert [a.type for a in server.arrivals()] == ["job_stopped"]


def test_a_service_that_does_not_answer_ends_the_wait_and_keeps_the_event() -> None:
    app = web.Application()
    with LocalServer() as server:
        url = server.url  # nothing listens there after the block
    client = Whisperr("wrk_test", base_url=url)
    client.track("ada", "seen")
    setup(app, client, resolve_user=never, flush_timeout=0.1)
    end(app)
    assert client.stats().held == 1
    client.shutdown(0)


def test_a_task_that_outlives_its_request_gets_its_user_before_the_end(
    client: Whisperr, server: LocalServer
) -> None:
    tasks = []
    ending = None

    async def resolve_user(request: web.Request) -> str:
        assert ending is not None
        await ending.wait()
        return "ada"

    async def handler(request: web.Request) -> web.Response:
        tasks.append(asyncio.ensure_future(get_tracker(request).atrack("report_made")))
        await asyncio.sleep(0)  # the event is encoded, and waits for its user
        return web.Response()

    async def prepare(_: web.Application) -> None:
        nonlocal ending
        ending = asyncio.Event()

    async def let_them_be_read(_: web.Application) -> None:
        assert ending is not None
        assert client.stats().held == 1
        asyncio.get_running_loop().call_later(0.05, ending.set)

    app = web.Application()
    app.on_startup.append(prepare)
    app.on_cleanup.append(let_them_be_read)
    setup(app, client, resolve_user=resolve_user)
    app.router.add_get("/", handler)
    end(app, visits=1)
    assert [(a.user, a.type) for a in server.arrivals()] == [("ada", "report_made")]


def test_a_disabled_client_has_nothing_to_deliver() -> None:
    app = web.Application()
    setup(app, Whisperr(disabled=True), resolve_user=never)
    end(app)
