"""Assembles the parts of one client in one process: encoder, queue or sink, scheduler and thread.

A forked child gets a new pipeline: new locks, an empty memory queue (the parent still owns its
events), a new connection, new message ids, and a new thread when needed.
"""

from __future__ import annotations

import os
from _weakref import ref  # by itself: `weakref` is a twentieth of the import time

from whisperr._events.event import AnonymousUser, Vetoed, make_encoder
from whisperr._events.layout import is_identify
from whisperr._options import OVERRIDES, name_variable
from whisperr._process import exit as process_exit
from whisperr._process import forks
from whisperr._process.identity import get_process
from whisperr._process.interruption import belongs_to_caller
from whisperr._process.logger import log
from whisperr._process.real_clock import monotonic
from whisperr._process.threads import check_host, is_after_exit
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, QUEUE_FULL, CountedQueue, MemoryQueue
from whisperr._secret import Secret
from whisperr.errors import InvalidEvent, StoreError

from .accounting import ClientAccounting
from .deferrals import Deferrals
from .description import UNKNOWN
from .holds import get_full_at
from .lazy_transport import LazyTransport, to_load
from .outage import get_outage
from .reporter import ANONYMOUS_INTERVAL, INTERVAL, Reporter, get_call_site, get_raise_site
from .scheduler import NEVER, Scheduler
from .thread import DeliveryThread
from .wording import DEFERRED_FULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whisperr._options import Config
    from whisperr._process.event_loop import Waiting
    from whisperr.errors import Reason
    from whisperr.protocols import Buffer, Queue, SharedQueue, Sink, Transport

    from .accounting import State, Stats
    from .deferrals import Deferred

# The share of a shutdown's timeout that is reserved for reporting undelivered events.
_SHARE_FOR_REPORTS = 0.05
_MOST_FOR_REPORTS = 0.25  # seconds
TOO_LARGE = "one event is larger than max_queue_bytes"
NEVER_SETTLED = "events still waited for their user or a commit when the client was shut down"


