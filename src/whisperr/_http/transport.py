"""Sends a request and returns its answer, over one kept-alive connection. Decides nothing.

Threads: used by one thread at a time, the delivery thread; a forked child calls `close_in_child`.
Imported with the first request, because that takes twice as long as importing the rest of the
package; `ssl` and what a proxy needs are imported only when one is used.
"""

from __future__ import annotations

import _socket
import encodings.idna  # noqa: F401  # `getaddrinfo` would import it, unguarded from forks
import socket

from whisperr._contract import get_headers
from whisperr._options import parse_url
from whisperr._process.imports import first_use
from whisperr._process.real_clock import monotonic
from whisperr._version import __version__

from .proxy import get_credentials, get_proxy, parse_proxy
from .response import get_seconds_left, read_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

    from whisperr._contract import Answer, Request
    from whisperr._secret import Secret

# How much of a body is copied behind the head, so that one system call sends both.
_COPIED_BYTES = 64 * 1024


class HttpTransport:
    """Sends POST requests to one service. The timeout of `send` is for the attempt as a whole."""

    def __init__(
        self, base_url: str, key: Secret, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        parts = parse_url(base_url)
        if parts is None:
            raise ValueError("base_url: must be an http:// or https:// URL")
        self._scheme, self._host, self._port, self._prefix = parts
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._address = f"{name}:{self._port}"
        self._authority = self._address.removesuffix(":443" if self._scheme == "https" else ":80")
        self._key = key
        self._ssl_context = ssl_context
        self._socket: socket.socket | None = None
        # The exceptions for a connection that the server has closed, and for one that is not ready.
        # TLS has exceptions of its own, which `_encrypt` adds.
        self._closed_errors: tuple[type[OSError], ...] = (ConnectionError,)
        self._not_ready_errors: tuple[type[OSError], ...] = (BlockingIOError,)

    def send(self, request: Request, timeout: float) -> Answer:
        """Send a request and return its answer within `timeout` seconds; raises OSError.

        When a kept connection turns out to be closed, the request is sent once more on a new one:
        servers may close idle connections, and that is no failed attempt.
        """
        deadline = monotonic() + timeout
        if self._socket is not None and not self._is_idle(self._socket):
            self.close()
        kept = self._socket is not None
        try:
            return self._exchange(request, deadline)
        except self._closed_errors:
            if not kept:
                raise
        return self._exchange(request, deadline)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def close_in_child(self) -> None:
        """Close an inherited connection in a forked child, without sending anything.

        Closes only the descriptor: the closing message of TLS would end the parent's session.
        """
        connection, self._socket = self._socket, None
        if connection is not None:
            socket.close(connection.detach())

    def _is_idle(self, connection: socket.socket) -> bool:
        """Return whether a kept connection can be used: it is open, and nothing was received.

        A server may send a 408 before it closes an idle connection; that must not be taken for the
        answer to the next request.
        """
        try:
            connection.settimeout(0.0)
            connection.recv(1)
        except self._not_ready_errors:
            return True
        except OSError:
            return False
        return False

    def _exchange(self, request: Request, deadline: float) -> Answer:
        """Send a request and return its answer; keep the connection only if that is complete."""
        try:
            if self._socket is None:
                self._socket = self._connect(deadline)
            try:
                for piece in self._to_pieces(request):
                    self._send(self._socket, piece, deadline)
            except self._closed_errors as error:
                # The server may have refused before it read the body, and its answer can be read.
                try:
                    answer, _ = read_answer(self._socket, deadline, "POST")
                except OSError:
                    raise error from None
                self.close()
                return answer
            answer, reusable = read_answer(self._socket, deadline, "POST")
        except BaseException:
            self.close()
            raise
        if not reusable:
            self.close()
        return answer

    def _send(self, connection: socket.socket, message: memoryview, deadline: float) -> None:
        """Send everything: without waiting if possible, else with a timeout.

        With a timeout Python polls before it sends. Each system call releases the interpreter lock,
        and getting it back interrupts a program that computes.
        """
        while message:
            try:
                connection.settimeout(0.0)
                sent = connection.send(message)
            except self._not_ready_errors:
                connection.settimeout(get_seconds_left(deadline))
                sent = connection.send(message)
            message = message[sent:]

    def _to_pieces(self, request: Request) -> tuple[memoryview, memoryview]:
        """Return the head with the first part of the body, and the rest, which may be large.

        As views, so that code that prints variables does not print the key in the head.
        """
        headers = {"Host": self._authority, "Accept": "application/json"}
        target = self._prefix + request.path
        proxy = self._get_proxy()
        if proxy is not None and self._scheme == "http":
            target = f"http://{self._authority}{target}"
            headers.update(get_credentials(proxy))
        headers["Content-Length"] = str(len(request.body))
        headers.update(get_headers(self._key.reveal(), __version__))
        head = _to_head(f"POST {target}", headers)
        body = memoryview(request.body)
        return memoryview(head + body[:_COPIED_BYTES]), body[_COPIED_BYTES:]

    def _get_proxy(self) -> str | None:
        return get_proxy(self._scheme, self._host, self._port)

    def _connect(self, deadline: float) -> socket.socket:
        """Return a new connection: through a proxy if there is one, and for https encrypted."""
        host, port, proxy = self._host, self._port, self._get_proxy()
        if proxy is not None:
            parts = parse_proxy(proxy)
            if parts.scheme != "http" or not parts.hostname:
                raise OSError(f"a proxy must be an http:// URL, got scheme {parts.scheme!r}")
            host, port = parts.hostname, parts.port or 80
        connection = _connect_to(host, port, deadline)
        if self._scheme == "http":
            return connection
        try:
            if proxy is not None:
                self._open_tunnel(connection, proxy, deadline)
            connection = encrypted = self._encrypt(connection)
            encrypted.settimeout(get_seconds_left(deadline))
            encrypted.do_handshake()
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_tunnel(self, connection: socket.socket, proxy: str, deadline: float) -> None:
        """Open a tunnel through a proxy (RFC 9110, 9.3.6)."""
        headers = {"Host": self._address, **get_credentials(proxy)}
        head = _to_head(f"CONNECT {self._address}", headers)
        self._send(connection, memoryview(head), deadline)
        answer, _ = read_answer(connection, deadline, "CONNECT")
        if answer.status // 100 != 2:  # noqa: PLR2004  # 2xx
            raise OSError(f"the proxy refused the tunnel with HTTP {answer.status}")

    def _encrypt(self, plain: socket.socket) -> ssl.SSLSocket:
        """Return a connection that is encrypted once its handshake is done."""
        with first_use():
            import ssl
        self._closed_errors = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
        self._not_ready_errors = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._ssl_context = self._ssl_context or ssl.create_default_context()
        return self._ssl_context.wrap_socket(
            plain, server_hostname=self._host, do_handshake_on_connect=False
        )


def _to_head(request: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{request} HTTP/1.1", *lines, "", ""]).encode()


def _connect_to(host: str, port: int, deadline: float) -> socket.socket:
    """Return a connection to the first address that accepts; one deadline is for all of them."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in _resolve_addresses(host, port):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(get_seconds_left(deadline))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            failure = error
            connection.close()
        else:
            return connection
    raise failure or OSError(f"no address for {host}")


def _resolve_addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except RuntimeError:
        # gevent resolves in a thread, and Python 3.12 starts none during shutdown: bypass gevent.
        return [*_socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
