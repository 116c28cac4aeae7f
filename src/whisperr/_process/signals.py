"""Keeps signals away from the threads of this package: they are for the application.

The kernel delivers a signal of the process to any thread that does not block it. Suppose that the
application blocks SIGTERM and collects it with `sigwait` in its main thread: a thread of ours that
did not block SIGTERM would receive it, and the process would end.
"""

from __future__ import annotations

import _thread
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # `signal` adds enumerations to it, which take a module of their own

# What asks a program to end: Ctrl-C, a supervisor, and Ctrl-Break, which Windows has in its place.
ENDING: tuple[int, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)
# Signals that the thread itself causes. The kernel kills a process that blocks them, and
# `faulthandler` could not write its traceback.
_OWN = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGABRT")


def get_thread_id() -> int | None:
    """Return the system's id of the calling thread; None where Python does not know it.

    All greenlets of a thread have the same one, whatever gevent has replaced.
    """
    get = getattr(_thread, "get_native_id", None)
    return None if get is None else get()


def block_in_this_thread(starter: int | None) -> None:
    """Block all signals in the calling thread; `starter` is the id of the thread that started it.

    With SIGPIPE blocked, a write to a closed connection fails instead of ending the process. Does
    nothing in a greenlet, whose thread belongs to the application.
    """
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        return  # threads have no signals there
    if starter is None or get_thread_id() == starter:
        return
    own = {getattr(signal, name, None) for name in _OWN}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signal.valid_signals()} - own)
