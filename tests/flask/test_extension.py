"""The extension in Flask, through Flask's own test client."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("flask", reason="Flask is not installed")

import click
from flask import Flask, request, session

from whisperr import Whisperr as Client
from whisperr._delivery.pool import THREAD_NAME
from whisperr.flask import Whisperr, current

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from whisperr import WhisperrError
    from whisperr.dev import LocalServer


def user() -> str | None:
    return request.headers.get("X-User")


def never() -> str:
    raise AssertionError("the user was read")


def make_app(server: LocalServer, **config: Any) -> Flask:
    app = Flask("shop")
    app.config.update(
        WHISPERR_API_KEY="wrk_test",
        WHISPERR_BASE_URL=server.url,
        WHISPERR_FLUSH_INTERVAL=3600.0,
        SECRET_KEY="for the session",
        **config,
    )
    return app


def visit(app: Flask, view: Callable[[], Any], name: str | None = None) -> Any:
    """Let the application answer one request with this view; return what the view returned."""
    answer: list[Any] = []

    def answered() -> str:
        answer.append(view())
        return "done"

    app.add_url_rule("/", "view", answered)
    headers = {} if name is None else {"X-User": name}
    assert app.test_client().get("/", headers=headers).text == "done"
    return answer[0]


def sent(app: Flask, server: LocalServer) -> list[tuple[str | None, str | None]]:
    with app.app_context():
        current.client.shutdown()
    return [(a.user, a.type) for a in server.arrivals()]


def test_the_user_is_the_one_of_the_request(server: LocalServer) -> None:
    app = make_app(server)
    Whisperr(app, resolve_user=user)

    def view() -> str | None:
        current.identify(traits={"plan": "pro"})
        assert current.user_id == "ada"
        return current.track("plan_upgraded", {"seats": 3})

    message_id = visit(app, view, "ada")
    assert sent(app, server) == [("ada", None), ("ada", "plan_upgraded")]
    event = server.arrivals()[1].body
    assert event["properties"] == {"seats": 3}
    assert event["context"]["$message_id"] == message_id


def test_an_async_view_tracks_as_well(server: LocalServer) -> None:
    pytest.importorskip("asgiref", reason="asgiref, for Flask's async views, is not installed")
    app = make_app(server)
    Whisperr(app, resolve_user=user)

    @app.get("/")
    async def view() -> str:
        current.track("plan_upgraded")
        return "done"

    app.test_client().get("/", headers={"X-User": "ada"})
    assert sent(app, server) == [("ada", "plan_upgraded")]


def test_the_session_is_not_touched_when_nothing_is_tracked(server: LocalServer) -> None:
    app = make_app(server)
    Whisperr(app, resolve_user=lambda: session.get("user"))
    app.add_url_rule("/", "view", lambda: "done")
    assert "Vary" not in app.test_client().get("/").headers


def test_a_login_during_the_request_is_seen(server: LocalServer) -> None:
    app = make_app(server)
    Whisperr(app, resolve_user=lambda: session.get("user"))

    def view() -> list[str | None]:
        before = current.track("seen")
        session["user"] = 8842
        return [before, current.user_id]

    assert visit(app, view) == [None, "8842"]


def test_a_disabled_client_reads_no_user(server: LocalServer) -> None:
    app = make_app(server, WHISPERR_DISABLED=True)
    Whisperr(app, resolve_user=never)

    def view() -> str | None:
        current.identify(email="ada@example.com")
        return current.track("plan_upgraded")

    assert visit(app, view) is None
    assert sent(app, server) == []


async def async_user() -> str:
    raise AssertionError("it is not awaited")


def raising() -> str:
    raise LookupError("secret of a user")


@pytest.mark.parametrize(
    ("resolve_user", "text"),
    [
        (raising, "track: external_user_id: resolve_user raised LookupError"),
        (async_user, "track: external_user_id: resolve_user must not be async here"),
        (None, "there is neither a resolve_user nor Flask-Login to read the user"),
    ],
)
def test_a_user_who_cannot_be_read_is_reported_and_the_request_goes_on(
    resolve_user: Any, text: str, server: LocalServer
) -> None:
    errors: list[WhisperrError] = []
    app = make_app(server, WHISPERR_ON_ERROR=errors.append)
    Whisperr(app, resolve_user=resolve_user)
    assert visit(app, lambda: current.track("plan_upgraded")) is None
    assert sent(app, server) == []
    assert text in errors[0].message
    assert "secret" not in errors[0].message
    assert "test_extension.py" in errors[0].message


def test_several_applications_have_a_client_each(server: LocalServer) -> None:
    whisperr = Whisperr(resolve_user=user)
    apps = [make_app(server, WHISPERR_APP_VERSION=version) for version in ("1", "2")]
    for app in apps:
        whisperr.init_app(app)
    for app in apps:
        visit(app, lambda: current.track("seen"), "ada")
    clients = []
    for app in apps:
        with app.app_context():
            clients.append(current.client)
            assert current.client.shutdown() is True
    assert clients[0] is not clients[1]
    assert [a.body["context"]["app_version"] for a in server.arrivals()] == ["1", "2"]


def test_a_client_that_is_given_is_shared(server: LocalServer) -> None:
    with Client("wrk_test", base_url=server.url) as client:
        whisperr = Whisperr(client=client, resolve_user=user)
        for app in (Flask("one"), Flask("two")):
            whisperr.init_app(app)
            visit(app, lambda: current.track("seen"), "ada")
    assert len(server.arrivals()) == 2


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"WHISPERR_FLUSH_AT": 0}, "WHISPERR_FLUSH_AT = 0: must be a whole number from 1"),
        ({"WHISPERR_API_KEY": None}, "WHISPERR_API_KEY"),
        ({"WHISPERR_API_KEY": "two words"}, "whitespace"),
        (
            {"WHISPERR_BASE_URL": "ftp://u:password@h"},
            r"WHISPERR_BASE_URL = \(a str of 18 ",
        ),
    ],
)
def test_a_wrong_setting_is_found_when_the_application_is_made(
    config: dict[str, Any], text: str, server: LocalServer
) -> None:
    app = make_app(server)
    app.config.update(config)
    with pytest.raises(ValueError, match=text) as raised:
        Whisperr(app)
    assert "password" not in str(raised.value)


def test_a_setting_that_does_not_exist_is_warned_about(server: LocalServer) -> None:
    app = make_app(server, WHISPERR_FLUSHAT=5)
    with pytest.warns(UserWarning, match="did you mean WHISPERR_FLUSH_AT") as warned:
        Whisperr(app)
    assert warned[0].filename == __file__


def test_an_application_without_it_says_what_to_do() -> None:
    with Flask("shop").app_context(), pytest.raises(RuntimeError, match="has no client"):
        current.track("seen")


class TestFlaskLogin:
    @pytest.fixture
    def app(self, server: LocalServer) -> Flask:
        login = pytest.importorskip("flask_login", reason="Flask-Login is not installed")

        class User(login.UserMixin):  # type: ignore[misc,name-defined]  # it has no types
            def __init__(self, key: int) -> None:
                self.id = key

        app = make_app(server)
        login.LoginManager(app).user_loader(lambda key: User(int(key)))
        Whisperr(app)

        @app.get("/login")
        def log_in() -> str:
            before = current.track("logged_in")
            login.login_user(User(8842))
            return f"{before} {current.user_id}"

        return app

    def test_its_user_is_the_user(self, app: Flask, server: LocalServer) -> None:
        app.add_url_rule("/", "view", lambda: current.track("plan_upgraded") or "nothing")
        browser = app.test_client()
        assert browser.get("/").text == "nothing"
        assert browser.get("/login").text == "None 8842"
        assert browser.get("/").text != "nothing"
        assert sent(app, server) == [("8842", "plan_upgraded")]

    def test_outside_of_a_request_there_is_no_user(self, app: Flask, server: LocalServer) -> None:
        with app.app_context():
            assert current.track("seen") is None
            assert current.client.track(7, "seen") is not None
        assert sent(app, server) == [("7", "seen")]

    def test_debug_tells_an_anonymous_visitor_from_a_missing_request(
        self, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        app.config["WHISPERR_DEBUG"] = True
        Whisperr(app)
        visit(app, lambda: current.track("seen"))
        with app.app_context():
            current.track("seen")
        found = [text for text in caplog.messages if text.endswith("; nothing is sent")]
        assert ["the visitor is anonymous" in text for text in found] == [True, False]
        assert "no request is running, so there is no user" in found[1]


class TestWithoutAKey:
    """A command of `flask` goes on; a server does not start."""

    PROGRAM = """
