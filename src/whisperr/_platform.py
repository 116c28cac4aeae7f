"""What differs between operating systems, asked in one place.

The code asks here and not `os.name`, so that a test run can hide on Linux what Windows does not
have. Missing functions are looked up at each call, for the same reason.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# An open file can be neither renamed nor deleted, a directory cannot be opened, and Ctrl-C ends no
# wait for a lock, a socket or a process. Files have neither modes nor a numbered owner.
WINDOWS = os.name == "nt"
MACOS = sys.platform == "darwin"


def get_user_id() -> int | None:
    """Return the effective id of this process's user; None on Windows, which has no such numbers.

    Where it is None, modes and owners of files say nothing and are not checked.
    """
    get: Callable[[], int] | None = getattr(os, "geteuid", None)
    return None if get is None else get()


def get_disk_space(path: str) -> tuple[int, int]:
    """Return the size of the volume of a file, and what is free for this user, in bytes.

    Raises OSError.
    """
    get: Callable[[str], os.statvfs_result] | None = getattr(os, "statvfs", None)
    if get is None:
        import shutil

        usage = shutil.disk_usage(path)
        return usage.total, usage.free
    found = get(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def make_blocking(file: int) -> None:
    """Let reads and writes of a descriptor wait, whatever the process was started with."""
    set_blocking: Callable[[int, bool], None] | None = getattr(os, "set_blocking", None)
    if set_blocking is not None:  # Windows before Python 3.12, where descriptors always block
        set_blocking(file, True)


def is_closed_pipe(error: OSError) -> bool:
    """Return whether a write failed because the reader of the pipe has gone.

    Windows then calls the argument invalid, as it does the name of a file that it cannot have.
    """
    if WINDOWS and error.errno == errno.EINVAL:
        return error.filename is None
    return isinstance(error, BrokenPipeError)


def sync(file: int, *, is_directory: bool = False) -> None:
    """Wait until the disk has what was written to a descriptor; raises OSError.

    `fdatasync` is faster, but need not write the names in a directory. On macOS `fsync` stops at
    the cache of the drive, which the loss of power empties.
    """
    if MACOS and _sync_drive(file):
        return
    flush: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
    (os.fsync if is_directory else flush)(file)


def _sync_drive(file: int) -> bool:
    """Flush the cache of the drive, too; False where the file system or the drive cannot."""
    fcntl: Any = __import__("fcntl")  # not on Windows

    command: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if command is None:
        return False
    try:
        fcntl.fcntl(file, command)
    except OSError:
        return False
    return True
