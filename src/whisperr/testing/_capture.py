"""Records what every client of the process would send, and sends nothing.

While a capture is on, the calls of every client are sent to a recording pipeline in place of its
own: the same class with the same options, so that events are checked, stamped, encoded and
reported as in production. The client's own pipeline is not touched.

Threads: a capture is of the whole process, not of a thread, a task or a context, because events
come from thread pools, event loops and servers. A forked child records for itself.

Locks: one for each process, taken where a block begins or ends. Recording takes none.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

from whisperr._delivery.pipeline import Pipeline
from whisperr._delivery.reporter import get_call_site
from whisperr._events.event import Vetoed
from whisperr._options import OVERRIDES
from whisperr._process.identity import get_process
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES
from whisperr.errors import InvalidEvent

from ._events import Events
from ._recorded import to_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr._options import Config
    from whisperr._process.event_loop import Waiting

_REPORT_TIMEOUT = 1.0  # seconds, for an `on_error` that runs while a block ends


@contextmanager
def capture(*, strict: bool | None = None) -> Iterator[Events]:
    """Record the events of every client of this process, disabled ones as well; send nothing.

        with whisperr.testing.capture() as events:
            ...
        events.assert_tracked("payment_failed", user="42")

    - `strict`: True raises InvalidEvent for bad input at the line of the call, False never does;
      None leaves it to each client, and to a `strict` around this block.

    What is recorded is never delivered. In the block `flush()` and `shutdown()` return True at
    once, and `stats()` counts what the block recorded, as held. At its end every client is as it
    was before, also one that was shut down meanwhile. Captures may overlap: each records all.
    """
    events = Events()
    with _override_strict(strict):
        with get_lock():
            _captures[id(events)] = events
            OVERRIDES.pipeline = _get_pipeline
        try:
            yield events
        finally:
            for pipeline in tuple(_pipelines.values()):
                pipeline.report()
            with get_lock():
                del _captures[id(events)]
                if not _captures:
                    OVERRIDES.pipeline = None
                    while _pipelines:
                        _pipelines.popitem()[1].leave()


@contextmanager
def strict(strict: bool = True) -> Iterator[None]:  # noqa: FBT001, FBT002  # strict(False) reads well
    """Make every client of this process raise InvalidEvent for bad input, or with False none.

    It replaces the option `strict` of each client. A disabled client checks nothing outside of
    `capture`.
    """
    with _override_strict(strict):
        yield


class _RecordingPipeline(Pipeline):
    """A client's pipeline that records instead of delivering."""

    def __init__(self, config: Config) -> None:
        sink = _RecordingSink(config.max_queue_bytes)
        super().__init__(config.replace(buffer=sink, transport=None))
        self._client_config = config  # kept: its `id` is a key, and must not be used again

    def reject(self, error: Exception, call: str, call_site: str | None = None) -> None:
        if not isinstance(error, Vetoed):
            text = str(error) if isinstance(error, InvalidEvent) else type(error).__name__
            self._record_refusal(f"{call}: {text}", call_site)
        super().reject(error, call, call_site)

    def reject_closed(self, call: str, call_site: str | None = None) -> None:
        self._record_refusal(f"{call}: the client is shut down", call_site)
        super().reject_closed(call, call_site)

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
        for events in tuple(_captures.values()):
            events.refuse(sentence)


class _RecordingSink:
    """Records the events that are put into it."""

    delivered_by = "a capture, which sends nothing"

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def put(self, data: bytes) -> Sequence[bytes]:
        """Record one event; return it when a queue of this client could not hold it."""
        if len(data) + EVENT_OVERHEAD_BYTES > self._max_bytes:
            return (data,)
        recorded = to_recorded(data)
        for events in tuple(_captures.values()):
            events.record(recorded)
        return ()


_captures: dict[int, Events] = {}  # those that are on, by their `id`
_pipelines: dict[tuple[object, int], _RecordingPipeline] = {}  # by process and configuration
_locks: dict[object, RLock] = {}
_strict_blocks: dict[object, bool] = {}  # the newest one last


def _get_pipeline(config: Config) -> _RecordingPipeline:
    """Return the recording pipeline of a client in this process."""
    key = (get_process(), id(config))
    return _pipelines.get(key) or _pipelines.setdefault(key, _RecordingPipeline(config))


def get_lock() -> RLock:
    """Return the lock of this process: a thread of the parent may hold the parent's for ever."""
    return _locks.setdefault(get_process(), RLock())


@contextmanager
def _override_strict(strict: bool | None) -> Iterator[None]:  # noqa: FBT001  # None is the third
    """Override strictness until the block ends; of several blocks the newest one decides."""
    if strict is None:
        yield
        return
    block = object()
    with get_lock():
        _strict_blocks[block] = OVERRIDES.strict = strict
    try:
        yield
    finally:
        with get_lock():
            del _strict_blocks[block]
            OVERRIDES.strict = next(reversed(_strict_blocks.values()), None)
