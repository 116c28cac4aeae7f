"""The example with many tenants: what it tracks, and its metrics, also under a real uvicorn."""

from __future__ import annotations

import json
import runpy
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.facilities import needs_signals
from tests.hosted import EXAMPLES, Hosted
from whisperr import InvalidEvent, scope
from whisperr._cli.main import main
from whisperr.testing import capture, send_to

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = [
    pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
    for name in ("fastapi", "prometheus_client", "uvicorn")
]
EXAMPLE = str(EXAMPLES / "tenants_fastapi.py")
ACME = {"x-user": "ada", "x-tenant": "acme", "x-request-id": "r-1"}
BLUE = {"x-user": "bob", "x-tenant": "blue"}


def get_samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines if name.startswith("whisperr_")}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the example, with a registry of its own."""
    import prometheus_client

    registry = prometheus_client.CollectorRegistry()
    serve = partial(prometheus_client.make_asgi_app, registry)
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    monkeypatch.setattr(prometheus_client, "make_asgi_app", serve)
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_example")
    return runpy.run_path(EXAMPLE)


def test_typed_events_have_the_tenant_the_region_and_the_id_of_the_request(
    example: dict[str, Any],
) -> None:
    from fastapi.testclient import TestClient

    with capture(strict=True) as events, TestClient(example["app"]) as browser:
        assert browser.post("/plan?name=pro&seats=9", headers=ACME).status_code == 200
        assert browser.post("/export?rows=120000", headers=BLUE).status_code == 200
        assert browser.post("/plan?name=gold&seats=9", headers=ACME).status_code == 422
        assert browser.post("/plan?name=pro&seats=9").status_code == 422  # no tenant
    upgraded, failed = events
    plan_upgraded = example["PlanUpgraded"](plan="pro", seats=9, tenant="acme", region="eu")
    export_failed = example["ExportFailed"](rows=120_000, tenant="blue", region="eu")
    events.assert_tracked(plan_upgraded, user="ada", times=1)
    events.assert_tracked(export_failed, user="bob", times=1)
    assert upgraded.properties == {"plan": "pro", "seats": 9, "region": "eu", "tenant": "acme"}
    assert failed.properties == {"rows": 120_000, "region": "eu", "tenant": "blue"}
    assert upgraded.context["request_id"] == "r-1"
    assert len(failed.context["request_id"]) == 36


def test_a_strict_client_checks_the_types_of_the_example(example: dict[str, Any]) -> None:
    wrong = example["PlanUpgraded"](plan="gold", seats=9)
    with capture(strict=True), pytest.raises(InvalidEvent, match=r"PlanUpgraded\.plan"):
        example["client"].track("ada", wrong)


def test_the_metrics_count_what_was_accepted_and_delivered(
    example: dict[str, Any], server: LocalServer
) -> None:
    from fastapi.testclient import TestClient

    with send_to(server.url), TestClient(example["app"]) as browser:
        browser.post("/plan?name=pro&seats=9", headers=ACME)
        before = get_samples(browser.get("/metrics/").text)
        assert example["client"].flush(60)
        after = get_samples(browser.get("/metrics/").text)
    assert before["whisperr_client_event_accepted"] == 1
    assert after["whisperr_client_event_accepted"] == 1
    assert after["whisperr_client_event_delivered_total"] == 1
    assert after["whisperr_client_requests_total"] == 1
    assert after['whisperr_client_event_dropped_total{reason="queue_full"}'] == 0
    assert [one.body["properties"]["tenant"] for one in server.arrivals()] == ["acme"]


def test_the_command_writes_the_tracking_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", EXAMPLE]) == 0
    plan = capsys.readouterr().out
    for line in (
        "## `export_failed`",
        "## `plan_upgraded`",
        '| `plan` | `"pro"`, `"team"` | yes |',
        "| `tenant` | string | no |",
    ):
        assert line in plan


def test_the_json_schema_allows_the_tenant_and_the_region_and_no_other_property(
    example: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert main(["events", EXAMPLE, "--format", "json-schema"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    upgraded = example["PlanUpgraded"](plan="pro", seats=9)
    with capture(strict=True) as events, scope(tenant="acme"):
        example["client"].track("ada", upgraded)
        with scope(job_id=77):
            example["client"].track("ada", upgraded)
    found = [{"event_type": one.type, "properties": one.properties} for one in events]
    assert [validator.is_valid(one) for one in found] == [True, False]
    assert events[0].properties["tenant"] == "acme"


@needs_signals
def test_requests_at_the_same_time_keep_their_tenants(server: LocalServer) -> None:
    """Half of the requests run in the event loop, half in threads of FastAPI."""
    paths = ["/plan?name=pro&seats=9", "/export?rows=120000"]
    requests = [(f"{tenant}_{n}", tenant, paths[n % 2]) for tenant in "abcd" for n in range(6)]
    options = ["--app-dir", EXAMPLES, "--port", 0, "tenants_fastapi:app"]
    with Hosted("uvicorn", *options, server=server) as host:
        host.wait_for_output("Application startup complete")
        with ThreadPoolExecutor(8) as pool:
            posts = [pool.submit(host.post, p, u, {"X-Tenant": t}) for u, t, p in requests]
            assert {post.result() for post in posts} == {"null"}
        counts = get_samples(host.get("/metrics/"))
        output = host.stop()
    assert "Traceback" not in output
    assert counts["whisperr_client_event_accepted"] == len(requests)
    arrived = server.arrivals()
    assert {one.status for one in arrived} == {"accepted"}
    found = {(one.user, one.body["properties"]["tenant"]) for one in arrived}
    assert found == {(user, tenant) for user, tenant, _ in requests}
    assert len(arrived) == len(requests)
    assert {one.body["properties"]["region"] for one in arrived} == {"eu"}
    assert len({one.body["context"]["request_id"] for one in arrived}) == len(requests)
