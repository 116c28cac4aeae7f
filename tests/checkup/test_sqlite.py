"""The file of a buffer is checked without a trace, also while an application uses it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkup.conftest import make_config
from tests.facilities import needs_modes, needs_signals
from tests.http.raw_server import RawServer, answer
from whisperr import Whisperr
from whisperr._checkup import sqlite
from whisperr._checkup.backlog import Backlog, inspect_backlog
from whisperr._checkup.buffer import OutboxElsewhere, inspect_buffer
from whisperr._checkup.hints import HINTS
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._queue.sqlite import file as sqlite_file
from whisperr._queue.sqlite.dead_letters import SQLiteDeadLetters
from whisperr._queue.sqlite.file import write
from whisperr._queue.sqlite.rows import reject
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.dev import LocalServer
from whisperr.errors import Loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.http.raw_server import Connection
    from whisperr._checkup.findings import Finding

NOBODY = 65534
LIMIT = 60.0

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
TRACK = """
import sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url="http://127.0.0.1:1", buffer=sys.argv[1], flush_at=1000,
                  flush_interval=3600)
client.track("ada", "payment_failed")
client.flush(0.2)  # without success; the file is open from now on
for _ in range(2):
    client.track("ada", "payment_failed")
print("tracked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def make_client(file: Path, **options: Any) -> Whisperr:
    options = {"base_url": "http://127.0.0.1:1", "flush_interval": 3600.0, **options}
    return Whisperr("wrk_test", buffer=f"sqlite:///{file}", flush_at=1_000, **options)


def leave(file: Path, *ages: float, others: Sequence[bytes] = ()) -> None:
    """Leave events in the file that happened so many seconds ago. Nothing has it open then."""
    encoder, now = EventEncoder("1.0.0"), datetime.now(timezone.utc)
    times = [now - timedelta(seconds=age) for age in ages]
    events = [encoder.encode("ada", "payment_failed", occurred_at=at)[1] for at in times]
    with closing(SQLiteStore(str(file), "NORMAL", 15.0, 10_000, 1 << 26)) as store:
        store.append([*others, *events], 0)


def get_state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a look from outside could change; SQLite marks readers in -shm."""
    found: dict[str, tuple[object, ...]] = {}
    for one in folder.rglob("*"):
        status = one.stat()
        content = b"" if one.is_dir() or one.name.endswith("-shm") else one.read_bytes()
        found[one.name] = (status.st_mode, status.st_uid, content)
    return found


def inspect(file: Path | str, **options: Any) -> list[Finding]:
    return list(inspect_buffer(make_config(buffer=f"sqlite:///{file}", **options)))


def inspect_quietly(file: Path, **options: Any) -> dict[str, Finding]:
    """Return the findings by their names; nothing may be changed by looking."""
    before = get_state(file.parent)
    found = inspect(file, **options)
    assert get_state(file.parent) == before
    return {one.name: one for one in found}


def assert_wrong(found: dict[str, Finding], code: str, **gaps: object) -> str:
    """Assert that the only finding is this trouble; return its text."""
    (finding,) = found.values()
    assert (finding.state, finding.hint) == ("wrong", HINTS[code].fix.format(**gaps))
    return finding.text


class TestPlace:
    def test_a_file_that_is_not_there_yet_is_no_fault_and_is_not_made(self, file: Path) -> None:
        found = inspect_quietly(file)
        assert found["buffer"].state == found["space"].state == "ok"
        assert found["buffer"].text.endswith("does not exist yet; the first event creates it")
        assert not file.exists()

    def test_an_empty_file_is_no_fault(self, file: Path) -> None:
        file.touch(0o600)
        found = inspect_quietly(file)
        assert found["buffer"].state == "ok"
        assert found["backlog"].text == "nothing waits"

    def test_a_directory_that_is_missing(self, file: Path) -> None:
        folder = file.parent / "no"
        assert_wrong(
            {one.name: one for one in inspect(folder / "events.db")},
            "folder_missing",
            folder=folder,
        )

    @needs_modes
    def test_a_directory_that_may_not_be_written_to(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: path != file.parent and access(path, mode)
        )  # root may write anywhere
        gaps = {"user": os.geteuid(), "folder": file.parent}
        assert_wrong(inspect_quietly(file), "folder_closed", **gaps)

    @as_root
    def test_a_directory_that_may_not_be_entered(self, file: Path) -> None:
        closed = file.parent / "closed"
        closed.mkdir(0o700)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.setuid(NOBODY)
                found = inspect(closed / "more" / "events.db")
                code = 0 if [one.state for one in found] == ["wrong"] else 2
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0

    def test_a_directory_in_place_of_the_file(self, file: Path) -> None:
        file.mkdir()
        assert_wrong(inspect_quietly(file), "file_foreign")

    def test_whose_file_it_is_is_known_while_an_application_is_writing_it(self, file: Path) -> None:
        leave(file, 1)
        file.write_bytes(file.read_bytes()[:5_000])  # the rest is on its way into it
        assert sqlite._identify(str(file), file) is None

    @needs_modes
    @pytest.mark.parametrize("end", ["", "-wal"])
    def test_a_file_that_others_may_use(self, file: Path, end: str) -> None:
        leave(file, 1)
        opened = file.parent / f"{file.name}{end}"
        opened.touch()
        opened.chmod(0o640)
        text = assert_wrong(inspect_quietly(file), "file_mode", file=opened)
        assert text.endswith("other users can access it (mode 0640)")

    @as_root
    def test_root_reads_the_file_of_the_application_and_is_told_so(self, file: Path) -> None:
        leave(file, 1)
        os.chown(file, NOBODY, NOBODY)
        found = inspect_quietly(file)
        assert found["buffer"].state == "doubtful"
        assert found["buffer"].hint == HINTS["file_of_root"].fix.format(owner=NOBODY)
        assert found["backlog"].text.startswith("1 event")

    @as_root
    def test_a_file_of_another_user_is_wrong(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leave(file, 1)
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
        text = assert_wrong(inspect_quietly(file), "file_of_others", user=NOBODY, file=file)
        assert "belongs to the user with id 0" in text

    def test_a_text_is_left_as_it_is(self, file: Path) -> None:
        file.write_text("dear diary, " * 100)
        file.chmod(0o600)
        assert_wrong(inspect_quietly(file), "file_foreign")

    @pytest.mark.parametrize("mode", ["DELETE", "WAL"])
    def test_a_database_of_something_else_is_left_as_it_is(self, file: Path, mode: str) -> None:
        db = sqlite3.connect(file)
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("CREATE TABLE diary (entry TEXT)")
        db.commit()
        file.chmod(0o600)
        found = inspect_quietly(file) if mode == "DELETE" else None
        db.close()
        text = assert_wrong(found or inspect_quietly(file), "file_foreign")
        assert text.endswith("is the database of another program")

    def test_a_file_of_a_newer_version(self, file: Path) -> None:
        leave(file, 1)
        db = sqlite3.connect(file)
        db.execute(f"PRAGMA user_version = {sqlite_file.SCHEMA_VERSION + 1}")
        db.close()
        assert "written by a newer whisperr" in assert_wrong(inspect_quietly(file), "file_newer")

    @needs_modes
    def test_a_volume_without_room(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        leave(file, 1)
        left = (5 << 20) // 4096
        space = SimpleNamespace(f_blocks=1 << 20, f_frsize=4096, f_bavail=left, f_bfree=left)
        monkeypatch.setattr(os, "statvfs", lambda _: space)
        found = inspect_quietly(file)
        assert found["space"].state == "wrong"
        assert found["space"].text.startswith("5.0 MB free on the volume of ")
        assert found["backlog"].state == "ok"


class TestContent:
    def test_what_waits_is_counted(self, file: Path) -> None:
        leave(file, 30, 20)
        found = inspect_quietly(file)
        assert found["backlog"].state == "ok"
        text = found["backlog"].text
        assert text.startswith("2 events, ")
        assert "; the oldest happened 3" in text
        assert text.endswith("no process delivers at this moment")
        assert found["set aside"] == ("set aside", "ok", "nothing", "")

    def test_an_identify_has_no_time(self, file: Path) -> None:
        identify = encode_identify("ada", email="ada@example.com")
        leave(file, others=[identify])
        assert "oldest" not in inspect_quietly(file)["backlog"].text
        leave(file, 60)
        assert "; the oldest happened 6" in inspect_quietly(file)["backlog"].text

    @pytest.mark.parametrize("times", [1, 20])
    def test_an_application_that_uses_the_file_is_not_disturbed(
        self, file: Path, times: int
    ) -> None:
        errors: list[object] = []
        with LocalServer() as server:
            client = make_client(file, base_url=server.url, on_error=errors.append)
            for count in range(times):
                client.track("ada", "payment_failed")
                # At any moment the delivery thread may move events from the log into the file.
                found = {one.name: one for one in inspect(file)}
                assert found["buffer"].state == found["log"].state == "ok"
                assert found["backlog"].text.startswith(f"{count + 1} event")
            assert client.flush(LIMIT)
            found = {one.name: one for one in inspect(file)}
            assert found["backlog"].text == "nothing waits"
            assert client.shutdown(LIMIT)
            assert len(server.arrivals()) == times
        assert errors == []

    def test_a_process_that_delivers_is_seen_by_its_lease(self, file: Path) -> None:
        asked, looked = threading.Event(), threading.Event()

        def wait(connection: Connection) -> None:
            connection.read_request()
            asked.set()
            assert looked.wait(LIMIT)
            connection.send(answer("202 Accepted", b'{"accepted":1,"rejected":0}'))
            connection.await_close()

        with RawServer(wait) as server:
            client = make_client(file, base_url=server.url, request_timeout=LIMIT)
            client.track("ada", "payment_failed")
            flushing = threading.Thread(target=client.flush, args=(LIMIT,))
            flushing.start()
            try:
                assert asked.wait(LIMIT)
                (text,) = [one.text for one in inspect(file) if one.name == "backlog"]
            finally:
                looked.set()
                flushing.join(LIMIT)
            assert client.shutdown(LIMIT)
        assert text.startswith("1 event, ")
        assert text.endswith("; a process delivers now")

    @needs_signals
    def test_what_a_killed_process_left_is_found_and_left_as_it_is(self, file: Path) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", TRACK, f"sqlite:///{file}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"tracked"]
        (text,) = [one.text for one in inspect(file) if one.name == "backlog"]
        assert text.startswith("3 events, ")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT)
        assert inspect_quietly(file)["backlog"].text.startswith("3 events, ")

    def test_rows_that_are_no_events_are_reported(self, file: Path) -> None:
        leave(file, 1, 1)
        db = sqlite3.connect(file, isolation_level=None)
        write(db, lambda db: reject(db, [1], 0.0))
        db.close()
        found = inspect_quietly(file)
        assert found["set aside"].state == "doubtful"
        assert found["set aside"].text == "1 row in the table rejected"

    def test_dead_letters_are_reported_where_they_are_kept(self, file: Path) -> None:
        leave(file, 1)
        assert "dead letters" not in inspect_quietly(file)
        store = SQLiteStore(str(file), "NORMAL", 15.0, 10_000, 1 << 26, dead_letters=True)
        with closing(store):
            store.claim(1)
            store.ack(1, Loss(1, "rejected", "why", 400))
        finding = inspect_quietly(file)["dead letters"]
        assert (finding.state, finding.text) == ("doubtful", "1: rejected 1")
        assert "whisperr dead-letters list" in finding.hint
        with closing(SQLiteDeadLetters(str(file))) as found:
            assert found.drop(["1"]) == 1
        assert inspect_quietly(file)["dead letters"].text == "none"

    def test_a_damaged_file_that_was_set_aside_is_reported(self, file: Path) -> None:
        leave(file, 1)
        aside = file.parent / f"{file.name}.corrupt-20260101T000000Z-12"
        for end in ("", "-wal"):
            (file.parent / f"{aside.name}{end}").touch()
        finding = inspect_quietly(file)["set aside"]
        assert finding.text == f"1 damaged file beside it, the newest {aside.name}"
        assert finding.hint == HINTS["file_set_aside"].fix.format(file=aside)

    def test_a_damaged_file_is_wrong(self, file: Path) -> None:
        leave(file, *[1] * 100)
        content = bytearray(file.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        file.write_bytes(content)
        found = inspect_quietly(file)
        assert found["backlog"].state == "wrong"
        assert found["backlog"].hint == HINTS["file_damaged"].fix

    @pytest.mark.parametrize(
        "change",
        [
            "DELETE FROM state",
            "UPDATE state SET rows = -1",
            "UPDATE event SET data = 'x'",
            "UPDATE event SET data = zeroblob(5000000)",
            'UPDATE event SET data = \'{"event_type":"a","occurred_at":"x"}\'',
            "DROP TABLE event",
        ],
    )
    def test_damaged_content_is_no_traceback(self, file: Path, change: str) -> None:
        leave(file, 1, 1)
        db = sqlite3.connect(file)
        db.execute("PRAGMA ignore_check_constraints = 1")
        try:
            db.execute(change)
            db.commit()
        except sqlite3.IntegrityError:
            pytest.skip("the table refuses it")
        finally:
            db.close()
        assert {one.name for one in inspect(file)} >= {"buffer", "backlog"}


def backlog(**given: Any) -> Finding:
    values = {"events": 10, "size": 2_048, "age": 5.0, "since": "happened", "is_claimed": False}
    return inspect_backlog(Backlog(**{**values, **given}), make_config())


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, None),
        ({"age": 299.0}, None),
        ({"age": None}, None),
        ({"age": 301.0}, "backlog_late"),
        ({"age": 301.0, "is_claimed": True}, "backlog_late"),
        ({"age": 27.1 * 86_400}, "backlog_old"),
        ({"events": 8_999}, None),
        ({"events": 9_000}, "backlog_large"),
    ],
)
def test_a_backlog_that_is_late_large_or_nearly_too_old_is_doubtful(
    given: dict[str, Any], code: str | None
) -> None:
    finding = backlog(**given)
    assert finding.state == ("ok" if code is None else "doubtful")
    assert finding.hint == ("" if code is None else HINTS[code].fix)


def test_a_long_flush_interval_makes_nothing_late() -> None:
    waiting = Backlog(1, 100, 20_000.0, "happened", is_claimed=False)
    assert inspect_backlog(waiting, make_config(flush_interval=3_600.0)).state == "ok"


class Plugged:
    """A buffer of the caller's own."""

    def open(self, *_: object) -> None:
        raise AssertionError("a check opens nothing")


@pytest.mark.parametrize(
    ("make", "state", "text"),
    [
        (lambda: None, "ok", "memory: at most 10,000 events, lost when the process is killed"),
        (Plugged, "skipped", f"a {__name__}.Plugged, which this command cannot check"),
        (OutboxElsewhere, "doubtful", "the outbox of a Django project"),
    ],
)
def test_other_buffers_are_named(make: Callable[[], object], state: str, text: str) -> None:
    (finding,) = inspect_buffer(make_config(buffer=make()))
    assert (finding.state, finding.text) == (state, text)
