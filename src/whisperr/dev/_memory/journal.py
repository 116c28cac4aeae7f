"""Keep what arrived in a file of JSON lines, so that a restarted server still shows it.

The first line names the run, each further one is a request with what it brought. The file is
read once, then only written; keys are masked in it. It is written anew from memory when it has
grown to twice its bound, and when a line of it cannot be read, such as the last one of a
process that was killed.

Threads: one at a time; the memory calls with its lock held.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr.dev._ingest.service import BATCH_PATH, arrival_of
from whisperr.dev._ingest.validation import Problem

from .arrivals import ReceivedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .arrivals import Arrival

    Record = tuple[int, ReceivedRequest, Sequence[Arrival]]

_FORMAT = "whisperr_dev"
_VERSION = 1
_BOUND_BYTES = 64 * 1024 * 1024
_OF_REQUEST = ("number", "connection", "received_at", "method", "path", "status", "fault")


class StoreError(ValueError):
    """Why a file cannot be used as a store."""


class Store:
    """One file, held by one server. Raises StoreError when it cannot be used."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._epoch: str | None = None
        self._unreadable = 0
        self._unfinished = False
        self._failed = False
        self._records: Callable[[], Sequence[Record]] = list
        try:
            # Personal data may be in it: the file is for its owner.
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise StoreError(f"{error.strerror}; choose a file that can be written") from None
        try:
            _lock(self._file)
            self._read_head()
        except BaseException:
            os.close(self._file)
            raise
        self._size = os.fstat(self._file).st_size

    def load(self) -> Iterator[Record]:
        """Yield what the file holds, oldest first; lines that cannot be read are left out."""
        with self._path.open("rb") as lines:
            next(lines, None)
            for line in lines:
                self._unfinished = not line.endswith(b"\n")
                try:
                    record = _record_of(json.loads(line))
                except (ValueError, TypeError, KeyError, IndexError, RecursionError):
                    self._unreadable += 1
                    continue
                yield record

    def begin(self, epoch: str, records: Callable[[], Sequence[Record]]) -> str:
        """Be ready to append; `records` returns what is kept. Returns the epoch of the file."""
        self._records = records
        if self._epoch is None:
            self.restart(epoch)
        elif self._unreadable:
            self._tell(f"left out {self._unreadable} lines that cannot be read")
            self._rewrite()
        elif self._unfinished:
            self._write(b"\n")
        return self._epoch or epoch

    def append(self, noted: int, request: ReceivedRequest, arrivals: Sequence[Arrival]) -> None:
        """Write one request; when that fails, say so once and write no more."""
        if self._failed:
            return
        try:
            self._write(_line_of(noted, request, arrivals))
            if self._size > 2 * _BOUND_BYTES:
                self._rewrite()
        except OSError as error:
            self._fail(error)

    def restart(self, epoch: str) -> None:
        """Forget everything and begin another run."""
        self._epoch = epoch
        try:
            os.ftruncate(self._file, 0)
            self._size = 0
            self._write(self._head())
            self._failed = False
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file, self._failed = -1, True

    def _read_head(self) -> None:
        with self._path.open("rb") as lines:
            head = lines.readline(1000)
        if not head:
            return
        try:
            found = json.loads(head)
            if found[_FORMAT] == _VERSION and isinstance(found["epoch"], str):
                self._epoch = found["epoch"]
                return
        except (ValueError, TypeError, KeyError):
            found = None
        raise StoreError("it holds something else and is left as it is; choose another file")

    def _head(self) -> bytes:
        return json.dumps({_FORMAT: _VERSION, "epoch": self._epoch}).encode() + b"\n"

    def _write(self, data: bytes) -> None:
        _write_all(self._file, data)
        self._size += len(data)

    def _rewrite(self) -> None:
        """Write a new file with the newest records up to the bound, and put it in place."""
        lines, size = [], 0
        for record in reversed(self._records()):
            lines.append(_line_of(*record))
            size += len(lines[-1])
            if size > _BOUND_BYTES:
                lines.pop()
                break
        fresh = self._path.with_name(f"{self._path.name}.new")
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            _lock(file)
            _write_all(file, b"".join([self._head(), *reversed(lines)]))
            fresh.replace(self._path)
        except BaseException:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._size = file, os.fstat(file).st_size

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._tell(f"cannot write: {error}; what comes now is kept in memory only")

    def _tell(self, text: str) -> None:
        print(f"whisperr dev: {self._path}: {text}", file=sys.stderr, flush=True)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _line_of(noted: int, request: ReceivedRequest, arrivals: Sequence[Arrival]) -> bytes:
    fields: dict[str, Any] = {name: getattr(request, name) for name in _OF_REQUEST}
    fields["headers"] = request.masked_headers
    # Bytes that are not UTF-8 become lone surrogates, which JSON can escape and give back.
    fields["body"] = request.body.decode("utf-8", "surrogateescape")
    brought = [
        (one.seq, one.kind, one.status, one.index, [_problem(each) for each in one.problems])
        for one in arrivals
    ]
    return json.dumps({"noted": noted, "request": fields, "arrivals": brought}).encode() + b"\n"


def _problem(problem: Problem) -> tuple[str, str, str]:
    return (problem.pointer, problem.found, problem.expected)


def _record_of(line: dict[str, Any]) -> Record:
    fields = line["request"]
    body = fields.pop("body").encode("utf-8", "surrogateescape")
    request = ReceivedRequest(**fields, body=body)
    brought = line["arrivals"]
    value: Any = json.loads(body) if brought else None
    arrivals = [
        arrival_of(
            kind,
            value["events"][index] if request.path == BATCH_PATH else value,
            [Problem(*problem) for problem in problems],
            number=request.number,
            now=request.received_at,
            index=index,
            seq=seq,
            status=status,
        )
        for seq, kind, status, index, problems in brought
    ]
    return line["noted"], request, arrivals


def _lock(file: int) -> None:
    """Hold the file for this process, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError("another whisperr dev is using it") from None
