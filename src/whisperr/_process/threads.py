"""What all our threads have in common: how their names begin, and whether one may be started."""

from __future__ import annotations

import _thread
import os
import sys

from .identity import get_process

NAMES = "whisperr-"  # begins the names of all our threads

_exit_began_in: object = None  # the process in which our exit has begun
_exit_ended_in: tuple[object, int] | None = None  # the process and the thread that ended it


def begin_exit() -> None:
    """Start no thread any more in this process."""
    global _exit_began_in  # noqa: PLW0603  # once per process
    _exit_began_in = get_process()


def end_exit() -> None:
    """Have `is_after_exit` return True in this thread: the clients of this process have ended."""
    global _exit_ended_in  # noqa: PLW0603  # once per process
    _exit_ended_in = get_process(), _thread.get_ident()


def is_after_exit() -> bool:
    """Return whether the calling thread runs what comes after our exit, such as older `atexit`s.

    Not in other threads: Python may stop them amid any call, also while they have locked stderr.
    """
    return _exit_ended_in is not None and _exit_ended_in == (get_process(), _thread.get_ident())


def may_start() -> bool:
    """Return whether a thread may be started: not once our exit, or that of Python, has begun.

    A main thread that has ended is no obstacle: the interpreter still waits for the others. After
    that a new thread is refused (3.12), or its starter waits for ever (3.11).
    """
    return not sys.is_finalizing() and _exit_began_in != get_process()


def get_obstacle() -> str | None:
    """Return why the server that runs this process lets no thread start yet; None when it does."""
    if "uwsgi" not in sys.modules:  # only there: other programs do not pay for the import
        return None
    from . import uwsgi

    return uwsgi.get_obstacle(sys.modules, os.getpid())


def check_host() -> None:
    """Warn once if the server that runs this process lets no thread run."""
    if "uwsgi" in sys.modules:  # only there: other programs do not pay for the import
        from . import uwsgi

        uwsgi.check_host()
