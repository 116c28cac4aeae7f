"""The counters of clients as instruments of OpenTelemetry."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, NamedTuple

import pytest

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry's SDK is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum

from whisperr import Whisperr
from whisperr._integrations.metrics import METRICS
from whisperr.asgi import WhisperrMiddleware
from whisperr.dev import LocalServer
from whisperr.opentelemetry import _PROVIDERS, observe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Metrics(NamedTuple):
    """A meter provider, and what it collects."""

    provider: MeterProvider
    reader: InMemoryMetricReader

    def collect(self) -> dict[str, Any]:
        """Return the metrics by their names, without the prefix of all."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        ((scope,),) = [resource.scope_metrics for resource in data.resource_metrics]
        assert scope.scope.name == "whisperr"
        return {metric.name.removeprefix("whisperr.client."): metric for metric in scope.metrics}

    def read(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric that are not 0, by the values of their attributes."""
        points = self.collect()[name].data.data_points
        return {tuple(point.attributes.values()): point.value for point in points if point.value}


def make_metrics() -> Metrics:
    reader = InMemoryMetricReader()
    return Metrics(MeterProvider([reader], shutdown_on_exit=False), reader)


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = make_metrics()
    yield made
    made.provider.shutdown()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def client(server: LocalServer) -> Iterator[Whisperr]:
    with Whisperr(
        "wrk_test", base_url=server.url, max_queue_size=2, flush_interval=3_600
    ) as started:
        yield started


def test_the_values_are_those_of_stats(client: Whisperr, metrics: Metrics) -> None:
    observe(client, metrics.provider)
    client.track(None, "seen")
    for _ in range(3):
        client.track("ada", "seen")
    assert client.flush(60)
    client.track("ada", "seen")
    stats = client.stats()
    assert metrics.read("event.accepted") == {(): 4}
    assert metrics.read("event.delivered") == {(): 2}
    assert metrics.read("event.dropped") == {("queue_full",): 1}
    assert metrics.read("event.held") == {(): 1}
    assert metrics.read("call.not_accepted") == {("invalid",): 1}
    assert metrics.read("queue.size") == {(): stats.held_bytes}
    assert metrics.read("requests") == {(): stats.requests}
    assert metrics.read("state") == {("running",): 1}
    client.shutdown()
    assert metrics.read("state") == {("closed",): 1}
    assert metrics.read("event.held") == {}


def test_the_instruments_are_those_of_the_table(client: Whisperr, metrics: Metrics) -> None:
    observe(client, metrics.provider)
    found = metrics.collect()
    assert set(found) == {metric.name.removeprefix("whisperr.client.") for metric in METRICS}
    for metric in METRICS:
        one = found[metric.name.removeprefix("whisperr.client.")]
        assert (one.unit, one.description) == (metric.unit, metric.description)
        assert isinstance(one.data, Sum) == (metric.kind != "gauge")
        if isinstance(one.data, Sum):
            assert one.data.is_monotonic == (metric.kind == "counter")
        expected = [{metric.attribute: value} for value in metric.known] or [{}]
        assert [dict(point.attributes) for point in one.data.data_points] == expected


def test_an_event_that_gets_no_user_leaves_what_is_accepted(
    client: Whisperr, metrics: Metrics
) -> None:
    observe(client, metrics.provider)
    meanwhile = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["whisperr"].track("plan_upgraded")
        meanwhile.append(metrics.read("event.accepted"))

    async def resolve_user(scope: Any) -> None:
        """Return no user: an anonymous visitor."""

    middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)
    asyncio.run(middleware({"type": "http"}, None, None))
    assert meanwhile == [{(): 1}]
    assert metrics.read("event.accepted") == {}


def test_each_client_of_a_process_has_its_own_measurements(
    server: LocalServer, client: Whisperr, metrics: Metrics
) -> None:
    with Whisperr("wrk_test", base_url=server.url) as other:
        observe(client, metrics.provider, attributes={"client": "web"})
        observe(other, metrics.provider, attributes={"client": "billing"})
        client.track("ada", "seen")
        other.track("ada", "seen")
        other.track("ada", "seen")
        assert metrics.read("event.held") == {("web",): 1, ("billing",): 2}
        assert metrics.read("state") == {("web", "running"): 1, ("billing", "running"): 1}


def test_clients_with_the_same_attributes_are_added_up_and_shared_sizes_are_not(
    server: LocalServer, client: Whisperr, metrics: Metrics
) -> None:
    with Whisperr("wrk_test", base_url=server.url) as other:
        observe(client, metrics.provider)
        observe(other, metrics.provider)
        client.track("ada", "seen")
        other.track("ada", "seen")
        other.track("ada", "seen")
        assert metrics.read("event.held") == {(): 3}
        assert metrics.read("state") == {("running",): 2}
        assert metrics.read("queue.size") == {(): other.stats().held_bytes}


def test_a_second_call_for_a_client_replaces_its_attributes(
    client: Whisperr, metrics: Metrics
) -> None:
    observe(client, metrics.provider)
    observe(client, metrics.provider, attributes={"client": "web"})
    client.track("ada", "seen")
    assert metrics.read("event.held") == {("web",): 1}


def test_two_providers_observe_their_own_clients(
    server: LocalServer, client: Whisperr, metrics: Metrics
) -> None:
    second = make_metrics()
    with Whisperr("wrk_test", base_url=server.url) as other:
        observe(client, metrics.provider)
        observe(other, second.provider)
        other.track("ada", "seen")
        assert metrics.read("event.held") == {}
        assert second.read("event.held") == {(): 1}
    second.provider.shutdown()


def drop(client: list[Whisperr]) -> None:
    """Let the only reference to a client go."""
    alive = weakref.ref(client.pop())
    gc.collect()
    assert alive() is None


COUNTS = {"event.delivered", "event.dropped", "event.accepted", "call.not_accepted", "requests"}


def test_of_a_client_that_is_gone_the_counts_stay_and_nothing_keeps_it_alive(
    server: LocalServer, metrics: Metrics
) -> None:
    client = [Whisperr("wrk_test", base_url=server.url, flush_interval=3_600)]
    observe(client[0], metrics.provider)
    client[0].track("ada", "seen")
    assert client[0].flush(60)
    client[0].track("ada", "seen")
    client[0].track(None, "seen")
    assert metrics.read("event.accepted") == {(): 2}
    drop(client)
    # Older SDKs keep the metrics, without points.
    found = {name for name, metric in metrics.collect().items() if metric.data.data_points}
    assert found == {*COUNTS, "retries"}
    assert metrics.read("event.delivered") == {(): 1}
    assert metrics.read("call.not_accepted") == {("invalid",): 1}
    assert metrics.read("event.accepted") == {(): 1}  # the held one is not known to have ended


def test_no_counter_decreases_when_one_of_several_clients_is_gone(
    server: LocalServer, metrics: Metrics
) -> None:
    made = [[Whisperr("wrk_test", base_url=server.url)] for _ in range(4)]
    for (client,), plan in zip(made, ("a", "a", "b", "a"), strict=True):
        observe(client, metrics.provider, attributes={"plan": plan})
        client.track("ada", "seen")
        client.track(None, "seen")
        assert client.flush(60)
    del client

    def read() -> list[dict[tuple[str, ...], float]]:
        return [metrics.read(name) for name in ("event.delivered", "call.not_accepted")]

    before = read()
    assert before == [{("a",): 3, ("b",): 1}, {("a", "invalid"): 3, ("b", "invalid"): 1}]
    for one in made:
        drop(one)
        assert read() == before
        # A new client makes one of the counts of those that are gone.
        with Whisperr(disabled=True) as new:
            observe(new, metrics.provider, attributes={"plan": "b"})
            assert read() == before


def test_clients_that_are_gone_take_no_memory_each(metrics: Metrics) -> None:
    for _ in range(20):
        client = [Whisperr(disabled=True)]
        observe(client[0], metrics.provider)
        drop(client)
    observe(Whisperr(disabled=True), metrics.provider)
    assert len(_PROVIDERS.get_clients(metrics.provider)._observed) == 2


@pytest.mark.parametrize("wrong", [None, "web", lambda: None])
def test_what_is_no_client_is_refused_and_harms_no_other(
    client: Whisperr, metrics: Metrics, wrong: Any
) -> None:
    observe(client, metrics.provider)
    with pytest.raises(TypeError, match="client: must be a Whisperr client, got "):
        observe(wrong, metrics.provider)
    assert metrics.read("state") == {("running",): 1}


def test_a_disabled_client_says_so_and_counts_nothing(metrics: Metrics) -> None:
    client = Whisperr(disabled=True)
    observe(client, metrics.provider)
    client.track("ada", "seen")
    assert metrics.read("state") == {("disabled",): 1}
    assert metrics.read("event.accepted") == {}


def run(program: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BEGIN = """
import os
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from whisperr import Whisperr
from whisperr.opentelemetry import observe

first, second, third = [Whisperr("wrk_test", base_url="http://127.0.0.1:9") for _ in range(3)]
reader = InMemoryMetricReader()
provider = MeterProvider([reader], shutdown_on_exit=False)

def read(name):
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    (metric,) = [m for m in scope.metrics if m.name == f"whisperr.client.{name}"]
    return sorted([*p.attributes.values(), p.value] for p in metric.data.data_points)
"""


def test_the_global_provider_may_be_set_later() -> None:
    program = """
observe(first, attributes={"client": "before"})
metrics.set_meter_provider(provider)
observe(second, attributes={"client": "after"})
observe(third, provider, attributes={"client": "given"})
print(read("event.held"))
for client in (first, second, third):
    client.shutdown(0)
"""
    assert run(BEGIN + program) == "[['after', 0], ['before', 0], ['given', 0]]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_publishes_what_it_counted_itself() -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork in a process with threads
observe(first, provider)
first.track("ada", "seen")
first.track("ada", "seen")
pid = os.fork()
if not pid:
    first.track("ada", "seen")
    print(read("event.accepted"), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(read("event.accepted"), flush=True)
os._exit(0)  # nothing can be delivered
"""
    assert run(BEGIN + program) == "[[1]]\n[[2]]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_publish_what_clients_of_its_parent_counted() -> None:
    program = """
import gc, logging, warnings
logging.disable()
warnings.simplefilter("ignore", DeprecationWarning)  # a fork in a process with threads
observe(first, provider)
observe(second, provider)
first.track(None, "seen")
assert ["invalid", 1] in read("call.not_accepted")
del first
gc.collect()
pid = os.fork()
if not pid:
    second.track(None, "seen")
    second.track(None, "seen")
print([value for reason, value in read("call.not_accepted") if value], flush=True)
if pid:
    os.waitpid(pid, 0)
os._exit(0)
"""
    assert sorted(run(BEGIN + program).splitlines()) == ["[1]", "[2]"]


def test_prometheus_shows_the_same_series_by_either_way(client: Whisperr, metrics: Metrics) -> None:
    exporter = pytest.importorskip(
        "opentelemetry.exporter.prometheus", reason="OpenTelemetry's exporter is not installed"
    )
    prometheus_client = pytest.importorskip(
        "prometheus_client", reason="prometheus_client is not installed"
    )
    from whisperr.prometheus import collector

    observed, own = prometheus_client.CollectorRegistry(), prometheus_client.CollectorRegistry()
    own.register(collector({"web": client}))
    reader = exporter.PrometheusMetricReader(registry=observed)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    observe(client, provider, attributes={"client": "web"})
    client.track("ada", "seen")
    assert client.flush(60)

    def to_series(registry: Any) -> set[Any]:
        return {
            (
                family.type,
                sample.name,
                *sorted(pair for pair in sample.labels.items() if "otel_scope" not in pair[0]),
                sample.value,
            )
            for family in registry.collect()
            for sample in family.samples
            if family.name != "target"
        }

    assert to_series(observed) == to_series(own)
    assert len(to_series(own)) > len(METRICS)
    provider.shutdown()
