"""The files of one log: which file is written, which are kept, and which are deleted.

Invariant: until it is closed, each created file is in one of three lists, in order of creation:
`opened`, `done_with` (to be deleted) or `left_behind` (to be closed). A file that an interrupted
call did not finish creating is in `opened`. It is deleted in its turn, because it is not `current`
and has no lines.

Interruptions: a signal handler that interrupts a call here can only write, and may begin a file.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from whisperr._platform import WINDOWS, sync
from whisperr._queue.store import NO_DIRECTORY, StoreFullError
from whisperr.errors import StoreError

from .file import LogFile, Name, get_new_source, make_directory

if TYPE_CHECKING:
    from collections.abc import Callable

# What happens to a file when all its lines are done: up to the first size it is used as it is. Up
# to the second it is emptied in place, under the lock of the log, in about 40 µs. A larger file is
# deleted without the lock.
_MOST_IDLE_BYTES = 64 << 10
_MOST_EMPTIED_BYTES = 1 << 20
# How many new files in a row processes that look for logs, or an operator, may delete.
_MOST_TRIES = 10
NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class LogFiles:
    """The files of one log. `current` is the file that is written; if None, begin another one."""

    def __init__(self, directory: str, owner: str, *, fsync: bool) -> None:
        """No I/O."""
        self._directory = directory
        self._owner = owner
        self._fsync = fsync
        self.source = get_new_source()
        self.current: LogFile | None = None
        self.opened: list[LogFile] = []
        self.done_with: list[LogFile] = []
        self.left_behind: list[LogFile] = []
        self._number = 0  # of the newest file

    def begin(self, get_end: Callable[[], tuple[int, int]]) -> LogFile:
        """Return a new file to write to, or one that a signal handler has just begun.

        `get_end` returns the index of the next line and the number of bytes in all lines so far.
        """
        for _ in range(_MOST_TRIES):
            # The number is the time, so that other processes adopt left logs in their order. It is
            # taken at once, because a signal handler may begin a file as well.
            self._number = number = max(self._number + 1, time.time_ns())
            path = os.path.join(  # noqa: PTH118  # as in `file`
                self._directory, str(Name(self._owner, self.source, number))
            )
            file = LogFile(path, self.source, *get_end())
            self.opened += (file,)
            try:
                made = self._create(file)
            except OSError as error:
                self._discard(file)
                raise self.to_store_error(error) from error
            if not made:
                self._discard(file)
            index, _ = get_end()
            # No call from here on.
            if self.current is None and made and file.index == index:
                self.current = file
            if self.current is not None:
                return self.current
        raise StoreError(f"{self._directory}: each new file is deleted at once")

    def _create(self, file: LogFile) -> bool:
        make_directory(self._directory)
        made = file.create()
        if self._fsync:
            _sync_directory(self._directory)
        return made

    def _discard(self, file: LogFile) -> None:
        """Delete a file that could not be created."""
        file.delete()
        _remove(self.opened, file)

    def cut(self, file: LogFile) -> None:
        """Cut an incomplete line off the end of a file; if that fails, go on in another file."""
        try:
            file.cut()
        except OSError:
            # The incomplete line has no line end, so it is never read.
            if self.current is file:
                self.current = None

    def find_out_whether_deleted(self) -> None:
        """Let the next write begin another file if an operator moved or deleted the current one."""
        current = self.current
        if current is not None and not current.is_there() and self.current is current:
            self.current = None

    def empty(self, index: int, position: int, is_empty: Callable[[], bool]) -> None:
        """Free the disk space of the current file if it is large and all its lines are done."""
        file = self.current
        if file is None or file.size <= _MOST_IDLE_BYTES:
            return
        self.current = None
        # From here on nothing is added to it.
        if not is_empty() or file.size > _MOST_EMPTIED_BYTES:
            return
        try:
            file.empty(index, position)
        except OSError:
            return
        # No call from here on.
        if self.current is None:
            self.current = file

    def keep_progress(self, index: int, position: int) -> None:
        """Record which line is the oldest waiting one, and retire the files before it."""
        while self.opened:
            file = self.opened[0]
            if file is self.current or file.position + file.size > position:
                break
            # No call from here on.
            self.done_with += (file,)
            del self.opened[0]
        if not self.opened:
            return
        try:
            self.opened[0].write_progress(position - self.opened[0].position, index)
        except OSError:
            return  # after a crash, some events will arrive twice

    def let_go(self) -> None:
        """Close and delete files that are not needed; without a lock, because it may take long."""
        for one in [*self.done_with]:
            one.delete()
            _remove(self.done_with, one)
        for one in [*self.left_behind]:
            one.close()
            _remove(self.left_behind, one)

    def close_in_child(self) -> None:
        """Close the descriptors only."""
        for one in [*self.opened, *self.done_with, *self.left_behind]:
            one.close_in_child()

    def to_store_error(self, error: OSError) -> StoreError:
        """Return the StoreError for an error of the system."""
        if isinstance(error, FileNotFoundError):
            return StoreError(f"{self._directory}: {NO_DIRECTORY}")
        kind = StoreFullError if error.errno in NO_ROOM else StoreError
        return kind(f"{self._directory}: {error.strerror or error}")


def _remove(files: list[LogFile], one: LogFile) -> None:
    try:
        files.remove(one)
    except ValueError:
        return  # another thread did the same


def _sync_directory(path: str) -> None:
    """Write the name of a new file to the disk."""
    if WINDOWS:  # where a directory cannot be opened
        return
    directory = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        sync(directory, is_directory=True)
    finally:
        os.close(directory)
