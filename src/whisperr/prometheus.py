"""The Prometheus integration: a collector for the counters of clients.

Example::

    from prometheus_client import REGISTRY

    from whisperr.prometheus import collector

    REGISTRY.register(collector(client))

A scrape reads `client.stats()`: no I/O, and nothing on the way of `track()`.

.. versionadded:: 1.0
"""

from __future__ import annotations

try:
    from prometheus_client import core, registry
except ModuleNotFoundError as _missing:
    if _missing.name != "prometheus_client":
        raise
    raise ImportError(
        "whisperr.prometheus needs prometheus_client: pip install 'whisperr[prometheus]'"
    ) from _missing

from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import ref

from whisperr import Whisperr
from whisperr._integrations.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric as Family

    from whisperr._integrations.metrics import Metric

__all__ = ["collector"]


def collector(client: Whisperr | Mapping[str, Whisperr]) -> registry.Collector:
    """Return a collector that publishes `stats()` of a client, for `REGISTRY.register()`.

    A scrape reads the counters of each client once, so that accepted = delivered + dropped + held.
    They are those of the process that answers the scrape. In the multiprocess mode of
    prometheus_client, which has no custom collectors, nothing is published.

    Args:
        client: The client; or several by their names, which become the label `client`. A registry
            takes one collector of this kind. It keeps no client alive: one that is gone has no
            samples.

    Returns:
        An object with `collect()` and `describe()`.

    Raises:
        TypeError: `client` is neither a client nor a mapping of clients by strings.

    .. versionadded:: 1.0
    """
    if isinstance(client, Whisperr):
        return _Collector({(): client})
    if not isinstance(client, Mapping):
        kind = type(client).__name__
        raise TypeError(f"client: must be a Whisperr client, or a dict of clients, got {kind}")
    for name, named in client.items():
        if not isinstance(name, str) or not isinstance(named, Whisperr):
            kinds = f"{type(name).__name__} to {type(named).__name__}"
            raise TypeError(f"client: must map a str to each Whisperr client, got {kinds}")
    return _Collector({(name,): named for name, named in client.items()})


class _Collector(registry.Collector):
    """Makes the metric families of clients; the keys are the values of the label `client`."""

    def __init__(self, clients: Mapping[tuple[str, ...], Whisperr]) -> None:
        self._clients = {values: ref(client) for values, client in clients.items()}
        self._labels = ["client"] if any(clients) else []

    def describe(self) -> Iterator[Family]:
        """Yield the families without samples, for `register()`, which looks for duplicates."""
        for metric in METRICS:
            yield self._make_family(metric)

    def collect(self) -> Iterator[Family]:
        """Yield the families of all metrics, each client's values of one moment."""
        clients = [(values, get_client()) for values, get_client in self._clients.items()]
        read = [(values, client.stats()) for values, client in clients if client is not None]
        for metric in METRICS:
            family = self._make_family(metric)
            for values, stats in read:
                for value, number in metric.read(stats).items():
                    family.add_metric([*values, value] if metric.attribute else values, number)
            yield family

    def _make_family(self, metric: Metric) -> core.CounterMetricFamily | core.GaugeMetricFamily:
        counts = metric.kind == "counter"
        make = core.CounterMetricFamily if counts else core.GaugeMetricFamily
        labels = [*self._labels, metric.attribute] if metric.attribute else self._labels
        return make(metric.prometheus_name, metric.description, labels=labels)
