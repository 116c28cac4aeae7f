"""Sends what every client of the process tracks to the server of a test.

While such a block is on, the calls of every client go to a delivering pipeline in place of its own:
with the same options, but with the address of the server, a key of the test, and memory in place of
a durable buffer. The client's own pipeline is not touched.

Threads: it is of the whole process, as a capture is. A forked child sends for itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from whisperr._address import parse_url
from whisperr._delivery.pipeline import Pipeline
from whisperr._foreign import printable
from whisperr._options import OPTIONS
from whisperr._process.identity import get_process
from whisperr._process.real_clock import monotonic
from whisperr._secret import Secret

from ._buffers import Relaying, Transactional
from ._overrides import override_pipelines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._options import Config
    from whisperr._process.event_loop import Waiting

KEY = "wrk_local"
"""The key that a test sends: the one of the client never leaves it."""
_FLUSH_INTERVAL = 0.05  # seconds; a test waits for what it has tracked
_END_TIMEOUT = 1.0  # seconds; on loopback delivery takes milliseconds, unless a fault is injected
_LONGEST_SHOWN = 100  # characters of a wrong address


@contextmanager
def send_to(url: str) -> Iterator[None]:
    """Send the events of every client of this process to a local server. No key is needed.

    That includes clients that exist already, disabled ones, and those of integrations. Their
    options apply, except for the key, the address and a durable buffer. A client with the default
    `flush_interval` delivers at once, and one with its own `transport` uses that. With the outbox
    of Django an event is sent when the transaction around it commits.

    At the end of the block, queued events are delivered, for a second at most; the rest is dropped
    and reported. Every client is then as it was before.

    Example::

        with LocalServer() as server, whisperr.testing.send_to(server.url):
            upgrade("42")
            (arrival,) = server.wait(1)

    Args:
        url: The address of the server, such as `server.url`.

    Raises:
        ValueError: `url` is not an address.
    """
    if not isinstance(url, str) or parse_url(url) is None:
        shown = printable(repr(url), _LONGEST_SHOWN)
        raise ValueError(f"url={shown}: must be the address of a server, such as server.url")
    destination = _Destination(url)
    with override_pipelines(destination.get_pipeline):
        try:
            yield
        finally:
            destination.end()


class _Destination:
    """The server of one block, and the pipelines that send to it."""

    def __init__(self, url: str) -> None:
        self._url = url
        # By process and configuration. Each keeps its configuration: its `id` is a key, and must
        # not be used again.
        self._pipelines: dict[tuple[object, int], tuple[Pipeline, Config]] = {}

    def get_pipeline(self, config: Config) -> Pipeline:
        """Return the pipeline of a client in this process."""
        key = (get_process(), id(config))
        made = self._pipelines.get(key)
        if made is None:
            made = self._pipelines.setdefault(key, (self._make(config), config))
        return made[0]

    def end(self) -> None:
        """Deliver what the pipelines of this process hold, for a moment, and close them."""
        process = get_process()
        mine = [one for one, _ in [*self._pipelines.values()] if one.process == process]
        deadline = monotonic() + _END_TIMEOUT
        for pipeline in mine:
            pipeline.begin_shutdown(deadline)
        for pipeline in mine:
            pipeline.finish_shutdown(deadline)

    def _make(self, config: Config) -> Pipeline:
        is_default = config.flush_interval == _DEFAULT_FLUSH_INTERVAL
        sending = config.replace(
            key=Secret(KEY),
            base_url=self._url.rstrip("/"),
            flush_interval=_FLUSH_INTERVAL if is_default else config.flush_interval,
            buffer=config.buffer if isinstance(config.buffer, Relaying) else None,
            ssl_context=None,
            disabled=False,
        )
        if isinstance(config.buffer, Transactional):
            return _FollowingPipeline(sending, config.buffer)
        return Pipeline(sending)


class _FollowingPipeline(Pipeline):
    """Gives each event to a pipeline that sends it, when the transaction around it commits."""

    def __init__(self, config: Config, buffer: Transactional) -> None:
        self._sending = Pipeline(config)
        super().__init__(config.replace(buffer=buffer.follow(self._sending.put)))

    def flush(self, timeout: float | None, waiting: Waiting | None = None) -> bool:
        return self._sending.flush(timeout, waiting)

    def begin_shutdown(self, deadline: float) -> None:
        super().begin_shutdown(deadline)
        self._sending.begin_shutdown(deadline)

    def finish_shutdown(self, deadline: float) -> bool:
        ended = super().finish_shutdown(deadline)
        return self._sending.finish_shutdown(deadline) and ended


(_DEFAULT_FLUSH_INTERVAL,) = (one.default for one in OPTIONS if one.name == "flush_interval")