import click
from flask import Flask
from whisperr.flask import Whisperr, current

def create_app():
    app = Flask(__name__)
    Whisperr(app, resolve_user=lambda: "ada")

    @app.cli.command("build")
    def build():
        click.echo(f"built, {current.client.track('ada', 'site_built')}")

    return app
"""

    def run(self, home: Path, *command: str, **variables: str) -> tuple[int, str]:
        (home / "shop.py").write_text(self.PROGRAM, encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WHISPERR_")}
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=home,
            env={**inherited, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    @pytest.mark.parametrize("command", [("build",), ("routes",)])
    def test_a_command_goes_on_and_the_log_says_so(
        self, tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        code, output = self.run(tmp_path, "flask", "--app", "shop", *command)
        assert code == 0, output
        assert output.count("WHISPERR_API_KEY is not set") == 1
        assert ("built, None" in output) == (command == ("build",))

    @pytest.mark.parametrize(
        "server",
        [("flask", "--app", "shop", "run"), ("gunicorn", "--check-config", "shop:create_app()")],
    )
    def test_a_server_does_not_start(self, tmp_path: Path, server: tuple[str, ...]) -> None:
        if importlib.util.find_spec(server[0]) is None:
            pytest.skip(f"{server[0]} is not installed")
        code, output = self.run(tmp_path, *server)
        assert code != 0
        assert "api_key: none given and WHISPERR_API_KEY is not set" in output

    def test_a_command_of_another_server_is_no_command_of_flask(self) -> None:
        with click.Context(click.Command("uvicorn")), pytest.raises(ValueError, match="api_key"):
            Whisperr(Flask("shop"))


def test_sixty_applications_of_a_factory_share_their_delivery_threads(server: LocalServer) -> None:
    def count() -> int:
        return sum(thread.name == THREAD_NAME for thread in threading.enumerate())

    before = count()
    apps = [make_app(server) for _ in range(60)]
    for app in apps:
        Whisperr(app, resolve_user=user)
        visit(app, lambda: current.track("plan_upgraded"), "ada")
    assert count() <= before + 2
    for app in apps:
        with app.app_context():
            assert current.client.flush(10)
    assert count() <= before + 2
    for app in apps:
        with app.app_context():
            assert current.client.shutdown(10)
    assert len(server.arrivals()) == 60
