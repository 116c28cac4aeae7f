"""The log: the events that one process accepted and that are not in the store yet, in its files.

`write` appends one line to a file that this process holds locked. The line survives the process
from then on. When a process has ended, another one adopts its files (`left_logs`), because the
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
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from whisperr.errors import StoreError

from .log_file import LogFile, Name, get_new_source, make_directory
from .memory import EVENT_OVERHEAD_BYTES, get_size
from .store import StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A file that would exceed this is continued in another one, so that the room of what has left can
# be given back, whatever waits behind it.
_MOST_FILE_BYTES = 8 << 20
# When all has left, a file up to this size is used again as it is, one up to the next is emptied in
# place (under the lock: 40 µs a MiB), a larger one is deleted (without it).
_MOST_IDLE_BYTES = 64 << 10
_MOST_EMPTIED_BYTES = 1 << 20
# What `claim` returns at most, unless the first line alone is larger.
_MOST_GROUP_BYTES = 1 << 20
_LINE_OVERHEAD_BYTES = EVENT_OVERHEAD_BYTES - 1  # the end of a line is counted as its own byte
# So many new files may be deleted in a row, by processes that look for logs, or by an operator.
_MOST_TRIES = 10
# So many of the oldest lines are looked at together when the bytes exceed their bound.
_LOOK_AHEAD = 8
_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_TOO_LARGE = errno.EFBIG

_sync = getattr(os, "fdatasync", os.fsync)


class Log:
    """The log of one process.

    `source`: its random number. `written`: how many lines were ever written, so the index of the
    next one.
    """

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
        self.source = get_new_source()
        self.written = 0
        self._position = 0  # how many bytes of lines were ever written
        self._count = 0
        self._bytes = 0
        self._lines: deque[bytes] = deque()
        self._lines_at = (0, 0)  # index and position of its first line
        self._group: list[bytes] = []
        self._group_at = (0, 0)
        self._claimed = False
        self._claimed_size = 0, 0  # events, and the memory that they take
        self._dropped: deque[bytes] = deque()
        # What was written and is not counted yet: result, file and event; what was cut off again.
        self._fresh: list[tuple[int, LogFile, bytes]] = []
        self._torn: list[bytes] = []
        self._writing = False
        self._number = 0  # of the newest file
        # The file that is written to; all that are open; those to be deleted or only closed.
        self._file: LogFile | None = None
        self._files: list[LogFile] = []
        self._done_with: list[LogFile] = []
        self._left_behind: list[LogFile] = []

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
            file = self._file
            if file is not None and file.size + size > _MOST_FILE_BYTES and not self._writing:
                self._file = file = None
            if file is None:
                file = self._begin_file()
            self._writing = True
            try:
                self._fresh.extend(
                    zip(map(os.write, file.descriptors, (line,)), (file,), (data,))  # noqa: B905  # slower
                )
            except OSError as error:
                self._fail(error, data)
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
        self._let_go()
        popping = _popping(self._dropped, len(self._dropped))
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
            if self._file is not None and not self._file.is_there():
                self._file = None  # the next write begins another one
            if not self._group:
                taken = _take_group(_slice(self._lines, max_events))
                count = len(taken)
                size = _get_size(taken)
                popping = _popping(self._lines, count)
                index, position = self._lines_at
                after = (index + count, position + size)
                # No call from here on.
                self._group = [*popping]
                self._group_at = (index, position)
                self._lines_at = after
            claimed = len(self._group), get_size(self._group)
            # No call from here on.
            self._claimed = self._group != []
            self._claimed_size = claimed
            return self.first, self._group.copy()

    def ack(self, count: int) -> None:
        """Forget the first `count` claimed lines: they are in the store, or have ended."""
        with self._lock:
            if self._fresh:
                self._account()
            if not self._claimed:
                return
            left, rest = self._group[:count], self._group[count:]
            number, size, held = len(left), _get_size(left), get_size(left)
            index, position = self._group_at
            # No call from here on.
            self._group = rest
            self._group_at = (index + number, position + size)
            self._claimed = rest != []
            self._claimed_size = self._claimed_size[0] - number, self._claimed_size[1] - held
            self._count -= number
            self._bytes -= size + number * _LINE_OVERHEAD_BYTES
            self._keep_progress()
        self._let_go()

    def release(self) -> None:
        """Let the claimed lines wait again."""
        self._claimed = False
        self._claimed_size = 0, 0

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
                self._file = None  # the lines of one file have successive indices
                self.written = index
                self._lines_at = at
            self._stopped = False
            self._keep_progress()
        self._let_go()

    def give_up(self) -> list[bytes]:
        """Give up everything, also what is claimed; return it, oldest first."""
        with self._lock:
            if self._fresh:
                self._account()
            lines, end = deque[bytes](), (self.written, self._position)
            # No call from here on: what a signal handler adds before is in `_lines`.
            self._dropped += self._group
            self._dropped += self._lines
            self._group = []
            self._lines = lines
            self._lines_at = end
            self._claimed = False
            self._claimed_size = 0, 0
            self._count = self._bytes = 0
            self._keep_progress()
        self._let_go()
        popping = _popping(self._dropped, len(self._dropped))
        # No call from here on.
        return [*popping]

    def close(self) -> None:
        """Let go of the files: the next process adopts those in which lines wait.

        The log is empty then. What is written after it begins new files, under a new source if
        lines were left behind.
        """
        with self._lock:
            if self._fresh:
                self._account()
            self._keep_progress()
            source, lines = get_new_source(), deque[bytes]()
            # No call from here on.
            if self._count:
                self._left_behind += self._files
                self.source = source
            else:
                self._done_with += self._files
            self._files = []
            self._file = None
            self._group = []
            self._claimed = False
            self._claimed_size = 0, 0
            self._lines = lines
            self._lines_at = (self.written, self._position)
            self._count = self._bytes = 0
        self._let_go()

    def close_in_child(self) -> None:
        """In a forked child: close the descriptors only. The log is a new one, and empty."""
        files = [*self._files, *self._done_with, *self._left_behind]
        self._forget_all()
        for one in files:
            one.close_in_child()

    # -- the lock is held

    def _account(self) -> None:
        """Count what interrupted calls wrote, or cut off what is not a whole line."""
        while self._fresh:
            number, file, data = self._fresh[0]
            size = len(data) + 1
            if number == size:
                # No call from here on.
                del self._fresh[0]
                self._lines += (data,)
                self._count += 1
                self._bytes += size + _LINE_OVERHEAD_BYTES
                self._position += size
                self.written += 1
                file.size += size
            else:
                self._cut(file)
                # No call from here on.
                del self._fresh[0]
                self._torn += (data,)

    def _cut(self, file: LogFile) -> None:
        """Remove a part of a line from the end of a file, or write to another one from now on."""
        self._file = None
        try:
            file.cut()
        except OSError:
            return  # the part has no end of a line, so that it is never read
        self._file = file

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
        if self._file is file:
            self._file = None
        self.write(data)

    def _fail(self, error: OSError, data: bytes) -> None:
        """Raise what is to be raised when nothing was written, or write to another file."""
        file = self._file
        if error.errno == _TOO_LARGE and file is not None and file.size:
            self._write_elsewhere(file, data)
            return
        if error.errno not in _NO_ROOM:
            self._file = None
        raise self._to_store_error(error) from error

    def _flush_to_disk(self, file: LogFile) -> None:
        """Wait until the line is on the disk; if that fails, take it out again and raise."""
        try:
            _sync(file.descriptors[0])
        except OSError as error:
            if self._fresh:
                self._cut(file)
                self._file = None
                # No call from here on.
                self._fresh = []
                raise self._to_store_error(error) from error

    def _begin_file(self) -> LogFile:
        """Return the file to write to: a new one, or one that a signal handler has just begun."""
        for _ in range(_MOST_TRIES):
            # The time, so that several logs that were left are adopted in their order. Counted on
            # at once: what interrupts may begin a file as well.
            self._number = number = max(self._number + 1, time.time_ns())
            name = Name(self._owner, self.source, number)
            path = os.path.join(self._directory, str(name))  # noqa: PTH118  # as in `log_file`
            file = LogFile(path, self.source, self.written, self._position)
            self._files += (file,)  # where it is found, and deleted, if this is interrupted
            try:
                made = self._create(file)
            except OSError as error:
                self._keep_progress()
                self._let_go()
                raise self._to_store_error(error) from error
            # No call from here on.
            if self._file is None and made and file.index == self.written:
                self._file = file
            if self._file is not None:
                return self._file
        raise StoreError(f"{self._directory}: each new file is deleted at once")

    def _create(self, file: LogFile) -> bool:
        make_directory(self._directory)
        made = file.create()
        if self._fsync:
            _sync_directory(self._directory)
        return made

    def _to_store_error(self, error: OSError) -> StoreError:
        kind = StoreFullError if error.errno in _NO_ROOM else StoreError
        return kind(f"{self._directory}: {error.strerror or error}")

    def _holds_bounds(self) -> bool:
        if self._count <= self._max_events and self._bytes <= self._max_bytes:
            return True
        # What is claimed is about to leave.
        claimed, size = self._claimed_size
        return self._count - claimed <= self._max_events and self._bytes - size <= self._max_bytes

    def _drop_some(self) -> bool:
        """Give up the oldest lines that are not claimed, as far as needed; False without any."""
        from_group = bool(self._group) and not self._claimed
        lines = self._group if from_group else self._lines
        claimed, claimed_bytes = self._claimed_size
        over = max(self._count - claimed - self._max_events, 0)
        count = size = 0
        for data in _slice(lines, over + _LOOK_AHEAD):
            held = self._bytes - claimed_bytes - size - count * _LINE_OVERHEAD_BYTES
            if count >= over and held <= self._max_bytes:
                break
            count += 1
            size += len(data) + 1
        rest, popping = self._group[count:], _popping(self._lines, count)
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
        current = self._file
        if current is not None and not self._count and current.size > _MOST_IDLE_BYTES:
            self._empty(current)
        index, position = self._group_at if self._group else self._lines_at
        while self._files:
            file = self._files[0]
            if file is self._file or file.position + file.size > position:
                break
            # No call from here on.
            self._done_with += (file,)
            del self._files[0]
        if self._files:
            _write_progress(self._files[0], position, index)

    def _empty(self, file: LogFile) -> None:
        """Use a file from its beginning again, or no more. What interrupts begins another one."""
        self._file = None
        # Only now nothing is added to it any more.
        if self._count or self._fresh or file.size > _MOST_EMPTIED_BYTES:
            return
        try:
            file.empty(*self._lines_at)
        except OSError:
            return
        # No call from here on.
        if self._file is None and file.index == self.written:
            self._file = file

    # -- without the lock

    def _let_go(self) -> None:
        """Close and delete files, which may take a while."""
        for one in [*self._done_with]:
            one.delete()
            _discard(self._done_with, one)
        for one in [*self._left_behind]:
            one.close()
            _discard(self._left_behind, one)


def _write_progress(file: LogFile, position: int, index: int) -> None:
    try:
        file.write_progress(position - file.position, index)
    except OSError:
        return  # after a crash some events arrive twice


def _discard(files: list[LogFile], one: LogFile) -> None:
    try:
        files.remove(one)
    except ValueError:
        return  # another thread did the same


def _get_size(lines: Iterable[bytes]) -> int:
    """Return how many bytes these lines take in a file."""
    sizes = [*map(len, lines)]
    return sum(sizes) + len(sizes)


def _take_group(lines: list[bytes]) -> list[bytes]:
    """Return those of these lines that are one group: at least one, if there is any."""
    size = 0
    for count, data in enumerate(lines):
        size += len(data) + 1
        if count and size > _MOST_GROUP_BYTES:
            return lines[:count]
    return lines


def _slice(lines: deque[bytes] | list[bytes], end: int) -> list[bytes]:
    """Return the first lines; a signal handler may add some at the end meanwhile."""
    try:
        return [*islice(lines, end)]
    except RuntimeError:  # by index that does not matter
        return [*map(lines.__getitem__, range(min(end, len(lines))))]


def _popping(lines: deque[bytes], count: int) -> Iterator[bytes]:
    """Return an iterator that removes the first `count` lines; a list display runs it in C."""
    return islice(iter(lines.popleft, None), count)


def _sync_directory(path: str) -> None:
    """Have the name of a new file on the disk as well."""
    if os.name == "nt":  # where directories cannot be opened
        return
    directory = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
