"""Around the core: imports of first use, which no fork cuts in half.

Threads: a child that is forked while another thread imports keeps the half-made module for ever,
for nobody is left there to finish it. So a fork waits for the import, for a bounded time: code
that forks while it is imported itself may be what the import waits for.
"""

from __future__ import annotations

import os
from _thread import RLock  # `threading` is a third of the import time of the package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

_LONGEST_WAIT = 5.0  # seconds; an import takes a few hundredths of one

# Reentrant: a signal handler may interrupt an import with one of its own.
_lock = RLock()


def first_use() -> AbstractContextManager[object]:
    """Keep forks of other threads away from the imports in this block."""
    return _lock


def json_loads() -> Callable[[bytes | str], Any]:
    """Return `json.loads`: only answers, contexts of callers and `before_send` are ever read."""
    with _lock:
        from json import loads
    return loads


def _before_fork() -> None:
    _lock.acquire(timeout=_LONGEST_WAIT)


def _after_fork_in_parent() -> None:
    try:
        _lock.release()
    except RuntimeError:
        return  # the wait was in vain: the lock is another thread's


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  # the parent's may be held by a thread that is not here
    _lock = RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
