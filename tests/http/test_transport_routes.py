"""Connections through a proxy of the environment, and over TLS."""

from __future__ import annotations

import re
import socket
import ssl
import traceback
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.http.raw_server import (
    KEY,
    LIMIT,
    OK,
    REQUEST,
    Behaviour,
    Connection,
    Encrypted,
    RawServer,
    after_reading,
    answer,
    answers,
    close,
)
from whisperr._contract import Misconfigured, Request
from whisperr._http.transport import HttpTransport
from whisperr._secret import Secret

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
# A loopback address that is not in the list of those that never use a proxy.
UNLISTED_LOOPBACK = "127.1"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)  # with it HTTP_PROXY is not trusted


def tunnel(then: Behaviour) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(ESTABLISHED)
        then(connection)

    return behave


def send(url: str, context: ssl.SSLContext | None = None, times: int = 1) -> int:
    """Send some requests over one transport; return the last status."""
    transport = HttpTransport(url, Secret(KEY), ssl_context=context)
    status = 0
    try:
        for _ in range(times):
            status = transport.send(REQUEST, LIMIT).status
    finally:
        transport.close()
    return status


def show_with_variables(error: BaseException) -> str:
    """Return an error with the variables of the package, as crash reporters show it."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in report.stack if "whisperr" in Path(frame.filename).parts]
    assert report.__cause__ is None
    assert report.__context__ is None or report.__suppress_context__
    text = str(error) + "".join(traceback.StackSummary.from_list(ours).format())
    return re.sub("0x[0-9a-fA-F]+", "0x…", text)  # an address may contain "ada"


class TestPlainProxy:
    @pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
    @pytest.mark.parametrize("form", ["http://127.0.0.1:{port}", "127.0.0.1:{port}"])
    def test_the_request_line_has_the_whole_url(
        self, monkeypatch: pytest.MonkeyPatch, name: str, form: str
    ) -> None:
        with RawServer(answers(OK)) as proxy:
            monkeypatch.setenv(name, form.format(port=proxy.port))
            assert send("http://service.invalid:8080/in") == 202
        (request,) = proxy.requests
        assert request.line == "POST http://service.invalid:8080/in/v1/events/batch HTTP/1.1"
        assert request.header("Host") == "service.invalid:8080"
        assert request.header("Proxy-Authorization") is None

    def test_an_ipv6_address_has_brackets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(answers(OK)) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            assert send("http://[fd00::1]:8080") == 202
        assert proxy.requests[0].target == "http://[fd00::1]:8080/v1/events/batch"
        assert proxy.requests[0].header("Host") == "[fd00::1]:8080"

    def test_its_credentials_are_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(answers(OK)) as proxy:
            monkeypatch.setenv("http_proxy", f"http://ada:p%40ss@127.0.0.1:{proxy.port}")
            assert send("http://service.invalid") == 202
        expected = "Basic " + b64encode(b"ada:p@ss").decode()
        assert proxy.requests[0].header("Proxy-Authorization") == expected

    def test_the_connection_to_it_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(answers(OK, OK, OK)) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            assert send("http://service.invalid", times=3) == 202
        assert proxy.connections == 1

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_loopback_addresses_are_reached_directly(
        self, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        with RawServer() as proxy, RawServer(answers(OK)) as server:
            monkeypatch.setenv("http_proxy", proxy.url)
            assert send(f"http://{host}:{server.port}") == 202
            assert proxy.connections == 0
        assert server.requests[0].target == "/v1/events/batch"

    @pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
    @pytest.mark.parametrize(
        "listed", ["{host}", "other.example, {host}", "*", "{host}:{port}", ".1"]
    )
    def test_a_host_in_no_proxy_is_reached_directly(
        self, monkeypatch: pytest.MonkeyPatch, name: str, listed: str
    ) -> None:
        with RawServer(answers(answer("500 the proxy"))) as proxy, RawServer(answers(OK)) as server:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv(name, listed.format(host=UNLISTED_LOOPBACK, port=server.port))
            assert send(f"http://{UNLISTED_LOOPBACK}:{server.port}") == 202
            assert proxy.connections == 0

    def test_a_host_that_is_not_in_no_proxy_is_reached_through_the_proxy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with RawServer(answers(OK)) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", "other.example")
            assert send(f"http://{UNLISTED_LOOPBACK}:9") == 202
        assert proxy.connections == 1

    def test_a_proxy_that_wants_another_password_costs_no_event(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with RawServer(answers(answer("407 Proxy Authentication Required"))) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            with pytest.raises(
                Misconfigured, match=r"refused the request to service.invalid:80 \(HTTP 407\)"
            ):
                send("http://service.invalid")


class TestUnusableProxy:
    @pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
    @pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "https"])
    def test_a_proxy_of_another_kind_is_an_error_of_the_configuration(
        self, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
    ) -> None:
        monkeypatch.setenv(name, f"{kind}://ada:secret@127.0.0.1:9")
        with pytest.raises(Misconfigured, match=f"must have an http:// URL, not {kind}://$"):
            send("http://service.invalid")

    @pytest.mark.parametrize("url", ["http://service.invalid", "https://service.invalid"])
    @pytest.mark.parametrize(
        "proxy",
        [
            "http://",
            "http://ada:s/ecret@127.0.0.1:9",
            "http://ada:s#ecret@127.0.0.1:9",
            "http://ada:secret[@127.0.0.1:9",
            "http://ada:secret@127.0.0.1:ecret",
            "http://ada:secret@127.0.0.1:99999",
            "http://ada:secret\u2100@127.0.0.1:9",
            "ada:se://ecret@127.0.0.1:9",
            "secret://127.0.0.1:9",
        ],
    )
    def test_no_error_contains_part_of_a_proxy_url(
        self, monkeypatch: pytest.MonkeyPatch, url: str, proxy: str
    ) -> None:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(Misconfigured, match=r"must have an http:// URL$") as caught:
            send(url)
        text = show_with_variables(caught.value)
        assert "scheme = " in text
        assert "ecret" not in text.replace("Secret(", "")
        assert "ada" not in text

    def test_a_failure_behind_a_proxy_does_not_show_its_password(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with RawServer(answers(answer("502 Bad Gateway"))) as proxy:
            monkeypatch.setenv("https_proxy", f"http://ada:secret@127.0.0.1:{proxy.port}")
            with pytest.raises(OSError, match="HTTP 502") as caught:
                send("https://service.invalid")
        text = show_with_variables(caught.value)
        assert "deadline = " in text
        for shown in ("ada:", "secret", b64encode(b"ada:secret").decode()):
            assert shown not in text


class TestTunnel:
    def test_https_uses_a_tunnel_and_the_proxy_does_not_see_the_key(
        self,
        monkeypatch: pytest.MonkeyPatch,
        encrypted: Encrypted,
        trusting_context: ssl.SSLContext,
    ) -> None:
        with RawServer(tunnel(encrypted("service.invalid", answers(OK, OK)))) as proxy:
            monkeypatch.setenv("https_proxy", f"http://ada:p%40ss@127.0.0.1:{proxy.port}")
            assert send("https://service.invalid/in", trusting_context, times=2) == 202
        connect, first, second = proxy.requests
        assert connect.line == "CONNECT service.invalid:443 HTTP/1.1"
        assert connect.headers == [
            ("Host", "service.invalid:443"),
            ("Proxy-Authorization", "Basic " + b64encode(b"ada:p@ss").decode()),
        ]
        for request in (first, second):
            assert request.target == "/in/v1/events/batch"
            assert request.header("X-API-Key") == KEY
            assert request.header("Proxy-Authorization") is None
        assert proxy.connections == 1

    @pytest.mark.parametrize(
        ("url", "target"),
        [
            ("https://service.invalid:8443", "service.invalid:8443"),
            ("https://[fd00::1]", "[fd00::1]:443"),
        ],
    )
    def test_the_tunnel_leads_to_the_host_and_port_of_the_url(
        self, monkeypatch: pytest.MonkeyPatch, url: str, target: str
    ) -> None:
        with RawServer(tunnel(close)) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            with pytest.raises(OSError, match=r"EOF|reset|closed"):
                send(url)
        assert proxy.requests[0].target == target

    @pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
    def test_a_refused_tunnel_is_not_taken_for_an_answer_of_the_service(
        self, monkeypatch: pytest.MonkeyPatch, status: str
    ) -> None:
        with RawServer(answers(answer(status))) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            with pytest.raises(
                OSError, match=rf"the tunnel to service.invalid:443 \(HTTP {status[:3]}\)"
            ):
                send("https://service.invalid")

    def test_a_silent_proxy_ends_by_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with RawServer(Connection.await_close) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            transport = HttpTransport("https://service.invalid", Secret(KEY))
            with pytest.raises(TimeoutError):
                transport.send(REQUEST, 0.3)


class TestTls:
    def test_a_private_authority_is_trusted_through_the_context(
        self, encrypted: Encrypted, trusting_context: ssl.SSLContext
    ) -> None:
        with RawServer(encrypted("localhost", answers(OK, OK))) as server:
            assert send(f"https://localhost:{server.port}", trusting_context, times=2) == 202
        assert server.connections == 1
        assert server.requests[0].header("X-API-Key") == KEY

    def test_an_unknown_authority_is_refused_and_nothing_is_sent(
        self, encrypted: Encrypted
    ) -> None:
        server = RawServer(encrypted("localhost", answers(OK)))
        with server, pytest.raises(ssl.SSLCertVerificationError):
            send(f"https://localhost:{server.port}")
        assert server.requests == []

    def test_a_certificate_for_another_host_is_refused(
        self, encrypted: Encrypted, trusting_context: ssl.SSLContext
    ) -> None:
        server = RawServer(encrypted("other.example", answers(OK)))
        with server, pytest.raises(ssl.SSLCertVerificationError, match="ostname"):
            send(f"https://localhost:{server.port}", trusting_context)
        assert server.requests == []

    def test_a_server_without_tls_is_refused(self, trusting_context: ssl.SSLContext) -> None:
        def plain(connection: Connection) -> None:
            connection.send(OK)
            connection.await_close()

        with RawServer(plain) as server, pytest.raises(ssl.SSLError):
            send(f"https://localhost:{server.port}", trusting_context)

    def test_an_endless_handshake_ends_by_the_deadline(self) -> None:
        with RawServer(Connection.await_close) as server:
            transport = HttpTransport(f"https://localhost:{server.port}", Secret(KEY))
            with pytest.raises(TimeoutError):
                transport.send(REQUEST, 0.3)

    @pytest.mark.parametrize("end", [close, Connection.reset, Connection.read_request])
    @pytest.mark.parametrize("size", [20, 8 << 20])
    def test_a_request_on_a_closed_connection_is_sent_again_on_a_new_one(
        self, encrypted: Encrypted, trusting_context: ssl.SSLContext, end: Behaviour, size: int
    ) -> None:
        first = encrypted("localhost", answers(OK, then=after_reading(end)))
        server = RawServer(first, encrypted("localhost", answers(OK)))
        url = f"https://localhost:{server.port}"
        transport = HttpTransport(url, Secret(KEY), ssl_context=trusting_context)
        with server, closing(transport):
            transport.send(REQUEST, LIMIT)
            server.answer_was_read.set()
            if end is not Connection.read_request:  # it closes only after the next request
                server.await_closed()
            assert transport.send(Request("/v1/identify", b"x" * size), LIMIT).status == 202
        assert server.connections == 2

    def test_a_dot_at_the_end_of_the_host_is_for_the_resolver_only(
        self,
        monkeypatch: pytest.MonkeyPatch,
        encrypted: Encrypted,
        trusting_context: ssl.SSLContext,
    ) -> None:
        with RawServer(encrypted("collect.example", answers(OK))) as server:
            place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
            asked: list[str] = []

            def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
                asked.append(host)
                return [place]

            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            assert send(f"https://collect.example.:{server.port}", trusting_context) == 202
        assert asked[0] == "collect.example."
        assert server.requests[0].header("Host") == f"collect.example:{server.port}"

    @pytest.mark.parametrize("host", ["localhost.", "service.invalid."])
    def test_a_dot_at_the_end_of_the_host_does_not_hide_it_from_no_proxy(
        self, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        with RawServer(answers(OK)) as proxy, RawServer(answers(OK)) as server:
            place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", "service.invalid")
            with monkeypatch.context() as patch:
                patch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
                assert send(f"http://{host}:{server.port}") == 202
            assert proxy.connections == 0
