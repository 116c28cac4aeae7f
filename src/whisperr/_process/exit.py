"""The end of the process: every pipeline delivers what it holds, under one deadline.

One registry of the pipelines of this process and one function for its end, which `atexit` calls,
and `multiprocessing` in its children. No signal handler is ever installed.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from _weakref import ref  # by itself: `weakref` is a twentieth of the import time

from . import forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .event_loop import Waiting

    class Running(Protocol):
        """A pipeline, as the end of its process and the integrations see it."""

        pid: int

        @property
        def ended(self) -> bool: ...
        def flush(self, timeout: float | None, waiting: Waiting | None = None) -> bool: ...
        def wait_for_deferred(self, deadline: float, waiting: Waiting | None = None) -> int: ...
        def begin_shutdown(self, deadline: float) -> None: ...
        def finish_shutdown(self, deadline: float) -> bool: ...
        def close_in_child(self) -> None: ...
        def renew_ids(self) -> None: ...


EXIT_TIMEOUT = 10.0
# Before the finalizers that `multiprocessing` gives no priority, so that its queues still work.
_FIRST = 100

_pipelines: set[ref[Running]] = set()
# Pipelines whose client is gone and that still deliver: nothing else refers to them.
_leaving: set[Running] = set()
_follows_children = False
_finalized_by: int | None = None


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
    return [pipeline for pipeline in _alive() if pipeline.pid == os.getpid()]


def shutdown_all(timeout: float) -> None:
    """Shut all clients down within `timeout` seconds; begin all before waiting for any.

    Events that are not delivered then are dropped and reported.
    """
    deadline = time.monotonic() + timeout
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
    if _finalized_by != os.getpid():
        _finalized_by = os.getpid()
        sys.modules["multiprocessing.util"].Finalize(None, end, exitpriority=_FIRST)


@atexit.register
def _end() -> None:
    shutdown_all(EXIT_TIMEOUT)


def _close_in_child() -> None:
    for pipeline in _alive():
        pipeline.close_in_child()
    _pipelines.clear()
    _leaving.clear()


forks.call_in_child(_close_in_child)
