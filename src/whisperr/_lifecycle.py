"""Around the core: what happens at a fork and at the end of the process.

One registry of the pipelines of this process, one `atexit` function, one fork hook. No signal
handler is ever installed.
"""

from __future__ import annotations

import atexit
import os
import time
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._pipeline import Pipeline

EXIT_TIMEOUT = 10.0

_pipelines: WeakSet[Pipeline] = WeakSet()


def watch(pipeline: Pipeline) -> None:
    """Deliver what this pipeline holds when the process ends; close its socket in children."""
    _pipelines.add(pipeline)


@atexit.register
def _end() -> None:
    """Shut all clients down under one deadline; begin all before waiting for any."""
    deadline = time.monotonic() + EXIT_TIMEOUT
    mine = [pipeline for pipeline in tuple(_pipelines) if pipeline.pid == os.getpid()]
    for pipeline in mine:
        pipeline.begin_shutdown(deadline)
    for pipeline in mine:
        pipeline.finish_shutdown(deadline)


def _after_fork_in_child() -> None:
    for pipeline in tuple(_pipelines):
        pipeline.forsake()
    _pipelines.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
