"""Which files the SQLite store uses: only its own, and only if no other user can access them."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.facilities import needs_links
from tests.queue.processes import SQLiteProcesses
from tests.queue.queues import get_accounting, get_stored
from tests.queue.store_contract import put, to_numbers
from whisperr import Whisperr

if TYPE_CHECKING:
    from collections.abc import Iterator

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes and owners: POSIX only")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change owners"
)
NO_USER = 65_534


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[SQLiteProcesses]:
    made = SQLiteProcesses(tmp_path / "events.db")
    yield made
    made.close_all()


def get_problem(processes: SQLiteProcesses) -> str:
    """Use the file, as far as that is possible, and return the problem."""
    queue = processes.start()
    queue.put(event(1))
    queue.poll()
    problem = get_accounting(queue).problem or ""
    assert list(queue.drain()) == ([event(1)] if problem else [])
    return problem


def get_contents(directory: Path) -> dict[str, bytes | str]:
    """Return the contents of a directory, for comparison."""
    return {
        path.name: path.read_bytes() if path.is_file() else str(path.lstat().st_mode)
        for path in directory.iterdir()
    }


def make_foreign_database(path: Path, application_id: int = 0) -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA application_id = {application_id}")
    db.execute("CREATE TABLE users (id)")
    db.commit()
    db.close()


class TestForeignFiles:
    @pytest.mark.parametrize(
        "content",
        [b'{"debug": true}', b"x", b"SQLite format 3", b"\xff" * 5_000, b"SQLite format 3\0" * 2],
        ids=["json", "a byte", "a beginning", "binary", "short"],
    )
    def test_a_file_that_is_no_database_is_left_alone(
        self, processes: SQLiteProcesses, content: bytes
    ) -> None:
        processes.path.write_bytes(content)
        before = get_contents(processes.path.parent)
        assert "not a SQLite database" in get_problem(processes)
        assert get_contents(processes.path.parent) == before

    @pytest.mark.parametrize("application_id", [0, 1, 0x0F055112])
    def test_a_database_of_another_program_is_left_alone(
        self, processes: SQLiteProcesses, application_id: int
    ) -> None:
        make_foreign_database(processes.path, application_id)
        before = get_contents(processes.path.parent)
        assert "a SQLite database of another program" in get_problem(processes)
        assert get_contents(processes.path.parent) == before

    def test_a_database_that_another_program_has_open_is_left_alone(
        self, processes: SQLiteProcesses
    ) -> None:
        db = sqlite3.connect(processes.path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE users (id)")
        before = processes.path.read_bytes()
        assert "a SQLite database of another program" in get_problem(processes)
        db.execute("INSERT INTO users VALUES (1)")
        assert processes.path.read_bytes() == before
        db.close()

    @needs_links
    def test_a_link_to_a_foreign_file_is_left_alone(
        self, processes: SQLiteProcesses, tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_bytes(b"{}" * 100)
        processes.path.symlink_to(tmp_path / "config.json")
        before = get_contents(tmp_path)
        assert "not a SQLite database" in get_problem(processes)
        assert get_contents(tmp_path) == before

    def test_a_directory_is_refused(self, processes: SQLiteProcesses) -> None:
        processes.path.mkdir()
        assert "not a file" in get_problem(processes)

    @posix
    def test_a_device_is_refused(self) -> None:
        assert "not a file" in get_problem(SQLiteProcesses(Path(os.devnull)))

    @posix
    def test_a_pipe_or_a_socket_is_refused_without_waiting(
        self, processes: SQLiteProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.mkfifo(processes.path)
        assert "not a file" in get_problem(processes)
        with socket.socket(socket.AF_UNIX) as opened:
            monkeypatch.chdir(tmp_path)
            opened.bind("socket")  # the whole path is too long for an address on macOS
            assert "not a file" in get_problem(SQLiteProcesses(tmp_path / "socket"))

    def test_a_file_with_a_damaged_header_is_refused(self, processes: SQLiteProcesses) -> None:
        put(processes.start(), 1)
        processes.close_all()
        with processes.path.open("r+b") as file:
            file.write(b"\0" * 100)
        before = processes.path.read_bytes()
        assert "move this one away if it is damaged" in get_problem(processes)
        assert processes.path.read_bytes() == before


class TestOwnFiles:
    def test_an_empty_file_of_the_owner_is_used(self, processes: SQLiteProcesses) -> None:
        processes.path.touch(mode=0o600)
        assert get_problem(processes) == ""

    @needs_links
    def test_a_link_to_ones_own_file_is_followed(
        self, processes: SQLiteProcesses, tmp_path: Path
    ) -> None:
        (tmp_path / "link.db").symlink_to(processes.path)
        linked = SQLiteProcesses(tmp_path / "link.db")
        put(linked.start(), 1)
        put(processes.start(), 2)
        assert to_numbers(get_stored(processes.made[0])) == [1, 2]
        linked.close_all()

    def test_one_that_a_killed_process_left_is_used(self, processes: SQLiteProcesses) -> None:
        program = """
