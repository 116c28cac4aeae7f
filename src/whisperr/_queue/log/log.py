"""The log: the events that one process accepted and that are not in the store yet, in its files.

`write` appends one line to a file that this process holds locked. The line survives the process
from then on. When a process has ended, another one adopts its files (`left`), because the
kernel has released the lock.

The lines stay in memory as well, until they have left: so nothing is ever read from the files here,
a file that is damaged or deleted loses nothing while its process lives, and every call costs the
same however many lines wait. The bounds of the queue are those of that memory.

Invariant: the lines that wait are those of `_group`, which `claim` took out, then those of
`_lines`. Each of the two is a run of successive indices. Lines between the two were given up
because of the bounds while the group was claimed.

Interruptions (see `memory`): a line is written, and the result kept in `_fresh`, within one call of
C code. The next call that finds it there counts it: `written`, the bytes and `_lines` change in one
run of statements without a call. So the order of the lines in memory is always that in the file,
also when a signal handler writes within `write`, or raises out of it.

Threads: any thread may call `write`, `overflow`, and read the numbers. The other methods are for
one thread at a time, beside these. The lock is re-entrant, and held for a write or the header of a
file; files are closed and deleted without it. With `fsync` it is held for that as well.
"""

from __future__ import annotations

import _thread
import errno
import os
from collections import deque
from typing import TYPE_CHECKING

from whisperr._platform import sync
from whisperr._queue.memory import EVENT_OVERHEAD_BYTES, get_size
from whisperr._queue.store import StoreFullError
from whisperr.errors import StoreError

from .file import get_new_source
from .files import NO_ROOM, LogFiles
from .lines import get_line_bytes, popping_lines, slice_lines, take_group

if TYPE_CHECKING:
    from .file import LogFile

# A file that would exceed this is continued in another one, so that the room of what has left can
# be given back, whatever waits behind it.
_MOST_FILE_BYTES = 8 << 20
_LINE_OVERHEAD_BYTES = EVENT_OVERHEAD_BYTES - 1  # the end of a line is counted as its own byte
# So many of the oldest lines are looked at together when the bytes exceed their bound.
_LOOK_AHEAD = 8


