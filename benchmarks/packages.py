"""Lists the measured packages: the rows of the tables, with their environments and adapters."""

from __future__ import annotations

from benchmarks.case import Row

OURS = "whisperr"
PUBLISHED = "whisperr 0.2.1"

PACKAGES: tuple[Row, ...] = (
    Row(OURS, "whisperr", "whisperr_now", compared=True),
    Row(PUBLISHED, "whisperr-0.2.1", "whisperr_0_2_1"),
    Row("PostHog", "posthog", "posthog", share=0.2),
    Row("Segment", "segment", "segment", share=0.2),
    Row("RudderStack", "rudder", "rudder", share=0.2),
    Row("Mixpanel", "mixpanel", "mixpanel", share=0.2),
    Row("Amplitude", "amplitude", "amplitude", share=0.2),
    Row("Sentry", "sentry", "sentry", share=0.04),  # a request for each event
    Row("OpenTelemetry", "opentelemetry", "opentelemetry", share=0.2),
)
PEERS = tuple(row.name for row in PACKAGES if row.name not in {OURS, PUBLISHED})
