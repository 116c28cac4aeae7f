"""Record what every client of the process would send, and send nothing.

While a capture is on, each client's calls go to a pipeline that stands in for its own: the same
class with the same options, so that events are checked, stamped, encoded and reported as in
production. Only its buffer is another one: it records what is put into it and hands nothing out,
so there is nothing to deliver. The client's own pipeline is not touched.

Threads: a capture is of the whole process, not of a thread, a task or a context: events come from
pools, loops and servers. Everything here may be called from any thread. A forked child records
for itself.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from copy import copy
from threading import RLock
from typing import TYPE_CHECKING

from whisperr import _client
from whisperr._delivery import pipeline as _pipeline
from whisperr._events.event import Vetoed
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, MemoryQueue
from whisperr.errors import InvalidEvent

from ._events import Events
from ._recorded import recorded_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from whisperr._options import Config
    from whisperr.protocols import Answer, Request

# For `on_error` of a report that is just being told at the end of a block.
_PATIENCE = 1.0  # seconds


@contextmanager
def capture(*, strict: bool | None = None) -> Iterator[Events]:
    """Let every client of this process record instead of send, disabled ones as well.

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
    with _strict(strict), _STAGE.shown_to(events):
        yield events


@contextmanager
def strict(strict: bool = True) -> Iterator[None]:  # noqa: FBT001, FBT002  # strict(False) reads well
    """Let every client of this process raise InvalidEvent for bad input, or with False none.

    Whatever `strict` they were made with. A disabled client checks nothing outside of `capture`.
    """
    with _strict(strict):
        yield


class _Stage:
    """Where clients go while at least one capture is on."""

    def __init__(self) -> None:
        self._lock = RLock()  # for beginning and ending; recording takes no lock
        self._audience: tuple[Events, ...] = ()
        # The configuration is kept beside its pipeline: its `id` must not be used again.
        self._pipelines: dict[tuple[int, int], tuple[Config, _Recording]] = {}

    def get_pipeline(self, config: Config) -> _Recording:
        """Return what stands in for a client's pipeline in this process."""
        key = (os.getpid(), id(config))
        found = self._pipelines.get(key)
        if found is None:
            found = self._pipelines.setdefault(key, (config, _Recording(config, self)))
        return found[1]

    @contextmanager
    def shown_to(self, events: Events) -> Iterator[None]:
        """Record into `events` while the block runs."""
        with self._lock:
            self._audience = (*self._audience, events)
            _client.stage = self.get_pipeline
        try:
            yield
        finally:
            for _, pipeline in tuple(self._pipelines.values()):
                pipeline.tell()
            with self._lock:
                self._audience = tuple(one for one in self._audience if one is not events)
                if not self._audience:
                    _client.stage = None
                    pipelines, self._pipelines = self._pipelines, {}
                    for _, pipeline in pipelines.values():
                        pipeline.leave()

    def record(self, data: bytes) -> None:
        """Keep one encoded event or identify in every capture that is on."""
        recorded = recorded_of(data)
        for events in self._audience:
            events.record(recorded)

    def refuse(self, sentence: str) -> None:
        """Keep the report of a call that became no event."""
        for events in self._audience:
            events.refuse(sentence)

    def begin_anew(self) -> None:
        """In a forked child: whoever held the lock does not exist here."""
        self._lock = RLock()


class _Recording(_pipeline.Pipeline):
    """A client's pipeline with a buffer that records."""

    def __init__(self, config: Config, stage: _Stage) -> None:
        staged = copy(config)
        staged.buffer = _RecordingBuffer(config.max_queue_bytes, stage.record)
        staged.transport = _NoWay()
        super().__init__(staged)
        self._stage = stage

    def refuse(self, error: Exception, call: str, place: str | None = None) -> None:
        if not isinstance(error, Vetoed):
            text = str(error) if isinstance(error, InvalidEvent) else type(error).__name__
            self._note(f"{call}: {text}", place)
        super().refuse(error, call, place)

    def refuse_closed(self, call: str, place: str | None = None) -> None:
        self._note(f"{call}: the client is shut down", place)
        super().refuse_closed(call, place)

    def tell(self) -> None:
        """Tell `on_error` and the log what waits, so that it is told by the end of the block."""
        if self.pid == os.getpid():
            now = time.monotonic()
            self.reporter.emit(now, all_of_it=True)
            # What the thread has already taken out to tell is told when its step ends.
            self.driver.wait_until(lambda: not self.driver.in_step, lambda: False, now + _PATIENCE)

    def _note(self, text: str, place: str | None) -> None:
        self._stage.refuse(f"{text}{_pipeline.get_call_site() if place is None else place}")


class _RecordingBuffer(MemoryQueue):
    """A buffer that records what is put into it, and from which nothing can be taken."""

    def __init__(self, max_bytes: int, record: Callable[[bytes], None]) -> None:
        super().__init__(1, max_bytes)
        self._limit = max_bytes
        self._record = record
        self._recorded_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The memory of what was recorded, in bytes."""
        return self._recorded_bytes

    def put(self, data: bytes) -> Sequence[bytes]:
        """Record one event; return it when a queue of this client could not hold it."""
        size = len(data) + EVENT_OVERHEAD_BYTES
        if size > self._limit:
            return (data,)
        self._record(data)
        self._recorded_bytes += size
        return ()


class _NoWay:
    """A transport that refuses to send; nothing ever asks it to."""

    def send(self, request: Request, timeout: float) -> Answer:  # noqa: ARG002  # a method of the protocol
        raise AssertionError("a capture sends nothing")

    def close(self) -> None:
        """Do nothing."""


_asked: tuple[tuple[object, bool], ...] = ()
_asking = RLock()


@contextmanager
def _strict(strict: bool | None) -> Iterator[None]:  # noqa: FBT001  # None is the third
    """Decide about strictness until the block ends; of several blocks the newest decides."""
    global _asked  # noqa: PLW0603  # a decision for the process
    if strict is None:
        yield
        return
    mine = (object(), strict)
    with _asking:
        _asked = (*_asked, mine)
        _pipeline.strict_for_all = strict
    try:
        yield
    finally:
        with _asking:
            _asked = tuple(one for one in _asked if one is not mine)
            _pipeline.strict_for_all = _asked[-1][1] if _asked else None


_STAGE = _Stage()


def _after_fork_in_child() -> None:
    global _asking  # noqa: PLW0603  # whoever held the old one does not exist here
    _asking = RLock()
    _STAGE.begin_anew()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
