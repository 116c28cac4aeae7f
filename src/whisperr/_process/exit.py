"""The end of the process: every pipeline delivers what it holds, under one deadline.

One registry of the pipelines of this process and one function for its end, which `atexit` calls,
and `multiprocessing` in its children. No signal handler is ever installed.
"""

from __future__ import annotations

import atexit
import sys
from _weakref import ref  # by itself: `weakref` is a twentieth of the import time

from . import forks
from .identity import get_process
from .real_clock import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Running(Protocol):
        """A pipeline, as the end of its process and the integrations see it."""

        process: object

        @property
        def ended(self) -> bool: ...
        def flush(self, timeout: float | None) -> bool: ...
        def begin_shutdown(self, deadline: float) -> None: ...
        def finish_shutdown(self, deadline: float) -> bool: ...
        def close_in_child(self) -> None: ...
        def renew_ids(self) -> None: ...


EXIT_TIMEOUT = 10.0
THREADS = "whisperr-"  # begins the names of all our threads
# Before the finalizers that `multiprocessing` gives no priority, so that its queues still work.
_FIRST = 100

_pipelines: set[ref[Running]] = set()
# Pipelines whose client is gone and that still deliver: nothing else refers to them.
_leaving: set[Running] = set()
_follows_children = False
_finalized_by: object = None
_begun_in: object = None  # the process in which the end has begun


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
    _leaving.difference_update([other for other in tuple(_leaving) if other.ended])
    _leaving.add(pipeline)


def pipelines() -> list[Running]:
    """Return the pipelines of this process."""
    process = get_process()
    return [pipeline for pipeline in _alive() if pipeline.process == process]


def shutdown_all(timeout: float) -> None:
    """Shut all clients down within `timeout` seconds; begin all before waiting for any.

    Events that are not delivered then are dropped and reported.
    """
    deadline = monotonic() + timeout
    mine = pipelines()
    for pipeline in mine:
        pipeline.begin_shutdown(deadline)
    for pipeline in mine:
        pipeline.finish_shutdown(deadline)


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
        sys.modules["multiprocessing.util"].Finalize(None, end, exitpriority=_FIRST)


def has_begun() -> bool:
    """Return whether the end of this process has begun: no thread is started any more."""
    return _begun_in == get_process()


@atexit.register
def _end() -> None:
    global _begun_in  # noqa: PLW0603  # once per process
    _begun_in = get_process()
    shutdown_all(EXIT_TIMEOUT)
    if not _is_main_interpreter():
        _join_threads(EXIT_TIMEOUT)


def _is_main_interpreter() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # from 3.13 on, and before
        try:
            interpreters = __import__(name)
        except ImportError:
            continue
        current: bool = interpreters.get_current() == interpreters.get_main()
        return current
    return True  # PyPy, which has no others


def _join_threads(timeout: float) -> None:
    """Wait for our threads, all of which end after a shutdown.

    If one is left, the end of a sub-interpreter ends the whole process (`not the last thread`), so
    a request that is still in flight is waited for. At the end of the process one does no harm.
    """
    deadline = monotonic() + timeout
    for thread in sys.modules["threading"].enumerate() if "threading" in sys.modules else ():
        if thread.name.startswith(THREADS):
            thread.join(max(deadline - monotonic(), 0.0))


def _close_in_child() -> None:
    for pipeline in _alive():
        pipeline.close_in_child()
    _pipelines.clear()
    _leaving.clear()


forks.call_in_child(_close_in_child)
