"""The way to the service, step by step: each fault is found by the step that it stops."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkup.conftest import by_name, make_config
from tests.http.raw_server import RawServer, answer, answers, close
from tests.http.test_connector import black_hole
from whisperr._checkup.connection import STEPS, inspect_connection
from whisperr._checkup.hints import HINTS
from whisperr._platform import MACOS
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    import trustme

    from tests.http.raw_server import Behaviour, Connection
    from whisperr._checkup.findings import Finding

PROXY = "http://ada:secret@127.0.0.1:{}"


def inspect(url: str, **options: Any) -> dict[str, Finding]:
    findings = by_name(inspect_connection(make_config(base_url=url, **options)))
    assert tuple(findings) == STEPS
    assert "secret" not in str(findings)
    return findings


def assert_stopped(found: dict[str, Finding], step: str, code: str, **gaps: object) -> str:
    """Assert that a step is wrong, and that later ones were not checked; return its text."""
    finding = found[step]
    assert (finding.state, finding.hint) == ("wrong", HINTS[code].fix.format(**gaps))
    later = STEPS[STEPS.index(step) + 1 :]
    assert [found[name].state for name in later] == ["skipped"] * len(later)
    return finding.text


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connecting is not answered, as behind a firewall that drops packets."""
    with black_hole() as hole:
        yield int(hole.getsockname()[1])


def get_result(url: str) -> bool:
    """Return what the generator returns: whether a request can be made."""

    def run() -> Generator[Finding, None, None]:
        results.append((yield from inspect_connection(make_config(base_url=url))))

    results: list[bool] = []
    list(run())
    return results[0]


def test_it_returns_whether_a_request_can_be_made(free_port: int) -> None:
    with LocalServer() as server:
        assert get_result(server.url) is True
    assert get_result(f"http://127.0.0.1:{free_port}") is False


class TestHostName:
    def test_its_addresses_are_named_and_timed(self) -> None:
        with LocalServer() as server:
            port = server.url.rpartition(":")[2]
            text = inspect(f"http://localhost:{port}")["host name"].text
        assert text.startswith("localhost is ")
        assert "127.0.0.1" in text
        assert text.endswith(" ms)")

    def test_a_name_that_is_not_found(self) -> None:
        found = inspect("https://nowhere.invalid")
        text = assert_stopped(found, "host name", "unresolved", host="nowhere.invalid")
        assert text.startswith("nowhere.invalid: ")

    @pytest.mark.parametrize("host", ["a..b", ".example", "x" * 64 + ".invalid"])
    def test_a_name_that_no_host_has(self, host: str) -> None:
        assert_stopped(inspect(f"https://{host}"), "host name", "unresolved", host=host)

    def test_a_resolver_that_does_not_answer_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import threading

        ended = threading.Event()

        def hang(*_: object, **__: object) -> list[Any]:
            ended.wait(30)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        try:
            found = inspect("https://service.invalid", request_timeout=0.2)
        finally:
            ended.set()
        assert_stopped(found, "host name", "resolver_late")


class TestAddress:
    def test_nothing_that_listens_here(self, free_port: int) -> None:
        found = inspect(f"http://127.0.0.1:{free_port}")
        text = assert_stopped(found, "connection", "refused_here")
        assert text == f"127.0.0.1:{free_port}: connection refused"

    @pytest.mark.skipif(MACOS, reason="only 127.0.0.1 is an address of this machine there")
    def test_nothing_that_listens_there(self, free_port: int) -> None:
        found = inspect(f"https://127.0.0.2:{free_port}")
        address = f"127.0.0.2:{free_port}"
        assert_stopped(found, "connection", "refused", address=address)

    def test_a_firewall_that_drops_packets_is_given_up(self, silent: int) -> None:
        began = time.monotonic()
        found = inspect(f"http://127.0.0.1:{silent}", request_timeout=0.3)
        text = assert_stopped(found, "connection", "silent", address=f"127.0.0.1:{silent}")
        assert "no connection within" in text
        assert time.monotonic() - began < 30