class Pipeline:
    """Accepts encoded events, has them delivered, and reports. Belongs to one process."""

    def __init__(self, config: Config) -> None:
        self.process = get_process()
        self._config = config
        self.max_bytes: int = config.max_queue_bytes  # bound of its events, wherever they wait
        self._http = None if config.transport is not None else LazyTransport(config)
        self._transport: Transport = self._http or config.transport
        self.reporter = Reporter(config.on_error, _notify(ref(self)), debug=config.debug)
        self.accounting = ClientAccounting(self.reporter)
        self._built = False  # until then, reports wait for the thread
        # Another process delivers a sink's events; then this process's queue stays empty.
        self.sink: Sink | None = None
        self.queue: Queue = MemoryQueue(
            config.max_queue_size, config.max_queue_bytes, self.accounting.overflowed
        )
        self._shared: SharedQueue | None = None
        if config.buffer is not None:
            self._open(config.buffer)
        # Counts an accepted event; None if the queue counts it itself, as all of ours do for events
        # up to `_largest`.
        self._count: Callable[[], object] | None = self.accounting.accept
        self._largest = 0
        if isinstance(self.queue, CountedQueue):
            self._count, self._largest = None, self.queue.largest
        self._waiting = self.queue.__len__  # called for every event; `len()` takes twice the time
        self._flush_explained = False
        self.encoder = make_encoder(config, self.accounting.incomplete)
        self.scheduler = self._make_scheduler(config)
        self.thread = DeliveryThread(self.scheduler, to_load(self._http))
        self.deferrals = Deferrals(config.max_queue_size, self.max_bytes, self.thread.wake_waiting)
        process_exit.register(self)
        check_host()
        self._built = True
        # There may be events of an earlier process, or reports from opening the queue.
        if len(self.queue) or self.reporter.due() is not None:
            self.thread.wake()

    def _make_scheduler(self, config: Config) -> Scheduler:
        return Scheduler(
            self.queue,
            self._transport,
            self.accounting,
            flush_at=config.flush_at,
            flush_interval=config.flush_interval,
            max_batch_size=config.max_batch_size,
            max_retries=config.max_retries,
            request_timeout=config.request_timeout,
            clock=monotonic,
            random=_get_random,
            full_at=get_full_at(config),
            shared=self._shared,
            outage=None if self._http is None else get_outage(config.base_url),
            peer=self._http or UNKNOWN,
        )

    @property
    def closing(self) -> bool:
        """Whether the client accepts no more events."""
        return self.scheduler.closing

    @property
    def ended(self) -> bool:
        """Whether delivery has ended and the last report was emitted."""
        return self.scheduler.ended and self.reporter.due() is None

    def put(self, data: bytes, call_site: str | None = None) -> bool:
        """Accept one encoded event; return False if it was not kept. `call_site`: see `reject`."""
        if self.sink is not None:
            return self.put_into(self.sink, data, call_site)
        try:
            dropped = self.queue.put(data)
            if self._count is not None:
                self._count()
            if self._waiting() >= self.scheduler.wake_at:
                self.thread.wake()
        except BaseException:  # an interruption; the event may be in the queue
            self.thread.wake(interrupted=True)
            raise
        if not dropped:
            return True
        if self._count is not None:
            self._overflow(data, dropped)
            return dropped[-1] is not data
        if len(data) > self._largest:
            self.accounting.too_large(data, TOO_LARGE)
            return False
        # This event may be among them, if other threads have filled the queue meanwhile.
        self.accounting.lost(dropped, "queue_full", QUEUE_FULL)
        return True

    def put_into(self, sink: Sink, data: bytes, call_site: str | None = None) -> bool:
        """Put one event into a sink, from which another process delivers; return as `put` does."""
        try:
            dropped = sink.put(data)
        except StoreError as error:
            call = "identify" if is_identify(data) else "track"
            self.not_accepted("not_stored", f"{call}: {error}", call_site)
            return False
        self.accounting.accept()
        if dropped:
            self._overflow(data, dropped)
        return not dropped

    def defer(self, event: Deferred, size: int) -> bool:
        """Accept an event that waits outside of the queue, for its user or a commit.

        Return False if it was dropped: the bounds apply to the queue and these events together.
        """
        size += EVENT_OVERHEAD_BYTES
        if self.deferrals.admit(event, size, len(self.queue), self.queue.held_bytes):
            return True
        if size > self._config.max_queue_bytes:
            self.accounting.lost_deferred(1, "too_large", TOO_LARGE)
        elif self.closing:
            self.accounting.lost_deferred(1, "shutdown", NEVER_SETTLED)
        else:
            self.accounting.lost_deferred(1, "queue_full", DEFERRED_FULL)
        return False

    def wait_for_deferred(self, deadline: float, waiting: Waiting | None = None) -> int:
        """Wait until no event waits for its user or a commit; return how many still do.

        A thread that must end such a wait itself must not call this.
        """
        if waiting is not None:
            waiting.when_given_up(self.thread.wake_waiting)
        if self.deferrals.count:
            self.thread.wait_until(
                lambda: not self.deferrals.count,
                lambda: self.scheduler.ended or (waiting is not None and waiting.given_up),
                deadline,
            )
        return self.deferrals.count

    def reject(self, error: Exception, call: str, call_site: str | None = None) -> None:
        """Count and report a call that did not become an event; a veto is only counted.

        In strict mode, raise an InvalidEvent instead. `call_site`: the place of the call if it is
        not on the stack any more.
        """
        if OVERRIDES.is_strict(own=self._config.strict) and isinstance(error, InvalidEvent):
            raise error
        if isinstance(error, Vetoed):
            self.accounting.vetoed()
            return
        text = str(error) if isinstance(error, InvalidEvent) else type(error).__name__
        interval = INTERVAL
        if isinstance(error, AnonymousUser):
            text, interval = f"{text}; for an anonymous visitor, skip the call", ANONYMOUS_INTERVAL
        self.not_accepted("invalid", f"{call}: {text}", call_site, interval)

    def reject_closed(self, call: str, call_site: str | None = None) -> None:
        """Count and report a call after shutdown."""
        self.not_accepted("closed", f"{call}: the client is shut down", call_site)

    def flush(self, timeout: float | None, waiting: Waiting | None = None) -> bool:
        """Deliver all events accepted before; see `Whisperr.flush`.

        `waiting` is given up if the task that awaits this is cancelled.
        """
        if waiting is not None:
            waiting.when_given_up(self.thread.wake_waiting)
        deadline = NEVER if timeout is None else monotonic() + timeout
        position, scheduler = self.queue.tail(), self.scheduler

        def settled() -> bool:
            return self.queue.settled(position) and not scheduler.applying

        given_up = scheduler.give_ups
        done = settled()
        if not done:
            scheduler.ask(position)
            self.thread.wake()
            done = self.thread.wait_until(
                settled,
                lambda: (
                    ((scheduler.ended or scheduler.give_ups != given_up) and not scheduler.applying)
                    or (waiting is not None and waiting.given_up)
                ),
                deadline,
            )
        if self._shared is not None and not self.closing:
            self._poll(self._shared)
        self.reporter.emit(monotonic())
        if self.sink is not None and not self._flush_explained:
            self._flush_explained = True
            log(
                "info",
                "flush() has nothing to wait for: the events are stored, and %s delivers them",
                self.sink.delivered_by,
            )
        return done

    def _poll(self, queue: SharedQueue) -> None:
        """Update the counts with what other processes delivered."""
        try:
            queue.poll()
        except Exception as error:  # from a custom queue; the delivery thread reports it
            if belongs_to_caller(error):
                raise
            log("debug", "the queue cannot be polled: %s", get_raise_site(error))

    def begin_shutdown(self, deadline: float) -> None:
        """Accept no more events; deliver the held ones until `deadline` (monotonic, seconds)."""
        left = max(deadline - monotonic(), 0.0)
        self.scheduler.close(deadline - min(left * _SHARE_FOR_REPORTS, _MOST_FOR_REPORTS))
        if not self.thread.started and not len(self.queue):
            self.scheduler.abandon()
            self.thread.release()  # a thread that waits may have joined the delivery threads
        elif not self.scheduler.abandoned:
            self.thread.wake()

    def finish_shutdown(self, deadline: float) -> bool:
        """Wait for the end of delivery; drop and report the events that are left in memory."""
        scheduler = self.scheduler
        ended = self.thread.wait_until(lambda: scheduler.ended, lambda: False, deadline)
        if not ended and not self.thread.is_mine:
            scheduler.abandon()
            self.thread.release()
        given_up = self.deferrals.give_up()
        if given_up:
            self.accounting.lost_deferred(given_up, "shutdown", NEVER_SETTLED)
        self.report_rest()
        process_exit.report_rest()
        empty = self.queue.settled(self.queue.tail())
        return ended and empty and not self.accounting.dropped["shutdown"]

    def report_rest(self) -> bool:
        """Emit the waiting reports if delivery has ended; return whether it has."""
        if self.scheduler.ended:
            self.reporter.emit(monotonic(), everything=True)
        return self.scheduler.ended

    def leave(self) -> None:
        """Deliver the held events, then let the thread end: the client object is gone."""
        self.scheduler.leave()
        if not self.scheduler.abandoned and (self.thread.started or len(self.queue)):
            process_exit.keep(self)
            self.thread.wake()
        elif self.reporter.due() is not None:  # not emitted here: this may run in a `__del__`
            process_exit.keep(self)

    def close_in_child(self) -> None:
        """In a forked child, close the inherited socket; everything else belongs to the parent."""
        if self._http is not None:
            self._http.close_in_child()
        if self._shared is not None:
            forks.keep(self._shared)

    def renew_ids(self) -> None:
        """Generate ids from new random bits, because this process is about to be copied."""
        self.encoder.ids.renew()

    def stats(self) -> Stats:
        """Return the counts of this moment, without any I/O."""
        state: State = (
            "closed" if self.closing else "paused" if self.scheduler.paused else "running"
        )
        return self.accounting.stats(
            self.queue.held_bytes,
            state,
            self.scheduler.problem,
            (0, 0) if self._shared is None else (self._shared.stored, self._shared.unstored),
            self.queue.tail if self._count is None else int,
            self.deferrals,
        )

    def _open(self, buffer: Buffer) -> None:
        """Open the value of `buffer=`; only here its protocol is determined."""
        from whisperr.protocols import BufferConfig, Queue, SharedQueue

        given: Queue | Sink
        if isinstance(buffer, BufferConfig):
            config = self._config
            given = buffer.open(config.max_queue_size, config.max_queue_bytes, self.accounting)
        else:
            given = buffer
        if isinstance(given, SharedQueue):
            self._shared = given
        if isinstance(given, Queue):
            self.queue = given
        else:
            self.sink = given

    def _overflow(self, data: bytes, events: Sequence[bytes]) -> None:
        if events[-1] is data:
            self.accounting.lost(events, "too_large", TOO_LARGE)
        else:
            self.accounting.lost(events, "queue_full", QUEUE_FULL)

    def not_accepted(
        self, reason: Reason, message: str, call_site: str | None, interval: float = INTERVAL
    ) -> None:
        """Count and report a call whose event was not accepted."""
        where = get_call_site() if call_site is None else call_site
        self.accounting.not_accepted(reason, f"{message}{where}", interval)

    def report_added(self, first: bool) -> None:  # noqa: FBT001  # a callback of `Reporter`
        """Have a report emitted: by the delivery thread, or here if delivery has ended."""
        if not self._built:
            return
        after_exit = is_after_exit()  # then no thread emits waiting reports
        if after_exit or self.scheduler.ended:
            self.reporter.emit(monotonic(), everything=after_exit)
        elif first and not self.scheduler.abandoned:  # `abandon` emits everything at its end
            self.thread.wake()


def _notify(pipeline: ref[Pipeline]) -> Callable[[bool], None]:
    """Return a callback that does not keep its pipeline alive, which would be a cycle."""

    def notify(first: bool) -> None:  # noqa: FBT001  # a callback of `Reporter`
        alive = pipeline()
        if alive is not None:
            alive.report_added(first)

    return notify


def _get_random() -> float:
    """Return a number from 0 to 1; importing `random` would take a tenth of our import time."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def resolve_buffer(config: Config) -> Config:
    """Return `config` with its buffer URL parsed; raise ValueError for a wrong URL."""
    if not isinstance(config.buffer, (str, Secret)):
        return config
    from whisperr.buffers import parse_buffer_url

    try:
        return config.replace(buffer=parse_buffer_url(config.buffer))
    except ValueError as error:
        problem = name_variable(str(error), config.buffer)
    raise ValueError(problem)
