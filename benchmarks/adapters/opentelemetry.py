"""OpenTelemetry: a span for each event, the batch processor, OTLP over HTTP."""

from __future__ import annotations

from benchmarks.client import Client
from benchmarks.event import NAME, USER

UNABLE: dict[str, str] = {}
_LONG = 600_000  # milliseconds; `force_flush` has no "as long as it takes"


def load() -> None:
    """Import what users import."""
    import opentelemetry.exporter.otlp.proto.http.trace_exporter
    import opentelemetry.sdk.trace
    import opentelemetry.sdk.trace.export  # noqa: F401  # importing is what is measured


def start(url: str, capacity: int) -> Client:
    """Make a provider; it ends by itself at the end of the process."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{url}/otlp/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=capacity))
    start_span = provider.get_tracer("bench").start_span

    def track(properties: dict[str, object]) -> None:
        # An attribute has no members: what is nested gets a name with a dot, as is usual there.
        flat = {"user": USER}
        for name, value in properties.items():
            if isinstance(value, dict):
                flat.update({f"{name}.{inner}": item for inner, item in value.items()})
            else:
                flat[name] = value  # type: ignore[assignment]  # any plain value
        start_span(NAME, attributes=flat).end()

    return Client(track, lambda: provider.force_flush(_LONG))
