"""Summarises losses and pauses, and reports them to `on_error` and to the logger `whisperr`.

Each kind of report gives at most one `on_error` call and one log line per second (some kinds: per
minute), with the number of events; the first report of a kind is emitted at once.

Adding a report never waits or runs foreign code, so `track()` may do it anywhere. Emitting runs
`on_error` and log handlers, which are foreign code. It happens in the delivery thread, in threads
that call `flush()` or `shutdown()`, and in any call on a closed client. Exceptions of foreign code
are caught, except interruptions of the calling thread.

Invariant: a report is added and its events are counted in one run of statements without a call, so
that a signal handler that raises cannot separate the two (see `_queue.memory`).
"""

from __future__ import annotations

import _thread
import sys
from _thread import RLock

from whisperr._process.imports import json_loads
from whisperr._process.interruption import belongs_to_caller
from whisperr._process.logger import log
from whisperr.errors import WhisperrError

from .wording import compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from whisperr.errors import ErrorType, Reason

    # The interval (seconds) is part of the kind.
    Kind = tuple[ErrorType, Reason | None, float]

INTERVAL = 1.0
# Seconds. Code that tracks every page view, also of anonymous visitors, makes one mistake many
# times, and no event is missing. A minute is short enough to find it in the log after a deployment.
ANONYMOUS_INTERVAL = 60.0
# Dropped events that are kept for `on_error` between two calls; more are only counted.
_MAX_KEPT_BYTES = 8 * 1024 * 1024
# Types whose reports are about other events each time, so that their numbers add up.
_ADD_UP = ("dropped", "incomplete")
# Losses that failing delivery causes; their reports name the failure.
_CAUSED = ("queue_full", "shutdown")


class Tally:
    """What to count in the step that adds a report.

    `counts[name]` grows by `count`. `leaving`: a list that begins with the report's events. They
    are removed from it in the same step; if another call removed them before, nothing is counted.
    """

    __slots__ = ("count", "counts", "leaving", "name")

    def __init__(
        self, counts: dict[str, int], name: str, count: int, leaving: list[bytes] | None = None
    ) -> None:
        self.counts = counts
        self.name = name
        self.count = count
        self.leaving = leaving


class _Summary:
    __slots__ = (
        "bytes",
        "count",
        "emitted",
        "events",
        "host",
        "message",
        "notified",
        "others",
        "quiet",
        "reports",
        "status",
        "then",
        "type",
    )

    def __init__(
        self,
        type_: ErrorType,
        message: str,
        status: int | None,
        then: str,
        host: str | None,
        *,
        quiet: bool,
    ) -> None:
        self.type = type_
        self.message = message
        self.status = status
        self.host = host
        self.reports = 0
        self.count = 0  # events; a report may be about none
        self.then = then
        self.quiet = quiet
        self.others = 0
        self.events: list[bytes] = []
        self.bytes = 0
        self.notified = False  # whether `notify` was called
        self.emitted = False  # whether `on_error` or the log may have received it


