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

from collections import Counter
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from whisperr import Stats, Whisperr, __version__
from whisperr._integrations.metrics import METRICS
from whisperr._process.identity import get_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

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
        client: The client. It is not kept alive. Of one that is gone, the counts of the last
            collection stay, since counters never decrease; its sizes and its state do not.
        meter_provider: Where the instruments are created. None: the global provider, which may be
            set later.
        attributes: Attributes for all measurements of this client, such as `{"client": "billing"}`.
            The counts of clients with the same attributes are added up; of sizes that they may
            share, the largest is taken.

    Raises:
        TypeError: `client` is not a client.

    .. versionadded:: 1.0
    """
    if not isinstance(client, Whisperr):
        raise TypeError(f"client: must be a Whisperr client, got {type(client).__name__}")
    _PROVIDERS.get_clients(meter_provider).add(client, dict(attributes or {}))


class _Observed:
    """A client with its attributes, and what it had counted when it was last read.

    In a forked child, the counts of the parent's clients that are gone belong to the parent.
    """

    def __init__(
        self, client: ref[Whisperr], attributes: Attributes, counted: Stats | None = None
    ) -> None:
        self.get_client = client
        self.attributes = attributes
        self._process = get_process()
        self._counted = Stats() if counted is None else counted

    def get_counted(self) -> Stats:
        """Return the counts of a client that is gone, without the events that it held."""
        return self._counted if self._process == get_process() else Stats()

    def read(self, metric: Metric) -> dict[str, int]:
        """Return the values of one metric; of a client that is gone, only what it has counted."""
        client = self.get_client()
        if client is not None:
            stats = client.stats()
            self._process, self._counted = get_process(), _get_ended(stats)
        elif metric.kind == "counter" or metric.field == "accepted":
            stats = self.get_counted()
        else:
            return {}
        return metric.read(stats)


def _get_ended(*all_stats: Stats) -> Stats:
    """Return what clients have counted together, without the events that they hold."""
    dropped = Counter[str]()
    not_accepted = Counter[str]()
    for stats in all_stats:
        dropped.update(stats.dropped)
        not_accepted.update(stats.not_accepted)
    delivered = sum(stats.delivered for stats in all_stats)
    return Stats(
        accepted=delivered + sum(dropped.values()),
        delivered=delivered,
        dropped=dict(dropped),
        not_accepted=dict(not_accepted),
        requests=sum(stats.requests for stats in all_stats),
        retries=sum(stats.retries for stats in all_stats),
    )


class _Clients:
    """The clients that one meter provider observes.

    Threads: `_observed` is replaced, never changed, so that the reader's thread needs no lock,
    which a fork could leave taken.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = Lock()
        self._observed: tuple[_Observed, ...] = ()
        create = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        for one in METRICS:
            create[one.kind](one.name, [partial(self._read, one)], one.unit, one.description)

    def add(self, client: Whisperr, attributes: Attributes) -> None:
        """Observe a client, with these attributes from now on.

        The counts of clients that are gone become one for each set of attributes, so that a program
        that makes one client after the other needs no more memory for each.
        """
        with self._lock:
            alive: list[_Observed] = []
            gone: dict[str, _Observed] = {}
            for one in self._observed:
                other = one.get_client()
                key = _to_key(one.attributes)
                if other is None and key in gone:
                    counted = _get_ended(gone[key].get_counted(), one.get_counted())
                    gone[key] = _Observed(one.get_client, one.attributes, counted)
                elif other is None:
                    gone[key] = one
                elif other is not client:
                    alive.append(one)
            self._observed = (*gone.values(), *alive, _Observed(ref(client), attributes))

    def _read(self, metric: Metric, _: CallbackOptions) -> Iterator[Observation]:
        """Yield the values of one metric, one for each set of attributes."""
        found: dict[str, tuple[int, Attributes]] = {}
        for one in self._observed:
            for value, number in one.read(metric).items():
                attributes = one.attributes
                own = {**attributes, metric.attribute: value} if metric.attribute else attributes
                key = _to_key(own)
                before = found[key][0] if key in found else 0
                merged = max(before, number) if metric.kind == "gauge" else before + number
                found[key] = merged, own
        for number, own in found.values():
            yield metrics.Observation(number, own)


def _to_key(attributes: Attributes) -> str:
    return repr(sorted(attributes.items()))


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
