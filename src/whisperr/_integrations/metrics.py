"""Describes the metrics of a client once, for OpenTelemetry and for Prometheus.

A metric is one field of `Stats`. Its names and units follow OpenTelemetry's "Naming" and "Metrics
semantic conventions". Its name in Prometheus is what OTLP receivers make of the other one ("OTLP
Metric points to Prometheus"), so that queries work for both.

Every known value of an attribute is reported from the start, as 0: Prometheus sees no increase in a
series that begins with its first loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from whisperr._delivery.accounting import DROPPED, NEVER_ACCEPTED

if TYPE_CHECKING:
    from typing import Literal

    from whisperr import Stats

    Kind = Literal["counter", "updowncounter", "gauge"]

_STATES = ("running", "paused", "closed", "disabled")


class Metric(NamedTuple):
    """One field of `Stats` as a metric.

    - `kind`: a counter never decreases. The values of an updowncounter may be added up over
      clients and processes. Those of a gauge may not: each process sees the same shared store.
    - `attribute`: what divides the values; "" if nothing does. `known`: its known values.
    """

    field: str
    name: str
    kind: Kind
    unit: str
    description: str
    attribute: str = ""
    known: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name in Prometheus; "total" marks a counter there."""
        unit = "_bytes" if self.unit == "By" else ""
        return self.name.replace(".", "_") + unit + ("_total" if self.kind == "counter" else "")

    def read(self, stats: Stats) -> dict[str, int]:
        """Return the values by the value of the attribute; by "" if there is none."""
        value: object = getattr(stats, self.field)
        values = dict.fromkeys(self.known, 0)
        if isinstance(value, dict):
            values.update(value)
        elif isinstance(value, int):
            values[""] = value
        elif self.attribute:
            values[str(value)] = 1
        else:  # a text or None
            values[""] = int(value is not None)
        return values


# What ends is before what is accepted. OpenTelemetry reads the counts one after the other, and no
# collection shall have more events that ended than were accepted.
METRICS = (
    Metric(
        "delivered",
        "whisperr.client.event.delivered",
        "counter",
        "{event}",
        "Events that the server has.",
    ),
    Metric(
        "dropped",
        "whisperr.client.event.dropped",
        "counter",
        "{event}",
        "Accepted events that are lost, by reason.",
        "reason",
        DROPPED,
    ),
    # Not a counter: a deferred event that gets no user leaves `accepted` again.
    Metric(
        "accepted",
        "whisperr.client.event.accepted",
        "updowncounter",
        "{event}",
        "Events that were accepted: delivered, dropped or held.",
    ),
    Metric(
        "held",
        "whisperr.client.event.held",
        "updowncounter",
        "{event}",
        "Accepted events that wait or are being sent.",
    ),
    Metric(
        "not_accepted",
        "whisperr.client.call.not_accepted",
        "counter",
        "{call}",
        "Calls that became no event, by reason.",
        "reason",
        NEVER_ACCEPTED,
    ),
    Metric(
        "held_bytes",
        "whisperr.client.queue.size",
        "gauge",
        "By",
        "Bytes that waiting events take; with a shared buffer those of all processes.",
    ),
    Metric(
        "stored",
        "whisperr.client.event.stored",
        "gauge",
        "{event}",
        "Events in a durable buffer and its log, of all processes.",
    ),
    Metric(
        "unstored",
        "whisperr.client.event.unstored",
        "updowncounter",
        "{event}",
        "Events of a durable buffer that only the memory of this process has.",
    ),
    Metric(
        "requests",
        "whisperr.client.requests",
        "counter",
        "{request}",
        "Requests that were made.",
    ),
    Metric(
        "retries",
        "whisperr.client.retries",
        "counter",
        "{request}",
        "Requests that repeated a failed one.",
    ),
    Metric(
        "state",
        "whisperr.client.state",
        "updowncounter",
        "{client}",
        "Clients in each state.",
        "state",
        _STATES,
    ),
    Metric(
        "problem",
        "whisperr.client.problem",
        "updowncounter",
        "{client}",
        "Clients whose last attempt failed, or whose store cannot be used.",
    ),
)
