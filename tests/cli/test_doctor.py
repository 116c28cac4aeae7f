"""`whisperr doctor`: its findings, as text and as JSON, with servers that fail."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import RawServer, answer, answers
from whisperr._cli.doctor import diagnose, get_version, inspect_environment
from whisperr._cli.main import main
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    import trustme

    from whisperr._integrations.checkup import Finding

    from .conftest import Call

REFUSED = answer("400 Bad Request", b'{"error":"no_events"}')


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def run_doctor(url: str, **options: Any) -> dict[str, Finding]:
    return {one.name: one for one in diagnose(url, options.pop("timeout", 10.0), **options)}


class TestCommand:
    def test_a_good_environment_is_0(self, server: LocalServer, call: Call) -> None:
        ended = call("doctor")
        assert (ended.code, ended.err) == (0, "")
        lines = ended.out.splitlines()
        assert f"✓ configuration     sends to {server.url}" in lines
        assert "✓ kind of key       wrk_, a server key" in lines
        assert (
            "✓ key               accepted (HTTP 400, no_events for a request without events)"
            in lines
        )
        assert "- encryption        http:// has none" in lines
        assert any(line.startswith("✓ round trip ") for line in lines)
        assert any(line.startswith("✓ clock ") for line in lines)
        assert "\x1b" not in ended.out
        assert server.arrivals() == []
        assert len(server.requests()) == 1

    def test_programs_get_json(self, server: LocalServer, call: Call) -> None:
        ended = call("doctor", "--json")
        report = json.loads(ended.out)
        assert (ended.code, report["ok"]) == (0, True)
        named = {one["name"]: one for one in report["findings"]}
        assert named["key"]["state"] == "ok"
        assert named["versions"]["text"].startswith("whisperr ")

    def test_a_key_that_is_refused_is_1(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_wrong")
        with LocalServer(api_key="wrk_right") as server:
            ended = call("doctor", "--base-url", server.url)
            report = json.loads(call("doctor", "--base-url", server.url, "--json").out)
        assert ended.code == 1
        assert "✗ key               refused (HTTP 401, invalid_api_key)" in ended.out
        assert ended.err == "wrong: key\n"
        assert report["ok"] is False

    def test_without_a_key_it_says_where_to_create_one(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY", raising=False)
        ended = call("doctor")
        assert ended.code == 1
        assert "none given and WHISPERR_API_KEY is not set; create a server key" in ended.out
        assert "disabled" not in ended.out

    def test_it_is_coloured_on_a_terminal_unless_no_color_is_set(
        self,
        server: LocalServer,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:

        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        main(["doctor"])
        assert "\x1b[32m✓\x1b[0m" in capsys.readouterr().out
        monkeypatch.setenv("NO_COLOR", "1")
        main(["doctor"])
        assert "\x1b" not in capsys.readouterr().out


@pytest.mark.usefixtures("server")
class TestNetwork:
    def test_a_server_that_is_not_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        report = run_doctor(f"http://127.0.0.1:{port}")
        assert report["key"].state == "wrong"
        assert "Connection refused" in report["key"].text
        assert report["round trip"].state == report["clock"].state == "skipped"

    def test_a_server_that_never_answers(self, server: LocalServer) -> None:
        server.set_faults(faults.hang())
        report = run_doctor(server.url, timeout=0.3)
        assert report["key"].state == "wrong"
        assert report["key"].text.startswith("no answer: TimeoutError")

    def test_a_server_that_is_slow(self, server: LocalServer) -> None:
        server.set_faults(faults.latency(0.3))
        report = run_doctor(server.url)
        assert report["key"].state == "ok"
        assert int(report["round trip"].text.split()[0]) >= 300

    def test_a_server_that_is_down(self, server: LocalServer) -> None:
        server.set_faults(faults.status(503))
        assert run_doctor(server.url)["key"].state == "doubtful"

    def test_an_invalid_address(self) -> None:
        report = run_doctor("nowhere")
        assert report["configuration"].state == "wrong"
        assert "key" not in report

    @pytest.mark.parametrize(
        ("theirs", "state", "text"),
        [
            (timedelta(), "ok", "the server's"),
            (timedelta(seconds=60), "doubtful", "behind the server's: events are stamped with it"),
            (timedelta(seconds=-60), "doubtful", "ahead of the server's"),
            (timedelta(seconds=-400), "wrong", "it refuses events of its future; set the clock"),
        ],
    )
    def test_clocks_that_differ(self, theirs: timedelta, state: str, text: str) -> None:
        date = format_datetime(datetime.now(timezone.utc) + theirs, usegmt=True)
        reply = answer("400 Bad Request", b'{"error":"no_events"}', f"Date: {date}")
        with RawServer(answers(reply)) as raw:
            clock = run_doctor(raw.url)["clock"]
        assert (clock.state, text in clock.text) == (state, True)

    @pytest.mark.parametrize("date", [None, "soon"])
    def test_a_server_without_a_date(self, date: str | None) -> None:
        lines = [] if date is None else [f"Date: {date}"]
        with RawServer(answers(answer("400 Bad Request", b"{}", *lines))) as raw:
            assert run_doctor(raw.url)["clock"].state == "skipped"


class TestEncryption:
    def test_a_certificate_of_a_private_authority(self, server: LocalServer) -> None:
        authority: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)

        def behave(connection: Any) -> None:
            connection.encrypt(context)
            answers(REFUSED)(connection)

        with RawServer(behave, behave) as raw:
            report = run_doctor(f"https://localhost:{raw.port}", ssl_context=trusting)
        assert report["encryption"].text.startswith("TLSv1.3, certificate valid for ")
        assert report["key"].state == "ok"
        with RawServer(behave, behave) as raw:
            report = run_doctor(f"https://localhost:{raw.port}")
        assert report["encryption"].text.startswith("the certificate: ")
        assert report["key"].state == "wrong"


@pytest.mark.usefixtures("server")
class TestEnvironment:
    def test_the_proxy_is_named_without_its_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(answers(REFUSED)) as proxy:
            monkeypatch.setenv("http_proxy", f"http://ada:secret@127.0.0.1:{proxy.port}")
            report = run_doctor("http://service.invalid")
        assert report["proxy"].text == f"http://127.0.0.1:{proxy.port}, from the environment"
        assert report["key"].state == "ok"
        assert not any("secret" in one.text for one in report.values())

    def test_a_proxy_of_another_kind_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
        assert run_doctor("http://service.invalid")["proxy"].state == "wrong"

    @pytest.mark.parametrize(
        ("key", "state"),
        [("wrk_test", "ok"), ("wpk_test", "doubtful"), ("sk_test", "doubtful")],
    )
    def test_the_kind_of_the_key(
        self, server: LocalServer, monkeypatch: pytest.MonkeyPatch, key: str, state: str
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", key)
        assert run_doctor(server.url)["kind of key"].state == state

    def test_installed_hosts_are_listed_with_their_requirements(self) -> None:
        installed = {"uwsgi": "2.0.25", "gevent": "25.9"}
        report = {one.name: one for one in inspect_environment(None, installed.get)}
        assert report["uwsgi 2.0.25"].state == "doubtful"
        assert "enable-threads" in report["uwsgi 2.0.25"].text
        assert "monkey.patch_all()" in report["gevent 25.9"].text
        assert not any(name.startswith("celery") for name in report)

    def test_installed_packages_are_looked_up(self) -> None:
        assert get_version("pytest") == pytest.__version__
        assert get_version("no-such-package-8842") is None

    def test_threads_that_cannot_be_started_are_a_finding(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        assert {one.name: one.state for one in inspect_environment(None)}["threads"] == "ok"
        monkeypatch.setattr(threading.Thread, "start", refuse)
        report = {one.name: one for one in inspect_environment(None)}
        assert report["threads"].text.startswith("can't start new thread: events wait for")
