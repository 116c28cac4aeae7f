"""The trace id in the context of events, and no spans of our own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry's SDK is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from whisperr import Whisperr
from whisperr.dev import LocalServer
from whisperr.opentelemetry import add_trace_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> Iterator[TracerProvider]:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(spans))
    yield made
    made.shutdown()


def contexts(server: LocalServer) -> list[dict[str, Any]]:
    return [arrival.body["context"] for arrival in server.arrivals()]


def test_an_event_within_a_span_has_its_trace_id(
    server: LocalServer, provider: TracerProvider
) -> None:
    tracer = provider.get_tracer("test")
    with Whisperr("wrk_test", base_url=server.url, before_send=add_trace_id) as client:
        client.track("ada", "seen")
        with tracer.start_as_current_span("request") as span:
            client.track("ada", "seen", context={"tab": 2})
            with tracer.start_as_current_span("inner"):
                client.track("ada", "seen", context={"trace_id": "my own"})
    trace_id = format(span.get_span_context().trace_id, "032x")
    found = [context.get("trace_id") for context in contexts(server)]
    assert found == [None, trace_id, "my own"]
    assert contexts(server)[1]["tab"] == 2


def test_it_is_off_unless_asked_for(server: LocalServer, provider: TracerProvider) -> None:
    with (
        Whisperr("wrk_test", base_url=server.url) as client,
        provider.get_tracer("test").start_as_current_span("request"),
    ):
        client.track("ada", "seen")
        client.flush()
    assert "trace_id" not in contexts(server)[0]


def test_our_own_requests_are_not_traced(
    server: LocalServer, provider: TracerProvider, spans: InMemorySpanExporter
) -> None:
    urllib = pytest.importorskip(
        "opentelemetry.instrumentation.urllib", reason="its instrumentation is not installed"
    )
    instrumentor = urllib.URLLibInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with Whisperr("wrk_test", base_url=server.url, before_send=add_trace_id) as client:
            client.track("ada", "seen")
        assert len(server.arrivals()) == 1
        assert spans.get_finished_spans() == ()
        with urlopen(f"{server.url}/_dev/summary", timeout=60):  # that it does trace requests
            pass
        assert [span.name for span in spans.get_finished_spans()] == ["GET"]
    finally:
        instrumentor.uninstrument()
