"""What all our threads share: the beginning of their names, and whether a thread may start."""

from __future__ import annotations

import _thread
import os
import sys

from .identity import get_process

NAMES = "whisperr-"  # begins the names of all our threads

_exit_began_in: object = None  # the process in which our exit has begun
_exit_ended_in: tuple[object, int] | None = None  # the process and the thread that ended it


def begin_exit() -> None:
    """Let no more threads start in this process."""
    global _exit_began_in  # noqa: PLW0603  # once per process
    _exit_began_in = get_process()


def end_exit() -> None:
    """Record that the clients of this process have ended, for `is_after_exit` in this thread."""
    global _exit_ended_in  # noqa: PLW0603  # once per process
    _exit_ended_in = get_process(), _thread.get_ident()


def is_after_exit() -> bool:
    """Return whether the calling thread runs code after our exit, such as earlier `atexit` hooks.

    False in other threads. Python may stop them in any call, even one that has locked stderr.
    """
    return _exit_ended_in is not None and _exit_ended_in == (get_process(), _thread.get_ident())


def may_start() -> bool:
    """Return whether a thread may start: False once our exit or the exit of Python has begun.

    True after the main thread has ended, while the interpreter still waits for other threads. Later
    Python 3.12 refuses a new thread, and in 3.11 the thread that starts one waits forever.
    """
    return not sys.is_finalizing() and _exit_began_in != get_process()


def get_obstacle() -> str | None:
    """Return why no thread may start yet under the server of this process; None if one may."""
    if "uwsgi" not in sys.modules:  # only there: other programs do not pay for the import
        return None
    from . import uwsgi

    return uwsgi.get_obstacle(sys.modules, os.getpid())


def check_host() -> None:
    """Warn once if the server of this process does not let threads run."""
    if "uwsgi" in sys.modules:  # only there: other programs do not pay for the import
        from . import uwsgi

        uwsgi.check_host()
