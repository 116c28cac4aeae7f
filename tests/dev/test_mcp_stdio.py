"""`whisperr dev --mcp-stdio`: as a transport between two descriptors, and as a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.dev.mcp_wire import META, NEWEST, request
from tests.dev.wire import call
from tests.facilities import needs_signals
from tests.http.raw_server import RawServer, answer, answers, close
from whisperr import Whisperr
from whisperr._cli.main import main
from whisperr.dev import LocalServer
from whisperr.dev._mcp.endpoint import MAX_BODY_BYTES, to_header
from whisperr.dev._mcp.stdio import StdioTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANCEL = "notifications/cancelled"
IDENTIFY = {"external_user_id": "user_1"}


def wait_for(number: object, timeout: float = 50) -> dict[str, Any]:
    arguments = {"timeout": timeout}
    return request("tools/call", {"name": "wait_for", "arguments": arguments}, number)


def notice(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


class Assistant:
    """The other end of a transport: writes messages, and reads the answers."""

    def __init__(self, port: int) -> None:
        source, self._out = os.pipe()
        into, sink = os.pipe()
        self._in = os.fdopen(into, "rb")
        self._given = (source, sink)
        transport = StdioTransport(port, source, sink)
        self._thread = Thread(target=transport.run)
        self._thread.start()

    def write(self, *messages: object) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(self._out, data) :]

    def read(self) -> Any:
        return json.loads(self._in.readline())

    def ask(self, message: object) -> Any:
        self.write(message)
        return self.read()

    def end(self) -> list[Any]:
        """Close the input; return the answers that come after that."""
        os.close(self._out)
        self._thread.join(30)
        assert not self._thread.is_alive()
        for descriptor in self._given:
            os.close(descriptor)
        with self._in:
            return [json.loads(line) for line in self._in]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def assistant(server: LocalServer) -> Iterator[Assistant]:
    assistant = Assistant(server.port)
    yield assistant
    assert assistant.end() == []


class TestTransport:
    def test_messages_are_answered_one_per_line(self, assistant: Assistant) -> None:
        assert assistant.ask(request("ping", number="a")) == {
            "jsonrpc": "2.0",
            "id": "a",
            "result": {},
        }
        listed = assistant.ask(request("tools/list", number=2))
        assert (listed["id"], len(listed["result"]["tools"])) == (2, 5)

    def test_a_request_by_the_newest_rules_needs_no_headers(self, assistant: Assistant) -> None:
        params = {"name": "types", "arguments": {}, "_meta": META}
        found = assistant.ask(request("tools/call", params))
        assert found["result"]["resultType"] == "complete"
        wrong = assistant.ask(request("tools/call", {**params, "name": "größer\n"}))
        assert wrong["error"]["message"].startswith("Unknown tool: größer\\n; there are")
        odd = assistant.ask(request("größer\n", {"_meta": META}))
        assert odd["error"]["code"] == -32601

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            (b"{\n", -32700),
            (b"\xff\n", -32700),
            (b"[" * 100_000 + b"\n", -32700),
            (b"3\n", -32600),
            (b"x" * (MAX_BODY_BYTES + 1) + b"\n", -32600),
            (b"x" * (3 * MAX_BODY_BYTES) + b"\n", -32600),
        ],
        ids=["no JSON", "no UTF-8", "nesting", "a number", "a long line", "a very long line"],
    )
    def test_a_wrong_line_is_one_error_and_the_next_line_is_read(
        self, assistant: Assistant, line: bytes, code: int
    ) -> None:
        wrong = assistant.ask(line)
        assert (wrong["id"], wrong["error"]["code"]) == (None, code)
        assert assistant.ask(request("ping"))["result"] == {}

    def test_empty_lines_and_notifications_have_no_answer(self, assistant: Assistant) -> None:
        assistant.write(b"\n", b" \r\n", notice("notifications/initialized"), notice(CANCEL))
        assert assistant.ask(request("ping"))["id"] == 1

    def test_a_message_may_come_in_pieces(self, assistant: Assistant) -> None:
        data = json.dumps(request("ping")).encode() + b"\r\n"
        assistant.write(data[:5], data[5:])
        assert assistant.read()["id"] == 1

    def test_a_wait_does_not_delay_the_next_request(
        self, server: LocalServer, assistant: Assistant
    ) -> None:
        assistant.write(wait_for(1))
        assert assistant.ask(request("ping", number=2))["id"] == 2
        call(server, "POST", "/v1/identify", IDENTIFY)
        assert assistant.read()["result"]["structuredContent"]["reached"] is True

    def test_a_cancelled_request_ends_in_the_server_and_has_no_answer(
        self, assistant: Assistant
    ) -> None:
        assistant.write(wait_for("w"), wait_for(2))
        assistant.ask(request("ping", number=3))
        started = [one for one in threading.enumerate() if "_forward" in one.name]
        assistant.write(notice(CANCEL, requestId="w"), notice(CANCEL, requestId=2))
        assert len(started) >= 2
        for thread in started:
            thread.join(30)
            assert not thread.is_alive()
        assert assistant.ask(request("ping", number="w"))["id"] == "w"

    @pytest.mark.parametrize("named", [9, None, [1], True])
    def test_a_cancellation_of_no_request_is_ignored(
        self, assistant: Assistant, named: object
    ) -> None:
        assistant.write(notice(CANCEL, requestId=named), notice(CANCEL) | {"params": 3})
        assert assistant.ask(request("ping"))["id"] == 1

    def test_more_requests_at_once_than_it_forwards_are_refused(
        self, server: LocalServer, assistant: Assistant
    ) -> None:
        assistant.write(*(wait_for(number) for number in range(33)))
        refused = assistant.read()
        assert (refused["id"], refused["error"]["code"]) == (32, -32603)
        assert refused["error"]["message"] == "more than 32 requests at once"
        call(server, "POST", "/v1/identify", IDENTIFY)
        assert {assistant.read()["id"] for _ in range(32)} == set(range(32))

    def test_answers_still_come_after_the_end_of_the_input(self, server: LocalServer) -> None:
        assistant = Assistant(server.port)
        assistant.write(request("ping"), json.dumps(request("ping", number=2)).encode())
        assert {one["id"] for one in assistant.end()} == {1, 2}

    def test_a_server_that_has_ended_is_named(self) -> None:
        with LocalServer() as server:
            assistant = Assistant(server.port)
        text = assistant.ask(request("ping"))["error"]["message"]
        assert text.startswith(f"no answer from the local server at {server.url}: ")
        assert assistant.end() == []

    def test_a_server_without_the_endpoint_is_named(self) -> None:
        with RawServer(answers(answer("404 Not Found", b'{"error": "x"}'), then=close)) as old:
            assistant = Assistant(old.port)
            error = assistant.ask(request("ping"))["error"]
        assert error["message"].endswith("it has no MCP endpoint (HTTP 404); start it again")
        assert assistant.end() == []

    @pytest.mark.parametrize(
        ("value", "header"),
        [
            ("tools/call", "tools/call"),
            ("", ""),
            (" a", "=?base64?IGE=?="),
            ("a\nb", "=?base64?YQpi?="),
            ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?="),
        ],
    )
    def test_a_header_carries_any_value(self, value: str, header: str) -> None:
        assert to_header(value) == header


@contextmanager
def running(
    *words: str, stdin: int = subprocess.PIPE, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "whisperr", "dev", "--mcp-stdio", *words],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str], message: object) -> Any:
    stdin, stdout = get(process.stdin), get(process.stdout)
    stdin.write(f"{json.dumps(message)}\n")
    stdin.flush()
    return json.loads(stdout.readline())


def get(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def find_url(process: subprocess.Popen[str]) -> str:
    answered = ask(process, wait_for(0, timeout=0))["result"]["structuredContent"]
    url: str = answered["hint"].partition("WHISPERR_BASE_URL=")[2].split()[0]
    return url


class TestProcess:
    def test_an_application_sends_to_it_and_only_answers_are_printed(self) -> None:
        with running("--port", "0") as process:
            url = find_url(process)
            with Whisperr(api_key="wrk_dev", base_url=url) as application:
                application.track("user_1", "trial_started", {"plan": "secret"})
            proof = ask(process, wait_for(1, timeout=30))["result"]["structuredContent"]
            assert (proof["reached"], proof["arrivals"][0]["type"]) == (True, "trial_started")
            out, err = process.communicate(timeout=60)  # closes its input
        assert (process.returncode, out) == (0, "")
        assert err.splitlines() == [
            f"whisperr dev listens on {url}; it ends with the assistant",
            "accepted 1, duplicates 0, refused 0, in 1 request",
        ]

    @needs_signals
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_also_while_a_request_waits(self, number: signal.Signals) -> None:
        with running("--port", "0") as process:
            find_url(process)
            stdin = get(process.stdin)
            stdin.write(f"{json.dumps(wait_for(1))}\n")
            stdin.flush()
            assert ask(process, request("ping", number=2))["id"] == 2
            process.send_signal(number)
            assert process.wait(timeout=60) == 0

    def test_it_uses_the_server_that_runs_already(self, server: LocalServer) -> None:
        call(server, "POST", "/v1/identify", IDENTIFY)
        with running("--port", str(server.port)) as process:
            params = {"name": "arrivals", "arguments": {}, "_meta": META}
            found = ask(process, request("tools/call", params))["result"]["structuredContent"]
            assert [one["user"] for one in found["arrivals"]] == ["user_1"]
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        assert err == f"using the whisperr dev that already runs at {server.url}\n"
        assert call(server, "GET", "/_dev/summary")[1]["accepted"] == 1  # it still runs

    def test_options_of_a_server_need_one_of_its_own(
        self, server: LocalServer, tmp_path: Path
    ) -> None:
        with running("--port", str(server.port), "--store", str(tmp_path / "kept")) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert f"runs already at {server.url}, without your --store" in err

    def test_a_port_of_another_program_is_named(self) -> None:
        behaviour = answers(answer("200 OK", b"{}"), then=close)
        with RawServer(behaviour) as other, running("--port", str(other.port)) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert f"cannot listen on 127.0.0.1:{other.port}" in err

    @pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="descriptors always block here")
    def test_ends_of_pipes_that_do_not_block_are_read_and_written(self) -> None:
        source, out = os.pipe()
        into, sink = os.pipe()
        for end in (source, sink):
            os.set_blocking(end, False)
        with running("--port", "0", stdin=source, stdout=sink) as process:
            os.close(source)
            os.close(sink)
            big = b'{"jsonrpc": "2.0", "id": 1, "method": "%s"}\n' % (b"x" * 300_000)
            with os.fdopen(out, "wb", 0) as stdin, os.fdopen(into, "rb") as stdout:
                stdin.write(json.dumps(request("ping", number=2)).encode() + b"\n")
                assert json.loads(stdout.readline())["id"] == 2
                stdin.write(big)
                assert json.loads(stdout.readline())["id"] == 1
            assert process.wait(timeout=60) == 0

    def test_an_input_that_cannot_be_read_is_named(self) -> None:
        other, written = os.pipe()  # the wrong end: it can only be written
        try:
            with running("--port", "0", stdin=written) as process:
                _, err = process.communicate(timeout=60)
        finally:
            os.close(written)
            os.close(other)
        assert process.returncode == 1
        last = err.splitlines()[-1]
        assert last.startswith("cannot read the messages of the assistant: [Errno ")

    def test_a_command_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["dev", "--mcp-stdio", "--", "python", "app.py"]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "--mcp-stdio runs no command: start the application beside it" in shown.err

    def test_the_newest_version_is_the_first_that_is_offered(self) -> None:
        with running("--port", "0") as process:
            found = ask(process, request("server/discover", {"_meta": META}))["result"]
            process.communicate(timeout=60)
        assert found["supportedVersions"][0] == NEWEST
