"""A server that handles each connection exactly as a test defines, byte by byte."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from whisperr._contract import Answer, Request
from whisperr._http.transport import HttpTransport
from whisperr._secret import Secret

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Self

# Seconds; reached only if something hangs.
LIMIT = 10.0
KEY = "wrk_secret_1234"
REQUEST = Request("/v1/events/batch", b'{"events":[{"n":1}]}')


class RawRequest:
    """One request as it was received."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("ascii").split("\r\n")
        self.line = first
        self.method, self.target, self.version = first.split(" ")
        self.headers: list[tuple[str, str]] = []
        for line in lines:
            name, _, value = line.partition(": ")
            self.headers.append((name, value))
        self.body = body

    def header(self, name: str) -> str | None:
        """Return a header, None when it is missing; it may occur once at most."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None


class Connection:
    """The server's end of one connection."""

    def __init__(self, server: RawServer, plain: socket.socket) -> None:
        self.server = server
        self.socket = plain
        self._rest = bytearray()  # grows without being copied: a body may be megabytes

    def read_request(self, *, body: bool = True) -> RawRequest:
        """Read and record one request, without its body when `body` is False."""
        head = self._read_until(b"\r\n\r\n")
        request = RawRequest(head[:-4], b"")
        size = int(request.header("Content-Length") or 0)
        if body:
            while len(self._rest) < size:
                self._receive()
            request.body = self._cut(size)
        self.server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send `data` byte by byte, so that no single read waits for long."""
        for at in range(len(data)):
            if self.server.ended.wait(0.01):
                return
            self.send(data[at : at + 1])

    def await_close(self) -> None:
        """Wait until the client closes the connection."""
        while self.socket.recv(65_536):
            pass

    def reset(self) -> None:
        """Close with a reset, as a crashed server does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Do the server side of a TLS handshake."""
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._receive()
        return self._cut(self._rest.index(mark) + len(mark))

    def _cut(self, size: int) -> bytes:
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data

    def _receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError
        self._rest += data


Behaviour = Callable[[Connection], object]
Encrypted = Callable[[str, Behaviour], Behaviour]


class RawServer:
    """Handles each connection with the next behaviour, in the order in which they are opened."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._behaviours = behaviours
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[RawRequest] = []
        self.failures: list[AssertionError] = []
        self.ended = threading.Event()
        self.answer_was_read = threading.Event()  # set by tests
        self._closed = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_closed(self) -> None:
        """Wait until one more connection is closed by its behaviour."""
        assert self._closed.acquire(timeout=LIMIT)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._wake_accept()
        self._thread.join(LIMIT * 2)
        self._listener.close()
        assert not self._thread.is_alive()
        assert self.failures == []

    def _wake_accept(self) -> None:
        try:
            socket.create_connection(("127.0.0.1", self.port), LIMIT).close()
        except OSError:
            return  # the listener is closed already

    def _run(self) -> None:
        for behave in self._behaviours:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            if self.ended.is_set():
                plain.close()
                return
            self.connections += 1
            self._serve(plain, behave)

    def _serve(self, plain: socket.socket, behave: Behaviour) -> None:
        plain.settimeout(LIMIT)
        connection = Connection(self, plain)
        try:
            behave(connection)
        except AssertionError as failure:
            self.failures.append(failure)
        except (OSError, EOFError):
            pass  # the client closed the connection, as most of these tests expect
        finally:
            connection.socket.close()
            self._closed.release()


def answer(status: str = "202 Accepted", body: bytes = b"{}", *headers: str) -> bytes:
    """Return the bytes of a complete answer."""
    lines = "".join(f"{header}\r\n" for header in headers)
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


OK = answer()


def answers(*payloads: bytes, then: Behaviour = Connection.await_close) -> Behaviour:
    """Answer requests with the payloads, then wait for the client to close, or do `then`."""

    def behave(connection: Connection) -> None:
        for payload in payloads:
            connection.read_request()
            connection.send(payload)
        then(connection)

    return behave


def close(_: Connection) -> None:
    """Close the connection at once."""


def after_reading(then: Behaviour) -> Behaviour:
    """Do `then` when the test has set `answer_was_read`: it could destroy an unread answer."""

    def behave(connection: Connection) -> None:
        assert connection.server.answer_was_read.wait(LIMIT)
        then(connection)

    return behave


def make_transport(url: str) -> HttpTransport:
    return HttpTransport(url, Secret(KEY))


def ask(server: RawServer, timeout: float = LIMIT) -> Answer:
    """Send one request over a connection of its own."""
    transport = make_transport(server.url)
    try:
        return transport.send(REQUEST, timeout)
    finally:
        transport.close()


@contextmanager
def serving(*behaviours: Behaviour, path: str = "") -> Iterator[tuple[RawServer, HttpTransport]]:
    """Run a server and a transport to it; the transport closes first."""
    with (
        RawServer(*behaviours) as server,
        closing(make_transport(server.url + path)) as transport,
    ):
        yield server, transport
