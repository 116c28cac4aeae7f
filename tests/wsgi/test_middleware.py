"""The middleware of WSGI: it adds a tracker, and lets everything else through."""

from __future__ import annotations

import io
import logging
import signal
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from tests.facilities import needs_signals
from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr.testing import capture
from whisperr.wsgi import UserTracker, WhisperrMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from whisperr.dev import LocalServer

START = ("200 OK", [("Content-Type", "text/plain")])


def make_environ(**given: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {"QUERY_STRING": "", **given}
    setup_testing_defaults(environ)
    return environ


def get_user(environ: dict[str, Any]) -> str | None:
    return environ.get("HTTP_X_USER")


def raising(environ: dict[str, Any]) -> str:
    raise LookupError("secret of a user")


async def async_user(environ: dict[str, Any]) -> str:
    raise AssertionError("it is not awaited")


def never(environ: dict[str, Any]) -> str:
    raise AssertionError("the user was read")


def visit(
    view: Callable[[UserTracker], Any],
    client: Whisperr | Callable[[], Whisperr],
    resolve_user: Callable[[dict[str, Any]], object] | None = get_user,
    **environ: Any,
) -> Any:
    """Answer one request with this view; return what the view returned."""
    answers: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answers.append(view(environ["whisperr.tracker"]))
        start_response(*START)
        return [b"done"]

    middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)
    assert list(middleware(make_environ(**environ), lambda *_: None)) == [b"done"]
    return answers[0]


def sent(client: Whisperr, server: LocalServer) -> list[tuple[str | None, str | None]]:
    assert client.flush() is True
    return [(a.user, a.type) for a in server.arrivals()]


