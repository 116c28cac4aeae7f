"""`whisperr dev -- COMMAND` where something listens on its port already."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.test_tail import SHOW, TRACK
from tests.facilities import IS_ROOT
from tests.http.raw_server import RawServer, answer, answers, close
from whisperr._cli.main import main
from whisperr.dev import LocalServer
from whisperr.dev._console.running import find_owners, get_counts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IS_ROOT_ON_LINUX = sys.platform.startswith("linux") and IS_ROOT
AS_OTHER_USER = """
import os, socket, sys, threading
from whisperr.dev._console.running import get_counts

def answer_one(listener):
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(os.fsencode(sys.argv[1]))

for user in (0, 65_534):
    os.seteuid(user)  # whose socket it is
    listener = socket.create_server(("127.0.0.1", 0))
    os.seteuid(0)
    threading.Thread(target=answer_one, args=(listener,), daemon=True).start()
    print(get_counts(listener.getsockname()[1]) is not None)
"""
COUNTS = {"accepted": 1, "duplicates": 0, "refused": 0, "requests": 1}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


def run_dev(*words: str, program: str = SHOW) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whisperr", "dev", *words, "--", sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class TestOurs:
    def test_the_command_uses_the_server_that_runs(self, server: LocalServer) -> None:
        ended = run_dev("--port", str(server.port), program=TRACK)
        assert ended.returncode == 3  # that of the command
        assert [(a.user, a.type) for a in server.arrivals()] == [("user_8842", "payment_failed")]
        assert ended.stderr.splitlines() == [
            f"using the whisperr dev that already runs at {server.url}: events are shown there",
            "accepted 1, duplicates 0, refused 0, in 1 request",
        ]

    @pytest.mark.parametrize(("words", "key"), [([], "wrk_dev"), (["--key", "wrk_a"], "wrk_a")])
    def test_the_command_gets_its_address_and_a_key(
        self, server: LocalServer, words: list[str], key: str
    ) -> None:
        ended = run_dev("--port", str(server.port), *words)
        assert ended.stdout == f"{server.url} {key}\n"
        assert "nothing arrived" in ended.stderr

    def test_a_key_that_the_server_refuses_is_named(self) -> None:
        with LocalServer(api_key="wrk_a") as server:
            ended = run_dev("--port", str(server.port), program=TRACK)
            right = run_dev("--port", str(server.port), "--key", "wrk_a", program=TRACK)
        assert "it answered 401: if it was started with --key KEY" in ended.stderr
        assert "401" not in right.stderr
        assert "accepted 1" in right.stderr

    def test_what_arrived_before_is_not_counted(self, server: LocalServer) -> None:
        for _ in range(2):
            ended = run_dev("--port", str(server.port), program=TRACK)
        assert "accepted 1, duplicates 0, refused 0, in 1 request" in ended.stderr

    @pytest.mark.parametrize(
        "words", [["--hang"], ["--fail", "503"], ["--store", "FILE"], ["--max-body", "9"]]
    )
    def test_options_of_a_server_are_refused(
        self, server: LocalServer, words: list[str], tmp_path: Path
    ) -> None:
        given = [str(tmp_path / "kept") if word == "FILE" else word for word in words]
        ended = run_dev("--port", str(server.port), *given)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"runs already at {server.url}, without your {words[0]}: end that" in ended.stderr
        assert ended.stderr.count("\n") == 1

    def test_without_a_command_it_says_where_to_look(
        self, server: LocalServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["dev", "--port", str(server.port)]) == 2
        err = capsys.readouterr().err
        assert f"runs already at {server.url}: open it in a browser" in err
        assert "choose another port with --port" in err

    def test_a_server_that_ends_meanwhile_is_named(self, server: LocalServer) -> None:
        wait = "print('started', flush=True); input()"
        words = ["dev", "--port", str(server.port), "--", sys.executable, "-c", wait]
        with subprocess.Popen(
            [sys.executable, "-m", "whisperr", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            server.close()
            _, err = process.communicate("\n", timeout=60)
        assert err.splitlines()[-1] == f"the whisperr dev at {server.url} has ended in the meantime"


def to_answer(body: bytes, server: str = "Server: whisperr-dev") -> bytes:
    data = answer("200 OK", body)
    return data.replace(b"\r\n", f"\r\n{server}\r\n".encode(), 1)


FOREIGN = {
    "another server": to_answer(json.dumps(COUNTS).encode(), "Server: nginx"),
    "no server header": answer("200 OK", json.dumps(COUNTS).encode()),
    "no JSON": to_answer(b"{"),
    "a list": to_answer(b"[]"),
    "no counts": to_answer(b"{}"),
    "counts that are none": to_answer(json.dumps({**COUNTS, "refused": "0"}).encode()),
    "nesting": to_answer(b"[" * 100_000),
    "a refusal": answer("404 Not Found", b"{}"),
    "nothing": b"",
}


class TestForeign:
    @pytest.mark.parametrize("name", FOREIGN)
    def test_what_does_not_answer_as_the_api_is_not_ours(self, name: str) -> None:
        with RawServer(answers(FOREIGN[name], then=close)) as foreign:
            assert get_counts(foreign.port) is None

    def test_what_answers_as_the_api_is_ours(self, server: LocalServer) -> None:
        assert get_counts(server.port) == dict.fromkeys([*COUNTS, "refused_keys"], 0)
        with RawServer(answers(to_answer(json.dumps(COUNTS).encode()), then=close)) as alike:
            assert get_counts(alike.port) == {**COUNTS, "refused_keys": 0}

    @pytest.mark.skipif(not IS_ROOT_ON_LINUX, reason="only root can listen as another user")
    def test_the_server_of_another_user_is_not_used(self) -> None:
        given = to_answer(json.dumps(COUNTS).encode()).decode()
        command = [sys.executable, "-c", AS_OTHER_USER, given]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr) == ("True\nFalse\n", "")

    def test_the_owners_are_those_of_the_sockets_that_listen_on_the_port(self) -> None:
        rest = "00000000:00000000 00:00000000 00000000"
        rows = (
            f"0: 0100007F:2212 00000000:0000 0A {rest} 1000 0 1",
            f"1: 0100007F:2213 00000000:0000 0A {rest} 1001 0 2",
            f"2: 0100007F:2212 0100007F:9999 01 {rest} 1002 0 3",
        )
        table = "\n".join(["  sl  local_address rem_address   st", *rows])
        assert find_owners(table, 0x2212) == {1000}
        assert find_owners(table, 80) == set()

    def test_a_port_that_was_asked_for_is_an_error(self) -> None:
        with RawServer(answers(b"", then=close)) as foreign:
            ended = run_dev("--port", str(foreign.port))
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"cannot listen on 127.0.0.1:{foreign.port}" in ended.stderr
        assert ended.stderr.count("\n") == 1

    def test_the_command_gets_a_free_port_when_no_port_was_asked_for(self) -> None:
        # The usual port is one of the machine: another one stands for it in this program.
        program = (
            "import sys; from whisperr._cli import local; local.DEFAULT_PORT = int(sys.argv[1]); "
            "from whisperr._cli.main import main; sys.exit(main(['dev', '--', *sys.argv[2:]]))"
        )
        with RawServer(answers(b"", then=close)) as foreign:
            show: list[Any] = [sys.executable, "-c", program, str(foreign.port)]
            show += [sys.executable, "-c", SHOW]
            ended = subprocess.run(show, capture_output=True, text=True, timeout=60, check=False)
        first, second, *_ = ended.stderr.splitlines()
        assert first == f"another program uses port {foreign.port}; taking a free one"
        url = ended.stdout.split()[0]
        assert url in second
        assert str(foreign.port) not in url
        assert ended.returncode == 0
