"""The OpenTelemetry integration: trace ids in events, and the counters of clients as metrics.

Example::

    from whisperr.opentelemetry import add_trace_id, observe

    client = Whisperr(before_send=add_trace_id)
    observe(client)

`before_send` runs in the calling thread, in the current span. Metrics are read when OpenTelemetry
collects them, in its thread: no I/O, and nothing on the way of `track()`.

.. versionadded:: 1.0
"""

from __future__ import annotations

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _missing:
    if _missing.name != "opentelemetry":
        raise
    raise ImportError(
        "whisperr.opentelemetry needs OpenTelemetry: pip install 'whisperr[opentelemetry]'"
    ) from _missing

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from whisperr import __version__
from whisperr._integrations.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

    from whisperr import Whisperr
    from whisperr._integrations.metrics import Metric

    Attributes = dict[str, str | bool | int | float]

__all__ = ["add_trace_id", "observe"]


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


def observe(
    client: Whisperr,
    meter_provider: MeterProvider | None = None,
    *,
    attributes: Mapping[str, str | bool | int | float] | None = None,
) -> None:
    """Publish `stats()` of a client as instruments, whose names begin with `whisperr.client.`.

    Call it once for each client. A second call for the same client replaces its attributes. The
    instruments are asynchronous: OpenTelemetry reads the counters when it collects, one after the
    other. They are those of the process that collects.

    Args:
        client: The client. It is not kept alive: one that is gone has no measurements.
        meter_provider: Where the instruments are created. None: the global provider, which may be
            set later.
        attributes: Attributes for all measurements of this client, such as `{"client": "billing"}`.
            The counts of clients with the same attributes are added up; of sizes that they may
            share, the largest is taken.

    .. versionadded:: 1.0
    """
    _PROVIDERS.get_clients(meter_provider).add(client, dict(attributes or {}))


class _Clients:
    """The clients that one meter provider observes.

    Threads: `_observed` is replaced, never changed, so that the reader's thread needs no lock,
    which a fork could leave taken.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = Lock()
        self._observed: tuple[tuple[ref[Whisperr], Attributes], ...] = ()
        create = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        for one in METRICS:
            create[one.kind](one.name, [partial(self._read, one)], one.unit, one.description)

    def add(self, client: Whisperr, attributes: Attributes) -> None:
        """Observe a client, with these attributes from now on."""
        with self._lock:
            kept = [one for one in self._observed if one[0]() not in {None, client}]
            self._observed = (*kept, (ref(client), attributes))

    def _read(self, metric: Metric, _: CallbackOptions) -> Iterator[Observation]:
        """Yield the values of one metric, one for each set of attributes."""
        found: dict[str, tuple[int, Attributes]] = {}
        for get_client, attributes in self._observed:
            client = get_client()
            if client is None:
                continue
            for value, number in metric.read(client.stats()).items():
                own = {**attributes, metric.attribute: value} if metric.attribute else attributes
                key = repr(sorted(own.items()))
                before = found[key][0] if key in found else 0
                merged = max(before, number) if metric.kind == "gauge" else before + number
                found[key] = merged, own
        for number, own in found.values():
            yield metrics.Observation(number, own)


class _Providers:
    """The observed clients of each meter provider.

    A meter ignores the callbacks of an instrument that it has already. So each provider gets its
    instruments once, and they read all of its clients.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: WeakKeyDictionary[MeterProvider, _Clients] = WeakKeyDictionary()
        self._of_global: _Clients | None = None

    def get_clients(self, given: MeterProvider | None) -> _Clients:
        """Return the clients of a provider, None for the global one; create its instruments."""
        current = metrics.get_meter_provider()
        provider = current if given is None else given
        with self._lock:
            clients = self._clients.get(provider)
            if clients is None and provider is current:
                # Until the application sets one, the global provider is a proxy. What was created
                # there is created again in the one that is set.
                clients = self._of_global
            if clients is None:
                clients = _Clients(provider.get_meter("whisperr", __version__))
            if provider is current:
                self._of_global = clients
            self._clients[provider] = clients
        return clients


_PROVIDERS = _Providers()
