"""The guides of the integrations hold: their code runs in order and does what they say."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest

from tests.docs.page import PAGES, ROOT, get_blocks
from whisperr import Whisperr
from whisperr._cli.main import main
from whisperr._integrations.client import environment_client
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from whisperr import WhisperrError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_guide")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started


async def create_tables(names: dict[str, Any]) -> None:
    async with names["engine"].begin() as connection:
        await connection.run_sync(names["metadata"].create_all)
    await names["engine"].dispose()


def asgi(names: dict[str, Any], server: LocalServer) -> None:
    from starlette.testclient import TestClient

    asyncio.run(create_tables(names))
    with TestClient(names["api"]) as browser:
        assert browser.post("/orders").status_code == 200
    asyncio.run(names["engine"].dispose())
    assert main(["relay", "--database", "sqlite:///app.db", "--once"]) == 0
    (placed,) = server.arrivals()
    assert (placed.user, placed.type) == ("user_8842", "order_placed")
    server.reset()
    for app, path in (("app", "/cancel"), ("api", "/upgrade"), ("application", "/export")):
        with TestClient(names[app]) as browser:
            assert browser.post(path, headers={"x-user": "user_8842"}).status_code == 200
    sent = [(arrival.user, arrival.type) for arrival in server.arrivals()]
    assert sent == [
        ("user_8842", "subscription_cancelled"),
        ("user_8842", "plan_upgraded"),
        ("user_8842", "export_failed"),
    ]
    with TestClient(names["shop"]) as browser:
        headers = {"x-user": "user_8842", "x-tenant": "acme"}
        assert browser.post("/downgrade", headers=headers).status_code == 200
    assert server.arrivals()[-1].body["properties"] == {"tenant": "acme"}


def wsgi(names: dict[str, Any], server: LocalServer) -> None:
    for name in ("application", "cancelling"):
        environ = {"HTTP_X_USER": "user_8842"}
        setup_testing_defaults(environ)
        assert names[name](environ, lambda status, headers: None)
    assert environment_client.get().flush() is True
    assert [(a.user, a.type) for a in server.arrivals()] == [
        ("user_8842", "export_failed"),
        ("user_8842", "subscription_cancelled"),
    ]


def aiohttp(names: dict[str, Any], server: LocalServer) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    async def load_session_user(cookie: str | None) -> str:
        return "user_8843"

    async def visit() -> None:
        async with TestClient(TestServer(names["make_app"]())) as browser:
            answer = await browser.post("/cancel", headers={"X-User": "user_8842"})
            assert list(await answer.json()) == ["message_id"]
        assert [(a.user, a.type) for a in server.arrivals()] == [
            ("user_8842", "subscription_cancelled")
        ]
        async with TestClient(TestServer(names["reports"])) as browser:
            answer = await browser.get("/export")
            assert await answer.read() == b"rows\n"

    names["load_session_user"] = load_session_user
    asyncio.run(visit())
    assert [(a.user, a.type) for a in server.arrivals()[1:]] == [("user_8843", "report_exported")]


def flask(names: dict[str, Any], server: LocalServer) -> None:
    browser = names["app"].test_client()
    names["metadata"].create_all(names["engine"])
    assert browser.post("/cancel").json == {"message_id": None}
    with browser.session_transaction() as session:
        session["user_id"] = "user_8842"
    assert browser.post("/cancel").json != {"message_id": None}
    assert browser.post("/orders").text == "placed"
    assert main(["relay", "--database", "sqlite:///app.db", "--once"]) == 0
    assert [a.type for a in server.arrivals()] == ["order_placed"]
    server.reset()
    names["engine"].dispose()
    done = names["app"].test_cli_runner().invoke(args=["expire-trials"])
    assert done.exit_code == 0, done.output
    names["tenants"].test_client().post("/export", headers={"X-Tenant": "acme"})
    with names["tenants"].app_context():
        names["current"].client.track("user_8842", "trial_expired")
    for app in ("app", "shop", "tenants"):
        with names[app].app_context():
            assert names["current"].client.shutdown() is True
    *sent, exported, outside = server.arrivals()
    assert [a.type for a in sent] == ["subscription_cancelled", "trial_expired"]
    assert exported.body["properties"] == {"rows": 120, "tenant": "acme"}
    assert outside.body.get("properties", {}) == {}


def celery(names: dict[str, Any], server: LocalServer) -> None:
    names["app"].conf.task_always_eager = True
    names["export"].delay(user_id="user_8842")
    names["export"].delay("user_8844")
    names["expire"].delay("user_8843")
    assert [(a.user, a.type) for a in server.arrivals()] == [
        ("user_8842", "export_failed"),
        ("user_8844", "export_failed"),
        ("user_8843", "trial_expired"),
    ]


def functions(names: dict[str, Any], server: LocalServer) -> None:
    names["handler"]({"user": "ada", "id": "evt_1"}, None)
    asyncio.run(names["report"]({"user": "ada"}, None))
    assert names["subscription_ended"](SimpleNamespace(args={"user": "ada"})) == "done"
    azure = {
        one.get_function_name(): one.get_user_function() for one in names["app"].get_functions()
    }
    assert azure["create_report"](req=SimpleNamespace(params={"user": "ada"})).get_body() == b"done"
    asyncio.run(azure["expire_trials"](timer=None))
    assert [a.type for a in server.arrivals()] == [
        "payment_failed",
        "report_failed",
        "subscription_ended",
        "report_failed",
        "trial_expired",
    ]


def opentelemetry(names: dict[str, Any], server: LocalServer) -> None:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider().get_tracer("guide").start_as_current_span("request"):
        names["client"].track("ada", "seen")
        names["careful"].track("ada", "seen", {"email": "ada@example.com", "n": 1})
    for name in ("client", "careful", "billing"):
        names[name].shutdown()
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    assert "whisperr.client.event.dropped" in str(reader.get_metrics_data())
    assert [len(a.body["context"]["trace_id"]) for a in server.arrivals()] == [32, 32]
    assert server.arrivals()[1].body["properties"] == {"n": 1}


def sqlalchemy(names: dict[str, Any], server: LocalServer) -> None:
    async def downgrade() -> None:
        await names["downgrade"](1)
        await names["sessions"].kw["bind"].dispose()

    asyncio.run(downgrade())
    names["engine"].dispose()
    assert main(["relay", "--database", "sqlite:///app.db", "--once"]) == 0
    assert [(a.user, a.type, a.body["properties"]) for a in server.arrivals()] == [
        ("1", "plan_upgraded", {"plan": "pro"}),
        ("1", "plan_downgraded", {"plan": "free"}),
    ]


def integrations(names: dict[str, Any], server: LocalServer) -> None:
    errors: list[WhisperrError] = []

    def fails() -> str:
        raise LookupError("ada@example.com")

    with Whisperr(on_error=errors.append) as client:
        for get_user in (lambda: "ada", lambda: None, fails):
            tracker = names["UserTracker"](client, get_user)
            tracker.identify(traits={"plan": "pro"})
            tracker.track("seen", {"n": 1}, message_id="id_1")
    off = names["UserTracker"](Whisperr(disabled=True), fails)
    assert off.track("seen") is None
    assert names["UserTracker"](client, lambda: 7).user_id == "7"
    assert [a.user for a in server.arrivals()] == ["ada", "ada"]
    assert sum(error.count for error in errors) == 2
    assert {error.reason for error in errors} == {"invalid"}
    assert all("get_user raised LookupError" in error.message for error in errors)


# What each guide needs, and what its code does when it is used.
GUIDES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any], LocalServer], None]]] = {
    "docs/frameworks/aiohttp.md": (("aiohttp",), aiohttp),
    "docs/frameworks/asgi.md": (("fastapi", "sqlalchemy", "aiosqlite", "greenlet"), asgi),
    "docs/frameworks/functions.md": (("azure.functions",), functions),
    "docs/frameworks/celery.md": (("celery",), celery),
    "docs/frameworks/write-your-own.md": ((), integrations),
    "docs/frameworks/opentelemetry.md": (("opentelemetry.sdk",), opentelemetry),
    "docs/frameworks/flask.md": (("flask", "sqlalchemy"), flask),
    "docs/frameworks/wsgi.md": ((), wsgi),
    "docs/delivery/sqlalchemy.md": (("sqlalchemy", "aiosqlite", "greenlet"), sqlalchemy),
}
# Which test runs the code of the other pages.
RUN_BY = {
    "README.md": "tests/docs/test_pasted.py",
    "docs/billing/app-store.md": "tests/billing/test_app_store.py",
    "docs/billing/django.md": "tests/django/test_billing_page.py",
    "docs/billing/events.md": "tests/docs/test_pasted.py",
    "docs/billing/google-play.md": "tests/billing/test_google_play.py",
    "docs/billing/paddle.md": "tests/billing/test_paddle.py",
    "docs/billing/revenuecat.md": "tests/billing/test_revenuecat.py",
    "docs/billing/webhooks.md": "tests/docs/test_webhooks.py",
    "docs/billing/stripe.md": "tests/billing/test_stripe.py",
    "docs/index.md": "tests/docs/test_pasted.py",
    "docs/frameworks/async-frameworks.md": "tests/hosts/test_frameworks.py",
    "docs/frameworks/django.md": "tests/django/test_page.py",
    "docs/frameworks/django-packages.md": "tests/django/test_packages_page.py",
    "docs/delivery/durability.md": "tests/docs/test_durability.py",
    "docs/delivery/metrics.md": "tests/docs/test_metrics.py",
    "docs/delivery/outboxes.md": "tests/docs/test_outboxes.py",
    "docs/start/async.md": "tests/docs/test_async.py",
    "docs/start/events.md": "tests/docs/test_pasted.py",
    "docs/start/typed-events.md": "tests/docs/test_typed_events.py",
    "docs/delivery/extending.md": "tests/docs/test_extending.py",
    "docs/develop/assistants.md": "tests/docs/test_assistants.py",
    "docs/develop/local-server.md": "tests/docs/test_local_development.py",
    "docs/trouble/logging.md": "tests/docs/test_logging.py",
    "docs/reference/options.md": "tests/docs/test_options.py",
    "docs/trouble/privacy.md": "tests/docs/test_privacy.py",
    "docs/delivery/processes.md": "tests/docs/test_processes.py",
    "docs/trouble/proxies.md": "tests/docs/test_proxies.py",
    "docs/frameworks/other-hosts.md": "tests/docs/test_other_hosts.py",
    "docs/frameworks/queues.md": "tests/task_queues/test_queues.py",
    "docs/frameworks/workflows.md": "tests/task_queues/test_workflows.py",
    "docs/start/quickstart.md": "tests/docs/test_quickstart.py",
    "docs/develop/testing.md": "tests/docs/test_testing.py",
}


def test_the_code_of_every_page_is_run() -> None:
    with_code = {page for page in PAGES if get_blocks(page, "python")}
    assert with_code == set(GUIDES) | set(RUN_BY)
    for page, test in RUN_BY.items():
        assert page.split("/")[-1] in (ROOT / test).read_text(encoding="utf-8"), page


@pytest.mark.usefixtures("_no_client_of_the_process")
@pytest.mark.parametrize("guide", GUIDES)
def test_the_code_of_a_guide_runs_and_does_what_it_says(
    guide: str, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where their databases are
    needed, use = GUIDES[guide]
    for module in needed:
        if find_spec(module.partition(".")[0]) is None or find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    names: dict[str, Any] = {"__name__": "guide"}
    blocks = get_blocks(guide, "python")
    assert blocks
    for number, block in enumerate(blocks):
        code = compile(block, f"{guide}, block {number + 1}", "exec", dont_inherit=True)
        exec(code, names)
    use(names, server)
    assert [a.problems for a in server.arrivals(status="refused")] == []
