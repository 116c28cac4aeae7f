"""Locks whole files. The kernel releases a lock when its process ends, however it ends.

POSIX: `flock`, whose lock belongs to the open file, which means the descriptor, its copies, and the
copies that forked children inherit. Two descriptors from two calls of `open` exclude each other,
even within one process. (`lockf` is not suitable: its locks belong to the process, and closing any
descriptor of the file releases them.)

A forked child that keeps the inherited descriptor open keeps the lock after its parent has died. No
event is lost: they wait in the file until the child ends or closes the descriptor. A process that
holds a lock releases it explicitly, so such a child does not delay anything else.

Windows: `msvcrt.locking` of one byte far behind the content, because a lock there also keeps other
processes from reading the bytes. The system releases it with the handle.
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
# Far behind the content, and below 2 GiB, the largest offset of `_locking` in C.
_LOCKED_BYTE = 1 << 30
# What `msvcrt.locking` raises when another handle has locked the byte.
_TAKEN = {errno.EACCES, errno.EDEADLK, getattr(errno, "EDEADLOCK", errno.EDEADLK)}


def lock(file: int) -> None:
    """Lock a file, and wait while another process has it locked. Raises OSError."""
    if _fcntl is not None:
        _fcntl.flock(file, _fcntl.LOCK_EX)
    else:
        _use_byte(file, "LK_LOCK")


def try_lock(file: int) -> bool:
    """Lock a file; return False if another open file holds the lock. Raises OSError."""
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
    """Return whether another open file holds the lock. A descriptor for reading is enough.

    If the lock is free, this takes a shared lock for an instant, in which `try_lock` of another
    process returns False, and `lock` waits. Raises OSError.
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
    """Release the lock, also that of copies of the descriptor in forked children."""
    try:
        if _fcntl is not None:
            _fcntl.flock(file, _fcntl.LOCK_UN)
        else:
            _use_byte(file, "LK_UNLCK")
    except OSError:
        return  # it ends with the descriptor


def _use_byte(file: int, name: str) -> None:
    """Lock or unlock the byte, and restore the offset of the descriptor."""
    if _msvcrt is None:
        raise StoreError("this Python can lock no file (no module fcntl or msvcrt): no log here")
    before = os.lseek(file, 0, os.SEEK_CUR)
    try:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        _msvcrt.locking(file, getattr(_msvcrt, name), 1)
    finally:
        os.lseek(file, before, os.SEEK_SET)
