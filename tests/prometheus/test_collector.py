"""The counters of clients in the exposition of prometheus_client."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.prometheus.exposition import make_clients
from whisperr import Whisperr
from whisperr._integrations.metrics import METRICS
from whisperr.dev import LocalServer
from whisperr.prometheus import collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.registry import Collector

    Samples = dict[tuple[str, str], float]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


def scrape(one: Collector) -> Samples:
    """Return the values by the name of the series and its labels, joined by commas."""
    registry = CollectorRegistry()
    registry.register(one)
    text = generate_latest(registry).decode()
    return {
        (sample.name.removeprefix("whisperr_client_"), ",".join(sample.labels.values())): value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for value in [sample.value]
    }


def test_the_values_are_those_of_stats(server: LocalServer, tmp_path: Path) -> None:
    for client in make_clients(server, tmp_path):
        stats, found = client.stats(), scrape(collector(client))
        assert found["event_accepted", ""] == stats.accepted
        assert found["event_delivered_total", ""] == stats.delivered
        assert found["event_held", ""] == stats.held
        assert found["queue_size_bytes", ""] == stats.held_bytes
        assert found["event_stored", ""] == stats.stored
        assert found["event_unstored", ""] == stats.unstored
        assert found["requests_total", ""] == stats.requests
        assert found["retries_total", ""] == stats.retries
        assert found["problem", ""] == (stats.problem is not None)
        for name, counts in (
            ("event_dropped_total", stats.dropped),
            ("call_not_accepted_total", stats.not_accepted),
            ("state", {stats.state: 1}),
        ):
            labelled = {label: n for (of, label), n in found.items() if of == name and n}
            assert labelled == counts
        client.shutdown(0)


def test_the_clients_of_these_tests_have_no_metric_that_is_always_0(
    server: LocalServer, tmp_path: Path
) -> None:
    shown = set()
    for client in make_clients(server, tmp_path):
        shown |= {name for (name, _), value in scrape(collector(client)).items() if value}
        client.shutdown(0)
    names = {metric.prometheus_name.removeprefix("whisperr_client_") for metric in METRICS}
    # For `unstored` a store has to fail: tests/integrations/test_metrics.py counts it.
    assert shown == names - {"event_unstored"}


def test_every_known_reason_is_there_before_the_first_loss(server: LocalServer) -> None:
    with Whisperr("wrk_test", base_url=server.url) as client:
        found = scrape(collector(client))
    assert found["event_dropped_total", "queue_full"] == 0
    assert found["call_not_accepted_total", "invalid"] == 0
    assert [found["state", state] for state in ("running", "paused", "closed", "disabled")] == [
        *(1, 0, 0, 0)
    ]


def test_clients_with_names_have_a_label(server: LocalServer) -> None:
    with (
        Whisperr("wrk_test", base_url=server.url) as web,
        Whisperr("wrk_test", base_url=server.url) as billing,
    ):
        web.track("ada", "seen")
        found = scrape(collector({"web": web, "billing": billing}))
    assert found["event_held", "web"] == 1
    assert found["event_held", "billing"] == 0
    assert found["state", "billing,running"] == 1


def test_a_client_that_is_gone_has_no_samples(server: LocalServer) -> None:
    client = Whisperr("wrk_test", base_url=server.url)
    one = collector(client)
    assert scrape(one)
    del client
    gc.collect()
    assert scrape(one) == {}


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda client: {1: client}, "int to Whisperr"),
        (lambda client: {"web": client, "billing": None}, "str to NoneType"),
        (lambda _: None, "got NoneType"),
        (lambda client: [client], "got list"),
        (lambda client: lambda: client, "got function"),
    ],
)
def test_what_would_break_a_scrape_is_refused_before(make: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"client: must .+{got}"):
        collector(make(Whisperr(disabled=True)))


def test_a_disabled_client_says_so_and_counts_nothing() -> None:
    found = scrape(collector(client := Whisperr(disabled=True)))
    client.track("ada", "seen")
    assert {key for key, value in found.items() if value} == {("state", "disabled")}


def test_a_registry_takes_one_collector_and_names_what_is_duplicated(server: LocalServer) -> None:
    registry = CollectorRegistry()
    with Whisperr("wrk_test", base_url=server.url) as client:
        registry.register(collector(client))
        with pytest.raises(ValueError, match="whisperr_client_event_held"):
            registry.register(collector(client))


def test_a_scrape_shows_one_moment_while_other_threads_track(server: LocalServer) -> None:
    ended = threading.Event()

    def track() -> None:
        while not ended.is_set():
            client.track("ada", "seen")

    with Whisperr("wrk_test", base_url=server.url, max_queue_size=50) as client:
        one = collector(client)
        thread = threading.Thread(target=track)
        thread.start()
        try:
            for _ in range(50):
                found = scrape(one)
                dropped = sum(n for (name, _), n in found.items() if name == "event_dropped_total")
                ends = found["event_delivered_total", ""] + dropped + found["event_held", ""]
                assert ends == found["event_accepted", ""]
        finally:
            ended.set()
            thread.join(60)
