"""Losses and pauses are reported in summary: to `on_error` and to the logger `whisperr`.

At most one `on_error` call and one log line per kind and second, carrying the count; the first
report of a kind is emitted at once. Adding a report never waits and never runs foreign code, so
`track()` may do it anywhere. Emitting runs `on_error` and logging: in the delivery thread, and in a
thread that calls `flush()` or `shutdown()`, or any method of a client that is closed.
"""

from __future__ import annotations

from _thread import RLock

from whisperr._process.imports import json_loads
from whisperr._process.logger import logger
from whisperr.errors import WhisperrError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whisperr.errors import ErrorType, Reason

_INTERVAL = 1.0
# Dropped events kept for `on_error` between two calls; beyond it they are counted only.
_MAX_KEPT_BYTES = 8 * 1024 * 1024


class _Summary:
    __slots__ = ("bytes", "count", "events", "message", "others", "status", "type")

    def __init__(self, type_: ErrorType, message: str, status: int | None) -> None:
        self.type = type_
        self.message = message
        self.status = status
        self.count = 0
        self.others = 0
        self.events: list[bytes] = []
        self.bytes = 0


class Reporter:
    """Collects reports and emits each kind once a second at most.

    `notify` is called after each report and is to have it emitted; its argument says whether the
    report is the first of its kind that waits.
    """

    __slots__ = ("_debug", "_last", "_lock", "_notify", "_on_error", "_waiting")

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
        self._lock = RLock()
        self._waiting: dict[tuple[ErrorType, Reason | None], _Summary] = {}
        self._last: dict[tuple[ErrorType, Reason | None], float] = {}

    def add(
        self,
        type_: ErrorType,
        message: str,
        reason: Reason | None = None,
        status: int | None = None,
        count: int = 1,
        events: Sequence[bytes] = (),
    ) -> None:
        """Add one report. A later one of its kind joins the first: the message of the first stands.

        The number of events that have another message is shown beside it.
        """
        with self._lock:
            fresh = _Summary(type_, message, status)
            summary = self._waiting.setdefault((type_, reason), fresh)
            summary.count += count
            summary.others += count if message != summary.message else 0
            for data in events if self._on_error is not None else ():
                size = len(data)
                if summary.bytes + size > _MAX_KEPT_BYTES:
                    break
                summary.bytes += size
                summary.events.append(data)
        self._notify(summary is fresh)

    def debug(self, message: str, *values: object) -> None:
        """Log one step of delivery; only with the `debug` option."""
        if self._debug:
            logger().debug(message, *values)

    def due(self) -> float | None:
        """Return the time (monotonic, seconds) of the next report, None when nothing waits."""
        with self._lock:
            waiting = tuple(self._waiting)
        return min((self._last.get(kind, -_INTERVAL) + _INTERVAL for kind in waiting), default=None)

    def emit(self, now: float, *, everything: bool = False) -> None:
        """Emit what is due at `now` (monotonic, seconds); with `everything`, all that waits."""
        for kind in tuple(self._waiting):
            if not everything and now < self._last.get(kind, -_INTERVAL) + _INTERVAL:
                continue
            with self._lock:
                summary = self._waiting.pop(kind, None)
            if summary is not None:
                self._last[kind] = now
                self._emit_one(summary, kind[1])

    def _emit_one(self, summary: _Summary, reason: Reason | None) -> None:
        kept = summary.type != "dropped"
        message = summary.message
        if summary.others:
            message += f"; and {summary.others} others"
        logger().warning(
            "%s: %s (%s%s)",
            summary.type if reason is None else f"{summary.type}, {reason}",
            message,
            "1 event" if summary.count == 1 else f"{summary.count} events",
            ", kept" if kept else "",
        )
        if self._on_error is None:
            return
        if summary.events:
            json_loads()  # `WhisperrError.events` imports `json`; here no fork can interrupt that
        error = WhisperrError(
            summary.type, message, summary.status, reason, summary.count, summary.events
        )
        try:
            self._on_error(error)
        except (Exception, SystemExit) as failure:  # noqa: BLE001  # see below
            # The callback is foreign code; its failure must not stop delivery. Its text is not
            # logged, since it may repeat the events.
            logger().error("on_error raised %s; delivery goes on", _get_raise_site(failure))


def _get_raise_site(failure: BaseException) -> str:
    frame = failure.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
    return f"{type(failure).__name__}{where}"
