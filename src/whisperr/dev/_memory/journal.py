"""A file of JSON lines with everything that arrived, so that a restarted server still shows it.

The first line has the epoch, and each other line a request with its arrivals, with keys masked. The
file is read once, then only written. It is rewritten from memory when it has grown to twice its
bound, and when a line cannot be read, such as the last line of a process that was killed.

Threads: one at a time; the memory calls with its lock held.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr._owned import NotOwned, check_owner, create_beside, is_same_file, open_regular
from whisperr._platform import WINDOWS
from whisperr._queue.log.lock import try_lock
from whisperr.dev._ingest.model import BATCH_PATH, Problem, ReceivedRequest, to_arrival

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from whisperr.dev._ingest.model import Arrival

    Record = tuple[ReceivedRequest, Sequence[Arrival]]

_FORMAT = "whisperr_dev"
_VERSION = 1
_BOUND_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 1000


class JournalError(ValueError):
    """Raised for a file that cannot be used as a journal."""


class Journal:
    """One file, locked by one server. Raises JournalError when it cannot be used."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._epoch: str | None = None
        self._unreadable = 0
        self._unfinished = False
        self._failed = False
        self._records: Callable[[], Sequence[Record]] = list
        try:
            # It may contain personal data, so only its owner may read it.
            self._file = open_regular(self._path, create=True)
        except NotOwned as problem:
            raise JournalError(str(problem)) from None
        except OSError as error:
            raise JournalError(f"{error.strerror}; choose a file that can be written") from None
        try:
            _lock(self._file)
            self._read_head()
            check_owner(self._file)
        except BaseException as problem:
            os.close(self._file)
            if isinstance(problem, NotOwned):
                raise JournalError(str(problem)) from None
            raise

    def load(self) -> Iterator[Record]:
        """Yield what the file holds, oldest first; skip lines that cannot be read."""
        with os.fdopen(os.dup(self._file), "rb") as lines:
            lines.seek(0)
            next(lines, None)
            for line in lines:
                self._unfinished = not line.endswith(b"\n")
                try:
                    record = _parse_record(json.loads(line))
                except (ValueError, TypeError, KeyError, IndexError, RecursionError):
                    self._unreadable += 1
                    continue
                yield record

    def begin(self, epoch: str, records: Callable[[], Sequence[Record]]) -> str:
        """Prepare to append; `records` returns what the memory keeps. Returns the file's epoch."""
        self._records = records
        if self._epoch is None:
            self.restart(epoch)
        elif self._unreadable:
            self._report(f"skipped {self._unreadable} lines that cannot be read")
            try:
                self._rewrite()
            except OSError as error:
                raise JournalError(f"cannot rewrite it: {error}") from None
        elif self._unfinished:
            _write(self._file, b"\n")
        return self._epoch or epoch

    def append(self, request: ReceivedRequest, arrivals: Sequence[Arrival]) -> None:
        """Write one request; when that fails, report it once and write no more."""
        if self._failed:
            return
        try:
            _write(self._file, _to_line(request, arrivals))
            if os.fstat(self._file).st_size > 2 * _BOUND_BYTES:
                self._rewrite()
        except (OSError, JournalError) as error:
            self._fail(error)

    def restart(self, epoch: str) -> None:
        """Delete everything and begin a new epoch."""
        self._epoch = epoch
        try:
            os.ftruncate(self._file, 0)
            _write(self._file, self._head())
            self._failed = False
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file, self._failed = -1, True

    def _read_head(self) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        head = os.read(self._file, _HEAD_BYTES).partition(b"\n")[0]
        if not head:
            return
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            found = json.loads(head)
            if found[_FORMAT] == _VERSION and isinstance(found["epoch"], str):
                self._epoch = found["epoch"]
                return
        raise JournalError("it holds other data and is left unchanged; choose another file")

    def _head(self) -> bytes:
        return json.dumps({_FORMAT: _VERSION, "epoch": self._epoch}).encode() + b"\n"

    def _rewrite(self) -> None:
        """Replace the file by a new one with the newest records, up to the bound."""
        lines, size = [], 0
        for record in reversed(self._records()):
            lines.append(_to_line(*record))
            size += len(lines[-1])
            if size > _BOUND_BYTES:
                lines.pop()
                break
        file, fresh = create_beside(self._path)
        try:
            _lock(file)
            _write(file, b"".join([self._head(), *reversed(lines)]))
            if not is_same_file(self._file, self._path):
                raise OSError("another file has taken its place")
            if WINDOWS:
                # A file cannot be renamed while it is open, nor be replaced.
                os.close(file)
                file = -1
                self._replace_closed(fresh)
                return
            fresh.replace(self._path)
        except BaseException:
            if file >= 0:
                os.close(file)
            fresh.unlink(missing_ok=True)
            raise
        os.close(self._file)
        self._file = file

    def _replace_closed(self, fresh: Path) -> None:
        """Replace the file while it is closed, and open what is there then. Raises OSError."""
        os.close(self._file)
        self._file = -1  # another file may get that number if the next one cannot be opened
        try:
            fresh.replace(self._path)
        finally:
            self._file = open_regular(self._path, create=True)
            _lock(self._file)

    def _fail(self, error: OSError | JournalError) -> None:
        if not self._failed:
            self._failed = True
            self._report(f"cannot write: {error}; from now on, arrivals are kept in memory only")

    def _report(self, text: str) -> None:
        print(f"whisperr dev: {self._path}: {text}", file=sys.stderr, flush=True)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _to_line(request: ReceivedRequest, arrivals: Sequence[Arrival]) -> bytes:
    # Bytes that are not UTF-8 become lone surrogates, which JSON escapes and restores.
    body = request.body.decode("utf-8", "surrogateescape")
    fields = {**vars(request), "headers": request.masked_headers, "body": body}
    rows = [
        (one.seq, one.kind, one.status, one.index, [astuple(each) for each in one.problems])
        for one in arrivals
    ]
    return json.dumps({"request": fields, "arrivals": rows}).encode() + b"\n"


def _parse_record(line: dict[str, Any]) -> Record:
    fields = line["request"]
    body = fields.pop("body").encode("utf-8", "surrogateescape")
    request = ReceivedRequest(**fields, body=body)
    rows = line["arrivals"]
    value: Any = json.loads(body) if rows else None
    arrivals = []
    for seq, kind, status, index, found in rows:
        one = value["events"][index] if request.path == BATCH_PATH else value
        problems = [Problem(*problem) for problem in found]
        arrival = to_arrival(kind, one, problems, now=request.received_at, index=index)
        arrivals.append(replace(arrival, seq=seq, request=request.number, status=status))
    return request, arrivals


def _lock(file: int) -> None:
    """Lock the file for this process."""
    if not try_lock(file):
        raise JournalError("another whisperr dev is using it")
