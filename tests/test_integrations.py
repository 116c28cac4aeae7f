"""Our integrations keep the duties that docs/frameworks/write-your-own.md gives to all."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import whisperr
from whisperr import Event, Whisperr, WhisperrError
from whisperr._integrations.client import environment_client
from whisperr._integrations.tracker import IdentifyArguments, TrackArguments, UserTracker
from whisperr.dev import LocalServer
from whisperr.testing import capture, send_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Use = Callable[[Any], Any]

PACKAGE = Path(whisperr.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "frameworks" / "write-your-own.md").read_text(encoding="utf-8")
DUTIES = re.findall(r"^- \[ \] \*\*(.+?)\*\*", PAGE, re.MULTILINE)
# What each integration needs besides the standard library.
NEEDED: dict[str, set[str]] = {
    "aiohttp": {"aiohttp"},
    "asgi": set(),
    "aws_lambda": {"snapshot_restore_py"},
    "azure_functions": set(),
    "celery": {"celery"},
    "django": {"asgiref", "django", "stripe"},  # stripe when a webhook of it arrives
    "fastapi": {"fastapi"},
    "flask": {"click", "flask", "werkzeug"},
    "google_functions": set(),
    "opentelemetry": {"opentelemetry"},
    "prometheus": {"prometheus_client"},
    "sqlalchemy": {"sqlalchemy"},
    "wsgi": set(),
}
INTEGRATIONS = set(NEEDED)
# Only the runtimes of Lambda have it, and `whisperr.aws_lambda` works without it.
OPTIONAL = {"aws_lambda"}
# Frameworks without which an integration cannot be imported; the name is that of the extra, too.
FRAMEWORKS = sorted(name for name, needed in NEEDED.items() if needed and name not in OPTIONAL)
# The module of a framework, where it has another name.
MODULES = {"prometheus": "prometheus_client"}
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def installed(*names: str) -> list[Any]:
    """Return integrations as parameters of a test; one whose framework is missing is skipped."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name in FRAMEWORKS and find_spec(MODULES.get(name, name)) is None,
                reason=f"{name} is not installed",
            ),
        )
        for name in names
    ]


