"""Why there was no answer: what failed, at which address, in one line without documentation."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import (
    KEY,
    OK,
    REQUEST,
    Behaviour,
    Connection,
    Encrypted,
    RawServer,
    answer,
    answers,
    close,
)
from tests.http.test_connector import NAME, black_hole, get_closed_address
from whisperr._http.resolver import LookUpTimeoutError, Resolver
from whisperr._http.transport import HttpTransport
from whisperr._secret import Secret

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from whisperr._contract import Failure

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
CHECK_PROXY = 'check https_proxy and NO_PROXY; run "whisperr doctor"'
DOCTOR = 'run "whisperr doctor"'


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


@pytest.fixture
def started() -> Iterator[ExitStack]:
    """Yield a stack for servers that a test starts, which stops them afterwards."""
    with ExitStack() as stack:
        yield stack


def explain(url: str, timeout: float = 10.0, context: ssl.SSLContext | None = None) -> Failure:
    """Return why a request to this address has no answer."""
    transport = HttpTransport(url, Secret(KEY), ssl_context=context)
    with closing(transport):
        try:
            transport.send(REQUEST, timeout)
        except OSError as error:
            failure = transport.explain(error)
            assert failure.host is not None
            assert failure.host in failure.text
            return failure
    raise AssertionError("there was an answer")


def serve(started: ExitStack, *behaviours: Behaviour) -> RawServer:
    return started.enter_context(RawServer(*behaviours))


def get_facts(failure: Failure) -> tuple[str, str, int]:
    return failure.text, failure.hint, failure.patience


class TestDirect:
    def test_a_closed_port(self) -> None:
        host, port = get_closed_address()
        text = f"cannot reach {host}:{port} (connection refused)"
        assert get_facts(explain(f"http://{host}:{port}")) == (text, DOCTOR, 1)

    def test_a_name_that_nobody_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def resolve(*_: object, **__: object) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        failure = explain(f"http://{NAME}")
        assert failure.text == f"cannot reach {NAME}:80 (DNS: name or service not known)"
        assert failure.patience == 1

    def test_a_resolver_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def resolve(*_: object) -> Any:
            raise LookUpTimeoutError("late")

        monkeypatch.setattr(Resolver, "resolve", resolve)
        failure = explain(f"https://{NAME}", 0.25)
        assert failure.text == f"cannot reach {NAME}:443 (DNS: no answer within 0.25 s)"
        assert failure.patience == 2

    def test_a_silent_firewall(self) -> None:
        with black_hole() as hole:
            host, port = hole.getsockname()
            failure = explain(f"http://{host}:{port}", 0.2)
        assert failure.text == f"cannot reach {host}:{port} (no connection within 0.2 s)"
        assert failure.patience == 2

    def test_a_server_that_never_answers(self, started: ExitStack) -> None:
        server = serve(started, Connection.await_close)
        failure = explain(server.url, 0.2)
        assert failure.text == f"no answer from 127.0.0.1:{server.port} within 0.2 s"
        assert failure.patience == 2

    @pytest.mark.parametrize(
        ("behaviour", "reason"),
        [
            (close, "the server closed the connection without an answer"),
            (
                lambda one: one.send(b"SSH-2.0-x\r\n"),
                "not an HTTP/1 answer: an SSH server, 9 bytes",
            ),
        ],
    )
    def test_a_server_that_sends_no_answer(
        self, started: ExitStack, behaviour: Behaviour, reason: str
    ) -> None:
        server = serve(started, lambda one: (one.read_request(), behaviour(one)))
        failure = explain(server.url)
        assert failure.text == f"no answer from 127.0.0.1:{server.port} ({reason})"
        assert failure.patience == 2


class TestTls:
    def test_a_private_certificate_authority(
        self, started: ExitStack, encrypted: Encrypted
    ) -> None:
        server = serve(started, encrypted("localhost", answers(OK)))
        failure = explain(f"https://localhost:{server.port}")
        start = f"cannot reach localhost:{server.port} (TLS: certificate verify failed: "
        assert failure.text.startswith(start)
        assert failure.hint == (
            f"for a private certificate authority, set SSL_CERT_FILE or ssl_context; {DOCTOR}"
        )
        assert failure.patience == 1

    def test_a_certificate_that_has_expired_may_be_a_wrong_clock(
        self, started: ExitStack, authority: Any, trusting_context: ssl.SSLContext
    ) -> None:
        import ssl
        from datetime import datetime, timezone

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        then = datetime(2020, 1, 1, tzinfo=timezone.utc)
        authority.issue_cert("localhost", not_after=then).configure_cert(context)
        server = serve(started, lambda one: one.encrypt(context))
        failure = explain(f"https://localhost:{server.port}", context=trusting_context)
        assert "certificate has expired" in failure.text
        assert failure.hint == f"check this machine's clock; {DOCTOR}"

    def test_a_server_that_speaks_no_tls(self, started: ExitStack) -> None:
        server = serve(started, lambda one: one.send(OK))
        failure = explain(f"https://localhost:{server.port}")
        start = f"cannot reach localhost:{server.port} (TLS: "
        assert failure.text.startswith(start)
        assert "_" not in failure.text
        assert failure.patience == 1

    def test_a_handshake_that_never_ends(self, started: ExitStack) -> None:
        server = serve(started, Connection.await_close)
        failure = explain(f"https://localhost:{server.port}", 0.2)
        text = f"cannot reach localhost:{server.port} (TLS: no handshake within 0.2 s)"
        assert (failure.text, failure.patience) == (text, 2)


class TestProxy:
    def test_a_proxy_that_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        host, port = get_closed_address()
        monkeypatch.setenv("https_proxy", f"http://ada:secret@{host}:{port}")
        text = f"cannot reach the proxy {host}:{port} for collect.example:443 (connection refused)"
        failure = explain("https://collect.example")
        assert get_facts(failure) == (text, CHECK_PROXY, 1)
        assert failure.host == f"{host}:{port}"

    @pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
    def test_one_that_refuses(
        self, started: ExitStack, monkeypatch: pytest.MonkeyPatch, status: str
    ) -> None:
        proxy = serve(started, answers(answer(status)))
        monkeypatch.setenv("https_proxy", f"http://ada:secret@127.0.0.1:{proxy.port}")
        text = (
            f"the proxy 127.0.0.1:{proxy.port} refused the tunnel to collect.example:443 "
            f"(HTTP {status[:3]})"
        )
        failure = explain("https://collect.example")
        assert get_facts(failure) == (text, CHECK_PROXY, 1)
        assert failure.host == f"127.0.0.1:{proxy.port}"

    def test_one_of_another_kind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "socks5://ada:secret@127.0.0.1:1")
        failure = explain("https://collect.example")
        assert failure.text.startswith("cannot reach collect.example:443: the proxy in ")
        assert failure.text.endswith("must have an http:// URL, not socks5://")

    def test_one_that_reads_the_encrypted_traffic(
        self, started: ExitStack, monkeypatch: pytest.MonkeyPatch, encrypted: Encrypted
    ) -> None:
        inner = encrypted("collect.example", answers(OK))

        def behave(connection: Connection) -> None:
            connection.read_request()
            connection.send(ESTABLISHED)
            inner(connection)

        proxy = serve(started, behave)
        monkeypatch.setenv("https_proxy", proxy.url)
        failure = explain("https://collect.example")
        assert failure.text.startswith(
            f"cannot reach collect.example:443 through the proxy 127.0.0.1:{proxy.port} "
            "(TLS: certificate verify failed: "
        )
        assert failure.host == "collect.example:443"
        assert failure.hint.startswith("for a private certificate authority, set SSL_CERT_FILE")

    def test_an_answer_through_it_names_both(
        self, started: ExitStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = serve(started, answers(answer("503 busy")))
        monkeypatch.setenv("http_proxy", proxy.url)
        transport = HttpTransport("http://collect.example", Secret(KEY))
        with closing(transport):
            assert transport.send(REQUEST, 10.0).status == 503
            peer = f"collect.example:80 through the proxy 127.0.0.1:{proxy.port}"
            assert transport.peer == peer
            assert transport.host == "collect.example:80"
