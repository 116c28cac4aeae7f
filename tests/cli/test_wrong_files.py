"""Wrong files, closed streams and odd environments: one line of error and an exit code."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.facilities import IS_ROOT, needs_modes, needs_open_files_to_move, needs_shell
from whisperr._cli.progress import Progress
from whisperr.dev import LocalServer
from whisperr.dev._memory.journal import Journal, JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call

LINE = '{"external_user_id":"u","traits":{"plan":"pro"}}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text(LINE * 10, encoding="utf-8")
    return path


@pytest.fixture
def checkpoint(file: Path) -> Path:
    path = file.with_name("events.jsonl.checkpoint")
    digest = hashlib.sha256(LINE.encode() * 4).hexdigest()
    Progress(line=4, records=4, delivered=4, digest=digest).save(path)
    return path


def assert_one_line(code: int, err: str, *codes: int) -> None:
    assert code in codes
    lines = [line for line in err.splitlines() if not line.startswith(("usage:", " "))]
    assert "Traceback" not in err
    assert len(lines) == 1, err
    assert lines[0].startswith("whisperr")
    assert lines[0].isprintable()


class TestCheckpoint:
    def damage(self, data: bytes, source: random.Random) -> bytes:
        """Return it cut, with another byte, as something else, or with another value of a field."""
        kind = source.choice(["cut", "byte", "else", "value"])
        if kind == "cut":
            return data[: source.randrange(len(data))]
        if kind == "byte":
            at = source.randrange(len(data))
            return data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
        if kind == "else":
            return source.randbytes(source.randrange(300))
        saved: Any = json.loads(data)
        odd: list[Any] = [-1, 1.5, "1", None, True, 10**30, [], {}, "\ud800", 2**63, float("nan")]
        saved[source.choice([*saved, "other"])] = source.choice(odd)
        return json.dumps(saved).encode()

    def test_a_damaged_checkpoint_is_one_line_of_error(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        seed = int(os.environ.get("WHISPERR_SEED") or random.randrange(2**32))
        source = random.Random(seed)
        good = checkpoint.read_bytes()
        for _ in range(300):
            data = self.damage(good, source)
            checkpoint.write_bytes(data)
            checkpoint.chmod(0o600)
            ended = call("import", str(file), "--resume")
            if "delivered" in ended.out:  # a counter was changed, and is one still
                continue
            try:
                assert_one_line(ended.code, ended.err, 2)
                assert checkpoint.read_bytes() == data
            except AssertionError as error:
                raise AssertionError(f"WHISPERR_SEED={seed}: {data!r}: {error}") from None
        assert server.summary()["requests"] < 300

    @pytest.mark.parametrize("text", ["", "a diary", "{}", "[1]", '{"offset": 1}'])
    @pytest.mark.parametrize("resume", [[], ["--resume"]])
    def test_a_file_of_something_else_is_left_as_it_is(
        self, server: LocalServer, call: Call, file: Path, tmp_path: Path, text: str, resume: Any
    ) -> None:
        diary = tmp_path / "diary.txt"
        diary.write_text(text, encoding="utf-8")
        ended = call("import", str(file), "--checkpoint", str(diary), *resume)
        assert_one_line(ended.code, ended.err, 2)
        assert "is not a checkpoint of an import" in ended.err
        assert diary.read_text(encoding="utf-8") == text
        assert server.requests() == []

    def test_the_imported_file_is_never_its_own_checkpoint(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        ended = call("import", str(file), "--checkpoint", str(file))
        assert_one_line(ended.code, ended.err, 2)
        assert file.read_text(encoding="utf-8") == LINE * 10
        assert server.requests() == []

    def test_a_file_that_has_the_name_of_a_copy_is_left_as_it_is(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        other = file.with_name("events.jsonl.checkpoint.new")
        other.write_text("a diary", encoding="utf-8")
        assert call("import", str(file)).code == 0
        assert other.read_text(encoding="utf-8") == "a diary"
        assert sorted(file.parent.iterdir()) == [file, other]
        assert len(server.arrivals()) == 10

    @needs_modes
    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o604])
    def test_one_that_others_may_use_is_refused(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path, mode: int
    ) -> None:
        checkpoint.chmod(mode)
        before = checkpoint.read_bytes()
        for words in ([], ["--resume"]):
            ended = call("import", str(file), *words)
            assert_one_line(ended.code, ended.err, 2)
            assert f"other users can access it (mode {mode:o}); chmod 600 it" in ended.err
        assert checkpoint.read_bytes() == before
        assert server.requests() == []

    @pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away")
    def test_one_of_another_user_is_refused(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        os.chown(checkpoint, 65_534, 65_534)
        ended = call("import", str(file), "--resume")
        assert_one_line(ended.code, ended.err, 2)
        assert "it belongs to another user" in ended.err
        assert server.requests() == []

    @needs_modes
    def test_it_is_made_for_its_owner_only_whatever_the_umask(
        self, file: Path, checkpoint: Path
    ) -> None:
        checkpoint.unlink()
        before = os.umask(0)
        try:
            Progress().save(checkpoint)
        finally:
            os.umask(before)
        assert checkpoint.stat().st_mode & 0o777 == 0o600

    @needs_modes
    def test_a_link_is_not_followed(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        link = file.with_name("link")
        link.symlink_to(checkpoint)
        before = checkpoint.read_bytes()
        for words in ([], ["--resume"]):
            ended = call("import", str(file), "--checkpoint", str(link), *words)
            assert_one_line(ended.code, ended.err, 2)
            assert "it is a symbolic link; give the file itself" in ended.err
        assert checkpoint.read_bytes() == before
        assert link.is_symlink()
        assert server.requests() == []


class TestStore:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        path = tmp_path / "store.jsonl"
        with LocalServer(store=path):
            pass
        return path

    @needs_modes
    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
    def test_one_that_others_may_use_is_refused(self, store: Path, call: Call, mode: int) -> None:
        store.chmod(mode)
        before = store.read_bytes()
        ended = call("dev", "--port", "0", "--store", str(store))
        assert_one_line(ended.code, ended.err, 2)
        assert f"other users can access it (mode {mode:o}); chmod 600 it" in ended.err
        assert store.read_bytes() == before

    @pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away")
    def test_one_of_another_user_is_refused(self, store: Path) -> None:
        os.chown(store, 65_534, 65_534)
        with pytest.raises(JournalError, match="it belongs to another user"):
            Journal(store)

    @needs_shell
    def test_a_link_a_pipe_and_a_device_are_refused(self, store: Path) -> None:
        link, pipe = store.with_name("link"), store.with_name("pipe")
        link.symlink_to(store.with_name("missing"))
        os.mkfifo(pipe)
        with pytest.raises(JournalError, match="it is a symbolic link"):
            Journal(link)
        for path in (pipe, "/dev/null", "/dev/zero"):
            with pytest.raises(JournalError, match="it is not a regular file"):
                Journal(path)
        assert not store.with_name("missing").exists()

    def test_no_other_file_is_replaced_when_it_is_rewritten(
        self, store: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = store.with_name("store.jsonl.new")
        other.write_text("a diary", encoding="utf-8")
        with store.open("ab") as file:
            file.write(b"damaged\n")
        with LocalServer(store=store):
            pass
        assert "skipped 1 lines" in capsys.readouterr().err
        assert other.read_text(encoding="utf-8") == "a diary"
        assert sorted(store.parent.iterdir()) == [store, other]

    @needs_open_files_to_move
    def test_a_file_that_took_its_place_is_left_as_it_is(self, store: Path) -> None:
        with store.open("ab") as file:
            file.write(b"damaged\n")
        journal = Journal(store)
        assert list(journal.load()) == []
        store.unlink()
        store.write_text("a diary", encoding="utf-8")
        with pytest.raises(JournalError, match="another file has taken its place"):
            journal.begin("epoch", list)
        journal.close()
        assert store.read_text(encoding="utf-8") == "a diary"


def run(
    *words: str, stdin: str = "", shell: str = "", **changes: str | None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; `shell` redirects its streams."""
    environment = {**os.environ, "WHISPERR_API_KEY": "wrk_test", **changes}
    kept = {name: value for name, value in environment.items() if value is not None}
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "whisperr", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=kept, input=stdin, timeout=60, check=False
    )


