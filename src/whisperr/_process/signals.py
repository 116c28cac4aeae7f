"""Signals belong to the application: the threads of this package take none.

The kernel gives a signal of the process to any thread that does not block it. A thread of ours that
took one would undo what the application asked for by blocking it: SIGTERM ends the process, whose
main thread collects its signals with `sigwait`.
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
# What the thread itself causes: the kernel kills a process that blocks one of them, and the
# traceback of `faulthandler` would not be written.
_OWN = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGABRT")


def get_thread_id() -> int | None:
    """Return the system's number of the calling thread; None where that is not known.

    The greenlets of one thread share it, whatever gevent has replaced.
    """
    get = getattr(_thread, "get_native_id", None)
    return None if get is None else get()


def block_in_this_thread(starter: int | None) -> None:
    """Block all signals in the calling thread, which the thread of number `starter` has started.

    SIGPIPE is one of them: a write to a closed connection fails instead of ending the process.
    Does nothing in a greenlet, whose thread is the application's.
    """
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        return  # threads have no signals there
    if starter is None or get_thread_id() == starter:
        return
    own = {getattr(signal, name, None) for name in _OWN}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signal.valid_signals()} - own)
