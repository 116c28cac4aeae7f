"""The middleware and the dependency in Starlette and FastAPI, through their own test clients."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from whisperr import Whisperr, scope
from whisperr.asgi import WhisperrMiddleware
from whisperr.testing import capture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from whisperr.dev import LocalServer

pytest.importorskip("fastapi", reason="FastAPI is not installed")

# Behind the check: these need what it looks for.
import anyio.lowlevel
import anyio.to_thread
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from whisperr.fastapi import Tracker  # noqa: TC001  # FastAPI reads annotations


class Customer(BaseUser):
    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        return self.name


class Header(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(), Customer(name))


def get_user(scope: Any) -> str | None:
    headers = HTTPConnection(scope).headers  # of a request or a websocket
    return headers.get("x-user")


async def async_get_user(scope: Any) -> str | None:
    return get_user(scope)


def sent(client: Whisperr, server: LocalServer) -> list[tuple[str | None, str | None]]:
    client.flush()
    return [(a.user, a.type) for a in server.arrivals()]


class TestStarlette:
    def test_sync_and_async_endpoints_track_for_the_authenticated_user(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        async def upgraded(request: Request) -> PlainTextResponse:
            request.state.whisperr.track("plan_upgraded")
            return PlainTextResponse("done")

        def cancelled(request: Request) -> PlainTextResponse:
            request.state.whisperr.track("plan_cancelled")
            return PlainTextResponse("done")

        inner = [Route("/cancelled", cancelled)]
        app = Starlette(
            routes=[Route("/upgraded", upgraded), Mount("/inner", routes=inner)],
            middleware=[
                Middleware(AuthenticationMiddleware, backend=Header()),
                Middleware(WhisperrMiddleware, client=client),
            ],
        )
        with TestClient(app) as browser:
            assert browser.get("/upgraded", headers={"x-user": "ada"}).text == "done"
            assert browser.get("/inner/cancelled", headers={"x-user": "grace"}).text == "done"
            assert browser.get("/upgraded").text == "done"
        assert [(a.user, a.type) for a in server.arrivals()] == [
            ("ada", "plan_upgraded"),
            ("grace", "plan_cancelled"),
        ]


def track_again(whisperr: Tracker) -> None:
    whisperr.track("seen_by_a_dependency")


def shop(client: Whisperr, resolve_user: Any, seen: list[str]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("start")
        yield
        seen.append("end")

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(WhisperrMiddleware, client=client, resolve_user=resolve_user)

    @app.post("/async")
    async def upgraded(whisperr: Tracker) -> str | None:
        return whisperr.track("plan_upgraded")

    @app.post("/sync")
    def downgraded(whisperr: Tracker) -> str | None:
        return whisperr.track("plan_downgraded")

    @app.post("/later")
    async def later(whisperr: Tracker, tasks: BackgroundTasks) -> None:
        tasks.add_task(whisperr.track, "report_failed")

    @app.post("/nested")
    async def nested(nothing: Annotated[None, Depends(track_again)]) -> None:
        pass

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, whisperr: Tracker) -> None:
        await websocket.accept()
        await websocket.send_text(str(whisperr.track("joined")))
        websocket.state.whisperr.track("left")
        await websocket.close()

    return app


@pytest.mark.parametrize("resolve_user", [get_user, async_get_user])
class TestFastApi:
    def test_every_kind_of_endpoint_tracks(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        seen: list[str] = []
        with TestClient(shop(client, resolve_user, seen)) as browser:
            ids = [
                browser.post(path, headers={"x-user": "ada"}).json()
                for path in ("/async", "/sync", "/later", "/nested")
            ]
            assert sent(client, server) == [
                ("ada", "plan_upgraded"),
                ("ada", "plan_downgraded"),
                ("ada", "report_failed"),
                ("ada", "seen_by_a_dependency"),
            ]
        stamped = [a.body["context"]["$message_id"] for a in server.arrivals()]
        assert ids[:2] == stamped[:2]
        assert seen == ["start", "end"]

    def test_the_lifespan_of_the_application_is_kept_and_delivers(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        with TestClient(shop(client, resolve_user, [])) as browser:
            browser.post("/async", headers={"x-user": "ada"})
            assert server.arrivals() == []
        assert [a.type for a in server.arrivals()] == ["plan_upgraded"]

    def test_a_websocket_tracks_through_the_same_dependency(
        self, resolve_user: Any, client: Whisperr, server: LocalServer
    ) -> None:
        with TestClient(shop(client, resolve_user, [])) as browser:
            with browser.websocket_connect("/socket", headers={"x-user": "ada"}) as socket:
                message_id = socket.receive_text()
            assert sent(client, server) == [("ada", "joined"), ("ada", "left")]
        assert server.arrivals()[0].body["context"]["$message_id"] == message_id

    def test_the_dependency_is_no_parameter_of_the_interface(
        self, resolve_user: Any, client: Whisperr
    ) -> None:
        assert "whisperr" not in str(shop(client, resolve_user, []).openapi())


def test_a_middleware_around_ours_reads_what_the_endpoint_left(client: Whisperr) -> None:
    seen: list[Any] = []
    app = FastAPI()
    app.add_middleware(WhisperrMiddleware, client=client, resolve_user=get_user)

    @app.middleware("http")
    async def log(request: Request, call_next: Any) -> Any:
        request.state.request_id = "r1"
        response = await call_next(request)
        seen.extend((request.state.user_id, request.scope["route"].path))
        return response

    @app.post("/upgrade")
    async def upgrade(request: Request) -> str:
        request.state.user_id = "ada"
        return str(request.state.request_id)

    with TestClient(app) as browser:
        assert browser.post("/upgrade").json() == "r1"
    assert seen == ["ada", "/upgrade"]


@pytest.mark.usefixtures("_no_client_of_the_process")
def test_an_application_whose_client_cannot_be_made_does_not_start() -> None:
    app = FastAPI()
    app.add_middleware(WhisperrMiddleware)
    with pytest.raises(ValueError, match="WHISPERR_API_KEY"), TestClient(app):
        raise AssertionError("not reached")


def test_an_async_resolver_runs_in_the_context_of_the_call_of_any_endpoint(
    client: Whisperr, server: LocalServer
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="unknown")

    async def resolve_user(scope: Any) -> str:
        await anyio.lowlevel.checkpoint()
        return await anyio.to_thread.run_sync(tenant.get)

    app = FastAPI()
    app.add_middleware(WhisperrMiddleware, client=client, resolve_user=resolve_user)

    @app.post("/sync")
    def downgraded(whisperr: Tracker) -> None:
        tenant.set("ada")
        whisperr.track("plan_downgraded")
        tenant.set("grace")
        whisperr.track("plan_upgraded")

    @app.post("/async")
    async def upgraded(whisperr: Tracker) -> None:
        async def in_a_task(name: str) -> None:
            tenant.set(name)
            whisperr.track("seat_added")

        await asyncio.gather(*(in_a_task(name) for name in ("bob", "cy")))

    with TestClient(app) as browser:
        browser.post("/sync")
        browser.post("/async")
        assert sorted(sent(client, server), key=str) == [
            ("ada", "plan_downgraded"),
            ("bob", "seat_added"),
            ("cy", "seat_added"),
            ("grace", "plan_upgraded"),
        ]


def test_without_the_middleware_the_dependency_says_what_to_do() -> None:
    app = FastAPI()

    @app.get("/")
    async def view(whisperr: Tracker) -> None:
        raise AssertionError("not reached")

    with pytest.raises(RuntimeError, match="add_middleware"), TestClient(app) as browser:
        browser.get("/")


def test_a_scope_in_a_generator_that_streams_covers_all_its_events_if_it_is_async() -> None:
    client = Whisperr(disabled=True)

    def stream_in_threads() -> Iterator[str]:
        with scope(tenant="acme"):
            client.track("ada", "before_the_first_yield")
            yield "1"
            client.track("ada", "after_it")
            yield "2"

    async def stream() -> AsyncIterator[str]:
        for chunk in stream_in_threads():
            yield chunk

    def get_tenants(endpoint: Any) -> list[object]:
        with capture() as events:
            answer = TestClient(Starlette(routes=[Route("/", endpoint)])).get("/")
        assert answer.text == "12"
        return [event.properties.get("tenant") for event in events]

    assert get_tenants(lambda _: StreamingResponse(stream())) == ["acme", "acme"]
    # docs/start/events.md says so.
    assert get_tenants(lambda _: StreamingResponse(stream_in_threads())) == ["acme", None]
