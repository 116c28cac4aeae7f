"""`whisperr doctor`: its output, as text and as JSON, its exit status, and its settings."""

from __future__ import annotations

import json
import ssl
import sys
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_terminal
from tests.http.raw_server import RawServer, answer, answers
from whisperr._cli.main import main
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.http.raw_server import Connection

    from .conftest import Call

REFUSED = answer("400 Bad Request", b'{"error":"no_events"}')


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("WHISPERR_BUFFER", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


class TestCommand:
    def test_a_good_environment_is_0(self, server: LocalServer, call: Call) -> None:
        ended = call("doctor")
        assert (ended.code, ended.err) == (0, "")
        lines = ended.out.splitlines()
        address = f"sends to {server.url}, from WHISPERR_BASE_URL: this machine, not the service"
        assert f"! configuration     {address}" in lines
        assert "✓ kind of key       wrk_, a server key" in lines
        assert (
            "✓ key               accepted by whisperr dev, not the service (HTTP 400, no_events)"
            in lines
        )
        assert "- encryption        none: the address is http://" in lines
        assert any(line.startswith("✓ round trip ") for line in lines)
        assert any(line.startswith("✓ clock ") for line in lines)
        assert "\x1b" not in ended.out
        assert server.arrivals() == []
        assert len(server.requests()) == 1
        names = [line[2:20].strip() for line in lines if not line.startswith(" ")]
        at = names.index("configuration")
        assert names[at : at + 10] == [
            "configuration",
            "kind of key",
            "proxy",
            "host name",
            "connection",
            "encryption",
            "key",
            "round trip",
            "clock",
            "buffer",
        ]

    @pytest.mark.usefixtures("server")
    def test_an_outbox_in_a_database_is_named_because_it_is_not_checked(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "outbox" not in call("doctor").out
        monkeypatch.setenv("WHISPERR_DATABASE_URL", "postgresql://app:secret@db/app")
        ended = call("doctor")
        assert ended.code == 0
        line, hint = ended.out.splitlines()[-2:]
        assert line.startswith("- outbox ")
        assert "WHISPERR_DATABASE_URL" in line
        assert "run whisperr outbox" in hint
        assert "secret" not in ended.out

    def test_programs_get_json(self, server: LocalServer, call: Call) -> None:
        ended = call("doctor", "--json")
        report = json.loads(ended.out)
        assert (ended.code, report["ok"]) == (0, True)
        named = {one["name"]: one for one in report["findings"]}
        assert named["key"]["state"] == "ok"
        assert named["versions"]["text"].startswith("whisperr ")
        assert named["key"].keys() == {"name", "state", "text", "hint"}

    def test_a_key_that_is_refused_is_1(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_wrong")
        with LocalServer(api_key="wrk_right") as server:
            ended = call("doctor", "--base-url", server.url)
            report = json.loads(call("doctor", "--base-url", server.url, "--json").out)
        assert ended.code == 1
        assert "✗ key               refused (HTTP 401, invalid_api_key)" in ended.out
        assert ended.err == "wrong: key\n"
        assert f"sends to {server.url}, from --base-url: " in ended.out
        assert report["ok"] is False

    def test_without_a_key_it_says_where_to_create_one(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY", raising=False)
        ended = call("doctor")
        assert ended.code == 1
        assert "✗ configuration     api_key: " in ended.out
        assert "fix: set WHISPERR_API_KEY to a server key (wrk_...)" in ended.out
        assert "disabled" not in ended.out

    @needs_terminal
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


class TestSettings:
    """The settings are those that a client in this environment would have."""

    @pytest.mark.parametrize("timeout", ["nan", "inf", "-1", "0", "1e999", "9" * 400, "soon", ""])
    def test_a_time_limit_that_is_none_is_a_wrong_call(self, call: Call, timeout: str) -> None:
        ended = call("doctor", "--timeout", timeout)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("whisperr doctor: --timeout ")
        assert ended.err.endswith(": must be from 0.001 to 3600 seconds\n")

    def test_a_server_that_never_answers_is_given_up(self, server: LocalServer, call: Call) -> None:
        server.set_faults(faults.hang())
        ended = call("doctor", "--timeout", "0.3")
        assert ended.code == 1
        address = server.url.removeprefix("http://")
        assert "- key               not checked: no answer" in ended.out
        assert f"✗ round trip        no answer from {address} within 0.3 s" in ended.out
        assert ended.err == "wrong: round trip\n"

    @pytest.mark.parametrize("variable", ["WHISPERR_API_KEY", None])
    def test_a_disabled_environment_is_0_whatever_else_is_wrong(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, variable: str | None
    ) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY", raising=False)
        monkeypatch.setenv("WHISPERR_BASE_URL", "https://nowhere.invalid")
        monkeypatch.setenv("WHISPERR_BUFFER", "sqlite:////no/such/folder/events.db")
        monkeypatch.setenv("WHISPERR_DISABLED", "1")
        if variable:
            monkeypatch.setenv(variable, "wrk_test")
        ended = call("doctor")
        assert (ended.code, ended.err) == (0, "")
        assert "- host name         disabled" in ended.out

    def test_a_wrong_address_is_named_as_it_was_given(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        ended = call("doctor", "--base-url", "localhost:8722")
        assert "✗ configuration     --base-url 'localhost:8722': must be an http:// " in ended.out
        assert "; did you mean 'http://localhost:8722'?\n" in ended.out
        monkeypatch.setenv("WHISPERR_BASE_URL", "127.0.0.1:8722")
        ended = call("doctor")
        assert "✗ configuration     WHISPERR_BASE_URL='127.0.0.1:8722': must be " in ended.out

    def test_an_address_without_its_option_is_a_wrong_call_that_names_it(self, call: Call) -> None:
        ended = call("doctor", "http://localhost:8722")
        assert (ended.code, ended.out) == (2, "")
        assert "; an address is written --base-url URL" in ended.err

    def test_the_buffer_of_the_environment_is_checked(
        self, server: LocalServer, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", f"sqlite:///{tmp_path}/events.db")
        ended = call("doctor")
        assert ended.code == 0
        path = tmp_path / "events.db"
        assert f"✓ buffer            the file {path} does not exist yet" in ended.out
        monkeypatch.setenv("WHISPERR_BUFFER", f"sqlite:///{tmp_path}/no/events.db")
        ended = call("doctor")
        assert (ended.code, ended.err) == (1, "wrong: buffer\n")
        assert "\n                    fix: create it as the user of the application: " in ended.out

    def test_the_outbox_is_left_to_the_command_of_django(
        self, server: LocalServer, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", "django")
        ended = call("doctor")
        assert ended.code == 0
        assert "! buffer            the outbox of a Django project" in ended.out
        assert "fix: run python manage.py whisperr_check, which knows the database" in ended.out
        assert "✓ key" in ended.out

    def test_a_driver_that_is_missing_is_a_finding(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        monkeypatch.setenv("WHISPERR_BUFFER", "redis://:secret@127.0.0.1:1/0")
        monkeypatch.setitem(sys.modules, "redis", None)
        ended = call("doctor")
        assert (ended.code, ended.err) == (1, "wrong: configuration\n")
        assert "fix: install it in this environment: pip install 'whisperr[redis]'" in ended.out
        assert "secret" not in ended.out

    def test_a_private_authority_is_known_by_the_variable_of_openssl(
        self, call: Call, server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        authority: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

        def behave(connection: Connection) -> None:
            connection.encrypt(context)
            answers(REFUSED)(connection)

        with RawServer(behave, behave) as raw:
            url = f"https://localhost:{raw.port}"
            assert "✗ encryption" in call("doctor", "--base-url", url).out
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with RawServer(behave, behave) as raw:
            ended = call("doctor", "--base-url", f"https://localhost:{raw.port}")
        assert ended.code == 0
        assert "✓ encryption        TLSv1.3, certificate valid for " in ended.out
        assert "✓ key               accepted" in ended.out