def python(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_duty_has_its_tests() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert len(DUTIES) == 11
    for duty in DUTIES:
        assert re.search(rf'""".*\b{duty}\b.*"""', here), duty


def test_every_integration_is_in_the_table() -> None:
    public = {p.stem for p in PACKAGE.iterdir() if not p.stem.startswith("_")}
    core = {"billing", "buffers", "channel", "errors", "events", "privacy", "protocols", "py"}
    gone = {"client", "transport"}  # modules of 0.2, whose import is an error
    assert public - core - gone - {"dev", "pytest_plugin", "testing"} == INTEGRATIONS
    named = set(re.findall(r"`whisperr\.(\w+)`", PAGE))
    assert INTEGRATIONS - {"django"} <= named  # Django's own guide is about it


def get_imports(path: Path) -> set[str]:
    """Return the modules that a file imports when it runs, by their full names."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["whisperr", *path.relative_to(PACKAGE).parts[:-1]]
            parent = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parent, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


class TestLight:
    """Light."""

    @pytest.mark.parametrize("integration", sorted(INTEGRATIONS))
    def test_it_imports_the_client_and_its_framework_only(self, integration: str) -> None:
        files = [PACKAGE / f"{integration}.py"]
        if not files[0].exists():
            files = sorted((PACKAGE / integration).rglob("*.py"))
        imported = [name.split(".") for path in files for name in get_imports(path)]
        packages = {name[0] for name in imported}
        assert packages - sys.stdlib_module_names - {"whisperr"} <= NEEDED[integration]
        ours = {name[1] for name in imported if name[0] == "whisperr"}
        # FastAPI's middleware is the one of ASGI; a Django project may have Celery workers.
        others = {"fastapi": {"asgi"}, "django": {"celery"}}.get(integration, set())
        assert ours & INTEGRATIONS <= {integration, *others}

    @pytest.mark.parametrize("integration", installed(*sorted(INTEGRATIONS)))
    def test_importing_it_starts_no_thread_and_makes_no_client(self, integration: str) -> None:
        output = python(
            "import importlib, sys, threading\n"
            "importlib.import_module('whisperr.' + sys.argv[1])\n"
            "from whisperr._process.exit import pipelines\n"
            "names = [thread.name for thread in threading.enumerate()]\n"
            "print(pipelines(), [name for name in names if 'whisperr' in name])",
            integration,
        )
        assert output == "[] []\n"


class TestClear:
    """Clear."""

    @pytest.mark.parametrize("integration", FRAMEWORKS)
    def test_without_its_framework_it_says_what_to_install(self, integration: str) -> None:
        output = python(
            "import importlib, sys\n"
            "sys.modules[sys.argv[2]] = None  # as if it were not installed\n"
            "try:\n"
            "    importlib.import_module('whisperr.' + sys.argv[1])\n"
            "except ImportError as error:\n"
            "    print(error)",
            integration,
            MODULES.get(integration, integration),
        )
        assert output.endswith(f": pip install 'whisperr[{integration}]'\n")

    @pytest.mark.parametrize("integration", FRAMEWORKS)
    def test_its_extra_is_installed_for_the_tests_in_a_version_that_is_pinned(
        self, integration: str
    ) -> None:
        extra = re.search(rf"^{integration} = \[(.+)\]$", PROJECT, re.MULTILINE)
        assert extra is not None
        tested = re.findall(r'"whisperr\[([\w,]+)\]"', PROJECT.partition("\ndev = ")[0])
        assert integration in {name for names in tested for name in names.split(",")}
        pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
        packages = re.findall(r'"([\w-]+)>=', extra[1])
        assert packages
        for package in packages:
            assert re.search(rf"^{package}==", pins, re.MULTILINE), package


def get_trackers() -> list[Any]:
    from whisperr._integrations.tracker import UserTracker
    from whisperr.asgi import RequestTracker

    found: list[Any] = [UserTracker, RequestTracker]
    if find_spec("django") is not None:
        found.append(import_module("whisperr.django").RequestTracker)
    return found


def get_parameters(function: Any, start: int) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[start:]


class TestSameWords:
    """Same names."""

    @pytest.mark.parametrize("tracker", get_trackers())
    def test_its_methods_are_those_of_the_client_without_the_user(self, tracker: Any) -> None:
        for name in ("track", "identify", "atrack", "aidentify"):
            if hasattr(tracker, name):
                method = getattr(Whisperr, name.removeprefix("a"))
                assert get_parameters(getattr(tracker, name), 1) == get_parameters(method, 2)
        for name in ("client", "user_id"):
            assert isinstance(getattr(tracker, name), property)

    @pytest.mark.parametrize(
        ("arguments", "method"),
        [(TrackArguments, Whisperr.track), (IdentifyArguments, Whisperr.identify)],
    )
    def test_the_arguments_of_type_checkers_are_those_of_the_client(
        self, arguments: Any, method: Any
    ) -> None:
        by_name = [p for p in get_parameters(method, 2) if p.kind is p.KEYWORD_ONLY]
        assert {p.default for p in by_name} == {None}  # what an argument left out means
        assert arguments.__annotations__.keys() == {p.name for p in by_name}
        for parameter in by_name:
            written = arguments.__annotations__[parameter.name]
            assert getattr(written, "__forward_arg__", written) == parameter.annotation

    def test_what_the_source_spells_itself_is_the_same_too(self) -> None:
        source = UserTracker.track.__code__
        names = source.co_varnames[: source.co_argcount]
        positional = [p for p in get_parameters(Whisperr.track, 2) if p.kind is not p.KEYWORD_ONLY]
        assert names == ("self", *[p.name for p in positional])
        defaults = [p.default for p in positional if p.default is not p.empty]
        assert UserTracker.track.__defaults__ == tuple(defaults)

    @pytest.mark.skipif(find_spec("django") is None, reason="django is not installed")
    def test_on_commit_has_the_same_and_the_database(self) -> None:
        module: Any = import_module("whisperr.django")
        for function, start in (
            (module.track_on_commit, 1),
            (module.RequestTracker.track_on_commit, 1),
        ):
            parameters = get_parameters(function, start)
            assert [p for p in parameters if p.name != "using"] == get_parameters(Whisperr.track, 2)
            assert "using" in {p.name for p in parameters}

    def test_an_unknown_argument_is_an_error_also_when_nothing_is_sent(self) -> None:
        tracker: Any = UserTracker(lambda: Whisperr(disabled=True), never)
        with pytest.raises(TypeError, match="unexpected keyword argument 'ocurred_at'"):
            tracker.track("plan_upgraded", ocurred_at=None)
        with pytest.raises(TypeError, match="unexpected keyword argument 'mail'"):
            tracker.identify(mail="ada@example.com")


# Each runs `use(tracker)` in a request or task of its framework.


def in_asgi(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from whisperr.asgi import WhisperrMiddleware

    answer = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer.append(use(scope["state"]["whisperr"]))

    middleware = WhisperrMiddleware(app, client, resolve_user=lambda scope: user())
    asyncio.run(middleware({"type": "http"}, None, None))
    return answer[0]


def in_wsgi(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from whisperr.wsgi import WhisperrMiddleware

    answer = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        answer.append(use(environ["whisperr.tracker"]))
        return []

    middleware = WhisperrMiddleware(app, client, resolve_user=lambda environ: user())
    middleware({}, lambda *_: None)
    return answer[0]


def in_aiohttp(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    from whisperr.aiohttp import get_tracker, setup

    answer = []

    async def handler(request: web.Request) -> web.Response:
        answer.append(use(get_tracker(request)))
        return web.Response()

    async def visit() -> None:
        async with TestClient(TestServer(app)) as browser:
            response = await browser.get("/")
            assert response.status == 200

    app = web.Application()
    setup(app, client, resolve_user=lambda request: user())
    app.router.add_get("/", handler)
    asyncio.run(visit())
    return answer[0]


def in_fastapi(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from whisperr.fastapi import Tracker, WhisperrMiddleware

    answer = []

    def view(whisperr: Any) -> None:
        answer.append(use(whisperr))

    view.__annotations__["whisperr"] = Tracker  # it is known in this function only

    app = FastAPI()
    app.get("/")(view)
    app.add_middleware(WhisperrMiddleware, client=client, resolve_user=lambda scope: user())
    assert TestClient(app).get("/").status_code == 200
    return answer[0]


def in_flask(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from flask import Flask

    from whisperr.flask import Whisperr as Extension
    from whisperr.flask import current

    app = Flask("duties")
    Extension(app, client=client, resolve_user=user)
    answer = []

    @app.get("/")
    def view() -> str:
        answer.append(use(current))
        return "done"

    assert app.test_client().get("/").text == "done"
    return answer[0]


def in_celery(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from celery import Celery

    from whisperr.celery import connect, current

    connect(client, resolve_user=lambda task: user())
    app = Celery("duties", set_as_current=False)

    def task() -> Any:
        return use(current)

    return app.task(task).apply(throw=True).get()


@pytest.fixture
def errors() -> list[WhisperrError]:
    return []


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def client(server: LocalServer, errors: list[WhisperrError]) -> Iterator[Whisperr]:
    with Whisperr("wrk_test", base_url=server.url, on_error=errors.append) as made:
        yield made


def never() -> str:
    raise AssertionError("the user was read")


def both(tracker: Any) -> Any:
    tracker.identify(traits={"plan": "pro"})
    return tracker.track("plan_upgraded")


RUNS = {
    "aiohttp": in_aiohttp,
    "asgi": in_asgi,
    "celery": in_celery,
    "fastapi": in_fastapi,
    "flask": in_flask,
    "wsgi": in_wsgi,
}
NO_RUN = {
    "aws_lambda": "it has no tracker: the function names the user",
    "azure_functions": "it has no tracker: the function names the user",
    "django": "it needs a project: tests/django has the same tests",
    "google_functions": "it has no tracker: the function names the user",
    "opentelemetry": "it adds the trace to events and has no user",
    "prometheus": "it reads counters and has no user",
    "sqlalchemy": "it has no tracker: the call names the user",
}


@pytest.fixture(params=installed(*RUNS))
def run(request: pytest.FixtureRequest) -> Any:
    return RUNS[request.param]


class TestUsers:
    def test_every_integration_is_run_or_has_a_reason(self) -> None:
        assert sorted([*RUNS, *NO_RUN]) == sorted(INTEGRATIONS)

    def test_the_user_is_read_at_each_call_and_not_before(
        self, run: Any, client: Whisperr, server: LocalServer
    ) -> None:
        """Lazy."""
        assert run(client, never, lambda tracker: "nothing") == "nothing"
        people = iter(["ada", 7])
        run(client, lambda: next(people), both)
        client.shutdown()
        assert [a.user for a in server.arrivals()] == ["ada", "7"]

    def test_a_typed_event_takes_the_place_of_a_name_and_properties(
        self, run: Any, client: Whisperr, server: LocalServer
    ) -> None:
        """Same arguments."""

        class PlanUpgraded(Event):
            plan: str

        run(client, lambda: "ada", lambda tracker: tracker.track(PlanUpgraded(plan="pro")))
        client.shutdown()
        (arrival,) = server.arrivals()
        assert (arrival.user, arrival.type) == ("ada", "plan_upgraded")
        assert arrival.body["properties"] == {"plan": "pro"}

    def test_nothing_is_read_for_a_disabled_client(self, run: Any) -> None:
        """Off is off."""
        assert run(Whisperr(disabled=True), never, both) is None

    def test_for_an_anonymous_visitor_nothing_happens(
        self, run: Any, client: Whisperr, server: LocalServer, errors: list[WhisperrError]
    ) -> None:
        """Anonymous is silent."""
        assert run(client, lambda: None, both) is None
        assert run(client, lambda: None, lambda tracker: tracker.user_id) is None
        client.shutdown()
        assert (server.arrivals(), errors) == ([], [])

    def test_a_user_who_cannot_be_read_is_reported_and_the_request_goes_on(
        self, run: Any, client: Whisperr, server: LocalServer, errors: list[WhisperrError]
    ) -> None:
        """Never in the way."""

        def fails() -> str:
            raise LookupError("ada@example.com")

        assert run(client, fails, both) is None
        client.shutdown()
        assert sum(error.count for error in errors) == 2
        assert {error.reason for error in errors} == {"invalid"}
        assert all("resolve_user raised LookupError" in error.message for error in errors)
        assert not any("ada@example.com" in error.message for error in errors)

    def test_a_time_limit_that_ends_the_reading_reaches_the_caller(
        self, run: Any, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        """Never in the way."""

        class BaseTimeoutException(Exception):
            __module__, __qualname__ = "rq.timeouts", "BaseTimeoutException"

        def takes_too_long() -> str:
            raise BaseTimeoutException

        # Flask and aiohttp answer with a 500, which is not what the run expects.
        with pytest.raises((BaseTimeoutException, AssertionError)):
            run(client, takes_too_long, both)
        assert client.stats().not_accepted == {}
        assert errors == []

    def test_an_event_that_waits_for_its_user_is_held(self, client: Whisperr) -> None:
        """Counted. Django's own tests are in tests/django."""
        from whisperr.asgi import WhisperrMiddleware

        held = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"]["whisperr"].track("plan_upgraded")
            held.append(client.stats().held)

        async def resolve_user(scope: Any) -> None:
            """Return no user: an anonymous visitor."""

        middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)
        asyncio.run(middleware({"type": "http"}, None, None))
        assert held == [1]
        assert client.stats().held == 0


