"""Distinguishes a process from the processes it was forked from, without a system call.

A process id is not enough. In a new pid namespace a child has the number 1 like its parent, and the
system reuses the id of an ancestor that has ended. So the number of a process is kept in a page of
memory that the kernel wipes in every child, also when C code forks without Python's hooks.

Linux can do that since 4.14. Elsewhere the number is a count, which Python's fork hook advances,
together with the process id, which covers most of the other forks.
"""

from __future__ import annotations

import os
import sys

from .imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

_WIPE_ON_FORK = 18  # MADV_WIPEONFORK of Linux, which `mmap` does not name
_UNKNOWN_REQUEST = -1
_BYTES = 8
_WIPED = bytes(_BYTES)

_page: mmap | None = None
_reader: Callable[[], object] | None = None
_count = 0  # of the forks of Python that lead to this process, or of all that were noticed


def get_reader() -> Callable[[], object]:
    """Return a function that returns the number of this process, a hashable value.

    It is called for every event. In a forked child it may return the number of no process until
    `get_process` is called there.
    """
    global _page, _reader  # noqa: PLW0603  # one a process
    if _reader is None:
        with first_use():
            _page = _make_page()
        if _page is not None:
            _number(_page)
            _reader = memoryview(_page)[:_BYTES].tobytes
        else:
            _reader = _get_count_and_pid if hasattr(os, "fork") else os.getpid
    return _reader


def get_process() -> object:
    """Return the number of this process, which none of its ancestors had."""
    read = get_reader()
    if _page is not None and read() == _WIPED:
        _number(_page)
    return read()


def after_fork_in_child() -> None:
    """Take a number other than the parent's; called by `forks`."""
    global _count  # noqa: PLW0603  # one a process
    if _page is None:
        _count += 1
    else:
        _number(_page)


def _number(page: mmap) -> None:
    """Write the next number into a wiped page; threads that do it at once write the same one."""
    global _count  # noqa: PLW0603  # one a process
    following = _count + 1  # read before the page is: it is written after the page
    if page[:_BYTES] == _WIPED:
        page[:_BYTES] = following.to_bytes(_BYTES, "little")
    _count = int.from_bytes(page[:_BYTES], "little")


def _get_count_and_pid() -> tuple[int, int]:
    return _count, os.getpid()


def _make_page() -> mmap | None:
    """Return a page that the kernel wipes in children; None where it cannot."""
    if sys.platform == "linux":
        try:
            from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap

            page = mmap(-1, PAGESIZE, flags=MAP_PRIVATE | MAP_ANONYMOUS)
            page.madvise(_WIPE_ON_FORK)
        except (ImportError, AttributeError, OSError, ValueError):
            return None
        try:  # old versions of QEMU accept whatever is asked and do nothing
            page.madvise(_UNKNOWN_REQUEST)
        except (OSError, ValueError, SystemError):  # what PyPy 8 makes of an OSError comes last
            return page
    return None


def is_main_interpreter() -> bool:
    """Return whether this is the main interpreter.

    A thread that is left when a sub-interpreter ends aborts the process.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on, and before
        try:
            interpreters = __import__(name)
        except ImportError:
            continue
        current: bool = interpreters.get_current() == interpreters.get_main()
        return current
    return True  # PyPy, which has no others
