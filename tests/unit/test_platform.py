"""What differs on Windows and macOS, tried here with the parts that can be replaced."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import _platform, _terminal
from whisperr._http import connector, readiness
from whisperr._platform import get_disk_space, get_user_id, is_closed_pipe, sync
from whisperr._process import wake_up
from whisperr._process.signals import ENDING
from whisperr._process.wake_up import WakeUp
from whisperr._queue.log import file as log_file
from whisperr._queue.log import files as log_files
from whisperr._queue.log.file import LogFile
from whisperr.buffers import SQLiteBuffer, parse_buffer_url
from whisperr.dev._console import terminal as dev_terminal
from whisperr.dev._memory import journal
from whisperr.dev._memory.journal import Journal, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FakeLock:
    """A lock that no thread releases; it knows for how long it was waited for."""

    def __init__(self, *, released_at: int | None = None) -> None:
        self.waits: list[float] = []
        self._released_at = released_at

    def acquire(self, *, timeout: float) -> bool:
        self.waits.append(timeout)
        return len(self.waits) == self._released_at


class TestWaits:
    """On Windows Python runs a signal handler only when a wait has ended."""

    def make(self, lock: FakeLock) -> WakeUp:
        made = WakeUp()
        made._lock = lock  # type: ignore[assignment]  # a double
        return made

    def test_the_main_thread_waits_in_slices_on_windows(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wake_up, "WINDOWS", True)
        lock = FakeLock()
        assert not self.make(lock).wait(1.05)
        assert max(lock.waits) <= 0.1
        assert sum(lock.waits) == pytest.approx(1.05)
        lock = FakeLock(released_at=3)
        assert self.make(lock).wait(60.0)
        assert len(lock.waits) == 3

    def test_other_threads_and_systems_wait_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lock = FakeLock()
        monkeypatch.setattr(wake_up, "WINDOWS", False)
        assert not self.make(lock).wait(1.0)
        monkeypatch.setattr(wake_up, "WINDOWS", True)
        monkeypatch.setattr(wake_up, "_is_main_thread", lambda: False)
        assert not self.make(lock).wait(1.0)
        assert lock.waits == [1.0, 1.0]

    def test_sockets_are_waited_for_in_slices_without_poll(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []

        def wait(*given: Any) -> tuple[Sequence[socket.socket], ...]:
            waits.append(given[3])
            return ([], given[1] if len(waits) == 3 else [], [])

        monkeypatch.delattr(select, "poll", raising=False)
        monkeypatch.setattr(select, "select", wait)
        with socket.socket() as one:
            assert readiness.wait_ready({one: readiness.WRITE}, 60.0) == {one: readiness.WRITE}
            assert waits == [0.1, 0.1, 0.1]
            waits += [0.0]
            assert readiness.wait_ready({one: readiness.READ}, 0.25) == {}
            assert sum(waits[4:]) == pytest.approx(0.25)


class FakeConsole:
    """The console of Windows: its mode, and whether it can be changed."""

    def __init__(self, mode: int | None, *, changes: bool = True) -> None:
        self.mode = mode
        self._changes = changes

    def get_osfhandle(self, number: int) -> int:
        return number

    def GetConsoleMode(self, _: int, mode: Any) -> int:  # noqa: N802  # its name in Windows
        if self.mode is None:
            return 0
        mode[0] = self.mode
        return 1

    def SetConsoleMode(self, _: int, mode: int) -> int:  # noqa: N802  # likewise
        if self._changes:
            self.mode = mode
        return int(self._changes)


class TestTerminals:
    @pytest.mark.parametrize(
        ("console", "obeys", "mode"),
        [
            (FakeConsole(3), True, 7),
            (FakeConsole(7, changes=False), True, 7),
            (FakeConsole(3, changes=False), False, 3),
            (FakeConsole(None), False, None),
        ],
    )
    def test_a_console_is_asked_to_obey_escape_sequences(
        self, console: FakeConsole, obeys: bool, mode: int | None
    ) -> None:
        stream: Any = SimpleNamespace(fileno=lambda: 1)
        assert _terminal._ask_console(stream, lambda: (console, console)) is obeys
        assert console.mode == mode

    def test_a_console_that_cannot_be_asked_gets_no_colours(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream: Any = SimpleNamespace(isatty=lambda: True, fileno=lambda: 1)
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(_terminal, "WINDOWS", False)
        assert _terminal.wants_colour(stream)
        monkeypatch.setattr(_terminal, "WINDOWS", True)
        monkeypatch.setitem(sys.modules, "msvcrt", None)
        assert not _terminal.wants_colour(stream)


class TestFiles:
    def test_without_user_ids_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "geteuid", raising=False)
        assert get_user_id() is None

    def test_the_room_of_a_volume_is_known_without_statvfs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=9, free=4))
        monkeypatch.delattr(os, "statvfs", raising=False)
        assert get_disk_space(str(tmp_path)) == (9, 4)

    @pytest.mark.parametrize("refuses", [False, True])
    def test_macos_writes_the_cache_of_the_drive_too(
        self, refuses: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[str] = []

        def control(_: int, command: int) -> int:
            assert command == 51
            if refuses:
                raise OSError("not supported by this file system")
            done.append("drive")
            return 0

        monkeypatch.setattr(_platform, "MACOS", True)
        module = SimpleNamespace(F_FULLFSYNC=51, fcntl=control)
        monkeypatch.setitem(sys.modules, "fcntl", module)
        monkeypatch.delattr(os, "fdatasync", raising=False)
        monkeypatch.setattr(os, "fsync", lambda _: done.append("file"))
        sync(1)
        assert done == (["file"] if refuses else ["drive"])

    @pytest.mark.skipif(_platform.WINDOWS, reason="where a directory cannot be opened")
    def test_the_names_in_a_directory_are_written_by_fsync(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[str] = []
        monkeypatch.setattr(log_files, "WINDOWS", False)
        monkeypatch.setattr(_platform, "MACOS", False)
        monkeypatch.setattr(os, "fsync", lambda _: done.append("fsync"))
        monkeypatch.setattr(os, "fdatasync", lambda _: done.append("fdatasync"), raising=False)
        log_files._sync_directory(str(tmp_path))
        assert done == ["fsync"]

    def test_a_file_that_another_process_has_open_is_left_empty_on_windows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_file, "WINDOWS", True)
        file = LogFile(str(tmp_path / "one.log"), 1, 0, 0)
        assert file.create()
        (descriptor, *_) = file.descriptors
        closed: list[int] = []

        def refuse(_: object) -> None:
            with pytest.raises(OSError, match="descriptor"):
                os.fstat(descriptor)  # it is closed before
            closed.append(descriptor)
            raise PermissionError(13, "used by another process")

        monkeypatch.setattr(os, "unlink", refuse)
        file.delete()
        assert closed
        assert (tmp_path / "one.log").read_bytes() == b""

    def test_no_directory_is_opened_on_windows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_files, "WINDOWS", True)
        monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
        log_files._sync_directory(str(tmp_path))

    def test_a_journal_is_replaced_while_it_is_closed_on_windows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "WINDOWS", True)
        path = tmp_path / "journal"
        one = Journal(path)
        one.begin("epoch", list)
        before = one._file
        one._rewrite()
        assert path.read_bytes() == one._head()
        with pytest.raises(JournalError, match="another whisperr dev"):
            Journal(path)
        assert os.path.samestat(os.fstat(one._file), path.stat())
        one.close()
        assert before >= 0
        assert [*tmp_path.iterdir()] == [path]


class TestPaths:
    @pytest.mark.parametrize(
        ("url", "end"),
        [
            ("sqlite:///C:/data/events.db", "C:/data/events.db"),
            ("sqlite:///C:\\data\\events.db", "C:\\data\\events.db"),
            ("sqlite:///C:/my%20data/events.db?lease=60", "C:/my data/events.db"),
        ],
    )
    def test_a_drive_follows_three_slashes(self, url: str, end: str) -> None:
        buffer = parse_buffer_url(url)
        assert isinstance(buffer, SQLiteBuffer)
        assert buffer.path.endswith(end)  # absolute by itself on Windows only


class FakeChild:
    """A command, as `whisperr dev` has it: it counts what is done to it."""

    def __init__(self, timeouts: int) -> None:
        self.calls: Counter[str] = Counter()
        self.waits: list[float] = []
        self._timeouts = timeouts

    def wait(self, timeout: float) -> int:
        self.waits.append(timeout)
        if len(self.waits) > self._timeouts:
            return 0
        raise subprocess.TimeoutExpired("command", timeout)

    def terminate(self) -> None:
        self.calls["terminate"] += 1

    def kill(self) -> None:
        self.calls["kill"] += 1

    def send_signal(self, number: int) -> None:
        self.calls[f"signal {number}"] += 1


class TestCommands:
    def test_waits_are_so_short_that_a_second_signal_is_noticed(self) -> None:
        child: Any = FakeChild(timeouts=45)
        assert dev_terminal._wait(child, [signal.SIGINT]) == 0
        assert max(child.waits) <= 0.5
        assert child.calls == {"terminate": 1, "kill": 1}

    def test_without_a_signal_a_command_may_take_as_long_as_it_does(self) -> None:
        child: Any = FakeChild(timeouts=200)
        assert dev_terminal._wait(child, []) == 0
        assert not child.calls

    def test_windows_sends_no_signal_to_a_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        child: Any = FakeChild(timeouts=0)
        monkeypatch.setattr(dev_terminal, "WINDOWS", False)
        dev_terminal._send(child, signal.SIGINT)
        monkeypatch.setattr(dev_terminal, "WINDOWS", True)
        dev_terminal._send(child, signal.SIGINT)
        assert child.calls == {f"signal {signal.SIGINT:d}": 1, "terminate": 1}

    def test_the_signals_that_end_a_program_exist_here(self) -> None:
        assert {signal.SIGINT, signal.SIGTERM} <= {*ENDING}


@pytest.mark.parametrize(
    ("windows", "error", "expected"),
    [
        (False, BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        (False, OSError(errno.EINVAL, "Invalid argument"), False),
        (True, BrokenPipeError(errno.EPIPE, "Broken pipe"), True),
        (True, OSError(errno.EINVAL, "Invalid argument"), True),
        (True, OSError(errno.EINVAL, "Invalid argument", "a?.jsonl"), False),
        (True, OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_windows_has_another_error_for_a_pipe_that_nobody_reads(
    windows: bool, error: OSError, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_platform, "WINDOWS", windows)
    assert is_closed_pipe(error) is expected


def test_a_failed_connection_has_a_text_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connector._get_text(2) == os.strerror(2)
    monkeypatch.setattr(socket, "errorTab", {10061: "Connection refused."}, raising=False)
    assert connector._get_text(10061) == "Connection refused"
