"""Finds out whether background threads run under uWSGI, and whether one may start.

uWSGI forks from C code. Observed in uWSGI 2.0.20 to 2.0.30:

- `has_threads` of its module is 1 with the option `enable-threads` or `threads`, otherwise 0, and
  always 1 from 2.0.27 on. If it is 0, a thread runs only during a request.
- A thread in the process that will fork may hold the interpreter's lock during the fork, or wait
  for it. The workers then hang in their first request, whatever `has_threads` is.

The module `uwsgi` exists only inside uWSGI, so it is looked up and not imported. Any thread may
call these functions.
"""

from __future__ import annotations

import sys

from .logger import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

_warned = False


def get_problem(modules: Mapping[str, ModuleType]) -> str | None:
    """Return which option uWSGI needs so that threads run; None if it needs none."""
    if getattr(modules.get("uwsgi"), "has_threads", 1):
        return None
    return (
        "uWSGI runs no background threads here, so events wait for the next request or the "
        "worker's end: add enable-threads to its options (--enable-threads, enable-threads = true)"
    )


def check_host() -> None:
    """Warn once if uWSGI needs an option; its forked workers do not warn again."""
    global _warned  # noqa: PLW0603  # once per process and its forks
    problem = get_problem(sys.modules)
    if problem is not None and not _warned:
        _warned = True
        log("warning", "%s", problem)


def get_obstacle(modules: Mapping[str, ModuleType], pid: int) -> str | None:
    """Return why the process with this id must not start a thread; None if it may."""
    uwsgi = modules.get("uwsgi")
    worker_id, masterpid = getattr(uwsgi, "worker_id", None), getattr(uwsgi, "masterpid", None)
    if worker_id is None or masterpid is None:
        return None
    # `worker_id` is 0 in the process that will fork, and also in a mule and the spooler, but their
    # master is another process. `masterpid` is 0 without a master.
    if worker_id() != 0 or masterpid() not in {0, pid}:
        return None
    return "uWSGI has not forked its workers yet, so no thread is started in this process"
