"""Separates exceptions that interrupt a call from those that the data of the call raised.

A signal handler may raise at any bytecode: time limits of task queues, Ctrl-C, `sys.exit()`. Such
an exception belongs to the caller of the interrupted call and is never taken for bad data.
"""

from __future__ import annotations

import _thread
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType

# Limits that are Exceptions and may be raised without a signal handler on the stack: RQ's timer
# raises in another thread, and Celery's pools raise their own. Those that derive from BaseException
# only (gevent, eventlet, Dramatiq, asyncio) need no name.
_LIMITS = frozenset(
    {
        ("billiard.exceptions", "SoftTimeLimitExceeded"),
        ("billiard.exceptions", "TimeLimitExceeded"),
        ("celery.exceptions", "SoftTimeLimitExceeded"),
        ("celery.exceptions", "TimeLimitExceeded"),
        ("rq.timeouts", "BaseTimeoutException"),
        ("huey.exceptions", "TaskTimeout"),
    }
)


_LONGEST_CHAIN = 10  # causes that are looked at

# Threads of ours: no caller is there, so what is raised in them interrupts no call.
_own_threads: set[int] = set()


def enter_own_thread() -> None:
    """Record that the calling thread is one of ours."""
    _own_threads.add(_thread.get_ident())


def leave_own_thread() -> None:
    """Record that the calling thread ends."""
    _own_threads.discard(_thread.get_ident())


def belongs_to_caller(error: BaseException) -> bool:
    """Return whether an exception that foreign code let through is to be raised on.

    True for an interruption, except in a thread of ours: there it would end delivery.
    """
    return _thread.get_ident() not in _own_threads and is_interruption(error)


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception interrupts the call it came out of, and so is for its caller.

    True for all that is no `Exception`, for the time limits of known task queues, and for what a
    Python signal handler of this process raised; also when one of these is its cause, as for the
    codecs of Python, which wrap what is raised in them. To be asked where the exception is caught.
    """
    cause: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if cause is None:
            return False
        if not isinstance(cause, Exception) or _is_limit(cause) or _is_from_signal_handler(cause):
            return True
        cause = cause.__cause__
    return False


def _is_limit(error: Exception) -> bool:
    return any((base.__module__, base.__qualname__) in _LIMITS for base in type(error).__mro__)


def _is_from_signal_handler(error: BaseException) -> bool:
    signal = sys.modules.get("signal")  # not imported: then no handler was set with it
    if signal is None or error.__traceback__ is None:
        return False
    handlers = {_get_code(signal.getsignal(number)) for number in signal.valid_signals()}
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code in handlers:
            return True
        entry = entry.tb_next
    return False


def _get_code(handler: object) -> CodeType | None:
    """Return the code of a function, a method, a partial function or an object with `__call__`."""
    for _ in range(10):  # partial functions may be nested
        if type(handler).__name__ != "partial":
            break
        handler = getattr(handler, "func", None)
    for function in (handler, getattr(type(handler), "__call__", None)):  # noqa: B004  # its code
        code: CodeType | None = getattr(function, "__code__", None)
        if code is not None:
            return code
    return None
