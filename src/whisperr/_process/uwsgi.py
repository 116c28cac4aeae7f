"""uWSGI: when a background thread does not run in it, or must not be started.

uWSGI forks from C code. What its module says was seen in uWSGI 2.0.20 to 2.0.30:

- `has_threads` is what it goes by itself: 1 with `enable-threads` or `threads`, 0 without, always
  1 from 2.0.27 on. With 0 a thread runs only while a request lets it.
- A thread that runs in the process that will fork may hold the interpreter's lock at that moment,
  or wait for it: the workers then hang in their first request, with and without `has_threads`.

The module is looked up and not imported: it exists only inside uWSGI. Any thread may call this.
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
    """Return which option the server that has loaded these modules needs; None when no option."""
    if getattr(modules.get("uwsgi"), "has_threads", 1):
        return None
    return (
        "uWSGI runs no background threads here, so events wait for the next request or the "
        "worker's end: add enable-threads to its options (--enable-threads, enable-threads = true)"
    )


def check_host() -> None:
    """Warn if this server needs an option; once, and not again in the workers that it forks."""
    global _warned  # noqa: PLW0603  # once per process and its forks
    problem = get_problem(sys.modules)
    if problem is not None and not _warned:
        _warned = True
        log("warning", "%s", problem)


def get_obstacle(modules: Mapping[str, ModuleType], pid: int) -> str | None:
    """Return why the process of this id must start no thread; None when it may."""
    uwsgi = modules.get("uwsgi")
    worker_id, masterpid = getattr(uwsgi, "worker_id", None), getattr(uwsgi, "masterpid", None)
    if worker_id is None or masterpid is None:
        return None
    # The number of the process that will fork is 0, like that of a mule or the spooler, but those
    # have a master that is another process. Without a master that is known by 0 as well.
    if worker_id() != 0 or masterpid() not in {0, pid}:
        return None
    return "uWSGI has not forked its workers yet, so no thread is started in this process"
