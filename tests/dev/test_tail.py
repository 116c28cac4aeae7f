"""`whisperr tail` and `whisperr dev -- COMMAND` as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timezone
from http.client import HTTPConnection
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.dev.wire import BATCH, HEADERS, event, post
from tests.facilities import needs_signals
from tests.http.raw_server import RawServer, answer, answers, close
from whisperr.dev import LocalServer
from whisperr.dev._console.terminal import run_command
from whisperr.dev._web.stream import CHANGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def send(server: LocalServer, message_id: str, **changes: Any) -> None:
    body = {"events": [event(message_id, occurred_at=now(), **changes)]}
    assert post(server, BATCH, body)[0] == 202


@contextmanager
def running(*words: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "whisperr", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **(env or {}), "PYTHONUTF8": "1"},
    )
    with process:  # which waits for the end of the process
        try:
            yield process
        finally:
            process.kill()


def read_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().rstrip("\n")


class TestTail:
    @needs_signals
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_prints_kept_and_new_arrivals_until_a_signal(self, number: signal.Signals) -> None:
        with LocalServer() as server:
            send(server, "a")
            with running("tail", "--port", str(server.port)) as process:
                assert read_line(process.stdout).endswith("✓ trial_started            user_1")
                send(server, "b", properties=[])
                assert "✗ trial_started" in read_line(process.stdout)
                assert "/properties: []; expected an object" in read_line(process.stdout)
                process.send_signal(number)
                assert process.wait(60) == 0
                assert process.stderr is not None
                assert process.stderr.read() == ""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--user", "42"], ["b"]),
            (["--type", "payment_*"], ["c"]),
            (["--refused"], ["d"]),
            (["--lines", "2"], ["c", "d"]),
            (["amount>100", "is:valid"], ["c"]),
        ],
    )
    def test_it_filters(self, words: Sequence[str], expected: list[str]) -> None:
        with LocalServer() as server:
            send(server, "a")
            send(server, "b", external_user_id="42")
            send(server, "c", event_type="payment_failed", properties={"amount": 150})
            send(server, "d", external_user_id=None)
            command = ["tail", "--port", str(server.port), "--format", "json", *words]
            with running(*command) as process:
                lines = [json.loads(read_line(process.stdout)) for _ in expected]
        assert [line["message_id"] for line in lines] == expected

    def test_it_resumes_when_the_server_restarts(self, tmp_path: Path) -> None:
        with LocalServer(store=tmp_path / "kept") as server:
            port = server.port
            send(server, "a")
            with running("tail", "--port", str(port), "--format", "json") as process:
                assert json.loads(read_line(process.stdout))["message_id"] == "a"
                server.close()
                assert "trying again" in read_line(process.stderr)
                with LocalServer(port, store=tmp_path / "kept") as again:
                    send(again, "b")
                    assert json.loads(read_line(process.stdout))["message_id"] == "b"

    def test_it_waits_for_a_server_that_starts_later(self) -> None:
        with LocalServer() as server:
            port = server.port
        with running("tail", "--port", str(port)) as process:
            assert f"no server on 127.0.0.1:{port}" in read_line(process.stderr)
            with LocalServer(port) as server:
                send(server, "a")
                assert "trial_started" in read_line(process.stdout)

    def test_a_closed_pipe_ends_it(self) -> None:
        with LocalServer() as server:
            send(server, "a")
            with running("tail", "--port", str(server.port)) as process:
                read_line(process.stdout)
                assert process.stdout is not None
                process.stdout.close()
                for number in range(20):
                    send(server, str(number))
                assert process.wait(60) == 0
                assert process.stderr is not None
                assert process.stderr.read() == ""

    def test_a_wrong_filter_is_an_error(self) -> None:
        with LocalServer() as server, running("tail", "--port", str(server.port), "a:b") as process:
            assert process.wait(60) == 2
            assert "a: is not a field" in read_line(process.stderr)


SHOW = "import os; print(os.environ['WHISPERR_BASE_URL'], os.environ['WHISPERR_API_KEY'])"
TRACK = """
import sys
from whisperr import Whisperr
whisperr = Whisperr()
whisperr.track("user_8842", "payment_failed")
sys.exit(3)
"""
# In steps, because `signal.pause` would miss a signal that arrives just before it.
STAY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGINT, lambda *_: sys.exit(8))
print("ready", flush=True)
while True:
    time.sleep(0.02)
"""


def dev(*command: str) -> list[str]:
    return ["dev", "--port", "0", "--", sys.executable, *command]


