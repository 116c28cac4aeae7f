"""The lock of a file: one open file has it, and the end of the process releases it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.facilities import needs_real_locks
from tests.queue.logs import make_log, read_events
from whisperr._queue.log import lock as file_lock
from whisperr._queue.log.lock import is_locked, lock, try_lock, unlock
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOUND = 60


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The same file, opened twice."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    opened = (os.open(path, os.O_RDWR), os.open(path, os.O_RDWR))
    yield opened
    for one in opened:
        os.close(one)


def test_asking_whether_a_file_is_locked_needs_no_right_to_write(
    files: tuple[int, int], tmp_path: Path
) -> None:
    file = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        lock(files[0])
        assert is_locked(file)
        unlock(files[0])
        assert not is_locked(file)
        assert try_lock(files[1]), "it keeps no lock"
    finally:
        os.close(file)


class FakeMsvcrt:
    """What `msvcrt` does with bytes of files; the handle is the descriptor."""

    LK_LOCK, LK_NBLCK, LK_UNLCK = 1, 2, 0

    def __init__(self) -> None:
        self.taken: dict[tuple[int, int], int] = {}
        self.offsets: list[int] = []

    def locking(self, file: int, mode: int, size: int) -> None:
        assert size == 1
        offset = os.lseek(file, 0, os.SEEK_CUR)
        self.offsets.append(offset)
        key = (os.fstat(file).st_ino, offset)
        if mode == self.LK_UNLCK:
            if self.taken.pop(key, None) is None:
                raise OSError(errno.EACCES, "not locked")
        elif key in self.taken:
            raise OSError(errno.EDEADLK if mode == self.LK_LOCK else errno.EACCES, "locked")
        else:
            self.taken[key] = file


@pytest.fixture
def msvcrt(monkeypatch: pytest.MonkeyPatch) -> FakeMsvcrt:
    fake = FakeMsvcrt()
    monkeypatch.setattr(file_lock, "_fcntl", None)
    monkeypatch.setattr(file_lock, "_msvcrt", fake)
    return fake


def check_lock(files: tuple[int, int]) -> None:
    first, second = files
    os.lseek(first, 3, os.SEEK_SET)
    assert not is_locked(second)
    lock(first)
    assert is_locked(second)
    assert not try_lock(second)
    unlock(first)
    unlock(first)
    assert not is_locked(second)
    assert try_lock(second)
    assert not try_lock(first)
    assert os.lseek(first, 0, os.SEEK_CUR) == 3


def test_one_open_file_has_the_lock_also_within_a_process(files: tuple[int, int]) -> None:
    check_lock(files)


def test_the_same_on_windows(files: tuple[int, int], msvcrt: FakeMsvcrt) -> None:
    check_lock(files)
    # Behind what readers read, and within what C's `_locking` can express.
    assert set(msvcrt.offsets) == {1 << 30}
    assert 1 << 30 < (1 << 31) - 1


def test_a_log_works_with_the_lock_of_windows_and_without_pwrite(
    tmp_path: Path, msvcrt: FakeMsvcrt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pwrite", raising=False)
    directory = tmp_path / "log"
    log = make_log(directory)
    for number in range(4):
        log.write(event(number))
        log.claim(1)
        if number < 2:
            log.ack(1)
    assert read_events(directory) == []
    log.close()
    assert not msvcrt.taken
    assert read_events(directory) == [event(2), event(3)]


@pytest.mark.parametrize("code", ["ENOLCK", "EINVAL"])
def test_a_file_system_without_locks_is_a_failure(
    code: str, files: tuple[int, int], msvcrt: FakeMsvcrt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: int) -> None:
        raise OSError(getattr(errno, code), "no locks available")

    monkeypatch.setattr(msvcrt, "locking", fail)
    with pytest.raises(OSError, match="no locks available"):
        try_lock(files[0])


def test_without_either_module_there_is_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "_fcntl", None)
    monkeypatch.setattr(file_lock, "_msvcrt", None)
    with pytest.raises(StoreError, match="can lock no file"):
        make_log(tmp_path / "log").write(event(0))


HOLDER = """
import os, sys
from whisperr._queue.log.lock import lock
file = os.open(sys.argv[1], os.O_RDWR)
lock(file)
print("locked", flush=True)
sys.stdin.read()
"""


@needs_real_locks
def test_the_lock_of_a_killed_process_is_free_when_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    file = os.open(path, os.O_RDWR)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().split() == [b"locked"]
        assert not try_lock(file)
        holder.kill()
        holder.wait(BOUND)
        assert try_lock(file)
    finally:
        os.close(file)
        holder.kill()
        holder.communicate(timeout=BOUND)
