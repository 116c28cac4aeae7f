"""Tells exceptions that interrupt a call from exceptions that the data of the call caused.

A signal handler may raise anywhere: the time limit of a task queue, Ctrl-C, `sys.exit()`. Such an
exception is for the caller of the interrupted call, and must never count as bad data.
"""

from __future__ import annotations

import _thread
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

# Time limits that derive from Exception and may be raised without a signal handler on the stack:
# RQ's timer raises from another thread, and Celery's pools raise their own. Limits that derive only
# from BaseException (gevent, eventlet, Dramatiq, asyncio) need not be named.
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
_VARARGS = 4  # `inspect.CO_VARARGS`

# Our own threads. They have no caller, so an exception in them interrupts no call.
_own_threads: set[int] = set()


def enter_own_thread() -> None:
    """Record that the calling thread is one of our own."""
    _own_threads.add(_thread.get_ident())


def leave_own_thread() -> None:
    """Record that the calling thread is ending."""
    _own_threads.discard(_thread.get_ident())


def belongs_to_caller(error: BaseException) -> bool:
    """Return whether to re-raise an exception that came out of foreign code.

    True for an interruption, except in one of our own threads, where it would end delivery.
    """
    return _thread.get_ident() not in _own_threads and is_interruption(error)


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception interrupts the call that it came from.

    True if it does not derive from `Exception`, if it is a time limit of a known task queue, or if
    a Python signal handler of this process raised it. Also true if one of these is its cause: the
    codecs of Python wrap what is raised in them. Call this where the exception is caught.
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
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        if _is_signal_handler(entry.tb_frame):
            return True
        entry = entry.tb_next
    return False


def _is_signal_handler(frame: FrameType) -> bool:
    """Return whether a frame belongs to a signal handler that is set now.

    A handler receives the frame that it interrupts, to which it also returns. This is checked
    first, because looking up the handlers of all signals takes a hundred times as long.
    """
    code = frame.f_code
    if code.co_argcount < 2 and not code.co_flags & _VARARGS:  # noqa: PLR2004  # number and frame
        return False
    interrupted = frame.f_back
    values = list(frame.f_locals.values())
    values += [item for value in values if type(value) is tuple for item in value]
    if interrupted is None or all(value is not interrupted for value in values):
        return False
    signal = sys.modules.get("signal")  # not imported: then no handler was set with it
    if signal is None:
        return False
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return any(_get_code(handler) is code for handler in handlers)


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
