"""Around the core: a server that lets no background thread run is named in the log, once.

uWSGI before 2.0.27 runs the threads of an application only when it is told to. Without that the
delivery thread stands still between requests. `uwsgi.has_threads` is what uWSGI itself goes by:
1 with `enable-threads` or `threads`, 0 without, always 1 from 2.0.27 on (seen in 2.0.20 to 2.0.30).
"""

from __future__ import annotations

import sys

from ._report import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

_told = False


def problem_of(modules: Mapping[str, ModuleType]) -> str | None:
    """Say what the server that has loaded these modules must be told; None when nothing."""
    # Looked up and not imported: the module exists only inside uWSGI.
    if getattr(modules.get("uwsgi"), "has_threads", 1):
        return None
    return (
        "uWSGI runs no background threads here, so events wait for the next request or the "
        "worker's end: add enable-threads to its options (--enable-threads, enable-threads = true)"
    )


def check_host() -> None:
    """Warn if this server needs an option; once, and not again in the workers that it forks."""
    global _told  # noqa: PLW0603  # once per process and its forks
    problem = problem_of(sys.modules)
    if problem is not None and not _told:
        _told = True
        logger().warning("%s", problem)