class TestInTests:
    """Tests of an application whose client may exist before they begin."""

    def test_a_capture_records_and_a_local_server_gets_what_is_tracked(
        self, run: Any, server: LocalServer
    ) -> None:
        for made in (Whisperr("wrk_real", base_url="http://127.0.0.1:9"), Whisperr(disabled=True)):
            with capture() as events:
                assert run(made, lambda: "ada", both)
            events.assert_tracked("plan_upgraded", user="ada", times=1)
            with send_to(server.url):
                assert run(made, lambda: "grace", both)
            assert made.stats().accepted == 0
        assert [a.user for a in server.arrivals()] == ["grace"] * 4

    @pytest.mark.parametrize(
        "integration", installed("aiohttp", "asgi", "fastapi", "flask", "wsgi")
    )
    def test_an_application_starts_without_a_key(self, integration: str) -> None:
        with capture():
            STARTS[integration](import_module(f"whisperr.{integration}"))
        assert environment_client.clear() is None


# What is made when an application starts, without a key.
STARTS: dict[str, Callable[[Any], Any]] = {
    "aiohttp": lambda module: module.setup(
        import_module("aiohttp.web").Application(), resolve_user=never
    ),
    "asgi": lambda module: module.WhisperrMiddleware(None),
    "fastapi": lambda module: module.WhisperrMiddleware(None),
    "flask": lambda module: module.Whisperr(import_module("flask").Flask("duties")),
    "wsgi": lambda module: module.WhisperrMiddleware(None),
}
NO_START = {
    "aws_lambda": "its client is made by the function's own module",
    "azure_functions": "its client is made by the function's own module",
    "celery": "it connects to signals: tests/celery/test_signals.py",
    "django": "it has checks: tests/django/test_checks.py",
    "google_functions": "its client is made by the function's own module",
    "opentelemetry": "it is a hook of a client that is there already",
    "prometheus": "it is given a client that is there already",
    "sqlalchemy": "it is given a client that is there already",
}


