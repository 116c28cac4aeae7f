"""The log: files with the events that one process accepted and that are not in the store yet.

`write` appends one line to a file that this process has locked. From then on the line survives the
process. When the process has ended, the kernel releases the lock, and another process adopts its
files (`left`).

The lines also stay in memory until they are done. So nothing is read from the files here, and a
damaged or deleted file loses no event while its process lives. The cost of a call does not depend
on the number of waiting lines. The bounds of the queue apply to that memory.

Invariant: the waiting lines are those of `_group`, which `claim` took out, followed by those of
`_lines`. The indices in each of the two follow each other without a gap. Lines between the two were
dropped because of the bounds while the group was claimed.

Interruptions (see `memory`): one call of C code writes a line and keeps the result in `_fresh`. The
next call that finds it there counts it: `written`, the bytes and `_lines` change in statements
without a call. So the lines in memory always have the order of the lines in the file, even if a
signal handler writes within `write` or raises out of it.

Threads: any thread may call `write` and `overflow` and read the numbers. The other methods are for
one thread at a time. The lock is re-entrant. It is held while a line or a header is written, and
with `fsync` until the disk has it. Files are closed and deleted without it.
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

# A log whose file would exceed this goes on in another file, so that the space of lines that are
# done can be freed whatever waits after them.
_MOST_FILE_BYTES = 8 << 20
_LINE_OVERHEAD_BYTES = EVENT_OVERHEAD_BYTES - 1  # the line end counts as a byte of the line
# How many of the oldest lines are considered at once when the bytes exceed their bound.
_LOOK_AHEAD = 8


class Log:
    """The log of one process. `written` counts all lines ever, so it is the next line's index."""

    def __init__(
        self, directory: str, owner: str, max_events: int, max_bytes: int, *, fsync: bool
    ) -> None:
        """`owner` names the store. No I/O: the first `write` creates the directory and a file."""
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
        # Written and not counted yet, as result, file and event; then what was cut off again.
        self._fresh: list[tuple[int, LogFile, bytes]] = []
        self._torn: list[bytes] = []
        self._writing = False

    # -- for every event

    def write(self, data: bytes) -> None:
        """Append one event. If it raises StoreError, no part of the event is in the file."""
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
        """Return the number of waiting lines, including claimed ones."""
        return self._count

    @property
    def held_bytes(self) -> int:
        """The memory that the waiting lines take, in bytes."""
        return self._bytes

    @property
    def source(self) -> int:
        """The random number of this log, which changes when `close` leaves lines behind."""
        return self._files.source

    @property
    def first(self) -> int:
        """The index of the oldest waiting line, including claimed ones."""
        return self._group_at[0] if self._group else self._lines_at[0]

    def overflow(self) -> list[bytes]:
        """Drop the oldest lines that are not claimed until both bounds hold; return them."""
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
        """Return the oldest waiting lines, which stay in the log, and the index of the first.

        Returns a group again, whatever its size, if it was released or is still claimed.
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
        """Forget the first `count` claimed lines, which were stored, delivered or dropped."""
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
        """Let the claimed lines wait to be claimed again."""
        self._claimed = 0, 0

    def stop(self) -> int:
        """Refuse lines until `skip_to`; return the index that the next line would have had."""
        with self._lock:
            if self._fresh:
                self._account()
            self._stopped = True
            return self.written

    def skip_to(self, index: int) -> None:
        """Accept lines again, the next with this index, which differs only if the log is empty."""
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
        """Close the files, so that the next process adopts those in which lines wait.

        The log is then empty. A later `write` begins a new file, under a new source if lines were
        left behind.
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
        """In a forked child: close the files without releasing locks; the log is empty then."""
        files = self._files
        self._forget_all()
        files.close_in_child()

    # -- the lock is held

    def _account(self) -> None:
        """Count what interrupted calls wrote, and cut off an incomplete line."""
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
        """Return once whether only a part of this event was written, and was cut off."""
        for number, one in enumerate(self._torn):
            if one is data:
                del self._torn[number]
                return True
        return False

    def _write_elsewhere(self, file: LogFile, data: bytes) -> None:
        """Write to another file because this one must not grow; raise if this one is empty."""
        if not file.size:
            raise StoreFullError(f"{self._directory}: no room for the whole event")
        if self._files.current is file:
            self._files.current = None
        self.write(data)

    def _fail(self, error: OSError, file: LogFile, data: bytes) -> None:
        """Raise the StoreError for a failed write, or write to another file if this one is full."""
        if error.errno == errno.EFBIG and file.size:
            self._write_elsewhere(file, data)
            return
        if error.errno not in NO_ROOM and self._files.current is file:
            self._files.current = None
        raise self._files.to_store_error(error) from error

    def _flush_to_disk(self, file: LogFile) -> None:
        """Wait until the disk has the line; if that fails, remove the line and raise."""
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
        """Drop as many of the oldest unclaimed lines as needed; return False if there are none."""
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
        """Record which lines are done, and free the disk space that they took."""
        if not self._count:
            self._files.empty(*self._lines_at, self._is_empty)
        index, position = self._group_at if self._group else self._lines_at
        self._files.keep_progress(index, position)

    def _is_empty(self) -> bool:
        return not (self._count or self._fresh)
