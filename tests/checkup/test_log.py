"""Logs are counted without a trace, and what is wrong with their directory is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.checkup.conftest import by_name, make_config
from tests.checkup.test_sqlite import LIMIT, NOBODY, as_root, get_state
from tests.facilities import needs_links, needs_modes, needs_real_locks, needs_signals
from whisperr._checkup.backlog import NOTHING, Backlog, LogContent, add_logs
from whisperr._checkup.buffer import inspect_buffer
from whisperr._checkup.hints import HINTS
from whisperr._checkup.log import inspect_log
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._queue.log import file as log_file
from whisperr._queue.log.file import HEADER_BYTES, check_directory
from whisperr._queue.log.left import LeftLogs
from whisperr._queue.log.log import Log
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from whisperr._checkup.findings import Finding

OWNER = "events"
ROOM = 1 << 26


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "events.db-log"


@pytest.fixture
def log(folder: Path) -> Iterator[Log]:
    """A log that this process holds, as a running application does."""
    log = make_log(folder)
    yield log
    log.close()


def make_log(folder: Path, owner: str = OWNER) -> Log:
    return Log(str(folder), owner, 10_000, ROOM, fsync=False)


def make_events(count: int, age: float = 1.0) -> list[bytes]:
    at = datetime.now(timezone.utc) - timedelta(seconds=age)
    encoder = EventEncoder("1.0.0")
    return [encoder.encode("ada", "payment_failed", occurred_at=at)[1] for _ in range(count)]


def leave(folder: Path, events: Sequence[bytes], owner: str = OWNER) -> Path:
    """Leave events as a process that has ended does; return the file."""
    before = set(folder.glob("*")) if folder.exists() else set()
    log = make_log(folder, owner)
    for one in events:
        log.write(one)
    log.close()
    (file,) = set(folder.glob("*")) - before
    return file


def inspect(folder: Path, room: int = 1) -> tuple[Finding, Sequence[LogContent]]:
    """Return what `inspect_log` finds; nothing may be changed by looking."""
    before = get_state(folder.parent)
    finding, logs = inspect_log(str(folder), OWNER, room)
    assert get_state(folder.parent) == before
    return finding, logs


def get_counts(folder: Path) -> list[tuple[bool, int]]:
    return [(one.is_running, len(one.sizes)) for one in inspect(folder)[1]]


def assert_found(finding: Finding, code: str, **gaps: object) -> str:
    """Assert that this is the finding of a trouble; return its text."""
    assert (finding.name, finding.hint) == ("log", HINTS[code].fix.format(**gaps))
    assert finding.state == HINTS[code].state
    return finding.text


def describe_backlog(tmp_path: Path) -> str:
    config = make_config(buffer=f"sqlite:///{tmp_path / 'events.db'}")
    return by_name(inspect_buffer(config))["backlog"].text


class TestContent:
    def test_events_of_running_and_ended_processes_are_told_apart(
        self, folder: Path, log: Log
    ) -> None:
        leave(folder, make_events(2))
        for one in make_events(3):
            log.write(one)
        assert sorted(get_counts(folder)) == [(False, 2), (True, 3)]

    def test_what_has_left_a_log_is_not_counted(self, folder: Path, log: Log) -> None:
        for one in make_events(3):
            log.write(one)
        log.claim(2)
        assert get_counts(folder) == [(True, 3)]
        log.ack(2)
        assert get_counts(folder) == [(True, 1)]
        log.claim(1)
        log.ack(1)
        assert get_counts(folder) == [(True, 0)]

    def test_a_running_process_writes_and_ends_as_if_nobody_looked(
        self, folder: Path, log: Log
    ) -> None:
        events = make_events(50)
        for number, one in enumerate(events, 1):
            log.write(one)
            assert get_counts(folder) == [(True, number)]
        assert LeftLogs(str(folder), OWNER).adopt() is None, "its process still holds it"
        assert log.claim(100)[1] == events

    def test_a_log_that_was_looked_at_is_adopted_afterwards(self, folder: Path) -> None:
        events = make_events(3)
        leave(folder, events)
        assert get_counts(folder) == [(False, 3)]
        left = LeftLogs(str(folder), OWNER).adopt()
        assert left is not None
        assert left.claim(10)[1] == events
        left.close()

    def test_the_log_of_another_store_and_other_files_are_left_out(self, folder: Path) -> None:
        leave(folder, make_events(2), owner="other")
        (folder / "notes.txt").write_text("dear diary")
        finding, logs = inspect(folder)
        assert (finding.state, logs) == ("ok", [])

    @pytest.mark.parametrize("size", [0, 8, HEADER_BYTES])
    def test_a_file_that_is_just_being_made_has_nothing(self, folder: Path, size: int) -> None:
        file = leave(folder, make_events(1))
        os.truncate(file, size)
        finding, logs = inspect(folder)
        assert finding.state == "ok"
        assert sum(len(one.sizes) for one in logs) == 0

    def test_a_line_that_was_being_written_is_no_event(self, folder: Path) -> None:
        file = leave(folder, make_events(2))
        os.truncate(file, file.stat().st_size - 5)
        finding, _ = inspect(folder)
        assert finding.state == "ok"
        assert get_counts(folder) == [(False, 1)]

    def test_lines_that_are_no_events_are_reported(self, folder: Path) -> None:
        file = leave(folder, make_events(2))
        with file.open("ab") as opened:
            opened.write(b"dear diary\n\xff\n")
        finding, (content,) = inspect(folder)
        text = assert_found(finding, "log_damaged", file=file)
        assert text == f"2 lines of {file} are not events"
        assert len(content.sizes) == 2

    def test_a_damaged_header_counts_from_the_first_line_on(self, folder: Path) -> None:
        file = leave(folder, make_events(2))
        data = bytearray(file.read_bytes())
        data[20] ^= 1
        file.write_bytes(data)
        assert get_counts(folder) == [(False, 2)]

    def test_the_oldest_that_says_its_time_gives_the_age(self, folder: Path) -> None:
        identify = encode_identify("ada", email="ada@example.com")
        leave(folder, [identify, *make_events(1, age=500.0), *make_events(1)])
        (content,) = inspect(folder)[1]
        assert content.age is not None
        assert 499 <= content.age < 560


HOLDER = """
import sys
from whisperr._queue.log.log import Log
log = Log(sys.argv[1], "events", 1_000, 1 << 20, fsync=False)
for _ in range(3):
    log.write(sys.argv[2].encode())