import os, sys
from tests.delivery.rig import event
from tests.queue.queues import RecordingAccounting
from whisperr.buffers import SQLiteBuffer
queue = SQLiteBuffer(sys.argv[1]).open(10, 100_000, RecordingAccounting())
queue.put(event(1))
queue.poll()  # moves it from the log into the file
os._exit(0)
"""
        subprocess.run([sys.executable, "-c", program, str(processes.path)], check=True, timeout=60)
        assert processes.path.read_bytes()[68:72] == b"whsp"
        assert to_numbers(processes.start().claim(10)) == [1]

    def test_one_whose_id_is_in_the_log_of_sqlite_only_is_used(
        self, processes: SQLiteProcesses
    ) -> None:
        queue = processes.start()
        put(queue, 1)
        header = bytearray(processes.path.read_bytes())  # as a former version left it, if killed
        queue._store.close()
        copy = SQLiteProcesses(processes.path.with_name("copy.db"))
        db = sqlite3.connect(copy.path, isolation_level=None)
        copy.path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA application_id = 0x77687370")
        other = copy.path.with_name("killed.db")
        for end in ("", "-wal"):
            Path(f"{other}{end}").write_bytes(Path(f"{copy.path}{end}").read_bytes())
            Path(f"{other}{end}").chmod(0o600)
        db.close()
        assert header[68:72] == b"whsp"
        assert other.read_bytes()[68:72] == b"\0" * 4
        assert get_problem(SQLiteProcesses(other)) == ""

    def test_two_threads_open_the_same_file_at_the_same_time(
        self, processes: SQLiteProcesses
    ) -> None:
        queues = [processes.start() for _ in range(4)]
        threads = [threading.Thread(target=put, args=(queue, 1)) for queue in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [get_accounting(queue).problem for queue in queues] == [None] * 4
        assert len(get_stored(queues[0])) == 4


@posix
class TestOwners:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o644])
    @pytest.mark.parametrize("end", ["", "-wal", "-shm"])
    def test_a_file_that_others_can_use_is_refused(
        self, processes: SQLiteProcesses, mode: int, end: str
    ) -> None:
        put(processes.start(), 1)  # stays open, so that all three are there
        Path(f"{processes.path}{end}").chmod(mode)
        problem = f"users other than its owner can access it (mode {mode:04o}); run chmod 600"
        assert f"events.db{end}: {problem}" in get_problem(processes)
        Path(f"{processes.path}{end}").chmod(0o600)
        assert get_problem(processes) == ""

    @root
    def test_a_file_of_another_user_is_refused(self, processes: SQLiteProcesses) -> None:
        put(processes.start(), 1)
        processes.close_all()
        os.chown(processes.path, NO_USER, -1)
        problem = get_problem(processes)
        assert f"it belongs to the user with id {NO_USER}, and this process runs as 0" in problem
        assert "chown 0" in problem

    @root
    def test_a_process_that_gave_up_root_says_at_once_whose_file_it_is(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents[:3]:
            parent.chmod(0o755)
        path = tmp_path / "events.db"
        with Whisperr("wrk_test", base_url="http://127.0.0.1:9", buffer=f"sqlite:///{path}"):
            pass
        os.seteuid(NO_USER)
        try:
            client = Whisperr("wrk_test", base_url="http://127.0.0.1:9", buffer=f"sqlite:///{path}")
            assert client.shutdown(5)
        finally:
            os.seteuid(0)
        (record,) = caplog.messages
        assert f"belongs to the user with id 0, and this process runs as {NO_USER}" in record