class TestFiles:
    @needs_shell
    @pytest.mark.parametrize("name", ["missing", "folder", "/dev/null", "/dev/zero", "pipe", ""])
    def test_what_is_no_file_of_lines_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        ended = run("import", str(tmp_path / name) if name else "")
        assert_one_line(ended.returncode, ended.stderr, 2)
        assert "name a file with an event on each line" in ended.stderr

    @needs_shell
    @pytest.mark.parametrize("name", ["missing", "folder", "/dev/zero", "binary", "deep"])
    @pytest.mark.parametrize("words", [("track", "u", "done"), ("identify", "u")])
    def test_what_is_no_file_of_json_is_refused(
        self, tmp_path: Path, name: str, words: tuple[str, ...]
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "binary").write_bytes(bytes(range(256)))
        (tmp_path / "deep").write_text("[" * 100_000, encoding="utf-8")
        ended = run(*words, "--json", str(tmp_path / name))
        assert_one_line(ended.returncode, ended.stderr, 2)
        assert "name a file with a JSON object" in ended.stderr

    def test_a_binary_file_is_imported_to_its_end(self, server: LocalServer, call: Call) -> None:
        ended = call("import", sys.executable)
        assert "Traceback" not in ended.err
        assert ended.code in (1, 2)  # 2 where the checkpoint cannot be written beside it
        assert server.requests() == []

    @needs_shell
    def test_a_name_that_is_no_text_is_shown_escaped(self, tmp_path: Path) -> None:
        ended = run("import", f"{tmp_path}/\udcff\x1b[2J")
        assert_one_line(ended.returncode, ended.stderr, 2)


