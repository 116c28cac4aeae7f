"""The middleware around the applications of frameworks that have no integration of their own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from whisperr.wsgi import WhisperrMiddleware

if TYPE_CHECKING:
    from whisperr import Whisperr
    from whisperr.dev import LocalServer


def make_bottle(bottle: Any) -> Any:
    app = bottle.Bottle()
    app.post("/cancel", callback=lambda: track(bottle.request.environ))
    return app


def make_falcon(falcon: Any) -> Any:
    class Cancel:
        def on_post(self, request: Any, response: Any) -> None:
            response.text = track(request.env)

    app = falcon.App()
    app.add_route("/cancel", Cancel())
    return app


def make_pyramid(pyramid: Any) -> Any:
    make_response = importlib.import_module("pyramid.response").Response
    with importlib.import_module("pyramid.config").Configurator() as config:
        config.add_route("cancel", "/cancel")
        config.add_view(lambda request: make_response(track(request.environ)), route_name="cancel")
        return config.make_wsgi_app()


def make_flask(flask: Any) -> Any:
    app = flask.Flask("shop")
    app.post("/cancel")(lambda: track(flask.request.environ))
    return app


def track(environ: dict[str, Any]) -> str:
    return str(environ["whisperr.tracker"].track("subscription_cancelled"))


@pytest.mark.filterwarnings("ignore")  # Pyramid 2.1 imports what is deprecated
@pytest.mark.parametrize("make_app", [make_bottle, make_falcon, make_pyramid, make_flask])
def test_a_view_tracks_for_the_user_of_its_request(
    make_app: Any, client: Whisperr, server: LocalServer
) -> None:
    name = make_app.__name__.removeprefix("make_")
    pytest.importorskip(name, reason=f"{name} is not installed")
    app = WhisperrMiddleware(
        make_app(importlib.import_module(name)),
        client,
        resolve_user=lambda environ: environ.get("HTTP_X_USER"),
    )
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/cancel", "HTTP_X_USER": "user_8842"}
    setup_testing_defaults(environ)
    answer = b"".join(app(environ, lambda status, headers, error=None: None)).decode()
    assert client.flush() is True
    (arrival,) = server.arrivals()
    assert (arrival.user, arrival.type) == ("user_8842", "subscription_cancelled")
    assert arrival.body["context"]["$message_id"] == answer
