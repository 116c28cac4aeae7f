"""`whisperr import` of gzip, standard input, arrays and CSV; the dry run; the hints."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_import_file import LIMIT, START, event, numbers, write
from tests.facilities import needs_signals
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Call

COLUMNS = ["user_id", "event", "created_at", "n"]
MAPS = [
    "--map=user_id=external_user_id",
    "--map=event=event_type:snake_case",
    "--map=created_at=occurred_at:utc",
    "--map=n=properties.n:number",
]


def to_lines(count: int) -> bytes:
    return b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(count))


def to_csv(count: int) -> str:
    target = io.StringIO(newline="")
    rows = [[f"user {n}", "Payment Failed", f"{START:%Y-%m-%d %H:%M:%S}", n] for n in range(count)]
    csv.writer(target).writerows([COLUMNS, *rows])
    return target.getvalue()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that replaces standard input."""

    def replace(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return replace


class TestStdin:
    def test_it_is_imported_and_leaves_no_checkpoint(
        self, server: LocalServer, call: Call, stdin: Any, tmp_path: Path
    ) -> None:
        stdin(to_lines(700))
        monkey = tmp_path.iterdir()
        ended = call("import", "-")
        assert (ended.code, ended.err) == (0, "")
        assert "delivered 700 of 700 lines" in ended.out
        assert numbers(server) == list(range(700))
        assert list(monkey) == []

    def test_what_stops_says_that_the_same_can_be_imported_again(
        self, server: LocalServer, call: Call, stdin: Any
    ) -> None:
        stdin(to_lines(3))
        server.set_faults(faults.wrong_key())
        ended = call("import", "-")
        assert ended.code == 1
        assert "run the same import again: nothing is duplicated" in ended.err

    def test_it_resumes_from_a_checkpoint(
        self, server: LocalServer, call: Call, stdin: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "progress"
        stdin(to_lines(600))
        server.set_faults(faults.status(401, times=1))
        assert call("import", "-", "--checkpoint", str(path)).code == 1
        stdin(gzip.compress(to_lines(600)))
        ended = call("import", "-", "--checkpoint", str(path), "--resume")
        assert ended.code == 0
        assert numbers(server) == list(range(600))
        assert not path.exists()

    def test_resume_without_a_checkpoint_is_a_wrong_call(
        self, server: LocalServer, call: Call
    ) -> None:
        ended = call("import", "-", "--resume")
        assert ended.code == 2
        assert "needs --checkpoint PATH" in ended.err

    def test_a_pipe_that_has_few_bytes_at_a_time_is_read(self, server: LocalServer) -> None:
        command = [sys.executable, "-m", "whisperr", "import", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            for byte in to_lines(2):
                process.stdin.write(bytes([byte]))
                process.stdin.flush()
            out = process.communicate(timeout=LIMIT)[0]
        assert process.returncode == 0
        assert b"delivered 2 of 2 lines" in out


class TestGzip:
    @pytest.mark.parametrize("name", ["events.jsonl.gz", "events.jsonl", "events"])
    def test_it_is_known_by_its_content(
        self, server: LocalServer, call: Call, tmp_path: Path, name: str
    ) -> None:
        file = tmp_path / name
        file.write_bytes(gzip.compress(to_lines(3)))
        assert call("import", str(file)).code == 0
        assert numbers(server) == [0, 1, 2]

    def test_a_plain_file_with_its_name_is_plain(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.jsonl.gz"
        file.write_bytes(to_lines(3))
        assert call("import", str(file)).code == 0
        assert numbers(server) == [0, 1, 2]

    def test_members_are_one_content(self, server: LocalServer, call: Call, tmp_path: Path) -> None:
        file = tmp_path / "events.gz"
        data = to_lines(4)
        file.write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]))
        assert call("import", str(file)).code == 0
        assert numbers(server) == [0, 1, 2, 3]

    def test_a_file_that_is_cut_off_says_what_was_sent_and_resumes_when_it_is_whole(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.gz"
        whole = gzip.compress(to_lines(1_100))
        file.write_bytes(whole[: len(whole) * 2 // 3])
        ended = call("import", str(file))
        assert ended.code == 1
        found = re.match(
            r"whisperr import: stopped after line (\d+): the gzip data end early: the file is cut "
            r"off; delivered (\d+); continue with: whisperr import \S+ --resume\n",
            ended.err,
        )
        assert found
        sent = int(found[1])
        assert 0 < sent < 1_100
        assert numbers(server) == list(range(sent))
        file.write_bytes(whole)
        ended = call("import", str(file), "--resume")
        assert ended.code == 0
        assert "delivered 1,100 of 1,100 lines" in ended.out
        assert numbers(server) == list(range(1_100))
        assert numbers(server, "duplicate") == []

    @pytest.mark.parametrize("at", [-12, -6])
    def test_damaged_data_are_an_error_that_says_what_was_sent(
        self, server: LocalServer, call: Call, tmp_path: Path, at: int
    ) -> None:
        file = tmp_path / "events.gz"
        data = bytearray(gzip.compress(to_lines(3)))
        data[at] ^= 0xFF
        file.write_bytes(data)
        ended = call("import", str(file))
        assert ended.code == 1
        assert re.search(r"stopped after line \d: the gzip data (are damaged|end early)", ended.err)

    @pytest.mark.parametrize(
        ("start", "text"),
        [
            (b"PK\x03\x04", "a zip archive or an Excel workbook"),
            (b"BZh9", "compressed with bzip2; use: bzip2 -dc FILE | whisperr import -"),
            (b"\xfd7zXZ\x00", "compressed with xz"),
            (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
            (b"PAR1", "a Parquet file"),
            ("{}".encode("utf-16"), "text in UTF-16; save it as UTF-8"),
        ],
    )
    def test_other_kinds_are_named_with_what_to_do(
        self, server: LocalServer, call: Call, tmp_path: Path, start: bytes, text: str
    ) -> None:
        file = tmp_path / "events"
        file.write_bytes(start + b"\x00" * 100)
        ended = call("import", str(file))
        assert ended.code == 2
        assert text in ended.err
        assert ended.err.count("\n") == 1


BOMB = """
import sys
from whisperr._cli.main import main

code = main(["import", sys.argv[1], "--dry-run", "--map=a=external_user_id", "--set=event_type=b",
             "--set=occurred_at=2026-06-14T12:00:00Z"])
# Of this program alone: what `getrusage` reports includes the process that it was forked from.
lines = open("/proc/self/status").read().splitlines()
print(code, next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize(
    ("name", "start"), [("zeros.gz", b""), ("array.gz", b'[{"a": "'), ("rows.csv.gz", b'a,b\n1,"')]
)
def test_one_endless_record_takes_no_memory(tmp_path: Path, name: str, start: bytes) -> None:
    file = tmp_path / name
    with gzip.open(file, "wb", compresslevel=1) as target:
        target.write(start)
        for _ in range(200):
            target.write(bytes(1024 * 1024))
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(file)],
        capture_output=True,
        check=True,
        text=True,
        timeout=LIMIT,
    )
    code, peak = done.stdout.splitlines()[-1].split()
    assert code == "1"
    assert int(peak) < 100 * 1024


class TestArray:
    def test_its_items_are_imported_and_numbered(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.json"
        file.write_text(json.dumps([event(0), {"x": 1}, event(2)], indent=2), encoding="utf-8")
        ended = call("import", str(file))
        assert ended.code == 1
        assert ended.err.startswith("item 2: 'x': ")
        assert "delivered 2 of 3 items" in ended.out
        assert numbers(server) == [0, 2]

    def test_one_that_is_cut_off_says_so_and_resumes(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.json"
        whole = json.dumps([event(n) for n in range(600)])
        file.write_text(whole[:-20], encoding="utf-8")
        ended = call("import", str(file))
        assert ended.code == 1
        assert "stopped after item 599: the array is not closed: the file is cut off" in ended.err
        file.write_text(whole, encoding="utf-8")
        assert call("import", str(file), "--resume").code == 0
        assert numbers(server) == list(range(600))
        assert numbers(server, "duplicate") == []


class TestCsv:
    def test_rows_are_imported_with_their_types(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.csv"
        file.write_text(f"\ufeff{to_csv(3)}", encoding="utf-8")
        ended = call("import", str(file), *MAPS)
        assert (ended.code, ended.err) == (0, "")
        assert "delivered 3 of 3 rows" in ended.out
        assert numbers(server) == [0, 1, 2]
        first = server.arrivals()[0]
        assert (first.user, first.type) == ("user 0", "payment_failed")

    def test_it_resumes_where_it_stopped(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.csv.gz"
        file.write_bytes(gzip.compress(to_csv(1_200).encode()))
        server.set_faults(faults.status(401, times=1))
        ended = call("import", str(file), *MAPS)
        assert ended.code == 1
        command = ended.err.split("continue with: ")[1]
        words = shlex.split(command)
        assert words[:2] == ["whisperr", "import"]
        assert words[-1] == "--resume"
        ended = call(*words[1:])
        assert ended.code == 0
        assert "delivered 1,200 of 1,200 rows" in ended.out
        assert numbers(server) == list(range(1_200))

    def test_wrong_rows_are_reported_by_their_line_and_the_others_sent(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.csv"
        header, first, second = to_csv(2).splitlines()
        file.write_text(
            "\n".join([header, first, '"u', f"{second},more", second]), encoding="utf-8"
        )
        ended = call("import", str(file), *MAPS)
        assert ended.code == 1
        assert ended.err.splitlines() == [
            "line 3: a quotation mark is not closed",
            "line 4: it has 5 cells, but the header has 4",
        ]
        assert numbers(server) == [0, 1]

    def test_a_header_that_says_nothing_is_an_error_with_the_command_to_write(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.csv"
        file.write_text(to_csv(2), encoding="utf-8")
        ended = call("import", str(file))
        assert ended.code == 2
        command = ended.err.strip().split("; run: ")[1]
        assert shlex.split(command) == [
            *("whisperr", "import", str(file)),
            *("--map", "user_id=external_user_id"),
            *("--map", "event=event_type"),
            *("--map", "created_at=occurred_at"),
        ]
        assert not file.with_name("events.csv.checkpoint").exists()

    def test_columns_that_are_left_out_are_named(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "users.csv"
        file.write_text("id,plan,email\n7,pro,ada@example.com\n", encoding="utf-8")
        ended = call("import", str(file), "--map=id=external_user_id", "--map=plan=traits.plan")
        assert ended.code == 0
        assert ended.err.startswith("left out: 'email'; to send one: --map NAME=traits.NAME")
        body = server.arrivals()[0].body
        assert body == {"external_user_id": "7", "traits": {"plan": "pro"}}

    def test_an_empty_file_is_a_success(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.csv"
        file.write_text("", encoding="utf-8")
        ended = call("import", str(file))
        assert ended.code == 0
        assert "delivered 0 of 0 rows" in ended.out


class TestDryRun:
    def test_it_checks_everything_sends_nothing_and_needs_no_key(
        self, server: LocalServer, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY")
        file = tmp_path / "events.jsonl"
        identify = {"external_user_id": "1", "traits": {"a": 1}}
        write(file, [*map(event, range(700)), event(700, event_type="seen"), identify, "nope"])
        ended = call("import", str(file), "--dry-run")
        assert ended.code == 1
        assert ended.err.startswith("line 703: not JSON")
        first, second, third, shown = ended.out.splitlines()
        assert first == (
            "would send 701 events and 1 identify, of 703 lines; refused here 1; nothing was sent"
        )
        assert (second.split(), third.split()) == (["700", "login"], ["1", "seen"])
        assert json.loads(shown.removeprefix("the first: "))["properties"] == {"n": 0}
        assert server.requests() == []
        assert list(tmp_path.iterdir()) == [file]

    def test_it_leaves_a_store_of_the_environment_alone(
        self, server: LocalServer, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = tmp_path / "store.db"
        monkeypatch.setenv("WHISPERR_BUFFER", f"sqlite:///{store}")
        file = tmp_path / "events.jsonl"
        write(file, [event(1)])
        assert call("import", str(file), "--dry-run").code == 0
        assert call("import", str(file)).code == 0
        assert not store.exists()
        assert os.environ["WHISPERR_BUFFER"] == f"sqlite:///{store}"
        assert numbers(server) == [1]

    def test_it_resumes_without_moving_the_checkpoint(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.jsonl"
        write(file, map(event, range(3)))
        server.set_faults(faults.wrong_key())
        assert call("import", str(file)).code == 1
        checkpoint = file.with_name("events.jsonl.checkpoint")
        before = checkpoint.read_bytes()
        ended = call("import", str(file), "--dry-run", "--resume")
        assert "would send 3 events" in ended.out
        assert checkpoint.read_bytes() == before


SEGMENT = {
    "type": "track",
    "userId": "u1",
    "event": "Order Completed",
    "timestamp": START.isoformat(),
    "messageId": "m1",
    "properties": {"n": 5},
    "context": {"ip": "192.0.2.1"},
}


class TestHints:
    def test_the_shape_of_segment_is_hinted_with_a_command_that_works(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "segment.jsonl"
        write(file, [SEGMENT, SEGMENT])
        ended = call("import", str(file))
        assert ended.code == 1
        lines = ended.err.splitlines()
        assert [line.split(":")[0] for line in lines] == ["line 1", "hint", "line 2"]
        ended = call(*shlex.split(lines[1].split("run: whisperr ")[1]))
        assert ended.code == 0
        assert "import the identifies from a separate file, with --map userId=ext" in lines[1]
        assert "the last option leaves out data about the device" in lines[1]
        (first, second) = server.arrivals()
        assert (first.user, first.type, first.message_id) == ("u1", "order_completed", "m1")
        assert first.body["properties"] == {"n": 5}
        assert "ip" not in first.body["context"]
        assert second.status == "duplicate"

    @pytest.mark.parametrize(
        ("line", "words", "hint"),
        [
            (event(1, event_type="Log In"), [], "--map event_type=event_type:snake_case"),
            (
                {**event(1), "e": "Log In"},
                ["--map=e=event_type"],
                "--map e=event_type:snake_case",
            ),
            (
                event(1, occurred_at="2026-06-14 12:00:00"),
                [],
                "--map occurred_at=occurred_at:utc",
            ),
            ("user_id,event", [], "--format csv"),
            ("{", [], "does an object span several lines?"),
            (
                {"data": [event(1)]},
                [],
                "inside an object? Extract them: jq -c '.data[]' ",
            ),
            (event(1, occurred_at=1_795_898_980), [], "--map occurred_at=occurred_at:unix"),
            (event(1, occurred_at="1795898980"), [], "--map occurred_at=occurred_at:unix"),
            (
                {**event(1, occurred_at=None), "t": "1795898980123"},
                ["--map=t=occurred_at:utc"],
                "milliseconds since 1970, add --map t=occurred_at:unix_ms",
            ),
            (
                {**event(1), "t": 1_795_898_980},
                ["--map=t=occurred_at:unix_ms"],
                "since 1970, add --map t=occurred_at:unix",
            ),
        ],
    )
    def test_a_refused_line_is_followed_by_what_to_write(
        self, server: LocalServer, call: Call, tmp_path: Path, line: Any, words: Any, hint: str
    ) -> None:
        file = tmp_path / "events.jsonl"
        write(file, [line, line])
        err = call("import", str(file), *words).err.splitlines()
        assert [one.split(":")[0] for one in err[:3]] == ["line 1", "hint", "line 2"]
        assert hint in err[1]

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("my events.csv", b"external_user_id,event_type,occurred_at\nJos\xe9,a,b\n"),
            ("events.jsonl", b'{"external_user_id": "Jos\xe9"}\n'),
        ],
    )
    def test_another_encoding_is_hinted_with_a_command(
        self, server: LocalServer, call: Call, tmp_path: Path, name: str, data: bytes
    ) -> None:
        file = tmp_path / name
        file.write_bytes(data)
        err = call("import", str(file)).err.splitlines()
        assert "not UTF-8 at byte" in err[0]
        target = shlex.quote(str(tmp_path / f"utf8-{name}"))
        source = shlex.quote(str(file))
        command = f"iconv -f latin1 -t utf-8 {source} > {target}"
        assert err[1] == f"hint: is it in another encoding? Convert it: {command}"

    def test_rows_that_may_be_users_get_a_command_that_identifies_them(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "users.csv"
        file.write_text("id,plan,Email,seats\n1,pro,ada@example.com,3\n", encoding="utf-8")
        ended = call("import", str(file))
        assert ended.code == 2
        assert "--set event_type=signed_up" in ended.err
        command = ended.err.split("; or, if the rows are users: whisperr ")[1]
        ended = call(*shlex.split(command))
        assert ended.code == 0
        assert ended.err.splitlines()[-1] == (
            "if the users have opted in to these addresses, add --map 'Email'=email"
        )
        (arrival,) = server.arrivals(kind="identify")
        assert (arrival.user, arrival.body["traits"]) == ("1", {"plan": "pro"})

    def test_nothing_to_import_is_said(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "events.jsonl"
        file.touch()
        ended = call("import", str(file))
        assert (ended.code, ended.err) == (0, f"whisperr import: {file} is empty\n")


@needs_signals
def test_ctrl_c_while_standard_input_waits_is_one_line_and_130(server: LocalServer) -> None:
    command = [sys.executable, "-m", "whisperr", "import", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(to_lines(500))
        process.stdin.flush()
        server.wait(500, timeout=LIMIT)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert re.fullmatch(
        rb"whisperr import: stopped after line (0|500): interrupted; delivered (0|500); run the "
        rb"same import again: nothing is duplicated\n",
        err,
    )
