"""The end of the process: every pipeline delivers what it holds, under one deadline.

One registry of the pipelines of this process and one function for its end, which `atexit` calls,
and `multiprocessing` in its children. No signal handler is ever installed.
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
        """What runs a pipeline."""

        @property
        def started(self) -> bool:
            """Whether a thread delivers; without one a call that waits does."""

        @property
        def in_step(self) -> bool:
            """Whether a thread delivers at this moment."""

    class Running(Protocol):
        """A pipeline, as the end of its process and the integrations see it."""

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
# Before the finalizers that `multiprocessing` gives no priority, so that its queues still work.
_PRIORITY = 100

_pipelines: set[ref[Running]] = set()
# Pipelines whose client is gone and that still deliver or report: nothing else refers to them.
_leaving: set[Running] = set()
_first: list[Callable[[], None]] = []
_follows_children = False
_finalized_by: object = None


def call_first(function: Callable[[], None]) -> None:
    """Call a function when the exit begins, while threads may still be started."""
    _first.append(function)


def register(pipeline: Running) -> None:
    """Deliver what this pipeline holds when the process ends; close its socket in children."""
    global _follows_children  # noqa: PLW0603  # once per process
    _add(pipeline)
    # Looked up and not imported: a program without `multiprocessing` does not pay for it.
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if not _follows_children:
        _follows_children = True
        util.register_after_fork(_end, _finalize)
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        _finalize(_end)


def keep(pipeline: Running) -> None:
    """Keep a pipeline whose client is gone until it has ended, so that the exit waits for it.

    A collector that finds a client in a cycle clears the weak references to all that only the
    client holds before it calls `__del__`: the pipeline is not in the registry any more.
    """
    _add(pipeline)
    _leaving.difference_update([other for other in [*_leaving] if other.ended])
    _leaving.add(pipeline)


def report_rest() -> None:
    """Have clients that are gone report what waits; called when another client has ended.

    At the latest the exit does it. A program that makes one client after the other does not keep
    all of them until then.
    """
    process = get_process()
    for pipeline in [*_leaving]:
        # Also one whose `on_error` leads to another report each time is let go of.
        if pipeline.process == process and pipeline.report_rest():
            _leaving.discard(pipeline)


def pipelines() -> list[Running]:
    """Return the pipelines of this process."""
    process = get_process()
    return [pipeline for pipeline in _alive() if pipeline.process == process]


def shutdown_all(timeout: float) -> None:
    """Shut all clients down within `timeout` seconds; begin all before waiting for any.

    Events that are not delivered then are dropped and reported. What ends the shutdown of one
    client does not keep the others from theirs; an interruption is raised when all have ended.
    """
    deadline = monotonic() + timeout
    mine = pipelines()
    here = [pipeline for pipeline in mine if not pipeline.thread.started]
    others = [pipeline for pipeline in mine if pipeline.thread.started]
    raised: list[BaseException] = []
    for pipeline in others:
        _contain(pipeline.begin_shutdown, deadline, raised)
    # In the calling thread one after the other, and none may take the time of those that follow.
    for left, pipeline in zip(range(len(here), 0, -1), here, strict=True):
        now = monotonic()
        share = now + max(deadline - now, 0.0) / left
        _contain(pipeline.begin_shutdown, share, raised)
        _contain(pipeline.finish_shutdown, share, raised)
    while others:
        # One that a thread is busy with comes last: where no further threads start, the calling
        # thread delivers for the others meanwhile.
        pipeline = next((one for one in others if not one.thread.in_step), others[0])
        others.remove(pipeline)
        _contain(pipeline.finish_shutdown, deadline, raised)
    if raised:
        raise raised[0]


def _contain(act: Callable[[float], object], deadline: float, raised: list[BaseException]) -> None:
    """Do one step of a shutdown; keep what it raises for later if that is for the caller."""
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
    # A copy is made in one step; a loop over the set itself breaks when the collector, which may
    # run at any moment of it, finds a pipeline that is gone.
    return [pipeline for one in _pipelines.copy() if (pipeline := one()) is not None]


def _finalize(end: Callable[[], None]) -> None:
    """Have `multiprocessing` call the end in its children, which run no `atexit` functions."""
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
    """Wait for our threads, all of which end after a shutdown.

    If one is left, the end of a sub-interpreter ends the whole process (`not the last thread`), so
    a request that is still in flight is waited for. At the end of the process one does no harm.
    """
    deadline = monotonic() + timeout
    for thread in sys.modules["threading"].enumerate() if "threading" in sys.modules else ():
        if thread.name.startswith(threads.NAMES):
            thread.join(max(deadline - monotonic(), 0.0))


def _close_in_child() -> None:
    for pipeline in _alive():
        pipeline.close_in_child()
    _pipelines.clear()
    _leaving.clear()


forks.call_in_child(_close_in_child)
