"""Lists the measured packages: the rows of the tables, with their environments and adapters."""

from __future__ import annotations

from benchmarks.case import Row

OURS = "whisperr"
PUBLISHED = "whisperr 0.2.1"

PACKAGES: tuple[Row, ...] = (
    Row(OURS, "whisperr", "whisperr_now"),
    Row(PUBLISHED, "whisperr-0.2.1", "whisperr_0_2_1"),
    Row("PostHog", "posthog", "posthog"),
    Row("Segment", "segment", "segment"),
    Row("RudderStack", "rudder", "rudder"),
    Row("Mixpanel", "mixpanel", "mixpanel"),
    Row("Amplitude", "amplitude", "amplitude"),
    Row("Sentry", "sentry", "sentry"),
    Row("OpenTelemetry", "opentelemetry", "opentelemetry"),
)
