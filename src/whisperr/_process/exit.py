"""The end of the process: every pipeline delivers what it holds before one shared deadline.

This module keeps the pipelines of the process and ends them. `atexit` calls that function; in its
children `multiprocessing` does. No signal handler is ever installed.
"""

from __future__ import annotations

import atexit
import sys
from _weakref import ref  # by itself: `weakref` is a twentieth of the import time

from . import forks, threads
from .identity import get_process, is_main_interpreter
from .interruption import belongs_to_caller
from .logger import log
from .real_clock import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .event_loop import Waiting

    class Delivering(Protocol):
        """What runs the scheduler of a pipeline."""

        @property
        def started(self) -> bool:
            """Whether a thread delivers. Otherwise, a call that waits does its work."""

        @property
        def in_step(self) -> bool:
            """Whether a thread is delivering at this moment."""

    class Running(Protocol):
        """The part of a pipeline that the exit and the integrations use."""

        process: object

        @property
        def thread(self) -> Delivering: ...
        @property
        def ended(self) -> bool: ...
        def flush(self, timeout: float | None, waiting: Waiting | None = None) -> bool: ...
        def wait_for_deferred(self, deadline: float, waiting: Waiting | None = None) -> int: ...
        def begin_shutdown(self, deadline: float) -> None: ...
        def finish_shutdown(self, deadline: float) -> bool: ...
        def close_in_child(self) -> None: ...
        def renew_ids(self) -> None: ...
        def report_rest(self) -> bool: ...


EXIT_TIMEOUT = 10.0
# Higher than that of the queues of `multiprocessing`, so that they still work.
_PRIORITY = 100

_pipelines: set[ref[Running]] = set()
# Pipelines that still deliver or report although their client is gone. Only this set keeps them.
_leaving: set[Running] = set()
_first: list[Callable[[], None]] = []
_follows_children = False
_finalized_by: object = None
# Whether this process was forked, and no pipeline has been registered in it.
_forked = False


def call_first(function: Callable[[], None]) -> None:
    """Register a function to call when the exit begins, while threads may still start."""
    _first.append(function)


def register(pipeline: Running) -> None:
    """Deliver what a pipeline holds when the process ends, and close its socket in children."""
    global _follows_children, _forked  # noqa: PLW0603  # once per process
    _add(pipeline)
    if _forked:
        _forked = False
        # Airflow drops the functions for the exit that a child has from its parent. It calls those
        # that the child registers. Nothing says whether one is still registered.
        atexit.unregister(_end)
        atexit.register(_end)
    # Not imported: a program that does not use `multiprocessing` must not pay for it.
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if not _follows_children:
        _follows_children = True
        util.register_after_fork(_end, _finalize)
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        _finalize(_end)


def keep(pipeline: Running) -> None:
    """Keep a pipeline whose client is gone, so that the exit waits for its end.

    It must be registered again. When the garbage collector finds a client in a cycle, it clears the
    weak references to everything that only the client holds before it calls `__del__`.
    """
    _add(pipeline)
    _leaving.difference_update([other for other in [*_leaving] if other.ended])
    _leaving.add(pipeline)


def report_rest() -> None:
    """Emit the waiting reports of clients that are gone; called when another client has ended.

    The exit does this as well. Without the earlier call, a program that makes one client after the
    other would keep all of them until its exit.
    """
    process = get_process()
    for pipeline in [*_leaving]:
        # A pipeline is released even if its `on_error` causes another report each time.
        if pipeline.process == process and pipeline.report_rest():
            _leaving.discard(pipeline)


def pipelines() -> list[Running]:
    """Return the pipelines of this process."""
    process = get_process()
    return [pipeline for pipeline in _alive() if pipeline.process == process]


def shutdown_all(timeout: float) -> None:
    """Shut down all clients within `timeout` seconds, beginning all before waiting for any.

    Events that are not delivered by then are dropped and reported. An exception in the shutdown of
    one client does not prevent that of the others; an interruption is raised after all have ended.
    """
    deadline = monotonic() + timeout
    mine = pipelines()
    here = [pipeline for pipeline in mine if not pipeline.thread.started]
    others = [pipeline for pipeline in mine if pipeline.thread.started]
    raised: list[BaseException] = []
    for pipeline in others:
        _contain(pipeline.begin_shutdown, deadline, raised)
    # These deliver in the calling thread, one after the other. Each gets its share of the time.
    for left, pipeline in zip(range(len(here), 0, -1), here, strict=True):
        now = monotonic()
        share = now + max(deadline - now, 0.0) / left
        _contain(pipeline.begin_shutdown, share, raised)
        _contain(pipeline.finish_shutdown, share, raised)
    while others:
        # A pipeline that a thread is busy with comes last. Where no more threads can start, the
        # calling thread delivers for the others meanwhile.
        pipeline = next((one for one in others if not one.thread.in_step), others[0])
        others.remove(pipeline)
        _contain(pipeline.finish_shutdown, deadline, raised)
    if raised:
        raise raised[0]


def _contain(act: Callable[[float], object], deadline: float, raised: list[BaseException]) -> None:
    """Run one step of a shutdown; keep an interruption for later and log any other exception."""
    try:
        act(deadline)
    except BaseException as error:  # noqa: BLE001  # the other clients end as well
        if belongs_to_caller(error):
            raised.append(error)
        else:
            log(
                "error",
                "a client could not be shut down, and its events may be lost: %s; report this line "
                "to the maintainers",
                type(error).__name__,
            )


def _add(pipeline: Running) -> None:
    _pipelines.add(ref(pipeline, _pipelines.discard))


def _alive() -> list[Running]:
    # The copy is made in one step. A loop over the set itself would fail when the garbage collector
    # removes a pipeline in the middle.
    return [pipeline for one in _pipelines.copy() if (pipeline := one()) is not None]


def _finalize(end: Callable[[], None]) -> None:
    """Have `multiprocessing` call the function in its children, which run no `atexit` functions."""
    global _finalized_by  # noqa: PLW0603  # once per process
    if _finalized_by != get_process():
        _finalized_by = get_process()
        sys.modules["multiprocessing.util"].Finalize(None, end, exitpriority=_PRIORITY)


@atexit.register
def _end() -> None:
    try:
        for function in _first:
            function()
    except Exception as error:  # noqa: BLE001  # the clients end without it
        log("debug", "no further threads for the exit: %s", type(error).__name__)
    threads.begin_exit()
    try:
        shutdown_all(EXIT_TIMEOUT)
    finally:
        threads.end_exit()
    if not is_main_interpreter():
        _join_threads(EXIT_TIMEOUT)


def _join_threads(timeout: float) -> None:
    """Wait up to `timeout` seconds for our threads, all of which end after a shutdown.

    A thread that is left when a sub-interpreter ends aborts the whole process (`not the last
    thread`), so this waits for a request in flight. At the end of the process it does no harm.
    """
    deadline = monotonic() + timeout
    for thread in sys.modules["threading"].enumerate() if "threading" in sys.modules else ():
        if thread.name.startswith(threads.NAMES):
            thread.join(max(deadline - monotonic(), 0.0))


def _close_in_child() -> None:
    global _forked  # noqa: PLW0603  # once per process
    _forked = True
    for pipeline in _alive():
        pipeline.close_in_child()
    _pipelines.clear()
    _leaving.clear()


forks.call_in_child(_close_in_child)