class Reporter:
    """Collects reports and emits each kind at most once per interval.

    `notify` is called after each report and must arrange for `emit`; its argument tells whether the
    report is the first waiting one of its kind.

    - `cause`: why delivery currently fails, in one line; None if it does not.
    - `cause_host`: the host and port that the cause is about; None if there is none.
    - `remedy`: what to do about it; "" if that depends on the loss.

    The delivery thread writes both.
    """

    __slots__ = (
        "_debug",
        "_emitting",
        "_last",
        "_notify",
        "_on_error",
        "_waiting",
        "cause",
        "cause_host",
        "lock",
        "remedy",
    )

    def __init__(
        self,
        on_error: Callable[[WhisperrError], object] | None,
        notify: Callable[[bool], object] = lambda _first: None,
        *,
        debug: bool = False,
    ) -> None:
        self._on_error = on_error
        self._notify = notify
        self._debug = debug
        self.lock = RLock()
        self.cause: str | None = None
        self.cause_host: str | None = None
        self.remedy = ""
        self._emitting: set[int] = set()  # the threads that are in `emit`
        self._waiting: dict[Kind, _Summary] = {}
        self._last: dict[Kind, float] = {}

    def add(
        self,
        type_: ErrorType,
        message: str,
        reason: Reason | None = None,
        status: int | None = None,
        count: int = 1,
        events: Sequence[bytes] = (),
        tally: Tally | None = None,
        interval: float = INTERVAL,
        then: str = "",
        *,
        host: str | None = None,
        quiet: bool = False,
    ) -> None:
        """Add one report, or join it to the waiting one of its kind, whose message is kept.

        The line also says how many lost events had another message. `tally` is counted in the same
        step. `then`: as in `compose`. `host`: the host and port that the message is about. `quiet`:
        log at level DEBUG only, because another report of the same events follows.
        """
        kind = (type_, reason, interval)
        with self.lock:
            new = _Summary(type_, message, status, then, host, quiet=quiet)
            summary = self._waiting.setdefault(kind, new)
            while not self._join(kind, summary, message, count, events, tally, then):
                new = _Summary(type_, message, status, then, host, quiet=quiet)
                summary = self._waiting.setdefault(kind, new)
        first, summary.notified = not summary.notified, True
        self._notify(first)

    def _join(
        self,
        kind: Kind,
        summary: _Summary,
        message: str,
        count: int,
        events: Sequence[bytes],
        tally: Tally | None,
        then: str,
    ) -> bool:
        """Add to a summary; return False if a signal handler has emitted it meanwhile."""
        kept, size = self._select(summary.bytes, events)
        others = count if message != summary.message else 0
        adds_up = kind[0] in _ADD_UP
        waiting = self._waiting
        # No call from here on.
        if kind not in waiting or waiting[kind] is not summary:
            return False
        if tally is not None:
            leaving = tally.leaving
            if leaving is not None:
                if not leaving or (events and leaving[0] is not events[0]):
                    return True
                del leaving[:count]
            tally.counts[tally.name] += tally.count
        summary.reports += 1
        # Of events that wait, the latest count is how many wait now.
        summary.count = summary.count + count if adds_up else count
        summary.then = summary.then if adds_up else then
        summary.others += others
        summary.events += kept
        summary.bytes += size
        return True

    def _select(self, size: int, events: Sequence[bytes]) -> tuple[list[bytes], int]:
        """Return the events to keep for `on_error`, and their size in bytes."""
        kept: list[bytes] = []
        added = 0
        for data in events if self._on_error is not None else ():
            if size + added + len(data) > _MAX_KEPT_BYTES:
                break
            added += len(data)
            kept.append(data)
        return kept, added

    def debug(
        self,
        message: str,
        *values: object,
        count: int | None = None,
        status: int | None = None,
        host: str | None = None,
    ) -> None:
        """Log one step of delivery if the `debug` option is set."""
        if self._debug:
            log("debug", message, *values, count=count, status=status, host=host)

    def due(self) -> float | None:
        """Return when the next report is due (monotonic, seconds); None if none waits."""
        with self.lock:
            waiting = [*self._waiting]
        return min((self._get_due(kind) for kind in waiting), default=None)

    def _get_due(self, kind: Kind) -> float:
        interval = kind[2]
        return self._last.get(kind, -interval) + interval

    def emit(self, now: float, *, everything: bool = False) -> None:
        """Emit the reports due at `now` (monotonic, seconds); with `everything`, all that wait.

        Within a call of `on_error`, emit only those due: an `on_error` that tracks each report with
        a closed client would otherwise never end.

        Raises only interruptions of the calling thread; the next call emits what they prevented.
        """
        thread = _thread.get_ident()  # looked up now: gevent replaces it
        outermost = thread not in self._emitting
        try:
            self._emitting.add(thread)
            self._emit_waiting(now, everything=everything and outermost)
        finally:
            if outermost:
                self._emitting.discard(thread)

    def _emit_waiting(self, now: float, *, everything: bool) -> None:
        for kind in [*self._waiting]:
            if not everything and now < self._get_due(kind):
                continue
            summary = None
            try:
                with self.lock:
                    if kind in self._waiting:
                        summary = self._waiting[kind]
                        del self._waiting[kind]
                if summary is not None and summary.reports:
                    self._last[kind] = now
                    self._emit_one(summary, kind[1])
            except BaseException:
                if summary is not None and not summary.emitted:
                    self._restore(kind, summary)
                raise

    def _restore(self, kind: Kind, summary: _Summary) -> None:
        """Put back a summary that an interruption kept from being emitted."""
        with self.lock:
            newer = self._waiting.setdefault(kind, summary)
            if newer is not summary:
                newer.reports += summary.reports
                if kind[0] in _ADD_UP:
                    newer.count += summary.count
                newer.events[:0] = summary.events

    def _emit_one(self, summary: _Summary, reason: Reason | None) -> None:
        message, then, host = summary.message, summary.then, summary.host
        if self.cause is not None and reason in _CAUSED and not then:
            message, then, host = f"{message}; {self.cause}", self.remedy, self.cause_host
        message = compose(summary.type, reason, message, summary.count, summary.others, then)
        error = WhisperrError(
            summary.type, message, summary.status, reason, summary.count, summary.events
        )
        summary.emitted = True
        log(
            "debug" if summary.quiet else "warning",
            "%s",
            message,
            type=summary.type,
            reason=reason,
            count=summary.count,
            status=summary.status,
            host=host,
        )
        if self._on_error is None:
            return
        try:
            if summary.events:
                json_loads()  # imports it for `WhisperrError.events`, guarded against a fork
            self._on_error(error)
        except BaseException as failure:
            if belongs_to_caller(failure):
                raise
            # The callback is foreign code, whose failure must not stop delivery. The text of the
            # exception is not logged, because it may repeat events.
            log(
                "error",
                "on_error raised %s; delivery continues; correct your on_error function",
                get_raise_site(failure),
            )


def get_raise_site(failure: BaseException) -> str:
    """Return the type of an exception and where it was raised, without its text."""
    frame = failure.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
    return f"{type(failure).__name__}{where}"


def get_call_site() -> str:
    """Return the file and line of the rejected call in the caller's code."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # what `inspect` and `warnings` do
    # While the interpreter shuts down, a module's globals may be gone.
    while frame is not None and str(frame.f_globals.get("__name__")).split(".")[0] == "whisperr":
        frame = frame.f_back
    return f" (at {frame.f_code.co_filename}:{frame.f_lineno})" if frame else ""
