"""Calls of the system that fail: what was not written is refused, and nothing else suffers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, get_number
from tests.facilities import needs_pwrite
from tests.queue.logs import get_files, make_log, read_events
from whisperr._queue.log import log as log_module
from whisperr._queue.log.file import HEADER_BYTES
from whisperr._queue.store import StoreFullError
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from whisperr._queue.log.log import Log

BOUND = 60


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(directory: Path) -> Log:
    return make_log(directory)


class FailingCall:
    """Stands in for a function of `os`; the calls with these numbers fail, from 0 on."""

    def __init__(self, real: Callable[..., Any], failing: dict[int, int]) -> None:
        self._real = real
        self._failing = failing
        self._numbers = count()

    def __call__(self, *arguments: object) -> Any:  # of any function
        number = self._failing.get(next(self._numbers))
        if number is not None:
            raise OSError(number, os.strerror(number))
        return self._real(*arguments)


class ShortWrite:
    """Stands in for `os.write`: writes a part of the line that begins at a number of calls."""

    def __init__(self, at: int, part: int) -> None:
        self._real = os.write
        self._at = at
        self._part = part
        self._numbers = count()

    def __call__(self, file: int, data: bytes) -> int:
        if next(self._numbers) == self._at:
            return self._real(file, data[: self._part])
        return self._real(file, data)


def get_error(log: Log, number: int) -> StoreError | None:
    """Write an event; return why it was refused."""
    try:
        log.write(event(number))
    except StoreError as error:
        return error
    return None


def get_left(log: Log, directory: Path) -> list[int]:
    """End the process, and return what the next one finds."""
    log.close()
    return [get_number(data) for data in read_events(directory)]


@needs_pwrite
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EBADF", "EFBIG"])
def test_a_write_that_fails_is_refused_and_the_next_one_works(
    code: str, at: int, log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(errno, code)
    monkeypatch.setattr(os, "write", FailingCall(os.write, {at: number}))
    errors = {name: get_error(log, name) for name in range(4)}
    refused = [name for name, error in errors.items() if error is not None]
    for error in filter(None, errors.values()):
        assert isinstance(error, StoreFullError) == (code in {"ENOSPC", "EDQUOT"})
        assert os.strerror(number) in str(error)
        assert str(directory) in str(error)
    # A file that is too large is continued in another one, unless it is empty.
    assert refused == ([at] if code != "EFBIG" or at == 0 else [])
    wanted = [name for name in range(4) if name not in refused]
    assert (len(log), log.written) == (len(wanted), len(wanted))
    assert log.claim(2) == (0, [event(name) for name in wanted[:2]])
    log.ack(1)
    assert get_left(log, directory) == wanted[1:]


@needs_pwrite
@pytest.mark.parametrize("part", [1, 20, len(event(0))])
def test_a_part_of_a_line_is_cut_off_again(
    part: int, log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", ShortWrite(0, part))
    with pytest.raises(StoreFullError, match="no room for the whole event"):
        log.write(event(0))
    assert get_files(directory)[0].stat().st_size == HEADER_BYTES
    assert (len(log), log.written, log.held_bytes) == (0, 0, 0)
    log.write(event(1))
    assert get_left(log, directory) == [1]


def test_what_does_not_fit_into_a_file_that_has_lines_is_written_to_another(
    log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", ShortWrite(2, 9))
    for number in range(4):
        log.write(event(number))
    assert len(get_files(directory)) == 2
    assert log.claim(9) == (0, [event(number) for number in range(4)])
    assert get_left(log, directory) == [0, 1, 2, 3]


@needs_pwrite
def test_a_part_of_a_line_that_cannot_be_cut_off_is_never_read(
    log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", ShortWrite(1, 9))
    monkeypatch.setattr(os, "ftruncate", FailingCall(os.ftruncate, {0: errno.EIO}))
    for number in range(4):
        log.write(event(number))
    assert log.written == 4
    assert get_left(log, directory) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["open", "ftruncate", "pwrite", "fstat", "lseek"])
def test_a_file_that_cannot_be_made_leaves_nothing_behind(
    name: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, name):
        pytest.skip(f"no os.{name} here")
    for at in range(4):
        log = make_log(directory)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, FailingCall(getattr(os, name), {at: errno.EMFILE}))
            with suppress(StoreError):
                log.write(event(0))
        expected = [event(0)] * log.written
        log.write(event(1))
        assert log.claim(9) == (0, [*expected, event(1)])
        log.ack(9)
        log.close()
        assert get_files(directory) == []


def test_files_that_cannot_be_made_do_not_pile_up(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full volume may still have room for names."""
    if not hasattr(os, "pwrite"):
        pytest.skip("no os.pwrite here")
    log = make_log(directory)
    monkeypatch.setattr(os, "pwrite", FailingCall(os.pwrite, dict.fromkeys(range(9), errno.ENOSPC)))
    for number in range(9):
        assert isinstance(get_error(log, number), StoreFullError)
        assert get_files(directory) == []
    log.write(event(9))
    assert get_left(log, directory) == [9]


