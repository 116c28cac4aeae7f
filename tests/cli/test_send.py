"""`whisperr track` and `whisperr identify`: what arrives, what is printed, the exit codes."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Call


class TestTrack:
    def test_one_event_is_delivered_and_its_id_is_printed(
        self, server: LocalServer, call: Call
    ) -> None:
        ended = call("track", "8842", "payment_failed", "amount=19.90", "card=null", "why=declined")
        (arrival,) = server.arrivals()
        assert (arrival.user, arrival.type, arrival.status) == (
            "8842",
            "payment_failed",
            "accepted",
        )
        assert arrival.body["properties"] == {"amount": 19.9, "card": None, "why": "declined"}
        assert b'"amount":19.90' in server.requests()[0].body
        assert ended.code == 0
        assert re.fullmatch(
            rf"delivered payment_failed of 8842, message id {arrival.message_id}: "
            r"accepted after \d+ ms\n",
            ended.out,
        )
        assert ended.err == ""

    def test_id_time_and_test_mode_can_be_given(self, server: LocalServer, call: Call) -> None:
        moment = (datetime.now(timezone.utc) - timedelta(days=2)).replace(microsecond=0)
        ended = call(
            "track", "42", "login", "--at", moment.isoformat(), "--message-id", "evt_1", "--test"
        )
        assert ended.code == 0
        body = server.arrivals()[0].body
        assert body["occurred_at"] == moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        assert (body["context"]["$message_id"], body["context"]["$mode"]) == ("evt_1", "test")

    def test_properties_come_from_a_file_and_words_override_them(
        self, server: LocalServer, call: Call, tmp_path: Path
    ) -> None:
        file = tmp_path / "properties.json"
        file.write_text('{"a": 1, "b": {"c": 2}}', encoding="utf-8")
        assert call("track", "42", "login", "a=3", "--json", str(file)).code == 0
        assert server.arrivals()[0].body["properties"] == {"a": 3, "b": {"c": 2}}

    def test_properties_come_from_stdin(
        self, server: LocalServer, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1}'))
        assert call("track", "42", "login", "--json", "-").code == 0
        assert server.arrivals()[0].body["properties"] == {"a": 1}

    def test_a_failed_request_is_retried_and_the_requests_are_counted(
        self, server: LocalServer, call: Call
    ) -> None:
        server.set_faults(faults.status(503, times=1))
        ended = call("track", "42", "login")
        assert ended.code == 0
        assert "accepted in 2 requests after" in ended.out

    def test_an_option_overrides_the_environment(
        self, server: LocalServer, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_BASE_URL", "http://127.0.0.1:1")
        assert call("track", "42", "login", "--base-url", server.url).code == 0
        assert len(server.arrivals()) == 1


class TestIdentify:
    def test_what_is_known_is_delivered(self, server: LocalServer, call: Call) -> None:
        options = (
            "--email ada@example.com --phone +49 --push-token t --trait plan=pro --trait seats=9 "
            "--preferred-channel email --anonymous-id a1"
        )
        ended = call("identify", "42", *options.split())
        assert ended.code == 0
        assert ended.out.startswith("delivered identify of 42: accepted after ")
        body = server.arrivals()[0].body
        assert body["traits"] == {"plan": "pro", "seats": 9}
        assert [channel["address"] for channel in body["channels"]] == [
            "ada@example.com",
            "+49",
            "t",
        ]
        assert (body["preferred_channel"], body["anonymous_id"]) == ("email", "a1")

    def test_traits_come_from_a_file(self, server: LocalServer, call: Call, tmp_path: Path) -> None:
        file = tmp_path / "traits.json"
        file.write_text('{"plan": "pro"}', encoding="utf-8")
        assert call("identify", "42", "--json", str(file)).code == 0
        assert server.arrivals()[0].body["traits"] == {"plan": "pro"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.wrong_key(), "HTTP 401 (invalid_api_key); check WHISPERR_API_KEY"),
        (faults.status(410), "HTTP 410; correct the event and send it again"),
        (faults.status(503), 'HTTP 503; run "whisperr doctor"'),
        (faults.hang(), "no answer"),
    ],
    ids=str,
)
def test_an_undelivered_event_is_1_with_the_answer_of_the_server(
    server: LocalServer, call: Call, fault: Any, message: str
) -> None:
    server.set_faults(fault)
    ended = call("track", "42", "login", "--timeout", "1")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("whisperr track: not delivered: ")
    assert message.rsplit(";", maxsplit=1)[-1] in ended.err
    assert ended.err.count("\n") == 1


def test_an_event_that_the_server_refuses_is_1(server: LocalServer, call: Call) -> None:
    ahead = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    ended = call("track", "42", "login", "--at", ahead)
    assert ended.code == 1
    assert "correct the event" in ended.err
    assert server.arrivals()[0].status == "refused"


def test_a_wrong_path_is_1_and_says_what_to_correct(server: LocalServer, call: Call) -> None:
    ended = call("track", "42", "login", "--base-url", f"{server.url}/api")
    assert ended.code == 1
    assert "does not serve the whisperr API at this path (HTTP 404 not_found)" in ended.err
    fix = f"correct WHISPERR_BASE_URL or --base-url, now {server.url}/api; run"
    assert fix in ended.err


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(faults.latency(4), "no answer within 3 s"), (faults.status(503, times=3), "HTTP 503")],
    ids=str,
)
def test_what_takes_long_is_said_once_with_its_reason(
    server: LocalServer, call: Call, fault: Any, reason: str
) -> None:
    server.set_faults(fault)
    ended = call("track", "42", "login", "--timeout", "30")
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("whisperr track: ")
    assert reason in line
    assert line.endswith("; trying again for up to 30 s; Ctrl-C stops")


def test_a_server_that_is_not_there_is_1(call: Call, server: LocalServer) -> None:
    server.close()
    ended = call("track", "42", "login", "--timeout", "0.5")
    assert ended.code == 1
    assert "connection refused" in ended.err
    assert 'run "whisperr doctor"' in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["track", "42", "Payment Failed"], "event_type: got 'Payment Failed'"),
        (["track", " ", "login"], "external_user_id: must not be empty"),
        (["track", "42", "login", "a"], "'a': write key=value"),
        (["track", "42", "login", "a=1", "a=2"], "given twice"),
        (["track", "42", "login", "--at", "2020-01-01T00:00:00Z"], "30 days ago"),
        (["track", "42", "login", "--json", "/nowhere"], "name a file with a JSON object"),
        (["identify", "42", "--trait", "a"], "write key=value"),
        (["identify", "42"], "nothing to send about the user: add --email, --phone or --trait"),
        (["identify", "42", "--email", ""], "--email is empty: is a shell variable not"),
        (["identify", "42", "--push-token", " ", "--trait", "a=1"], "--push-token is empty"),
        (["identify", "42", "--anonymous-id", "x" * 129], "1 to 128 characters"),
    ],
)
def test_a_wrong_call_is_2_and_one_line(
    server: LocalServer, call: Call, words: list[str], message: str
) -> None:
    ended = call(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"whisperr {words[0]}: ")
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert server.requests() == []


@pytest.mark.parametrize(
    "words",
    [
        ["track", "42"],
        ["track", "42", "login", "--at", "noon"],
        ["track", "42", "login", "--timeout", "0"],
        ["track", "42", "login", "--timeout", "soon"],
        ["identify", "42", "--preferred-channel", "pigeon"],
    ],
)
def test_a_call_that_the_parser_refuses_is_2(call: Call, words: list[str]) -> None:
    ended = call(*words)
    assert ended.code == 2
    assert "error:" in ended.err


@pytest.mark.parametrize("text", ["[1]", "{", '"a"'])
def test_properties_that_are_not_an_object_are_refused(
    server: LocalServer, call: Call, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "properties.json"
    file.write_text(text, encoding="utf-8")
    ended = call("track", "42", "login", "--json", str(file))
    assert ended.code == 2
    assert "JSON object" in ended.err


@pytest.mark.parametrize("key", [None, "", " "])
def test_without_a_key_the_error_says_what_to_do(
    server: LocalServer, call: Call, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key is None:
        monkeypatch.delenv("WHISPERR_API_KEY")
    else:
        monkeypatch.setenv("WHISPERR_API_KEY", key)
    ended = call("track", "42", "login")
    assert ended.code == 2
    assert ended.err == (
        "whisperr track: no key: set WHISPERR_API_KEY to your server key (wrk_...); to try "
        "without a key, run it in a local server: whisperr dev -- whisperr track 42 login\n"
    )


def test_a_wrong_key_or_address_is_reported(
    server: LocalServer, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "base_url" in call("track", "42", "login", "--base-url", "nowhere").err
    monkeypatch.setenv("WHISPERR_API_KEY", "wpk_public")
    ended = call("track", "42", "login")
    assert ended.code == 0
    assert ended.err.startswith("whisperr: api_key: this is a publishable key")
    assert ended.err.count("\n") == 1


def test_control_characters_do_not_reach_the_terminal(server: LocalServer, call: Call) -> None:
    ended = call("track", "\x1b[31m42", "login")
    assert ended.code == 0
    assert "\x1b" not in ended.out


@pytest.mark.parametrize("command", ["track", "identify", "import", "doctor"])
def test_the_help_has_examples(call: Call, command: str) -> None:
    ended = call(command, "--help")
    assert ended.code == 0
    assert f"examples:\n  whisperr {command}" in ended.out


def test_every_example_of_the_help_is_accepted(
    server: LocalServer, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "invoice.json").write_text('{"number": 7}', encoding="utf-8")
    for command in ("track", "identify"):
        lines = call(command, "--help").out.split("examples:\n")[1].splitlines()
        examples = [line.strip() for line in lines if line.startswith("  whisperr ")]
        assert len(examples) > 1
        for example in examples:
            ended = call(*shlex.split(example)[1:])
            assert (ended.code, ended.err) == (0, ""), example
    assert {one.status for one in server.arrivals()} == {"accepted"}


def test_a_message_id_that_is_given_may_be_a_duplicate(server: LocalServer, call: Call) -> None:
    outs = [call("track", "42", "login", "--message-id", "m1").out for _ in range(2)]
    for out in outs:
        assert out.endswith("; dropped by the server if the message id has arrived before\n")
    assert [one.status for one in server.arrivals()] == ["accepted", "duplicate"]


def test_it_is_a_command_of_the_shell(server: LocalServer) -> None:
    command = [sys.executable, "-m", "whisperr", "track", "42", "login", "a=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("delivered login of 42")
    assert json.loads(server.requests()[0].body)["events"][0]["properties"] == {"a": 1}