class TestCommand:
    def test_it_sets_the_address_and_a_key_and_returns_the_exit_code(self) -> None:
        with running(*dev("-c", TRACK)) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (3, "")
        assert "✓ payment_failed           user_8842" in err
        assert "accepted 1, duplicates 0, refused 0" in err

    @pytest.mark.parametrize(
        ("key", "words", "expected"),
        [("wrk_own", [], "wrk_own"), ("", [], "wrk_dev"), ("", ["--key", "wrk_a"], "wrk_a")],
    )
    def test_a_key_is_set_only_when_none_is_set(
        self, key: str, words: list[str], expected: str
    ) -> None:
        words = ["dev", "--port", "0", *words, "--", sys.executable, "-c", SHOW]
        with running(*words, env={"WHISPERR_API_KEY": key}) as process:
            out, _ = process.communicate(timeout=60)
        assert re.fullmatch(rf"http://127\.0\.0\.1:\d+ {expected}\n", out)

    @needs_signals
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 7), (signal.SIGINT, 8)])
    def test_a_signal_is_forwarded_and_the_exit_code_returned(
        self, number: signal.Signals, code: int
    ) -> None:
        with running(*dev("-c", STAY)) as process:
            assert read_line(process.stdout) == "ready"
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert err.endswith("in 0 requests\n")

    @needs_signals
    def test_a_command_may_take_its_time_to_end(self) -> None:
        slow = STAY.replace("lambda *_: sys.exit(8)", "lambda *_: (time.sleep(1.5), sys.exit(8))")
        with running(*dev("-c", slow)) as process:
            assert read_line(process.stdout) == "ready"
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        assert process.returncode == 8

    @needs_signals
    def test_a_signal_that_ended_the_command_is_128_plus_its_number(self) -> None:
        with running(*dev("-c", "import os, signal; os.kill(os.getpid(), 9)")) as process:
            process.communicate(timeout=60)
        assert process.returncode == 128 + 9

    @needs_signals
    @pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
    def test_a_signal_that_killed_the_command_is_the_first_reason(self, name: str) -> None:
        program = f"import os, signal; os.kill(os.getpid(), signal.{name})"
        with running(*dev("-c", program)) as process:
            err = process.communicate(timeout=60)[1].splitlines()
        assert err[1] == "nothing arrived. Possible reasons:"
        assert err[2].startswith(f"  - {name} killed the command, and its queued events with it")
        assert err[3].endswith("docs/delivery/processes.md")
        assert "neither track() nor identify()" in err[4]

    def test_ctrl_c_is_no_reason_because_the_exit_delivers(self) -> None:
        with running(*dev("-c", "raise KeyboardInterrupt")) as process:
            err = process.communicate(timeout=60)[1]
        assert process.returncode == 128 + signal.SIGINT
        assert "Possible reasons" in err
        assert "killed the command" not in err

    @needs_signals
    def test_a_second_signal_ends_a_command_that_ignores_the_first(self) -> None:
        stubborn = STAY.replace("lambda *_: sys.exit(7)", r'lambda *_: os.write(1, b"no\n")')
        with running(*dev("-c", stubborn)) as process:
            assert read_line(process.stdout) == "ready"
            process.send_signal(signal.SIGTERM)
            assert read_line(process.stdout) == "no"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 128 + 9

    def test_options_after_its_name_are_those_of_the_command(self) -> None:
        show = "import sys; print(*sys.argv[1:])"
        words = ["--port", "5000", "--", "--hang"]
        with running(*dev("-c", show, *words)) as process:
            assert process.communicate(timeout=60)[0] == "--port 5000 -- --hang\n"
        bare = [word for word in dev("-c", show) if word != "--"]
        with running(*bare, *words) as process:
            assert process.communicate(timeout=60)[0] == "--port 5000 -- --hang\n"

    def test_why_nothing_arrived_depends_on_how_the_command_ended(self) -> None:
        with running(*dev("-c", "")) as process:
            fine = process.communicate(timeout=60)[1]
        for reason in ("neither track() nor identify()", "anonymous", "disabled=True", "outbox"):
            assert reason in fine
        with running(*dev("-c", "raise SystemExit(3)")) as process:
            failed = process.communicate(timeout=60)[1]
        assert "nothing arrived: the command ended with 3; see above" in failed
        assert "anonymous" not in failed

    def test_a_disabled_client_is_named_before_and_after_the_command(self) -> None:
        with running(*dev("-c", TRACK), env={"WHISPERR_DISABLED": "1"}) as process:
            err = process.communicate(timeout=60)[1].splitlines()
        assert err[1] == "WHISPERR_DISABLED is set, so the command will send nothing: unset it"
        with running(*dev("-c", ""), env={"WHISPERR_DISABLED": "on"}) as process:
            err = process.communicate(timeout=60)[1].splitlines()
        assert err[2] == "nothing arrived: WHISPERR_DISABLED is set"

    def test_what_the_doctor_sends_is_no_failure(self) -> None:
        program = "from whisperr._cli.main import main; main(['doctor'])"
        with running(*dev("-c", program)) as process:
            err = process.communicate(timeout=60)[1]
        assert " - whisperr doctor asked about the key: it is accepted\n" in err
        assert "HTTP 400" not in err

    def test_an_injected_status_is_named(self) -> None:
        words = ["dev", "--port", "0", "--fail", "503:0.5", "--", sys.executable, "-c", ""]
        with running(*words) as process:
            err = process.communicate(timeout=60)[1].splitlines()
        assert err[1] == "injecting status 503, for 50% of the requests"

    def test_a_command_in_quotation_marks_is_explained(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_command(["python app.py"], "http://127.0.0.1:1", None) == 127
        assert "write the command without quotation marks around it" in capsys.readouterr().err

    def test_a_command_that_cannot_be_run_is_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        assert run_command(["/no/such/command"], "http://127.0.0.1:1", None) == 127
        assert run_command([str(tmp_path)], "http://127.0.0.1:1", None) == 126
        assert capsys.readouterr().err.count("cannot run") == 2
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    @needs_signals
    def test_a_signal_while_the_command_is_started_reaches_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = subprocess.Popen

        def interrupted(*given: Any, **options: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return start(*given, **options)

        monkeypatch.setattr(subprocess, "Popen", interrupted)
        kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            stay = [sys.executable, "-c", "import time; time.sleep(60)"]
            assert run_command(stay, "http://127.0.0.1:1", None) == 128 + signal.SIGTERM
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def make_stream(*messages: object) -> bytes:
    text = "".join(f"event: {CHANGES}\nid: a.1.1\ndata: {json.dumps(one)}\n\n" for one in messages)
    return (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
        + text.encode()
    )


EVENT = f"event: {CHANGES}".encode()
ARRIVAL: dict[str, Any] = {
    "seq": 1,
    "received_at": 1.0,
    "kind": "event",
    "status": "refused",
    "user": "u\x1b[2Jser\n",
    "type": "\u202eevil\x07",
    "request": 1,
    "body": {"properties": {"\x1b]0;title\x07": "\u2028\x9b2J\n"}},
    "problems": [{"pointer": "/\x1b[1A", "found": "\r\n", "expected": "\x00"}],
    "index": 0,
}
EMPTY: dict[str, Any] = {"arrivals": [], "missed": 0, "fresh": False}
ODD_STREAMS: dict[str, bytes] = {
    "no JSON": make_stream().replace(b"\r\n\r\n", b"\r\n\r\n" + EVENT + b"\ndata: {\n\n"),
    "no data": make_stream().replace(b"\r\n\r\n", b"\r\n\r\n" + EVENT + b"\n\n"),
    "a list": make_stream([]),
    "no arrivals": make_stream({}),
    "arrivals of another shape": make_stream({**EMPTY, "arrivals": [{"seq": 1}]}),
    "a text for an arrival": make_stream({**EMPTY, "arrivals": ["x"]}),
    "an odd status": make_stream({**EMPTY, "arrivals": [{**ARRIVAL, "status": "x"}]}),
    "an odd time": make_stream({**EMPTY, "arrivals": [{**ARRIVAL, "received_at": 1e300}]}),
    "nesting": make_stream().replace(
        b"\r\n\r\n", b"\r\n\r\n" + EVENT + b"\ndata: " + b"[" * 100_000 + b"\n\n"
    ),
    "a refusal": answer("403 Forbidden", b'{"message": "\\u001b[2J\\n' + b"x" * 5_000 + b'"}'),
    "a refusal that is a number": answer("400 Bad Request", b'{"message": 5}'),
    "a page": answer("404 Not Found", b"<html>"),
}


class TestOddServers:
    @pytest.mark.parametrize("name", ODD_STREAMS)
    def test_what_is_no_local_server_is_one_line_of_error(self, name: str) -> None:
        data = ODD_STREAMS[name]
        with (
            RawServer(answers(data, then=close)) as odd,
            running("tail", "--port", str(odd.port)) as process,
        ):
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert err.startswith("whisperr tail: ")
        assert err.rstrip("\n").isprintable()
        assert len(err) < 1_100

    def test_no_text_of_an_arrival_reaches_the_terminal_raw(self) -> None:
        data = make_stream({**EMPTY, "arrivals": [ARRIVAL]}, [])
        with (
            RawServer(answers(data, then=close)) as odd,
            running("tail", "--port", str(odd.port)) as process,
        ):
            out, err = process.communicate(timeout=60)
        lines = out.splitlines()
        assert len(lines) == 2
        assert all(line.isprintable() for line in [*lines, *err.splitlines()])
        assert "\\x1b[2J" in lines[0]

    @needs_signals
    def test_a_server_goes_on_when_nobody_reads_what_it_prints(self) -> None:
        with running("dev", "--port", "0") as process:
            found = re.search(r":(\d+)", read_line(process.stdout))
            assert found is not None
            assert process.stdout is not None
            process.stdout.close()
            port = int(found[1])
            for number in range(3):
                body = {"events": [event(str(number), occurred_at=now())]}
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("POST", BATCH, json.dumps(body), HEADERS)
                assert connection.getresponse().status == 202
                connection.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