class Log:
    """The log of one process. `written`: how many lines there ever were: the next one's index."""

    def __init__(
        self, directory: str, owner: str, max_events: int, max_bytes: int, *, fsync: bool
    ) -> None:
        """`owner` names the store. No I/O: the first `write` makes the directory and a file."""
        self._directory = directory
        self._owner = owner
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._stopped = False
        self._forget_all()

    def _forget_all(self) -> None:
        self._lock = _thread.RLock()  # looked up here, because gevent may have replaced it
        self._files = LogFiles(self._directory, self._owner, fsync=self._fsync)
        self.written = 0
        self._position = 0  # how many bytes of lines were ever written
        self._count = 0
        self._bytes = 0
        self._lines: deque[bytes] = deque()
        self._lines_at = (0, 0)  # index and position of its first line
        self._group: list[bytes] = []
        self._group_at = (0, 0)
        self._claimed = 0, 0  # how many lines of the group, and the memory that they take
        self._dropped: deque[bytes] = deque()
        # What was written and is not counted yet: result, file and event; what was cut off again.
        self._fresh: list[tuple[int, LogFile, bytes]] = []
        self._torn: list[bytes] = []
        self._writing = False

    # -- for every event

    def write(self, data: bytes) -> None:
        """Append one event. Raises StoreError when it is not in the file, and nothing of it is."""
        size = len(data) + 1
        line = data + b"\n"
        with self._lock:
            if self._fresh:
                self._account()
            if self._stopped:
                raise StoreError(f"{self._directory}: not written to at the moment")
            file = self._files.current
            if file is not None and file.size + size > _MOST_FILE_BYTES and not self._writing:
                self._files.current = file = None
            if file is None:
                file = self._files.begin(self._get_end)
            descriptor = file.descriptors[0]
            self._writing = True
            try:
                self._fresh.extend(
                    zip(map(os.write, (descriptor,), (line,)), (file,), (data,))  # noqa: B905  # slower
                )
            except OSError as error:
                self._fail(error, file, data)
                return
            finally:
                self._writing = False
            if self._fsync:
                self._flush_to_disk(file)
            fresh = self._fresh
            if fresh and fresh[0][0] == size and fresh[0][2] is data:
                # No call from here on.
                del fresh[0]
                self._lines += (data,)
                self._count += 1
                self._bytes += size + _LINE_OVERHEAD_BYTES
                self._position += size
                self.written += 1
                file.size += size
                return
            self._account()
            if self._is_torn(data):
                self._write_elsewhere(file, data)

    def __len__(self) -> int:
        """Return how many lines wait, claimed ones included."""
        return self._count

    @property
    def held_bytes(self) -> int:
        """The memory that they take, in bytes."""
        return self._bytes

    @property
    def source(self) -> int:
        """The random number of this log; another one when lines were left behind."""
        return self._files.source

    @property
    def first(self) -> int:
        """The index of the oldest line that waits, claimed ones included."""
        return self._group_at[0] if self._group else self._lines_at[0]

    def overflow(self) -> list[bytes]:
        """Give up the oldest lines that are not claimed until both bounds hold; return them."""
        if self._holds_bounds() and not self._dropped:
            return []
        with self._lock:
            if self._fresh:
                self._account()
            while not self._holds_bounds() and self._drop_some():
                pass
            self._keep_progress()
        self._files.let_go()
        popping = popping_lines(self._dropped, len(self._dropped))
        # No call from here on.
        return [*popping]

    # -- for one thread at a time

    def claim(self, max_events: int) -> tuple[int, list[bytes]]:
        """Return the index of the first, and the oldest lines that wait; they stay in the log.

        A group that was released, or is still claimed, is returned again, whatever its size.
        """
        with self._lock:
            if self._fresh:
                self._account()
            self._files.find_out_whether_deleted()
            if not self._group:
                taken = take_group(slice_lines(self._lines, max_events))
                count = len(taken)
                size = get_line_bytes(taken)
                popping = popping_lines(self._lines, count)
                index, position = self._lines_at
                after = (index + count, position + size)
                # No call from here on.
                self._group = [*popping]
                self._group_at = (index, position)
                self._lines_at = after
            claimed = len(self._group), get_size(self._group)
            # No call from here on.
            self._claimed = claimed
            return self.first, self._group.copy()

    def ack(self, count: int) -> None:
        """Forget the first `count` claimed lines: they are in the store, or have ended."""
        with self._lock:
            if self._fresh:
                self._account()
            if not self._claimed[0]:
                return
            left, rest = self._group[:count], self._group[count:]
            number, size, held = len(left), get_line_bytes(left), get_size(left)
            index, position = self._group_at
            # No call from here on.
            self._group = rest
            self._group_at = (index + number, position + size)
            self._claimed = self._claimed[0] - number, self._claimed[1] - held
            self._count -= number
            self._bytes -= size + number * _LINE_OVERHEAD_BYTES
            self._keep_progress()
        self._files.let_go()

    def release(self) -> None:
        """Let the claimed lines wait again."""
        self._claimed = 0, 0

    def stop(self) -> int:
        """Refuse lines until `skip_to`; return the index that the next one would have had."""
        with self._lock:
            if self._fresh:
                self._account()
            self._stopped = True
            return self.written

    def skip_to(self, index: int) -> None:
        """Take lines again, the next one with this index; the log is empty, if that is another."""
        with self._lock:
            if self._fresh:
                self._account()
            at = (index, self._position)
            # No call from here on.
            if index != self.written:
                self._files.current = None  # the lines of one file have successive indices
                self.written = index
                self._lines_at = at
            self._stopped = False
            self._keep_progress()
        self._files.let_go()

    def close(self) -> None:
        """Let go of the files: the next process adopts those in which lines wait.

        The log is empty then. What is written after it begins new files, under a new source if
        lines were left behind.
        """
        with self._lock:
            if self._fresh:
                self._account()
            self._keep_progress()
            files = self._files
            source, lines = get_new_source(), deque[bytes]()
            # No call from here on.
            if self._count:
                files.left_behind += files.opened
                files.source = source
            else:
                files.done_with += files.opened
            files.opened = []
            files.current = None
            self._group = []
            self._claimed = 0, 0
            self._lines = lines
            self._lines_at = (self.written, self._position)
            self._count = self._bytes = 0
        files.let_go()

    def close_in_child(self) -> None:
        """In a forked child: close the descriptors only. The log is a new one, and empty."""
        files = self._files
        self._forget_all()
        files.close_in_child()

    # -- the lock is held

    def _account(self) -> None:
        """Count what interrupted calls wrote, or cut off what is not a whole line."""
        while self._fresh:
            entry = self._fresh[0]
            number, file, data = entry
            size = len(data) + 1
            if number != size:
                self._files.cut(file)
            # No call from here on. What interrupted this may have done the same.
            if not self._fresh or self._fresh[0] is not entry:
                continue
            del self._fresh[0]
            if number != size:
                self._torn += (data,)
                continue
            self._lines += (data,)
            self._count += 1
            self._bytes += size + _LINE_OVERHEAD_BYTES
            self._position += size
            self.written += 1
            file.size += size

    def _is_torn(self, data: bytes) -> bool:
        """Return, once, whether only a part of this event was written, which is cut off."""
        for number, one in enumerate(self._torn):
            if one is data:
                del self._torn[number]
                return True
        return False

    def _write_elsewhere(self, file: LogFile, data: bytes) -> None:
        """Write to another file, where this one is as large as it may be; raise if it is empty."""
        if not file.size:
            raise StoreFullError(f"{self._directory}: no room for the whole event")
        if self._files.current is file:
            self._files.current = None
        self.write(data)

    def _fail(self, error: OSError, file: LogFile, data: bytes) -> None:
        """Raise what is to be raised when nothing was written, or write to another file."""
        if error.errno == errno.EFBIG and file.size:
            self._write_elsewhere(file, data)
            return
        if error.errno not in NO_ROOM and self._files.current is file:
            self._files.current = None
        raise self._files.to_store_error(error) from error

    def _flush_to_disk(self, file: LogFile) -> None:
        """Wait until the line is on the disk; if that fails, take it out again and raise."""
        entry = self._fresh[0]
        try:
            sync(file.descriptors[0])
        except OSError as error:
            # Retired first: then the indices in it are right, whatever interrupts this.
            if self._files.current is file:
                self._files.current = None
            self._files.cut(file)
            fresh = self._fresh
            if fresh and fresh[0] is entry:  # else what interrupted this has counted it
                del fresh[0]
                raise self._files.to_store_error(error) from error

    def _get_end(self) -> tuple[int, int]:
        return self.written, self._position

    def _holds_bounds(self) -> bool:
        if self._count <= self._max_events and self._bytes <= self._max_bytes:
            return True
        # What is claimed is about to leave.
        claimed, size = self._claimed
        return self._count - claimed <= self._max_events and self._bytes - size <= self._max_bytes

    def _drop_some(self) -> bool:
        """Give up the oldest lines that are not claimed, as far as needed; False without any."""
        from_group = bool(self._group) and not self._claimed[0]
        lines = self._group if from_group else self._lines
        claimed, claimed_bytes = self._claimed
        over = max(self._count - claimed - self._max_events, 0)
        count = size = 0
        for data in slice_lines(lines, over + _LOOK_AHEAD):
            held = self._bytes - claimed_bytes - size - count * _LINE_OVERHEAD_BYTES
            if count >= over and held <= self._max_bytes:
                break
            count += 1
            size += len(data) + 1
        rest, popping = self._group[count:], popping_lines(self._lines, count)
        index, position = self._group_at if from_group else self._lines_at
        after = (index + count, position + size)
        # No call from here on.
        if from_group:
            self._dropped += self._group[:count]
            self._group = rest
            self._group_at = after
        else:
            self._dropped += [*popping]
            self._lines_at = after
        self._count -= count
        self._bytes -= size + count * _LINE_OVERHEAD_BYTES
        return count > 0

    def _keep_progress(self) -> None:
        """Write down what has left, and give back the room that it took."""
        if not self._count:
            self._files.empty(*self._lines_at, self._is_empty)
        index, position = self._group_at if self._group else self._lines_at
        self._files.keep_progress(index, position)

    def _is_empty(self) -> bool:
        return not (self._count or self._fresh)