def test_progress_that_cannot_be_written_stops_nothing(
    log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "pwrite"):
        pytest.skip("no os.pwrite here")
    log.write(event(0))
    log.write(event(1))
    log.claim(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", FailingCall(os.pwrite, dict.fromkeys(range(9), errno.EIO)))
        log.ack(1)
    assert (len(log), log.first) == (1, 1)
    log.claim(1)
    log.release()
    assert get_left(log, directory)[-1] == 1


def test_a_file_that_cannot_be_deleted_is_emptied(
    log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(event(0))
    log.claim(1)
    log.ack(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", FailingCall(os.unlink, {0: errno.EACCES}))
        log.close()
    (file,) = get_files(directory)
    assert file.stat().st_size == 0
    assert read_events(directory) == []


def test_a_line_that_is_not_on_the_disk_is_taken_out_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(directory, fsync=True)
    monkeypatch.setattr(log_module, "sync", FailingCall(lambda _: 0, {1: errno.EIO}))
    log.write(event(0))
    with pytest.raises(StoreError, match=os.strerror(errno.EIO)):
        log.write(event(1))
    log.write(event(2))
    assert log.claim(9) == (0, [event(0), event(2)])
    assert get_left(log, directory) == [0, 2]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of 1 MiB, where this process may mount one."""
    path = tmp_path / "volume"
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(path)]
    with suppress(OSError):
        if subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode == 0:
            try:
                yield path
            finally:
                subprocess.run(["umount", "-l", str(path)], check=True, timeout=30)
            return
    pytest.skip("mount: not permitted")


def test_a_full_volume_refuses_events_until_some_have_left(volume: Path) -> None:
    directory = volume / "log"
    log = make_log(directory)
    accepted, refused, left = list[int](), 0, list[int]()
    for number in range(60_000):
        error = get_error(log, number)
        if error is None:
            accepted.append(number)
            continue
        assert isinstance(error, StoreFullError)
        refused += 1
        if refused % 10 == 0:  # room is given back when all has left
            while lines := log.claim(500)[1]:
                left += map(get_number, lines)
                log.ack(len(lines))
    assert refused
    assert len(accepted) > 40_000
    log.close()
    left += map(get_number, read_events(directory))
    assert left == accepted


PROGRAM = """
import resource, sys
from pathlib import Path
from tests.delivery.rig import event
from tests.facilities import needs_pwrite
from tests.queue.logs import make_log, read_events
from whisperr.errors import StoreError
name, limit = sys.argv[2:]
log = make_log(Path(sys.argv[1]) / "log")
if name == "RLIMIT_NOFILE":
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    try:
        log.write(event(0))
    except StoreError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    for number in range(1_000):
        log.write(event(number))
    log.close()
    assert read_events(Path(sys.argv[1]) / "log") == [event(number) for number in range(1_000)]
    print("all")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")
@pytest.mark.parametrize(
    ("name", "limit", "wanted"),
    [
        ("RLIMIT_FSIZE", 5_000, "all"),
        ("RLIMIT_NOFILE", 0, "Too many open files"),
    ],
)
def test_a_limit_of_the_system_is_told_or_worked_around(
    name: str, limit: int, wanted: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), name, str(limit)],
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert wanted in done.stdout, done.stderr