print("written", flush=True)
sys.stdin.read()
"""


@needs_signals
@needs_real_locks
def test_the_log_of_a_process_that_is_killed_is_one_that_has_ended(folder: Path) -> None:
    (event,) = make_events(1)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), event.decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"written"]
        assert get_counts(folder) == [(True, 3)]
    finally:
        process.kill()
        process.communicate(timeout=LIMIT)
    assert get_counts(folder) == [(False, 3)]


class TestBacklog:
    def test_the_file_and_the_logs_are_counted_together(
        self, tmp_path: Path, folder: Path, log: Log
    ) -> None:
        store = SQLiteStore(str(tmp_path / "events.db"), "NORMAL", 15.0, 10_000, ROOM)
        with closing(store):
            store.append(make_events(1), 0)
        leave(folder, make_events(2, age=1_000.0))
        log.write(*make_events(1))
        text = describe_backlog(tmp_path)
        assert text.startswith("4 events, ")
        assert (
            ": 1 in the file, 1 in the log of a running process, "
            "2 in the log of a process that has ended; the oldest happened 1"
        ) in text
        assert " min ago" in text

    def test_events_on_their_way_into_the_file_are_counted_once(
        self, tmp_path: Path, folder: Path
    ) -> None:
        log = make_log(folder)
        for one in make_events(3):
            log.write(one)
        number, events = log.claim(2)
        store = SQLiteStore(
            str(tmp_path / "events.db"), "NORMAL", 15.0, 10_000, ROOM, source=log.source
        )
        with closing(store):
            store.append(events, number)
            before = get_state(tmp_path)
            assert describe_backlog(tmp_path).startswith("3 events, ")
            assert get_state(tmp_path) == before, "of a file and a log that are in use"
        log.close()  # killed before it could note that
        text = describe_backlog(tmp_path)
        assert ": 2 in the file, 1 in the log of a process that has ended; " in text

    def test_a_log_without_a_file_waits_too(self, tmp_path: Path, folder: Path) -> None:
        leave(folder, make_events(2))
        text = describe_backlog(tmp_path)
        assert text.startswith("2 events, ")
        assert ": 2 in the log of a process that has ended; " in text
        assert not (tmp_path / "events.db").exists()

    @pytest.mark.parametrize(
        ("given", "places"),
        [
            ([(1, True, 1), (1, True, 2)], "3 in the log of a running process"),
            ([(1, True, 1), (2, True, 2)], "3 in the logs of 2 running processes"),
            ([(1, False, 1), (2, False, 2)], "3 in the logs of 2 processes that have ended"),
            ([(1, True, 0), (2, False, 2)], "2 in the log of a process that has ended"),
            ([(1, True, 0)], ""),
        ],
    )
    def test_processes_are_counted_and_not_their_files(
        self, given: Sequence[tuple[int, bool, int]], places: str
    ) -> None:
        logs = [LogContent(log, running, log, 0, [100] * n, None) for log, running, n in given]
        backlog = add_logs(NOTHING, "the file", logs)
        assert backlog.places == places
        assert backlog.events == sum(n for _, _, n in given)
        assert (backlog.size or 0) == 100 * backlog.events

    @pytest.mark.parametrize(
        ("stored", "logged", "age", "since"),
        [
            (900.0, 300.0, 900.0, "was added"),
            (300.0, 900.0, 900.0, "happened"),
            (None, 900.0, 900.0, "happened"),
            (300.0, None, 300.0, "was added"),
        ],
    )
    def test_the_oldest_of_all_places_gives_the_age(
        self, stored: float | None, logged: float | None, age: float, since: str
    ) -> None:
        in_store = Backlog(1, 100, stored, "was added", is_claimed=False)
        backlog = add_logs(in_store, "Redis", [LogContent(1, True, 1, 0, [100], logged)])
        assert (backlog.age, backlog.since) == (age, since)


class TestDirectory:
    def test_one_that_is_missing_is_made_by_the_first_event(self, folder: Path) -> None:
        finding, logs = inspect(folder)
        assert (finding.state, list(logs)) == ("ok", [])
        assert finding.text.endswith("does not exist yet; the first event creates it")

    def test_only_the_last_part_of_a_path_is_made(self, folder: Path) -> None:
        finding, _ = inspect_log(str(folder / "more"), OWNER, 1)
        assert_found(finding, "log_no_parent", folder=folder)

    @needs_modes
    def test_one_that_cannot_be_made(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: path != folder.parent and access(path, mode)
        )  # root may write anywhere
        finding, _ = inspect(folder)
        assert_found(finding, "log_closed", folder=folder.parent, user=os.geteuid())

    @needs_modes
    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
    def test_one_that_others_may_write_is_refused_and_still_counted(
        self, folder: Path, mode: int
    ) -> None:
        leave(folder, make_events(2))
        folder.chmod(mode)
        finding, logs = inspect(folder)
        text = assert_found(finding, "log_mode", folder=folder)
        assert text == f"{folder}: other users can write to it (mode {mode:04o})"
        assert [len(one.sizes) for one in logs] == [2]

    @needs_modes
    def test_one_that_its_owner_may_not_use(self, folder: Path) -> None:
        folder.mkdir(0o500)
        finding, _ = inspect(folder)
        assert_found(finding, "log_mode", folder=folder)

    @needs_modes
    def test_a_link_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        leave(target, make_events(1))
        folder.symlink_to(target)
        finding, logs = inspect(folder)
        assert assert_found(finding, "log_foreign") == f"{folder}: a link"
        assert not logs

    def test_a_file_in_its_place(self, folder: Path) -> None:
        folder.touch()
        finding, _ = inspect(folder)
        assert assert_found(finding, "log_foreign") == f"{folder}: not a directory"

    @as_root
    def test_root_sees_the_log_of_the_application_and_is_told_so(self, folder: Path) -> None:
        file = leave(folder, make_events(2))
        for one in (folder, file):
            os.chown(one, NOBODY, NOBODY)
        finding, logs = inspect(folder)
        assert_found(finding, "log_of_root", owner=NOBODY)
        assert [len(one.sizes) for one in logs] == [2]

    @as_root
    def test_the_log_of_another_user(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        leave(folder, make_events(2))
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
        finding, _ = inspect(folder)
        text = assert_found(finding, "log_of_others", folder=folder, user=NOBODY)
        assert text == f"{folder} belongs to the user with id 0; this is {NOBODY}"

    def test_a_volume_with_less_room_than_a_log_may_take(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
        finding, _ = inspect(folder, 5 << 20)
        assert finding.state == "ok"
        finding, _ = inspect(folder, 6 << 20)
        text = assert_found(finding, "log_no_room", folder=folder.parent)
        assert text == f"5.0 MB free for {folder}; a log may use 6.0 MB"

    @needs_modes
    @pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o720, 0o702, 0o777])
    def test_the_verdict_is_that_of_the_application(self, folder: Path, mode: int) -> None:
        folder.mkdir()
        folder.chmod(mode)
        try:
            check_directory(str(folder))
        except StoreError:
            refused = True
        else:
            refused = False
        assert (inspect(folder)[0].state == "wrong") is refused


class TestFiles:
    @pytest.mark.parametrize("kind", ["text", pytest.param("link", marks=needs_links), "directory"])
    def test_what_has_the_name_of_a_log_and_is_none_is_left_alone(
        self, folder: Path, kind: str
    ) -> None:
        file = leave(folder, make_events(1))
        other = folder / str(log_file.Name(OWNER, 1, 1))
        if kind == "text":
            other.write_text("dear diary, " * 100)
        elif kind == "link":
            other.symlink_to(file)
        else:
            other.mkdir()
        finding, logs = inspect(folder)
        assert_found(finding, "log_file_foreign", file=other)
        assert [len(one.sizes) for one in logs] == [1], "the others are counted"

    @needs_modes
    def test_a_pipe_is_not_waited_for(self, folder: Path) -> None:
        folder.mkdir(0o700)
        other = folder / str(log_file.Name(OWNER, 1, 1))
        os.mkfifo(other)
        finding, _ = inspect_log(str(folder), OWNER, 1)
        assert_found(finding, "log_file_foreign", file=other)

    @as_root
    def test_a_file_of_another_user_is_wrong(self, folder: Path) -> None:
        file = leave(folder, make_events(1))
        (folder / str(log_file.Name(OWNER, 1, 1))).write_text("dear diary, " * 100)
        os.chown(file, NOBODY, NOBODY)
        finding, logs = inspect(folder)
        assert_found(finding, "log_file_closed", file=file, user=os.geteuid())
        assert list(logs) == []

    @needs_modes
    def test_a_file_that_may_not_be_written_is_wrong(self, folder: Path) -> None:
        file = leave(folder, make_events(1))
        file.chmod(0o400)
        finding, _ = inspect(folder)
        text = assert_found(finding, "log_file_closed", file=file, user=os.geteuid())
        assert text.endswith("its owner cannot read and write it (mode 0400)")
