"""Requests of aiohttp have a tracker, through aiohttp's own test client."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.hosts.host import BOUND
from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr.aiohttp import get_tracker, setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from whisperr.dev import LocalServer

    Handler = Callable[[web.Request], Awaitable[Any]]
    Browser = TestClient[web.Request, web.Application]


def get_user(request: web.Request) -> str | None:
    return request.headers.get("X-User")


async def async_get_user(request: web.Request) -> str | None:
    await asyncio.sleep(0)
    return get_user(request)


def never(request: web.Request) -> str:
    raise AssertionError("the user was read")


async def async_never(request: web.Request) -> str:
    raise AssertionError("the user was read")


def raising(request: web.Request) -> str:
    raise LookupError("secret of a user")


async def async_raising(request: web.Request) -> str:
    raise LookupError("secret of a user")


both = pytest.mark.parametrize("resolve_user", [get_user, async_get_user])


def make_app(client: Whisperr, handler: Handler, resolve_user: Any = get_user) -> web.Application:
    app = web.Application()
    setup(app, client, resolve_user=resolve_user)
    app.router.add_get("/", handler)
    return app


def browse(app: web.Application, use: Callable[[Browser], Awaitable[Any]]) -> Any:
    """Start the application, use it through a test client, and end it."""

    async def run() -> Any:
        async with TestClient(TestServer(app)) as browser:
            return await use(browser)

    return asyncio.run(asyncio.wait_for(run(), BOUND))


def visit(
    view: Callable[[web.Request], Any],
    client: Whisperr,
    resolve_user: Any = get_user,
    user: str | None = "ada",
) -> Any:
    """Let a handler answer one request; return the result of `view`."""
    answers = []

    async def handler(request: web.Request) -> web.Response:
        answer = view(request)
        answers.append(await answer if asyncio.iscoroutine(answer) else answer)
        return web.Response(text="done")

    async def use(browser: Browser) -> None:
        response = await browser.get("/", headers={} if user is None else {"X-User": user})
        assert (response.status, await response.text()) == (200, "done")

    browse(make_app(client, handler, resolve_user), use)
    return answers[0]


def track(request: web.Request) -> str | None:
    return get_tracker(request).track("plan_upgraded", {"seats": 3})


async def atrack(request: web.Request) -> str | None:
    return await get_tracker(request).atrack("plan_upgraded", {"seats": 3})


def get_sent(server: LocalServer) -> list[tuple[str | None, str | None]]:
    return [(a.user, a.type) for a in server.arrivals()]


class TestUser:
    @both
    @pytest.mark.parametrize("view", [track, atrack])
    def test_the_user_is_the_one_of_the_request(
        self, view: Any, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        message_id = visit(view, client, resolve_user)
        (event,) = server.arrivals()  # delivered when the application ended
        assert (event.user, event.body["properties"]) == ("ada", {"seats": 3})
        assert event.body["context"]["$message_id"] == message_id

    @both
    def test_identify_and_the_id_of_the_user(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        async def view(request: web.Request) -> Any:
            whisperr = get_tracker(request)
            whisperr.identify(traits={"plan": "pro"})
            await whisperr.aidentify(traits={"plan": "free"})
            assert whisperr.client is client
            return await whisperr.auser_id()

        assert visit(view, client, resolve_user) == "ada"
        traits = [a.body["traits"] for a in server.arrivals()]
        assert sorted(traits, key=str) == [{"plan": "free"}, {"plan": "pro"}]

    @pytest.mark.parametrize("resolve_user", [never, async_never])
    def test_nothing_is_read_when_nothing_is_tracked_or_the_client_is_disabled(
        self, resolve_user: Any, client: Whisperr
    ) -> None:
        visit(lambda request: None, client, resolve_user)
        off = Whisperr(disabled=True)
        assert visit(track, off, resolve_user) is None
        assert visit(atrack, off, resolve_user) is None

    @both
    @pytest.mark.parametrize("view", [track, atrack])
    def test_an_anonymous_visitor_sends_and_reports_nothing(
        self,
        view: Any,
        resolve_user: Any,
        client: Whisperr,
        server: LocalServer,
        errors: list[WhisperrError],
    ) -> None:
        visit(view, client, resolve_user, user=None)
        assert (server.arrivals(), errors, client.stats().held) == ([], [], 0)

    @pytest.mark.parametrize("resolve_user", [raising, async_raising])
    @pytest.mark.parametrize("view", [track, atrack])
    def test_a_user_who_cannot_be_read_is_reported_and_the_request_continues(
        self, view: Any, resolve_user: Any, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        visit(view, client, resolve_user)
        client.shutdown()
        assert [error.reason for error in errors] == ["invalid"]
        assert "track: external_user_id: resolve_user raised LookupError" in errors[0].message
        assert "secret" not in errors[0].message

    def test_in_strict_mode_it_is_an_error_of_the_request(self, server: LocalServer) -> None:
        async def use(browser: Browser) -> int:
            response = await browser.get("/")
            return response.status

        async def handler(request: web.Request) -> web.Response:
            with pytest.raises(InvalidEvent):
                track(request)
            return web.Response()

        with Whisperr("wrk_test", base_url=server.url, strict=True) as strict:
            assert browse(make_app(strict, handler, raising), use) == 200

    @both
    def test_the_resolver_has_the_context_variables_of_the_call(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        tenant: ContextVar[str] = ContextVar("tenant")

        async def of_tenant(request: web.Request) -> str:
            await asyncio.sleep(0)
            return tenant.get()

        def view(request: web.Request) -> None:
            for name in ("ada", "grace"):
                tenant.set(name)
                track(request)

        resolve = of_tenant if resolve_user is async_get_user else lambda request: tenant.get()
        visit(view, client, resolve)
        assert get_sent(server) == [("ada", "plan_upgraded"), ("grace", "plan_upgraded")]

    def test_a_request_that_is_over_says_what_to_await(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        tracker = visit(get_tracker, client, async_get_user)
        assert tracker.track("plan_upgraded") is None
        client.shutdown()
        assert "await atrack() there" in errors[0].message


@both
class TestHandlers:
    @pytest.mark.parametrize(
        ("make_error", "status"),
        [(lambda: web.HTTPFound("/"), 302), (web.HTTPForbidden, 403), (ZeroDivisionError, 500)],
    )
    def test_a_handler_that_raises_has_tracked_and_its_exception_passes(
        self,
        make_error: Callable[[], Exception],
        status: int,
        resolve_user: Any,
        client: Whisperr,
        server: LocalServer,
    ) -> None:
        async def handler(request: web.Request) -> web.Response:
            track(request)
            raise make_error()

        async def use(browser: Browser) -> int:
            response = await browser.get("/", headers={"X-User": "ada"}, allow_redirects=False)
            return response.status

        assert browse(make_app(client, handler, resolve_user), use) == status
        assert get_sent(server) == [("ada", "plan_upgraded")]

    def test_a_path_without_a_handler_is_still_not_found(
        self, resolve_user: Any, client: Whisperr
    ) -> None:
        async def use(browser: Browser) -> int:
            response = await browser.get("/nowhere")
            return response.status

        assert browse(make_app(client, atrack, resolve_user), use) == 404

    def test_a_stream_tracks_until_its_end(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        accepted = []

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(2):
                await atrack(request)
                accepted.append(client.stats().accepted)
                await response.write(b"row")
            track(request)
            return response

        async def use(browser: Browser) -> bytes:
            response = await browser.get("/", headers={"X-User": "ada"})
            return await response.read()

        assert browse(make_app(client, handler, resolve_user), use) == b"rowrow"
        assert accepted == [1, 2]
        assert get_sent(server) == [("ada", "plan_upgraded")] * 3

    def test_a_websocket_tracks_while_it_is_open(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        async def handler(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for _ in socket:
                await atrack(request)
                await socket.send_str("tracked")
            return socket

        async def use(browser: Browser) -> None:
            async with browser.ws_connect("/", headers={"X-User": "ada"}) as socket:
                await socket.send_str("upgrade")
                assert await socket.receive_str() == "tracked"
                assert await client.aflush() is True
                assert get_sent(server) == [("ada", "plan_upgraded")]

        browse(make_app(client, handler, resolve_user), use)

    def test_a_visitor_who_leaves_has_tracked(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        """The test server cancels the handler then: `handler_cancellation=True`."""
        ends = []

        async def use(browser: Browser) -> None:
            reached, left = asyncio.Event(), asyncio.Event()

            async def handler(request: web.Request) -> web.Response:
                track(request)
                reached.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    ends.append("cancelled")
                    left.set()
                    raise
                raise AssertionError("not reached")

            handlers.append(handler)
            visit = asyncio.ensure_future(browser.get("/", headers={"X-User": "ada"}))
            await reached.wait()
            visit.cancel()
            await left.wait()

        handlers: list[Handler] = []

        async def first(request: web.Request) -> Any:
            return await handlers[0](request)

        browse(make_app(client, first, resolve_user), use)
        assert ends == ["cancelled"]
        assert get_sent(server) == [("ada", "plan_upgraded")]


class TestApplications:
    def make_nested(self, inner: web.Application, client: Whisperr) -> web.Application:
        async def handler(request: web.Request) -> web.Response:
            track(request)
            return web.Response()

        inner.router.add_get("/", handler)
        outer = make_app(client, handler)
        outer.add_subapp("/inner", inner)
        return outer

    async def use(self, browser: Browser) -> int:
        response = await browser.get("/inner/", headers={"X-User": "ada"})
        return response.status

    def test_a_sub_application_has_the_tracker_of_the_outer_one(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        assert browse(self.make_nested(web.Application(), client), self.use) == 200
        assert get_sent(server) == [("ada", "plan_upgraded")]

    def test_a_sub_application_may_have_its_own(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        inner = web.Application()
        setup(inner, client, resolve_user=lambda request: f"inner_{get_user(request)}")
        assert browse(self.make_nested(inner, client), self.use) == 200
        assert get_sent(server) == [("inner_ada", "plan_upgraded")]

    def test_a_request_without_a_tracker_says_what_to_call(self) -> None:
        async def handler(request: web.Request) -> web.Response:
            with pytest.raises(RuntimeError, match=r"call whisperr\.aiohttp\.setup\(app"):
                get_tracker(request)
            return web.Response()

        async def use(browser: Browser) -> int:
            response = await browser.get("/")
            return response.status

        app = web.Application()
        app.router.add_get("/", handler)
        assert browse(app, use) == 200

    def test_an_application_that_has_started_is_refused(self, client: Whisperr) -> None:
        app = web.Application()
        app.freeze()
        with pytest.raises(RuntimeError):
            setup(app, client, resolve_user=get_user)

    @pytest.mark.usefixtures("_no_client_of_the_process")
    def test_the_client_comes_from_the_environment(
        self, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = web.Application()
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            setup(app, resolve_user=get_user)
        assert list(app.middlewares) == []
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        setup(app, resolve_user=get_user)

        async def handler(request: web.Request) -> web.Response:
            track(request)
            return web.Response()

        async def use(browser: Browser) -> None:
            await browser.get("/", headers={"X-User": "ada"})

        app.router.add_get("/", handler)
        browse(app, use)
        assert get_sent(server) == [("ada", "plan_upgraded")]

    @pytest.mark.parametrize(("seconds", "error"), [("5", TypeError), (-1, ValueError)])
    def test_a_wrong_time_limit_is_refused(
        self, seconds: Any, error: type[Exception], client: Whisperr
    ) -> None:
        with pytest.raises(error, match="flush_timeout"):
            setup(web.Application(), client, resolve_user=get_user, flush_timeout=seconds)
