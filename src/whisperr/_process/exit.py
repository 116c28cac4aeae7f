"""Around the core: what happens at a fork and at the end of the process.

One registry of the pipelines of this process, one function for its end, one fork hook. No signal
handler is ever installed.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from _weakref import ref  # by itself: `weakref` is a twentieth of the import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr._delivery.pipeline import Pipeline

EXIT_TIMEOUT = 10.0
# Before the finalizers that `multiprocessing` gives no priority, so that its queues still work.
_FIRST = 100

_pipelines: set[ref[Pipeline]] = set()
# Those whose client is gone and that still deliver: nobody else may hold them.
_leaving: set[Pipeline] = set()
_follows_children = False
_finalized_by: int | None = None


def watch(pipeline: Pipeline) -> None:
    """Deliver what this pipeline holds when the process ends; close its socket in children."""
    global _follows_children  # noqa: PLW0603  # once per process
    _register(pipeline)
    # Looked up and not imported: who does not use `multiprocessing` does not pay for it.
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if not _follows_children:
        _follows_children = True
        util.register_after_fork(_end, _finalize)
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        _finalize(_end)


def keep(pipeline: Pipeline) -> None:
    """Keep a pipeline whose client is gone until it has ended, so that the exit waits for it.

    A collector that finds a client in a cycle clears the weak references to all that only the
    client holds before it calls `__del__`: the pipeline is not in the registry any more.
    """
    _register(pipeline)
    for other in tuple(_leaving):
        if other.worker.ended:
            _leaving.discard(other)
    _leaving.add(pipeline)


def pipelines() -> list[Pipeline]:
    """Return the pipelines of this process."""
    return [pipeline for pipeline in _alive() if pipeline.pid == os.getpid()]


def _register(pipeline: Pipeline) -> None:
    _pipelines.add(ref(pipeline, _pipelines.discard))


def _alive() -> list[Pipeline]:
    # A copy is made in one step; a loop over the set itself breaks when the collector, which may
    # run at any moment of it, finds a pipeline that is gone.
    return [pipeline for one in _pipelines.copy() if (pipeline := one()) is not None]


def _finalize(end: Callable[[], None]) -> None:
    """Let `multiprocessing` call the end in its children, which run no `atexit` functions."""
    global _finalized_by  # noqa: PLW0603  # once per process
    if _finalized_by != os.getpid():
        _finalized_by = os.getpid()
        sys.modules["multiprocessing.util"].Finalize(None, end, exitpriority=_FIRST)


@atexit.register
def _end() -> None:
    shutdown_all(EXIT_TIMEOUT)


def shutdown_all(timeout: float) -> None:
    """Shut all clients down within `timeout` seconds; begin all before waiting for any.

    What is not delivered then is dropped and reported.
    """
    deadline = time.monotonic() + timeout
    mine = pipelines()
    for pipeline in mine:
        pipeline.begin_shutdown(deadline)
    for pipeline in mine:
        pipeline.finish_shutdown(deadline)


def _after_fork_in_child() -> None:
    for pipeline in _alive():
        pipeline.close_in_child()
    _pipelines.clear()
    _leaving.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