class TestProxy:
    @pytest.mark.parametrize(
        ("name", "url"),
        [
            ("https_proxy", "https://service.invalid"),
            ("HTTPS_PROXY", "https://service.invalid"),
            ("ALL_PROXY", "https://service.invalid"),
            ("http_proxy", "http://service.invalid"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:base_url. http.// sends the key:UserWarning")
    def test_the_variable_that_names_it_is_named(
        self, monkeypatch: pytest.MonkeyPatch, free_port: int, name: str, url: str
    ) -> None:
        monkeypatch.setenv(name, PROXY.format(free_port))
        found = inspect(url)
        assert found["proxy"].text == f"http://127.0.0.1:{free_port}, from {name}"
        address = f"127.0.0.1:{free_port}"
        assert_stopped(found, "connection", "proxy_away", variable=name, address=address)

    def test_the_lower_case_variable_counts_where_there_are_both(
        self, monkeypatch: pytest.MonkeyPatch, free_port: int
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere.invalid:1")
        monkeypatch.setenv("https_proxy", PROXY.format(free_port))
        text = inspect("https://service.invalid")["proxy"].text
        assert text == f"http://127.0.0.1:{free_port}, from https_proxy"

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("https://service.invalid", "service.invalid is in NO_PROXY"),
            ("https://localhost:1", "localhost never uses a proxy"),
        ],
    )
    def test_it_is_said_why_one_that_is_set_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch, url: str, why: str
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "service.invalid")
        assert inspect(url)["proxy"] == ("proxy", "ok", f"none: HTTPS_PROXY is set, but {why}", "")

    @pytest.mark.parametrize(
        ("status", "code", "gaps"),
        [
            ("407 Proxy Authentication Required", "proxy_password", {"variable": "HTTPS_PROXY"}),
            ("403 Forbidden", "proxy_forbids", {}),
            ("405 Method Not Allowed", "proxy_forbids", {}),
            ("502 Bad Gateway", "proxy_fails", {}),
            ("302 Found", "proxy_fails", {}),
        ],
    )
    def test_a_tunnel_that_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, status: str, code: str, gaps: dict[str, object]
    ) -> None:
        gaps = {"address": "service.invalid:443", "server": "service.invalid", **gaps}
        with RawServer(answers(answer(status))) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", PROXY.format(proxy.port))
            text = assert_stopped(inspect("https://service.invalid"), "connection", code, **gaps)
            (request,) = proxy.requests
        assert text.endswith(f"answered CONNECT with HTTP {status[:3]}")
        assert request.line == "CONNECT service.invalid:443 HTTP/1.1"
        assert request.header("Proxy-Authorization") == "Basic YWRhOnNlY3JldA=="

    @pytest.mark.parametrize("behave", [close, answers(b"SSH-2.0-OpenSSH_9.2\r\n")])
    def test_something_that_is_no_proxy(
        self, monkeypatch: pytest.MonkeyPatch, behave: Behaviour
    ) -> None:
        with RawServer(behave) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", PROXY.format(proxy.port))
            address = f"127.0.0.1:{proxy.port}"
            found = inspect("https://service.invalid", request_timeout=5.0)
            assert_stopped(found, "connection", "proxy_silent", address=address)

    def test_a_proxy_that_never_answers_is_named_with_the_time_limit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released = threading.Event()

        def hang(_: Connection) -> None:
            released.wait(30)

        with RawServer(hang) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", PROXY.format(proxy.port))
            address = f"127.0.0.1:{proxy.port}"
            found = inspect("https://service.invalid", request_timeout=1.0)
            released.set()
            text = assert_stopped(found, "connection", "proxy_silent", address=address)
        assert text == f"the proxy at {address} did not answer CONNECT within 1 s"

    def test_one_of_another_kind_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "socks5://ada:secret@127.0.0.1:1080")
        gaps = {"variable": "HTTPS_PROXY", "server": "service.invalid"}
        text = assert_stopped(inspect("https://service.invalid"), "proxy", "proxy_kind", **gaps)
        assert text == "HTTPS_PROXY is a socks5:// proxy, which is not supported"

    @pytest.mark.parametrize("url", ["http://ada:secret@[::1", "http://ada:secret@", "ada:secret"])
    def test_one_that_cannot_be_read_is_wrong(
        self, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert_stopped(inspect("https://service.invalid"), "proxy", "proxy_unreadable")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    made: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
    return made


@pytest.fixture
def issue(authority: trustme.CA) -> Callable[..., Behaviour]:
    """Return a function that makes the server's side of a handshake."""

    def issue(name: str = "localhost", **options: Any) -> Behaviour:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, **options).configure_cert(context)

        def behave(connection: Connection) -> None:
            connection.encrypt(context)
            connection.await_close()

        return behave

    return issue


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TestEncryption:
    def test_it_names_the_version_the_issuer_and_how_long_the_certificate_is_valid(
        self, issue: Callable[..., Behaviour], trusting: ssl.SSLContext
    ) -> None:
        with RawServer(issue()) as server:
            found = inspect(f"https://localhost:{server.port}", ssl_context=trusting)
        assert found["encryption"].state == "ok"
        assert found["encryption"].text.startswith("TLSv1.3, certificate valid for ")
        assert ", by trustme v" in found["encryption"].text

    def test_the_variable_of_openssl_is_used(
        self,
        issue: Callable[..., Behaviour],
        authority: trustme.CA,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with RawServer(issue()) as server:
            assert inspect(f"https://localhost:{server.port}")["encryption"].state == "ok"

    def test_it_goes_through_a_proxy(
        self,
        issue: Callable[..., Behaviour],
        trusting: ssl.SSLContext,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def behave(connection: Connection) -> None:
            connection.read_request()
            connection.send(answer("200 Connection established", b""))
            issue("service.invalid")(connection)

        with RawServer(behave) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", PROXY.format(proxy.port))
            found = inspect("https://service.invalid", ssl_context=trusting)
        through = f"service.invalid:443 through the proxy at 127.0.0.1:{proxy.port} ("
        assert found["connection"].text.startswith(through)
        assert found["encryption"].state == "ok"

    def test_a_context_that_verifies_nothing_knows_no_date(
        self, issue: Callable[..., Behaviour]
    ) -> None:
        careless = ssl.create_default_context()
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        with RawServer(issue()) as server:
            found = inspect(f"https://localhost:{server.port}", ssl_context=careless)
        assert found["encryption"].text.startswith("TLSv1.3 (")

    @pytest.mark.parametrize(
        ("file", "own", "code"),
        [
            (None, False, "unknown_authority"),
            ("missing.pem", False, "no_cert_file"),
            (None, True, "own_context"),
        ],
    )
    def test_an_authority_that_is_not_known(
        self,
        issue: Callable[..., Behaviour],
        monkeypatch: pytest.MonkeyPatch,
        file: str | None,
        own: bool,
        code: str,
    ) -> None:
        if file is not None:
            monkeypatch.setenv("SSL_CERT_FILE", file)
        context = ssl.create_default_context() if own else None
        with RawServer(issue(), issue()) as server:
            found = inspect(f"https://localhost:{server.port}", ssl_context=context)
        text = assert_stopped(found, "encryption", code)
        assert text.startswith("the certificate of localhost (issued by trustme v")

    def test_a_machine_without_authorities(
        self, issue: Callable[..., Behaviour], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        none = SimpleNamespace(cafile=None, capath=None)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: none)
        with RawServer(issue(), issue()) as server:
            found = inspect(f"https://localhost:{server.port}")
        assert_stopped(found, "encryption", "no_authorities")

    def test_an_authority_that_is_not_known_is_named_through_a_proxy(
        self, issue: Callable[..., Behaviour], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def behave(connection: Connection) -> None:
            connection.read_request()
            connection.send(answer("200 Connection established", b""))
            issue("service.invalid")(connection)

        with RawServer(behave, behave) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", PROXY.format(proxy.port))
            found = inspect("https://service.invalid")
        text = assert_stopped(found, "encryption", "unknown_authority")
        assert text.startswith("the certificate of service.invalid (issued by trustme v")

    def test_an_authority_that_does_not_say_who_it_is_is_no_traceback(
        self, issue: Callable[..., Behaviour]
    ) -> None:
        with RawServer(issue(), close) as server:
            found = inspect(f"https://localhost:{server.port}")
        text = assert_stopped(found, "encryption", "unknown_authority")
        assert text.startswith("the certificate of localhost: ")

    def test_a_certificate_of_another_name(
        self, issue: Callable[..., Behaviour], trusting: ssl.SSLContext
    ) -> None:
        with RawServer(issue("elsewhere.invalid")) as server:
            found = inspect(f"https://localhost:{server.port}", ssl_context=trusting)
        assert_stopped(found, "encryption", "certificate_name")

    def test_a_certificate_that_is_not_valid_now_shows_the_clock(
        self, issue: Callable[..., Behaviour], trusting: ssl.SSLContext
    ) -> None:
        from datetime import datetime, timezone

        old = datetime(2020, 1, 1, tzinfo=timezone.utc)
        with RawServer(issue(not_after=old)) as server:
            found = inspect(f"https://localhost:{server.port}", ssl_context=trusting)
        text = assert_stopped(found, "encryption", "certificate_dates")
        assert f"(this machine's clock: {time.strftime('%Y-', time.gmtime())}" in text

    def test_a_server_that_speaks_no_tls(self) -> None:
        with LocalServer() as server:
            found = inspect(server.url.replace("http:", "https:"))
        assert "does not speak TLS" in assert_stopped(found, "encryption", "no_tls")

    def test_a_handshake_that_does_not_end_is_given_up(self) -> None:
        def wait(connection: Connection) -> None:
            connection.await_close()

        with RawServer(wait) as server:
            found = inspect(f"https://127.0.0.1:{server.port}", request_timeout=0.3)
        assert_stopped(found, "encryption", "tls_failed")

    def test_a_handshake_that_is_closed(self) -> None:
        with RawServer(close) as server:
            found = inspect(f"https://127.0.0.1:{server.port}")
        assert_stopped(found, "encryption", "tls_failed")
