"""`whisperr import`: every event once, in bounded chunks, from a checkpoint, through failures."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from tests.facilities import needs_signals
from whisperr._cli.progress import Progress
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from whisperr.dev import ReceivedRequest

    from .conftest import Call

START = datetime.now(timezone.utc) - timedelta(days=2)
LIMIT = 60.0  # seconds; far more than anything here takes


def event(number: int, **more: Any) -> dict[str, Any]:
    moment = (START + timedelta(seconds=number)).isoformat()
    own = {"external_user_id": str(number), "event_type": "login", "occurred_at": moment}
    return {**own, "properties": {"n": number}, **more}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def checkpoint(file: Path) -> Path:
    return file.with_name("events.jsonl.checkpoint")


def write(file: Path, lines: Iterable[object]) -> None:
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    file.write_text(text, encoding="utf-8")


def numbers(server: LocalServer, status: str = "accepted") -> list[int]:
    return [a.body["properties"]["n"] for a in server.arrivals(kind="event", status=status)]


def save_checkpoint(file: Path, lines: int) -> None:
    """Save the checkpoint of an import that stopped after so many lines."""
    head = file.read_bytes().splitlines(keepends=True)[:lines]
    digest = hashlib.sha256(b"".join(head)).hexdigest()
    done = Progress(line=lines, records=lines, delivered=lines, digest=digest)
    done.save(file.with_name(f"{file.name}.checkpoint"))


class TestAll:
    def test_everything_arrives_once_and_in_order(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        write(file, [*map(event, range(1_234)), {"external_user_id": "1", "traits": {"a": 1}}])
        ended = call("import", str(file))
        assert (ended.code, ended.err) == (0, "")
        assert re.fullmatch(
            r"delivered 1,235 of 1,235 lines in [\d.]+ s \([\d,]+/s\); "
            r"refused here 0, by the server 0\n",
            ended.out,
        )
        assert numbers(server) == list(range(1_234))
        assert len(server.arrivals(kind="identify")) == 1
        sizes = [len(json.loads(request.body).get("events", [1])) for request in server.requests()]
        assert sizes == [500, 500, 234, 1]
        assert not checkpoint.exists()

    def test_a_second_import_adds_only_duplicates(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        write(file, map(event, range(20)))
        assert call("import", str(file)).code == 0
        assert call("import", str(file)).code == 0
        assert server.summary()["accepted"] == 20
        assert server.summary()["duplicates"] == 20

    def test_an_empty_file_is_a_success(self, server: LocalServer, call: Call, file: Path) -> None:
        write(file, [])
        ended = call("import", str(file))
        assert ended.code == 0
        assert "delivered 0 of 0 lines" in ended.out
        assert server.requests() == []

    def test_chunks_are_bounded_by_bytes_too(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        large = "x" * 400_000
        write(file, [event(n, context={"text": large}) for n in range(25)])
        assert call("import", str(file)).code == 0
        assert numbers(server) == list(range(25))

    def test_test_mode_marks_every_event(self, server: LocalServer, call: Call, file: Path) -> None:
        write(file, [event(1)])
        assert call("import", str(file), "--test").code == 0
        assert server.arrivals()[0].body["context"]["$mode"] == "test"


class TestRefused:
    def test_wrong_lines_are_reported_and_counted_and_the_others_sent(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        old = (START - timedelta(days=40)).isoformat()
        write(file, [event(1), "nope", event(2, occurred_at=old), "", event(3), event(4, user=1)])
        ended = call("import", str(file))
        assert ended.code == 1
        first, second, third = ended.err.splitlines()
        assert first.startswith("line 2: not JSON: ")
        assert second.startswith("line 3: occurred_at: ")
        assert "30 days ago" in second
        assert third.startswith("line 6: 'user': an event has only the keys")
        assert "delivered 2 of 6 lines" in ended.out
        assert "refused here 3, by the server 0" in ended.out
        assert numbers(server) == [1, 3]

    def test_many_are_counted_and_the_first_are_shown(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        write(file, ["nope"] * 700)
        ended = call("import", str(file))
        assert ended.code == 1
        assert len(ended.err.splitlines()) == 21
        assert ended.err.endswith("further lines are only counted\n")
        assert "refused here 700" in ended.out

    def test_events_that_the_server_refuses_are_reported_with_their_range_of_lines(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        write(file, map(event, range(3)))
        server.set_faults(faults.status(410))
        ended = call("import", str(file))
        assert ended.code == 1
        assert ended.err.startswith("lines 1 to 3: 3 not accepted by the server: ")
        assert "HTTP 410" in ended.err
        assert "delivered 0 of 3 lines" in ended.out
        assert "by the server 3" in ended.out

    def test_a_line_cannot_control_the_terminal(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        write(file, [event(1, **{"\x1b[31m": 1})])
        assert "\x1b" not in call("import", str(file)).err


class TestResume:
    def test_it_stops_when_the_key_is_refused_and_resumes_later(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        write(file, map(event, range(1_100)))
        server.set_faults(faults.wrong_key())
        ended = call("import", str(file))
        assert ended.code == 1
        assert re.match(
            r"whisperr import: stopped after line 0: .*HTTP 401.*; continue with: "
            r"whisperr import \S+events.jsonl --resume\n",
            ended.err,
        )
        assert json.loads(checkpoint.read_text(encoding="utf-8"))["line"] == 0
        server.set_faults()
        ended = call("import", str(file), "--resume")
        assert ended.code == 0
        assert "delivered 1,100 of 1,100 lines" in ended.out
        assert sorted(numbers(server)) == list(range(1_100))
        assert not checkpoint.exists()

    def test_it_resumes_after_what_was_delivered(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        write(file, map(event, range(1_100)))
        save_checkpoint(file, 700)
        ended = call("import", str(file), "--resume")
        assert ended.code == 0
        assert "delivered 1,100 of 1,100 lines" in ended.out
        assert numbers(server) == list(range(700, 1_100))

    def test_a_file_that_has_grown_is_the_same_file(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        write(file, map(event, range(10)))
        save_checkpoint(file, 10)
        with file.open("a", encoding="utf-8") as appended:
            appended.write(f"{json.dumps(event(10))}\n")
        assert call("import", str(file), "--resume").code == 0
        assert numbers(server) == [10]

    def test_a_file_that_was_changed_is_refused(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        write(file, map(event, range(10)))
        save_checkpoint(file, 1)
        write(file, map(event, range(5, 15)))
        ended = call("import", str(file), "--resume")
        assert ended.code == 2
        assert "the file was changed; import without --resume" in ended.err
        assert server.requests() == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"prints": 1, "line": 1, "x": 2}'])
    def test_a_file_that_is_not_a_checkpoint_is_refused(
        self, server: LocalServer, call: Call, file: Path, checkpoint: Path, text: str
    ) -> None:
        write(file, [event(1)])
        checkpoint.write_text(text, encoding="utf-8")
        ended = call("import", str(file), "--resume")
        assert ended.code == 2
        assert "without --resume" in ended.err
        assert ended.err.count("\n") == 1

    def test_without_a_checkpoint_it_begins_with_the_first_line(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        write(file, [event(1)])
        ended = call("import", str(file), "--resume")
        assert ended.code == 0
        assert "starting with the first line" in ended.err

    def test_the_checkpoint_can_have_another_path(
        self, server: LocalServer, call: Call, file: Path, tmp_path: Path
    ) -> None:
        write(file, [event(1)])
        server.set_faults(faults.wrong_key())
        path = tmp_path / "elsewhere"
        assert call("import", str(file), "--checkpoint", str(path)).code == 1
        assert path.exists()

    def test_a_checkpoint_that_cannot_be_written_is_an_error_before_anything_is_sent(
        self, server: LocalServer, call: Call, file: Path, tmp_path: Path
    ) -> None:
        write(file, [event(1)])
        path = tmp_path / "no" / "such" / "file"
        ended = call("import", str(file), "--checkpoint", str(path))
        assert ended.code == 2
        assert "choose another path with --checkpoint" in ended.err
        assert server.requests() == []


@pytest.mark.parametrize("name", ["nothing.jsonl", "."])
def test_a_file_that_cannot_be_read_is_2(
    server: LocalServer, call: Call, tmp_path: Path, name: str
) -> None:
    ended = call("import", str(tmp_path / name))
    assert ended.code == 2
    assert ended.err.endswith("name a file with an event on each line, or - for standard input\n")


def test_a_wrong_path_stops_the_import_and_says_what_to_correct(
    server: LocalServer, call: Call, file: Path, checkpoint: Path
) -> None:
    write(file, map(event, range(1_200)))
    ended = call("import", str(file), "--base-url", f"{server.url}/api")
    assert ended.code == 1
    assert ended.err.startswith("whisperr import: stopped after line 0: ")
    assert f"correct WHISPERR_BASE_URL or --base-url, now {server.url}/api; run " in ended.err
    assert len(server.requests()) == 1
    assert call("import", str(file), "--resume").code == 0
    assert numbers(server) == list(range(1_200))


def test_an_import_that_waits_says_so_once(server: LocalServer, call: Call, file: Path) -> None:
    write(file, map(event, range(600)))  # two chunks, and each waits
    server.set_faults(faults.latency(3.5))
    ended = call("import", str(file))
    assert ended.code == 0
    assert ended.err == (
        "whisperr import: no answer within 3 s; trying again for one or two minutes; Ctrl-C stops\n"
    )


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """Start a server that answers two requests and never the third."""

    def hang(request: ReceivedRequest) -> None:
        if request.number == 2:  # called before its answer is sent
            server.set_faults(faults.hang())

    with LocalServer(on_request=hang) as server:
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        yield server
        server.set_faults()


@needs_signals
class TestInterruptions:
    def test_ctrl_c_leaves_a_checkpoint_from_which_all_arrives_once(
        self, stuck: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        write(file, map(event, range(2_000)))
        command = [sys.executable, "-m", "whisperr", "import", str(file)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            stuck.wait_requests(3, timeout=LIMIT)
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=LIMIT)[1]
        assert process.returncode == 130
        assert err.startswith(
            "whisperr import: stopped after line 1000: interrupted; delivered 1,000; "
            "continue with: whisperr import "
        )
        assert err.count("\n") == 1
        assert json.loads(checkpoint.read_text(encoding="utf-8"))["line"] == 1_000
        stuck.set_faults()
        assert call("import", str(file), "--resume").code == 0
        assert numbers(stuck) == list(range(2_000))
        assert numbers(stuck, "duplicate") == []

    def test_a_killed_process_leaves_a_checkpoint_too(
        self, stuck: LocalServer, call: Call, file: Path, checkpoint: Path
    ) -> None:
        write(file, map(event, range(2_000)))
        command = [sys.executable, "-m", "whisperr", "import", str(file)]
        with subprocess.Popen(command) as process:
            stuck.wait_requests(3, timeout=LIMIT)
            process.kill()
        assert json.loads(checkpoint.read_text(encoding="utf-8"))["line"] == 1_000
        stuck.set_faults()
        assert call("import", str(file), "--resume").code == 0
        assert numbers(stuck) == list(range(2_000))


MEMORY = """
import resource, sys
from whisperr._cli.main import main

assert main(["import", sys.argv[1]]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="KiB on Linux only")
def test_memory_does_not_grow_with_the_file(server: LocalServer, tmp_path: Path) -> None:
    peaks = []
    for count in (10, 120):
        file = tmp_path / f"{count}.jsonl"
        with file.open("w", encoding="utf-8") as target:
            for number in range(count):
                target.write(json.dumps(event(number, context={"t": "x" * 500_000})) + "\n")
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(file)],
            capture_output=True,
            check=True,
            text=True,
            timeout=LIMIT,
        )
        peaks.append(int(done.stdout.splitlines()[-1]))
        server.reset()
    small, large = peaks
    assert large - small < 30 * 1024  # the second file is 60 MB
