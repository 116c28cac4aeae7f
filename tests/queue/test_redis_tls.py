"""`rediss://`: the certificate must be valid, and for the host of the URL."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.queue.queues import ROOM, RecordingAccounting
from whisperr.buffers import parse_buffer_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

    ServeTLS = Callable[[str], int]

LIMIT = 30.0


class Front:
    """A TLS server in front of a Redis, with a thread for each connection."""

    def __init__(self, context: ssl.SSLContext, redis_port: int) -> None:
        self._context = context
        self._redis_port = redis_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._connections: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT)
        for thread in self._connections:
            thread.join(LIMIT)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve_one, args=(plain,), daemon=True)
            self._connections.append(thread)
            thread.start()

    def _serve_one(self, plain: socket.socket) -> None:
        plain.settimeout(LIMIT)
        with plain, suppress(OSError):  # the client may refuse the certificate
            client = self._context.wrap_socket(plain, server_side=True)
            with client, socket.create_connection(("127.0.0.1", self._redis_port)) as server:
                self._relay(client, server)

    def _relay(self, client: ssl.SSLSocket, server: socket.socket) -> None:
        """Copy in both directions until one end is closed, in one thread: SSL objects need that."""
        while True:
            pending = [client] if client.pending() else None
            readable = pending or select.select([client, server], [], [], LIMIT)[0]
            for source in readable:
                data = source.recv(65_536)
                if not data:
                    return
                (server if source is client else client).sendall(data)
            if not readable:
                return


@pytest.fixture
def serve_tls(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServeTLS]:
    """Start a TLS server in front of the Redis, with a certificate for a name; return its port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # as OpenSSL reads it
    fronts: list[Front] = []

    def serve(name: str) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        fronts.append(Front(context, redis_server.port))
        return fronts[-1].port

    yield serve
    for front in fronts:
        front.close()


def put_over_tls(port: int, stream: str, host: str = "localhost") -> RecordingAccounting:
    accounting = RecordingAccounting()
    url = f"rediss://{host}:{port}/0?stream={stream}&timeout=5"
    queue = parse_buffer_url(url).open(10, ROOM, accounting)
    queue.put(b"{}")
    queue.drain()  # type: ignore[union-attr]  # a queue
    return accounting


def test_a_certificate_for_the_host_is_accepted(serve_tls: ServeTLS, tmp_path: Path) -> None:
    assert put_over_tls(serve_tls("localhost"), tmp_path.name).problem is None
    assert put_over_tls(serve_tls("127.0.0.1"), tmp_path.name, "127.0.0.1").problem is None


@pytest.mark.parametrize("name", ["redis.example.com", "127.0.0.2"])
def test_a_certificate_for_another_host_is_refused(
    serve_tls: ServeTLS, tmp_path: Path, name: str
) -> None:
    problem = put_over_tls(serve_tls(name), tmp_path.name).problem or ""
    assert "certificate" in problem.lower()


def test_a_certificate_of_another_authority_is_refused(
    serve_tls: ServeTLS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve_tls("localhost")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    problem = put_over_tls(port, tmp_path.name).problem or ""
    assert "certificate" in problem.lower()
