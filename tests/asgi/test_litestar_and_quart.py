"""The middleware in Litestar and Quart, which have their own way to the lifespan."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")

from starlette.testclient import TestClient

from whisperr.asgi import WhisperrMiddleware, flush_on_shutdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import Whisperr, WhisperrError
    from whisperr.dev import LocalServer

USER = {"x-user": "user_8842"}
TYPES = ["plan_upgraded", "plan_downgraded", "report_made", "joined"]


def get_user(scope: Any) -> str | None:
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


async def async_get_user(scope: Any) -> str | None:
    await asyncio.sleep(0)
    return get_user(scope)


def make_litestar(**middleware: Any) -> Any:
    from litestar import Litestar, Request, WebSocket, post, websocket
    from litestar.middleware import DefineMiddleware

    @post("/async")
    async def upgrade(request: Request[Any, Any, Any]) -> str:
        return str(request.state.whisperr.track("plan_upgraded"))

    @post("/sync", sync_to_thread=True)
    def downgrade(request: Request[Any, Any, Any]) -> str:
        return str(request.state.whisperr.track("plan_downgraded"))

    @post("/awaiting")
    async def report(request: Request[Any, Any, Any]) -> str:
        return str(await request.state.whisperr.atrack("report_made"))

    @websocket("/socket")
    async def join(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text(str(socket.state.whisperr.track("joined")))
        await socket.close()

    return flush_on_shutdown(
        Litestar(
            [upgrade, downgrade, report, join],
            middleware=[DefineMiddleware(WhisperrMiddleware, **middleware)],
            logging_config=None,  # the default changes the root logger
        )
    )


def make_quart(**middleware: Any) -> Any:
    from quart import Quart, request, websocket

    app = Quart("shop")
    app.asgi_app = WhisperrMiddleware(app.asgi_app, **middleware)  # as Quart documents it

    @app.post("/async")
    async def upgrade() -> str:
        return str(get_tracker(request).track("plan_upgraded"))

    @app.post("/sync")
    def downgrade() -> str:
        return str(get_tracker(request).track("plan_downgraded"))

    @app.post("/awaiting")
    async def report() -> str:
        return str(await get_tracker(request).atrack("report_made"))

    @app.websocket("/socket")
    async def join() -> None:
        await websocket.send(str(get_tracker(websocket).track("joined")))

    def get_tracker(connection: Any) -> Any:
        return connection.scope["state"]["whisperr"]

    return app


@pytest.fixture(params=[("litestar", make_litestar), ("quart", make_quart)], ids=lambda p: p[0])
def make_app(request: pytest.FixtureRequest) -> Callable[..., Any]:
    name, make = request.param
    pytest.importorskip(name, reason=f"{name} is not installed")
    return make  # type: ignore[no-any-return]  # a function of the table


@pytest.mark.parametrize("resolve_user", [get_user, async_get_user])
def test_every_kind_of_handler_tracks_and_the_lifespan_delivers(
    make_app: Callable[..., Any], resolve_user: Any, client: Whisperr, server: LocalServer
) -> None:
    with TestClient(make_app(client=client, resolve_user=resolve_user)) as browser:
        ids = [
            browser.post(path, headers=USER).text.strip('"')
            for path in ("/async", "/sync", "/awaiting")
        ]
        with browser.websocket_connect("/socket", headers=USER) as socket:
            ids.append(socket.receive_text())
        assert server.arrivals() == []
    assert [(a.user, a.type) for a in server.arrivals()] == [("user_8842", one) for one in TYPES]
    assert [a.body["context"]["$message_id"] for a in server.arrivals()] == ids


def test_an_anonymous_visitor_sends_and_reports_nothing(
    make_app: Callable[..., Any],
    client: Whisperr,
    server: LocalServer,
    errors: list[WhisperrError],
) -> None:
    with TestClient(make_app(client=client, resolve_user=get_user)) as browser:
        assert browser.post("/async").text.strip('"') == "None"
    assert (server.arrivals(), errors) == ([], [])


def test_a_user_who_cannot_be_read_is_reported_and_the_request_continues(
    make_app: Callable[..., Any], client: Whisperr, errors: list[WhisperrError]
) -> None:
    def raising(scope: Any) -> str:
        raise LookupError("secret of a user")

    with TestClient(make_app(client=client, resolve_user=raising)) as browser:
        assert browser.post("/async").text.strip('"') == "None"
    client.shutdown()
    assert "resolve_user raised LookupError" in errors[0].message


def test_quart_resolves_in_the_context_of_the_request(
    client: Whisperr, server: LocalServer
) -> None:
    pytest.importorskip("quart", reason="quart is not installed")
    from quart import request

    async def of_request(scope: Any) -> str | None:
        await asyncio.sleep(0)
        user: str | None = request.headers.get("X-User")
        return user

    with TestClient(make_quart(client=client, resolve_user=of_request)) as browser:
        for path in ("/async", "/sync", "/awaiting"):
            browser.post(path, headers=USER)
    assert [a.user for a in server.arrivals()] == ["user_8842"] * 3
