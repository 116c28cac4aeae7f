"""What all our threads have in common: how their names begin, and whether one may be started."""

from __future__ import annotations

import sys

from .identity import get_process

NAMES = "whisperr-"  # begins the names of all our threads

_exit_began_in: object = None  # the process in which our exit has begun


def begin_exit() -> None:
    """Start no thread any more in this process."""
    global _exit_began_in  # noqa: PLW0603  # once per process
    _exit_began_in = get_process()


def may_start() -> bool:
    """Return whether a thread may be started: not once our exit, or that of Python, has begun.

    A main thread that has ended is no obstacle: the interpreter still waits for the others. After
    that a new thread is refused (3.12), or its starter waits for ever (3.11).
    """
    return not sys.is_finalizing() and _exit_began_in != get_process()
