"""The OpenTelemetry integration: adds the id of the current trace to each event.

Example::

    from whisperr.opentelemetry import add_trace_id

    client = Whisperr(before_send=add_trace_id)

`before_send` runs in the calling thread, in the current span.

.. versionadded:: 1.0
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
    """Add the id of the current trace to the context of an event, as `trace_id`.

    Outside of a span the event does not change. A `trace_id` that the event already has stays. Pass
    this function as `before_send`, or call it in your own `before_send`.

    Args:
        event: The event as a dictionary, as `before_send` receives it. It is changed in place.

    Returns:
        The same dictionary. The id has 32 hex digits.
    """
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["context"].setdefault("trace_id", trace.format_trace_id(span.trace_id))
    return event