class TestStarts:
    """Early."""

    def test_every_integration_is_started_or_has_a_reason(self) -> None:
        assert sorted([*STARTS, *NO_START]) == sorted(INTEGRATIONS)

    @pytest.mark.parametrize("integration", installed(*STARTS))
    def test_a_missing_key_is_an_error_when_the_application_is_made(self, integration: str) -> None:
        module = import_module(f"whisperr.{integration}")
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            STARTS[integration](module)


# The test of how each host ends, with real processes: its file and its name.
ENDS = {
    "aiohttp": (
        "aiohttp/test_servers.py",
        "what_waits_is_delivered_before_the_server_ends",
    ),
    "asgi": ("asgi/test_uvicorn.py", "what_waits_is_delivered_before_the_server_ends"),
    "aws_lambda": (
        "aws_lambda/test_functions.py",
        "what_was_tracked_has_arrived_when_the_handler_returns",
    ),
    "azure_functions": ("aws_lambda/test_azure.py", "a_function_delivers_before_it_answers"),
    "celery": ("celery/test_worker.py", "a_process_for_each_task_loses_nothing"),
    "django": (
        "django/test_servers.py",
        "everything_is_delivered_when_the_server_is_told_to_end",
    ),
    "fastapi": ("asgi/test_uvicorn.py", "what_waits_is_delivered_before_the_server_ends"),
    "flask": ("flask/test_gunicorn.py", "what_waits_is_delivered_when_the_workers_end"),
    "google_functions": (
        "aws_lambda/test_functions.py",
        "an_http_function_delivers_before_it_answers",
    ),
    "wsgi": ("wsgi/test_servers.py", "what_waits_is_delivered_when_the_workers_end"),
}
NO_END = {
    "opentelemetry": "it has no host of its own: nothing of it ends",
    "prometheus": "it has no host of its own: nothing of it ends",
    "sqlalchemy": "nothing of it waits in a process: the events are rows",
}
# Integrations whose tests are in the folder of another one.
FOLDERS = {
    "azure_functions": "aws_lambda",
    "fastapi": "asgi",
    "google_functions": "aws_lambda",
}


class TestEnds:
    """Delivered."""

    def test_every_integration_has_the_test_of_its_end_or_a_reason(self) -> None:
        assert sorted([*ENDS, *NO_END]) == sorted(INTEGRATIONS)

    @pytest.mark.parametrize("integration", ENDS)
    def test_the_test_of_its_end_is_in_its_own_folder(self, integration: str) -> None:
        file, test = ENDS[integration]
        assert file.split("/")[0] == FOLDERS.get(integration, integration)
        assert f"def test_{test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("integration", sorted(INTEGRATIONS - {"django"}))
def test_an_integration_has_a_guide(integration: str) -> None:
    """Proven: by the tests of its folder as well; tests/docs/test_guides.py runs the guide."""
    rows = [line for line in PAGE.splitlines() if f"`whisperr.{integration}`" in line]
    (guide,) = re.findall(r"\]\(([\w./-]+\.md)\)", rows[0])
    assert (ROOT / "docs" / "frameworks" / guide).is_file()
