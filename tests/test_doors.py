"""Our own doors owe what docs/integrations.md says that any integration owes."""

from __future__ import annotations

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

from tests.test_structure import DOORS, PACKAGE, imports_of
from whisperr import Whisperr, WhisperrError
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Use = Callable[[Any], Any]

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
DUTIES = re.findall(r"^- \[ \] \*\*(.+?)\*\*", PAGE, re.MULTILINE)
NEEDED = {
    "asgi": set(),
    "aws_lambda": {"snapshot_restore_py"},
    "celery": {"celery"},
    "django": {"asgiref", "django"},
    "fastapi": {"fastapi"},
    "flask": {"flask", "werkzeug"},
    "google_functions": set(),
    "opentelemetry": {"opentelemetry"},
}
# Frameworks without which a door cannot be imported; the name is that of the extra, too.
FRAMEWORKS = ["celery", "django", "fastapi", "flask", "opentelemetry"]


def runs(module: str) -> Any:
    return pytest.param(
        module,
        marks=pytest.mark.skipif(
            module in FRAMEWORKS and find_spec(module) is None, reason=f"{module} is not installed"
        ),
    )


def python(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_duty_has_its_tests() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert len(DUTIES) == 10
    for duty in DUTIES:
        assert re.search(rf'""".*\b{duty}\b.*"""', here), duty


def test_every_door_is_in_the_table() -> None:
    assert set(NEEDED) == DOORS
    named = set(re.findall(r"`whisperr\.(\w+)`", PAGE))
    assert DOORS - {"django"} <= named  # Django's own guide is about it


class TestLight:
    """Light."""

    @pytest.mark.parametrize("door", sorted(DOORS))
    def test_a_door_imports_the_core_and_its_framework_only(self, door: str) -> None:
        files = [PACKAGE / f"{door}.py"]
        if not files[0].exists():
            files = sorted((PACKAGE / door).rglob("*.py"))
        imported = [one for path in files for one in imports_of(path) if not one.for_types]
        packages = {one.module.split(".")[0] for one in imported}
        assert packages - sys.stdlib_module_names - {"whisperr"} <= NEEDED[door]
        ours = {
            one.module.split(".")[1] for one in imported if one.module.startswith("whisperr.")
        } | {one.name for one in imported if one.module == "whisperr"}
        # Its middleware, by its name; the workers of a Django project.
        allowed = {door, *{"fastapi": ("asgi",), "django": ("celery",)}.get(door, ())}
        assert ours & DOORS <= allowed

    @pytest.mark.parametrize("door", [runs(door) for door in sorted(DOORS)])
    def test_importing_it_starts_no_thread_and_makes_no_client(self, door: str) -> None:
        said = python(
            "import importlib, sys, threading\n"
            "importlib.import_module('whisperr.' + sys.argv[1])\n"
            "from whisperr._process.exit import pipelines\n"
            "names = [thread.name for thread in threading.enumerate()]\n"
            "print(pipelines(), [name for name in names if 'whisperr' in name])",
            door,
        )
        assert said == "[] []\n"


class TestClear:
    """Clear."""

    @pytest.mark.parametrize("door", FRAMEWORKS)
    def test_without_its_framework_it_says_what_to_install(self, door: str) -> None:
        said = python(
            "import importlib, sys\n"
            "sys.modules[sys.argv[1]] = None  # as if it were not installed\n"
            "try:\n"
            "    importlib.import_module('whisperr.' + sys.argv[1])\n"
            "except ImportError as error:\n"
            "    print(error)",
            door,
        )
        assert said.endswith(f": pip install whisperr[{door}]\n")
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert re.search(rf"^{door} = \[", project, re.MULTILINE)


def trackers() -> list[Any]:
    from whisperr._integrations.pending import RequestTracker
    from whisperr._integrations.tracker import UserTracker

    found: list[Any] = [UserTracker, RequestTracker]
    if find_spec("django") is not None:
        found.append(import_module("whisperr.django").RequestTracker)
    return found


class TestSameWords:
    """Same words."""

    @pytest.mark.parametrize("tracker", trackers())
    def test_its_methods_are_those_of_the_client_without_the_user(self, tracker: Any) -> None:
        for name in ("track", "identify", "atrack", "aidentify"):
            if hasattr(tracker, name):
                theirs = list(inspect.signature(getattr(tracker, name)).parameters.values())
                whole = inspect.signature(getattr(Whisperr, name.removeprefix("a")))
                assert theirs[1:] == list(whole.parameters.values())[2:]
        for name in ("client", "user_id"):
            assert isinstance(getattr(tracker, name), property)


# Each runs `use(tracker)` in a request or task of its framework.


def in_asgi(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from whisperr.asgi import WhisperrMiddleware

    answer = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer.append(use(scope["state"]["whisperr"]))

    middleware = WhisperrMiddleware(app, client, resolve_user=lambda scope: user())
    asyncio.run(middleware({"type": "http"}, None, None))  # type: ignore[arg-type]  # unused
    return answer[0]


def in_fastapi(client: Whisperr, user: Callable[[], Any], use: Use) -> Any:
    from fastapi import Depends, FastAPI
    from fastapi.testclient import TestClient

    from whisperr.fastapi import WhisperrMiddleware, tracker_of

    answer = []

    def view(whisperr: Any = Depends(tracker_of)) -> None:  # noqa: B008  # the older spelling
        answer.append(use(whisperr))

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


@pytest.fixture(params=[in_asgi, in_fastapi, in_flask, in_celery])
def run(request: pytest.FixtureRequest) -> Any:
    framework = request.param.__name__.removeprefix("in_")
    if framework in FRAMEWORKS and find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    return request.param


class TestUsers:
    def test_the_user_is_read_at_each_call_and_not_before(
        self, run: Any, client: Whisperr, server: LocalServer
    ) -> None:
        """Lazy."""
        assert run(client, never, lambda tracker: "nothing") == "nothing"
        people = iter(["ada", 7])
        run(client, lambda: next(people), both)
        client.shutdown()
        assert [a.user for a in server.arrivals()] == ["ada", "7"]

    def test_nothing_is_read_for_a_disabled_client(self, run: Any) -> None:
        """Off is off."""
        assert run(Whisperr(disabled=True), never, both) is None

    def test_for_an_anonymous_visitor_nothing_happens(
        self, run: Any, client: Whisperr, server: LocalServer, errors: list[WhisperrError]
    ) -> None:
        """Nobody is nobody."""
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


class TestStarts:
    """Early. For Celery: tests/celery/test_signals.py; Lambda's client is the caller's."""

    @pytest.mark.parametrize("door", [runs(door) for door in ("asgi", "fastapi", "flask")])
    def test_a_missing_key_is_an_error_when_the_application_is_made(self, door: str) -> None:
        module: Any = import_module(f"whisperr.{door}")
        made = module.Whisperr if door == "flask" else module.WhisperrMiddleware
        app = import_module("flask").Flask("duties") if door == "flask" else None
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            made(app)


# How each host ends is a test of its own, with its processes: (the test, a word in it).
ENDS = {
    "asgi": ("asgi/test_uvicorn.py", "SIGTERM"),
    "aws_lambda": ("aws_lambda/test_functions.py", "get_remaining_time_in_millis"),
    "celery": ("celery/test_worker.py", "--max-tasks-per-child"),
    "fastapi": ("asgi/test_uvicorn.py", "fastapi_app:app"),
    "flask": ("flask/test_gunicorn.py", "SIGTERM"),
    "google_functions": ("aws_lambda/test_functions.py", "functions_framework"),
}


@pytest.mark.parametrize("door", sorted(DOORS - {"django"}))
def test_a_door_has_a_guide_and_the_test_of_its_end(door: str) -> None:
    """Delivered, by those tests. Proven: and by its guide."""
    rows = [line for line in PAGE.splitlines() if f"`whisperr.{door}`" in line]
    guide = re.findall(r"\]\((\w+\.md)\)", rows[0])
    assert (ROOT / "docs" / guide[0]).is_file()
    if door != "opentelemetry":  # no host: nothing of it ends
        place, word = ENDS[door]
        assert word in (ROOT / "tests" / place).read_text(encoding="utf-8")
