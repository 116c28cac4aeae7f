"""Tells a process from those that it was forked from, for one system call less than `getpid`.

A process id does not: in a new pid namespace a child has number 1 like its parent, and the number
of an ancestor that has ended is given out again. So the number of a process is kept in a page that
the kernel wipes in every child: of a fork by Python, and of one by C code without Python's hooks.

Where the kernel cannot do that (it came with Linux 4.14), the number is made of a count that the
hook of Python's forks advances, and of the process id, which covers most of the other forks.
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
    """Return a function that returns the number of this process, hashable, for every event.

    In a forked child it may return what no process has, until `get_process` is called there.
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
    """Return the number of this process; no process that it was forked from has had it."""
    read = get_reader()
    if _page is not None and read() == _WIPED:
        _number(_page)
    return read()


def after_fork_in_child() -> None:
    """Take another number than the parent's; `forks` calls this."""
    global _count  # noqa: PLW0603  # one a process
    if _page is None:
        _count += 1
    else:
        _number(_page)


def _number(page: mmap) -> None:
    """Write the next number into a wiped page, the same one if several threads do it at once."""
    global _count  # noqa: PLW0603  # one a process
    following = _count + 1  # read before the page is: it is written after the page
    if page[:_BYTES] == _WIPED:
        page[:_BYTES] = following.to_bytes(_BYTES, "little")
    _count = int.from_bytes(page[:_BYTES], "little")


def _get_count_and_pid() -> tuple[int, int]:
    return _count, os.getpid()


def _make_page() -> mmap | None:
    """Return a page that is wiped in children; None where the kernel cannot do that."""
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
    """Return whether this is no sub-interpreter: a thread that is left in one ends the process."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on, and before
        try:
            interpreters = __import__(name)
        except ImportError:
            continue
        current: bool = interpreters.get_current() == interpreters.get_main()
        return current
    return True  # PyPy, which has no others
