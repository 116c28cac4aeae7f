"""Locks on whole files that the kernel releases when their process ends, whatever ended it.

POSIX: `flock`, whose lock belongs to the open file: to the descriptor, its copies, and the copies
that forked children inherit. Two descriptors that were opened one by one exclude each other, also
within one process. (`lockf` would not do: its locks belong to the process, and closing any
descriptor of the file ends them.)

A forked child that keeps the inherited descriptor open keeps the lock alive after its parent is
dead. Nothing is lost by that: the events wait in the file until the child ends too, or closes the
descriptor. The owner of a lock releases it explicitly, so such a child cannot hold it up.

Windows: one byte far behind the content, since locks there are mandatory and would keep readers
out, as long as its process lives. The system releases them with the handle.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from whisperr.errors import StoreError

if TYPE_CHECKING:
    from types import ModuleType


def _import(name: str) -> ModuleType | None:
    try:
        return __import__(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _import("fcntl"), _import("msvcrt")
# Far behind the content, and below 2 GiB: C's `_locking` knows no larger offset.
_LOCKED_BYTE = 1 << 30
# What `msvcrt.locking` raises when another handle has the byte.
_TAKEN = {errno.EACCES, errno.EDEADLK, getattr(errno, "EDEADLOCK", errno.EDEADLK)}


def lock(file: int) -> None:
    """Wait for the lock of a file, for as long as another process holds it. Raises OSError."""
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX)
    else:
        _use_byte(file, "LK_LOCK")


def try_lock(file: int) -> bool:
    """Take the lock of a file, or return False when another open file has it. Raises OSError."""
    try:
        if _fcntl is not None:
            _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        else:
            _use_byte(file, "LK_NBLCK")
    except BlockingIOError:
        return False
    except OSError as error:
        if _fcntl is None and error.errno in _TAKEN:
            return False
        raise
    return True


def is_locked(file: int) -> bool:
    """Return whether another open file has the lock, for which a descriptor to read will do.

    The lock is shared for an instant where it is free: `try_lock` of another process may then
    return False, and `lock` waits for that long. Raises OSError.
    """
    if _fcntl is None:
        free = try_lock(file)
    else:
        try:
            _fcntl.flock(file, _fcntl.LOCK_SH | _fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
    if free:
        unlock(file)
    return not free


def unlock(file: int) -> None:
    """Release the lock, also for the copies of the descriptor in forked children."""
    try:
        if _fcntl is not None:
            _fcntl.flock(file, _fcntl.LOCK_UN)
        else:
            _use_byte(file, "LK_UNLCK")
    except OSError:
        return  # it goes with the descriptor


def _use_byte(file: int, name: str) -> None:
    """Lock or unlock the byte; the offset of the descriptor stays what it was."""
    if _msvcrt is None:
        raise StoreError("this Python can lock no file (no module fcntl or msvcrt): no log here")
    before = os.lseek(file, 0, os.SEEK_CUR)
    try:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        _msvcrt.locking(file, getattr(_msvcrt, name), 1)
    finally:
        os.lseek(file, before, os.SEEK_SET)