class TestStreams:
    @needs_shell
    @pytest.mark.parametrize("shell", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
    @pytest.mark.parametrize(
        "words",
        [
            ("doctor", "--timeout", "5"),
            ("track", "u", "done"),
            ("track", "u", "done", "--json", "-"),
            ("--help",),
            ("track",),
        ],
        ids=" ".join,
    )
    def test_a_closed_stream_is_no_traceback(
        self, server: LocalServer, shell: str, words: tuple[str, ...]
    ) -> None:
        ended = run(*words, shell=shell, stdin="{}", WHISPERR_BASE_URL=server.url)
        assert "Traceback" not in ended.stderr + ended.stdout
        assert "Exception" not in ended.stderr
        assert ended.returncode in (0, 1, 2)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110  # a device
    @pytest.mark.parametrize("words", [("doctor",), ("track", "u", "done")])
    def test_a_full_disk_under_stdout_is_one_line(
        self, server: LocalServer, words: tuple[str, ...]
    ) -> None:
        ended = run(*words, shell=">/dev/full", WHISPERR_BASE_URL=server.url)
        assert_one_line(ended.returncode, ended.stderr, 1)
        assert "No space left" in ended.stderr

    @pytest.mark.parametrize("words", [("doctor",), ("--help",), ("track", "--help")])
    def test_a_reader_that_has_gone_is_no_error(
        self, server: LocalServer, words: tuple[str, ...]
    ) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "whisperr", *words]
        environment = {**os.environ, "WHISPERR_BASE_URL": server.url}
        try:
            ended = subprocess.run(
                command,
                stdout=writer,
                stderr=subprocess.PIPE,
                env=environment,
                timeout=60,
                check=False,
            )
        finally:
            os.close(writer)
        assert (ended.returncode, ended.stderr) == (0, b"")

    @needs_shell
    @pytest.mark.parametrize(
        "changes",
        [
            {"HOME": None},
            {"HOME": "/nonexistent"},
            {"PYTHONIOENCODING": "ascii"},
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            {"COLUMNS": "0"},
            {"TERM": None, "PATH": None},
        ],
    )
    def test_an_odd_environment_is_no_traceback(
        self, server: LocalServer, changes: dict[str, str | None]
    ) -> None:
        for words in (("doctor",), ("track", "\udcffü", "done", "a=✓")):
            given: dict[str, Any] = {**changes, "WHISPERR_BASE_URL": server.url}
            ended = run(*words, **given)
            assert "Traceback" not in ended.stderr
            assert ended.returncode == 0, ended.stderr


NUMBERS = ["-1", "65536", "99999999999999999999", "9" * 5_000, "x", "", "nan", "1.5", "٣x", "²"]


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
@pytest.mark.parametrize("command", ["dev", "tail"])
def test_a_port_that_is_none_is_refused(call: Call, command: str, number: str) -> None:
    ended = call(command, f"--port={number}")
    assert_one_line(ended.code, ended.err, 2)
    assert len(ended.err) < 2_000
