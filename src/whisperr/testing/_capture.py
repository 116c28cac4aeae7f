"""Records what every client of the process would send, and sends nothing.

While a capture is on, the calls of every client are sent to a recording pipeline in place of its
own: the same class with the same options, so that events are checked, stamped, encoded and
reported as in production. The client's own pipeline is not touched.

Threads: a capture is of the whole process, not of a thread, a task or a context, because events
come from thread pools, event loops and servers. A forked child records for itself.

Locks: that of the overrides, taken where a block begins or ends. Recording takes none.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from whisperr._delivery.pipeline import Pipeline
from whisperr._delivery.reporter import INTERVAL, get_call_site
from whisperr._process.counter import Counter
from whisperr._process.identity import get_process
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr.errors import InvalidEvent

from ._buffers import Transactional
from ._events import Recording
from ._overrides import get_lock, override_pipelines, override_strict
from ._recorded import to_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr._options import Config
    from whisperr._process.event_loop import Waiting
    from whisperr.errors import Reason
    from whisperr.protocols import Buffer

    from ._events import Events

_REPORT_TIMEOUT = 1.0  # seconds, for an `on_error` that runs while a block ends


@contextmanager
def capture(*, strict: bool | None = None) -> Iterator[Events]:
    """Record the events of every client of this process and send nothing. No key is needed.

    It records clients that exist already, disabled ones, and those of integrations. With an outbox
    an event is recorded when the transaction around it commits.

    Nothing that is recorded is ever delivered. In the block, `flush()` and `shutdown()` return
    True at once, and `stats()` counts what was recorded as held. At its end every client is as it
    was before, also one that was shut down meanwhile. Captures may overlap: each records all
    events.

    Example::

        with whisperr.testing.capture() as events:
            upgrade("42")
        events.assert_tracked("plan_upgraded", user="42")

    Args:
        strict: True raises `InvalidEvent` for bad input at the line of the call; False never does.
            None leaves it to each client, and to a `strict` around this block.

    Yields:
        The recorded events.
    """
    events = Recording(count_waiting=_count_waiting)
    with override_strict(strict):
        with get_lock():
            _captures[id(events)] = events
        try:
            with override_pipelines(_get_pipeline):
                try:
                    yield events
                finally:
                    for pipeline in [*_pipelines.values()]:
                        pipeline.report()
                    events.end(_count_waiting())
        finally:
            with get_lock():
                del _captures[id(events)]
                while _pipelines and not _captures:
                    _pipelines.popitem()[1].leave()


@contextmanager
def strict(strict: bool = True) -> Iterator[None]:  # noqa: FBT001, FBT002  # strict(False) reads well
    """Make every client of this process raise `InvalidEvent` for bad input in this block.

    A disabled client checks nothing outside of `capture` and `send_to`.

    Args:
        strict: The value that replaces the option `strict` of each client; with False none raises.
    """
    with override_strict(strict):
        yield


class _RecordingPipeline(Pipeline):
    """A client's pipeline that records instead of delivering."""

    def __init__(self, config: Config) -> None:
        self._recording = _RecordingSink(config.max_queue_bytes)
        sink: Buffer = self._recording
        if isinstance(config.buffer, Transactional):
            sink = config.buffer.follow(self._recording.put)
        super().__init__(config.replace(buffer=sink, transport=None))
        self._client_config = config  # kept: its `id` is a key, and must not be used again

    @property
    def waiting(self) -> int:
        """How many events wait for a commit or their user, and are not recorded so far."""
        return max(self.stats().held - self._recording.count, 0)

    def reject(self, error: Exception, call: str, call_site: str | None = None) -> None:
        try:
            super().reject(error, call, call_site)
        except InvalidEvent:  # strict
            self._record_refusal(f"{call}: {error}", call_site)
            raise

    def not_accepted(
        self, reason: Reason, message: str, call_site: str | None, interval: float = INTERVAL
    ) -> None:
        self._record_refusal(message, call_site)
        super().not_accepted(reason, message, call_site, interval)

    def flush(self, timeout: float | None, waiting: Waiting | None = None) -> bool:  # noqa: ARG002  # nothing is waited for
        self.reporter.emit(time.monotonic())
        return True

    def report(self) -> None:
        """Pass waiting reports to `on_error` and the log before the block ends."""
        if self.process == get_process():
            now = time.monotonic()
            self.reporter.emit(now, everything=True)
            # The delivery thread may be reporting what it has already taken out: wait for it.
            end = now + _REPORT_TIMEOUT
            self.thread.wait_until(lambda: not self.thread.in_step, lambda: False, end)

    def _record_refusal(self, text: str, call_site: str | None) -> None:
        sentence = f"{text}{get_call_site() if call_site is None else call_site}"
        for events in [*_captures.values()]:
            events.refuse(sentence)


class _RecordingSink:
    """Records the events that are put into it."""

    delivered_by = "a capture, which sends nothing"

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._counter = Counter()

    @property
    def count(self) -> int:
        """How many events were recorded."""
        return self._counter.value

    def put(self, data: bytes) -> Sequence[bytes]:
        """Record one event; return it when a queue of this client could not hold it."""
        if len(data) + EVENT_OVERHEAD_BYTES > self._max_bytes:
            return (data,)
        self._counter.next()
        recorded = to_recorded(data)
        for events in [*_captures.values()]:
            events.record(recorded)
        return ()


_captures: dict[int, Recording] = {}  # those that are on, by their `id`
_pipelines: dict[tuple[object, int], _RecordingPipeline] = {}  # by process and configuration


def _get_pipeline(config: Config) -> _RecordingPipeline:
    """Return the recording pipeline of a client in this process."""
    key = (get_process(), id(config))
    return _pipelines.get(key) or _pipelines.setdefault(key, _RecordingPipeline(config))


def _count_waiting() -> int:
    """Return how many events of this process wait for a commit or their user."""
    pipelines = [*_pipelines.values()]
    return sum(one.waiting for one in pipelines if one.process == get_process())
