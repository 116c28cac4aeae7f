"""Imports that wait for their first use, because they cost more than the rest of the package.

The law: no fork may fall into the middle of one. A child finds the modules that another thread
was importing half made, and waits for their locks for ever or fails on what is missing. So the
thread that delivers imports under one lock, and a fork waits until that lock is free.

Threads: any. The lock is re-entrant, so a signal handler that forks does not wait for itself.
"""

from __future__ import annotations

import codecs
import os
from threading import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

    from ._transport import HttpTransport

# Far more than the imports take; a fork never waits for longer, whatever holds the lock.
_FORK_WAIT = 5.0

_importing = RLock()


def http_transport() -> type[HttpTransport]:
    """Return the class that sends; it needs `http.client`, `ssl` and a codec for host names."""
    with _importing:
        from ._transport import HttpTransport

        codecs.lookup("idna")  # what `getaddrinfo` imports when it is first called
    return HttpTransport


def json_loads() -> Callable[[bytes | str], Any]:
    """Return `json.loads`; only answers, callers' contexts and `before_send` are ever read."""
    with _importing:
        from json import loads
    return loads


def logger() -> logging.Logger:
    """Return the logger `whisperr`."""
    with _importing:
        import logging
    return logging.getLogger("whisperr")


def _before_fork() -> None:
    _importing.acquire(timeout=_FORK_WAIT)


def _after_fork_in_parent() -> None:
    try:
        _importing.release()
    except RuntimeError:
        return  # the wait had run out: another thread still has it


def _after_fork_in_child() -> None:
    global _importing  # noqa: PLW0603  # whoever held the old one does not exist here
    _importing = RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
