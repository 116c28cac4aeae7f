"""The command line: its options, wrong calls, and real processes."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
from datetime import datetime, timezone
from io import BytesIO, StringIO, TextIOWrapper
from typing import TYPE_CHECKING

import pytest

from tests.dev.wire import BATCH, HEADERS
from tests.facilities import needs_signals
from whisperr import Whisperr, __version__, _platform
from whisperr._cli.fault_options import get_faults
from whisperr._cli.main import main, make_parser
from whisperr.dev import Fault, LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .conftest import Call

NOW = datetime.now(timezone.utc).isoformat()


def parse_faults(*options: str) -> list[Fault]:
    return get_faults(make_parser().parse_args(["dev", *options]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], []),
        (["--fail", "503:0.3"], [faults.status(503, rate=0.3)]),
        (["--fail", "429", "--retry-after", "5"], [faults.status(429, retry_after=5)]),
        (
            ["--fail", "500:0.1", "--fail", "502"],
            [faults.status(500, rate=0.1), faults.status(502)],
        ),
        (["--hang"], [faults.hang()]),
        (["--cut", "0.5"], [faults.cut(rate=0.5)]),
        (["--lose-answer", "0.2"], [faults.lose_answer(rate=0.2)]),
        (["--wrong-key"], [faults.wrong_key()]),
        (["--legacy"], [faults.legacy()]),
        (["--latency", "0.2:0.5"], [faults.latency(0.2, rate=0.5)]),
        (["--drip", "1"], [faults.drip(1.0)]),
        (["--hang", "--latency", "1"], [faults.latency(1.0), faults.hang()]),
    ],
)
def test_options_inject_faults(options: Sequence[str], expected: list[Fault]) -> None:
    assert parse_faults(*options) == expected


@pytest.mark.parametrize(
    "options",
    [
        ["dev", "--fail", "200"],
        ["dev", "--fail", "x"],
        ["dev", "--fail", "503:2"],
        ["dev", "--hang", "0"],
        ["dev", "--cut", "often"],
        ["dev", "--latency", "-1"],
        ["dev", "--latency", "long"],
        ["dev", "--port", "x"],
        ["dev", "--max-body", "0"],
        ["demo", "--users", "0"],
        ["deliver"],
        [],
    ],
)
def test_a_wrong_call_is_2_and_says_why(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "",
            "which command? dev, tail, demo, track, identify, import, events, doctor, ",
        ),
        ("trak u1", "'trak' is not a command (did you mean track?); the commands are dev, tail, "),
        ("help", "did you mean --help?"),
        ("--verison", "unknown option --verison (did you mean --version?)"),
        (
            "track",
            "snake case) are missing; example: whisperr track user_8842 payment_failed ",
        ),
        (
            "track u1",
            "error: event_type (what happened, in lowercase snake case) is missing; example: whis",
        ),
        ("track u1 --test a=1", "example: whisperr track u1 payment_failed a=1\n"),
        (
            "track u1 login --amount 5",
            "unknown option --amount; properties are written as key=value; see whisperr track",
        ),
        ("identify", "external_user_id (your id of the user) is missing; example: whisperr id"),
        ("identify u1 --email a@b.de --test", "an identify cannot be marked as a test, because"),
        ("identify u1 plan=pro", "unexpected argument 'plan=pro'; traits are written: --trai"),
        ("import", "which file? Give its path, or - for standard input"),
        ("import a b", "unexpected argument 'b'"),
        ("import a --dryrun", "unknown option --dryrun (did you mean --dry-run?)"),
        ("dev --prot 5", "unknown option --prot (did you mean --port?)"),
        (
            "dev --port 99999",
            "argument --port: '99999': must be at most 65535; choose another port",
        ),
        ("dev --fail 503:2", "argument --fail: '503:2': a share must be above 0 and at most 1"),
        ("dev --hang python app.py", "a share must be above 0 and at most 1; write -- before a co"),
        ("dev --retry-after soon", "'soon': must be whole seconds or an HTTP date"),
        ("tail -f", "unknown option -f; it always follows;"),
        ("tail --port 65536", "must be at most 65535"),
        ("demo 5", "unexpected argument '5'"),
        ("demo \x1b[2J", "unexpected argument '\\x1b[2J'"),
    ],
)
def test_a_wrong_call_says_what_is_right(
    words: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split(" ") if words else [])
    assert ended.value.code == 2
    usage, error = capsys.readouterr().err.splitlines(keepends=True)
    assert usage.startswith("usage: whisperr")
    assert text in error


@pytest.mark.parametrize("port", [8742, None])
def test_an_address_is_no_filter(port: int | None, call: Call) -> None:
    url = "http://127.0.0.1" if port is None else f"http://127.0.0.1:{port}/"
    ended = call("tail", url)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"whisperr tail: {url} is no filter; write: whisperr tail --port {port or 8722}\n"
    )


def test_words_may_follow_options(server: LocalServer, call: Call) -> None:
    assert call("track", "--test", "u1", "--timeout", "30", "login", "--at", NOW, "a=1").code == 0
    body = server.arrivals()[0].body
    assert (body["event_type"], body["properties"]) == ("login", {"a": 1})


def test_the_version_is_the_one_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"whisperr {__version__}\n")


def test_a_port_that_is_taken_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalServer() as taken:
        assert main(["dev", "--port", str(taken.port)]) == 2
    assert "choose another port" in capsys.readouterr().err


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_dev_server_prints_what_arrives_and_ends_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "whisperr", "dev", "--port", "0", "--latency", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        with Whisperr("wrk_test", base_url=found[0]) as client:
            client.track("user_8842", "payment_failed", {"amount_cents": 4900})
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert '✓ payment_failed           user_8842    {"amount_cents": 4900}' in rest
    assert "injected: latency" in rest
    assert rest.endswith("accepted 1, duplicates 0, refused 0, in 1 request\n")


class Unread(StringIO):
    """A standard output on Windows whose reader has gone."""

    def flush(self) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize("words", [("doctor",), ("import", "-"), ("dead-letters", "list")])
def test_a_reader_that_has_gone_is_no_error_on_windows(
    words: Sequence[str],
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    with Whisperr("wrk_test", base_url=server.url, buffer=url):
        pass  # makes the file
    monkeypatch.setenv("WHISPERR_BUFFER", url)
    monkeypatch.setattr(_platform, "WINDOWS", True)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO()))
    monkeypatch.setattr(sys, "stdout", Unread())
    assert main(words) == 0
    assert "Invalid argument" not in capsys.readouterr().err


def test_headers_and_path_of_these_tests_are_those_of_the_client() -> None:
    with LocalServer() as server, Whisperr("wrk_test", base_url=server.url) as client:
        client.track("u", "trial_started")
        client.flush(30)
        (request,) = server.requests()
    assert request.path == BATCH
    assert {name.lower() for name in HEADERS} <= set(request.headers)
