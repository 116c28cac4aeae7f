"""Imports of first use, which no fork cuts in half.

A child that is forked while another thread imports keeps the half-made module for ever, because
the importing thread does not exist in the child. So a fork waits for the import, for a bounded
time: code that forks while it is imported itself may be what the import waits for.

Threads: any. The lock is reentrant: a signal handler may interrupt an import with one of its own.
"""

from __future__ import annotations

from _thread import RLock  # `threading` is a third of the import time of the package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

_LONGEST_WAIT = 5.0  # seconds; an import takes a few hundredths of one

_lock = RLock()


def first_use() -> AbstractContextManager[object]:
    """Return a context that keeps forks of other threads away from the imports in it."""
    return _lock


def json_loads() -> Callable[[bytes | str], Any]:
    """Return `json.loads`, imported on first use: few processes read JSON before they send."""
    with _lock:
        from json import loads
    return loads


def before_fork() -> None:
    """Wait until no thread imports; `forks` calls it, after all other locks are taken."""
    _lock.acquire(timeout=_LONGEST_WAIT)


def after_fork_in_parent() -> None:
    """Let threads import again."""
    try:
        _lock.release()
    except RuntimeError:
        return  # the wait timed out: another thread holds the lock


def after_fork_in_child() -> None:
    """Replace the lock: in the parent a thread that the child does not have may hold it."""
    global _lock  # noqa: PLW0603  # one lock a process
    _lock = RLock()