class TestUser:
    def test_the_user_is_the_one_of_the_request(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        def view(whisperr: UserTracker) -> str | None:
            whisperr.identify(traits={"plan": "pro"})
            assert (whisperr.user_id, whisperr.client) == ("ada", client)
            return whisperr.track("plan_upgraded", {"seats": 3})

        message_id = visit(view, client, HTTP_X_USER="ada")
        assert sent(client, server) == [("ada", None), ("ada", "plan_upgraded")]
        event = server.arrivals()[1].body
        assert event["properties"] == {"seats": 3}
        assert event["context"]["$message_id"] == message_id

    @pytest.mark.parametrize(
        ("environ", "user"),
        [({"REMOTE_USER": "ada"}, "ada"), ({"REMOTE_USER": ""}, None), ({}, None)],
    )
    def test_without_a_resolver_it_is_the_user_that_the_server_has_authenticated(
        self, environ: dict[str, str], user: str | None, client: Whisperr
    ) -> None:
        assert visit(lambda whisperr: whisperr.user_id, client, None, **environ) == user

    def test_a_header_of_the_visitor_is_not_the_authenticated_user(self, client: Whisperr) -> None:
        environ = {"HTTP_REMOTE_USER": "ada"}
        assert visit(lambda whisperr: whisperr.user_id, client, None, **environ) is None

    def test_nothing_is_read_when_nothing_is_tracked(self, client: Whisperr) -> None:
        visit(lambda whisperr: None, client, never)

    def test_nothing_is_read_for_a_disabled_client(self) -> None:
        def view(whisperr: UserTracker) -> str | None:
            whisperr.identify(email="ada@example.com")
            return whisperr.track("plan_upgraded")

        assert visit(view, Whisperr(disabled=True), never) is None

    def test_a_user_that_the_application_finds_later_is_seen(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            whisperr = environ["whisperr.tracker"]
            assert whisperr.track("login_failed") is None
            environ["shop.user"] = 8842
            whisperr.track("logged_in")
            return [b"done"]

        middleware = WhisperrMiddleware(
            app, client, resolve_user=lambda environ: environ.get("shop.user")
        )
        middleware(make_environ(), None)  # type: ignore[arg-type]  # unused
        assert sent(client, server) == [("8842", "logged_in")]

    def test_an_anonymous_visitor_sends_and_reports_nothing(
        self, client: Whisperr, server: LocalServer, errors: list[WhisperrError]
    ) -> None:
        assert visit(lambda whisperr: whisperr.track("plan_upgraded"), client) is None
        assert (sent(client, server), errors) == ([], [])

    def test_the_resolver_has_the_context_variables_of_the_call(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        tenant: ContextVar[str] = ContextVar("tenant")

        def view(whisperr: UserTracker) -> None:
            for name in ("ada", "grace"):
                tenant.set(name)
                whisperr.track("plan_upgraded")

        visit(view, client, lambda environ: tenant.get())
        assert sent(client, server) == [("ada", "plan_upgraded"), ("grace", "plan_upgraded")]

    @pytest.mark.parametrize(
        ("resolve_user", "text"),
        [
            (raising, "track: external_user_id: resolve_user raised LookupError"),
            (async_user, "track: external_user_id: resolve_user must not be async here"),
            (lambda environ: "  ", "track: external_user_id: "),
        ],
    )
    def test_a_user_who_cannot_be_read_is_reported_and_the_request_continues(
        self, resolve_user: Any, text: str, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        assert visit(lambda whisperr: whisperr.track("plan_upgraded"), client, resolve_user) is None
        client.shutdown()
        assert [error.reason for error in errors] == ["invalid"]
        assert text in errors[0].message
        assert "secret" not in errors[0].message
        assert "test_middleware.py" in errors[0].message  # the line that tracked

    def test_in_strict_mode_a_failure_is_raised(self, server: LocalServer) -> None:
        with (
            Whisperr("wrk_test", base_url=server.url, strict=True) as strict,
            pytest.raises(InvalidEvent),
        ):
            visit(lambda whisperr: whisperr.track("plan_upgraded"), strict, raising)


def stream(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Track while the server takes the response, after the middleware has returned."""
    start_response(*START)
    for n in range(2):
        environ["whisperr.tracker"].track("row_exported", {"n": n})
        yield b"row"


def write(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response(*START)(b"written, ")
    return [b"returned"]


def fail_late(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response(*START)
    try:
        raise LookupError
    except LookupError:
        start_response("500 Internal Server Error", START[1], sys.exc_info())
    return [b"sorry"]


class TestPassing:
    """Everything but the tracker passes through."""

    @pytest.mark.parametrize(
        ("app", "status", "body"),
        [
            (stream, 200, b"rowrow"),
            (write, 200, b"written, returned"),
            (fail_late, 500, b"sorry"),
        ],
    )
    def test_it_keeps_the_rules_of_wsgi_on_both_sides(
        self, app: Any, status: int, body: bytes, client: Whisperr
    ) -> None:
        middleware = validator(
            WhisperrMiddleware(validator(app), client, resolve_user=lambda environ: "ada")
        )
        output = io.BytesIO()
        handler = SimpleHandler(io.BytesIO(), output, io.StringIO(), make_environ())
        handler.run(middleware)
        head, _, answer = output.getvalue().partition(b"\r\n\r\n")
        assert f"{status} ".encode() in head.splitlines()[0]
        assert answer == body

    def test_a_response_that_is_a_generator_tracks_until_its_end(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        middleware = WhisperrMiddleware(stream, client, resolve_user=get_user)
        response = middleware(make_environ(HTTP_X_USER="ada"), lambda *_: None)
        assert client.stats().accepted == 0
        assert list(response) == [b"row", b"row"]
        assert sent(client, server) == [("ada", "row_exported")] * 2

    def test_the_arguments_the_response_and_exceptions_are_the_same_objects(
        self, client: Whisperr
    ) -> None:
        seen: list[Any] = []
        error = LookupError("of the application")
        response = FileWrapper(io.BytesIO(b"file"))  # servers look at its type

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            seen.extend((environ, start_response))
            if len(seen) > 2:
                raise error
            return response

        middleware = WhisperrMiddleware(app, client)
        environ, start_response = make_environ(), lambda *_: None
        assert middleware(environ, start_response) is response
        assert seen[0] is environ
        assert seen[1] is start_response
        with pytest.raises(LookupError) as raised:
            middleware(environ, start_response)
        assert raised.value is error

    def test_concurrent_requests_have_a_tracker_each(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        middleware = WhisperrMiddleware(stream, client, resolve_user=get_user)
        responses = [
            iter(middleware(make_environ(HTTP_X_USER=name), lambda *_: None))
            for name in ("ada", "grace")
        ]
        for response in responses * 2:  # each goes on after the other
            next(response)
        assert [user for user, _ in sent(client, server)] == ["ada", "grace", "ada", "grace"]


class TestStart:
    @pytest.mark.usefixtures("_no_client_of_the_process")
    def test_the_client_comes_from_the_environment(
        self, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            WhisperrMiddleware(stream)
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        middleware = WhisperrMiddleware(stream)
        environ = make_environ(REMOTE_USER="ada")
        list(middleware(environ, lambda *_: None))
        assert sent(environ["whisperr.tracker"].client, server) == [("ada", "row_exported")] * 2

    def test_a_function_may_return_the_client(self, client: Whisperr, server: LocalServer) -> None:
        visit(lambda whisperr: whisperr.track("seen"), lambda: client, HTTP_X_USER="ada")
        assert sent(client, server) == [("ada", "seen")]


LOST = "SIGTERM ends {} without Python's exit"


@needs_signals
class TestServers:
    """Nothing tells an application of WSGI that its server ends: some of them get a warning."""

    @pytest.fixture(autouse=True)
    def _default_handler(self) -> Iterator[None]:
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGTERM, before)

    @pytest.mark.parametrize(
        ("software", "name"),
        [
            ("waitress", "waitress"),
            ("WSGIServer/0.2", "WSGIServer"),
            ("Werkzeug/3.1.9", "Werkzeug"),
            ("gunicorn/27.0.1", None),
            ("Granian", None),
            ("Apache/2.4 (Debian) mod_wsgi/5.0", None),
            (None, None),  # uWSGI, and the clients of tests
        ],
    )
    def test_a_server_that_sigterm_ends_without_the_exit_is_named_once(
        self,
        software: str | None,
        name: str | None,
        client: Whisperr,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        middleware = WhisperrMiddleware(stream, client)
        given = {} if software is None else {"SERVER_SOFTWARE": software}
        with caplog.at_level(logging.WARNING, "whisperr"):
            for _ in range(2):
                middleware(make_environ(**given), lambda *_: None)
        expected = [] if name is None else [LOST.format(name)]
        assert [m for m in caplog.messages if "SIGTERM" in m] == caplog.messages
        assert len(caplog.messages) == len(expected)
        assert all(text in m for text, m in zip(expected, caplog.messages, strict=True))

    def test_a_program_that_handles_sigterm_is_not_warned(
        self, client: Whisperr, caplog: pytest.LogCaptureFixture
    ) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        middleware = WhisperrMiddleware(stream, client)
        middleware(make_environ(SERVER_SOFTWARE="waitress"), lambda *_: None)
        assert caplog.messages == []

    def test_what_a_test_captures_is_not_lost(
        self, client: Whisperr, caplog: pytest.LogCaptureFixture
    ) -> None:
        with capture() as events:
            middleware = WhisperrMiddleware(stream, client, resolve_user=lambda environ: "ada")
            list(middleware(make_environ(SERVER_SOFTWARE="Werkzeug/3"), lambda *_: None))
        events.assert_tracked("row_exported", user="ada", times=2)
        assert caplog.messages == []

    def test_a_disabled_client_loses_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        middleware = WhisperrMiddleware(stream, Whisperr(disabled=True))
        middleware(make_environ(SERVER_SOFTWARE="waitress"), lambda *_: None)
        assert caplog.messages == []
