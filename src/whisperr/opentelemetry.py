"""The OpenTelemetry integration: puts the id of the current trace into each event.

    from whisperr.opentelemetry import add_trace_id

    client = Whisperr(before_send=add_trace_id)

`before_send` runs in the calling thread, where the current span is. The guide is
docs/frameworks/opentelemetry.md.
"""

from __future__ import annotations

try:
    from opentelemetry import trace
except ModuleNotFoundError as _missing:
    if _missing.name != "opentelemetry":
        raise
    raise ImportError(
        "whisperr.opentelemetry needs OpenTelemetry: pip install 'whisperr[opentelemetry]'"
    ) from _missing

from typing import Any

__all__ = ["add_trace_id"]


def add_trace_id(event: dict[str, Any]) -> dict[str, Any]:
    """Put the id of the current trace into the context of an event, as `trace_id`: 32 hex digits.

    An event outside of a span stays as it is, and so does a `trace_id` that the event has already.
    Use it as `before_send`, or call it in one of your own.
    """
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["context"].setdefault("trace_id", trace.format_trace_id(span.trace_id))
    return event
