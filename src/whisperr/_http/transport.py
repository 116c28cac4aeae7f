"""Step 7: a request becomes an answer, over one kept-alive connection. Decides nothing.

Threads: used by one at a time, the one that drives the worker; `close_in_child` by a forked child.
Imported with the first request: that takes twice as long as the rest of the package. What only TLS
or a proxy needs is imported where there is one.
"""

from __future__ import annotations

import _socket
import encodings.idna  # noqa: F401  # `getaddrinfo` would import it, unguarded from forks
import socket
import time

from whisperr._contract import get_headers
from whisperr._process.imports import first_use
from whisperr._url import parse_url
from whisperr._version import __version__

from .proxy import get_proxy, parse_proxy, proxy_credentials
from .response import left_until, read_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

    from whisperr._contract import Answer, Request
    from whisperr._secret import Secret

# So much of a body is copied behind the head, so that one call sends both.
_COPIED_BYTES = 64 * 1024


class HttpTransport:
    """POST requests to one service. `request_timeout` bounds an attempt as a whole."""

    def __init__(
        self, base_url: str, key: Secret, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        parts = parse_url(base_url)
        if parts is None:
            raise ValueError("base_url: must be an http:// or https:// URL")
        self._scheme, self._host, self._port, self._prefix = parts
        self._key = key
        self._ssl_context = ssl_context
        self._socket: socket.socket | None = None
        # What says that the other side has closed, and that nothing can be read or sent yet; over
        # TLS they come under names of their own.
        self._dead: tuple[type[OSError], ...] = (ConnectionError,)
        self._not_yet: tuple[type[OSError], ...] = (BlockingIOError,)

    def send(self, request: Request, timeout: float) -> Answer:
        """Send and return the answer within `timeout` seconds; raises OSError.

        A connection that was kept and turns out dead deserves one free attempt on a new one:
        closing idle connections is a server's right and no failure.
        """
        deadline = time.monotonic() + timeout
        if self._socket is not None and not self._is_quiet(self._socket):
            self.close()
        kept = self._socket is not None
        try:
            return self._exchange(request, deadline)
        except self._dead:
            if not kept:
                raise
        return self._exchange(request, deadline)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def close_in_child(self) -> None:
        """Close an inherited connection in a forked child, without a word on the wire.

        Only the descriptor: a TLS goodbye would end the parent's session.
        """
        connection, self._socket = self._socket, None
        if connection is not None:
            socket.close(connection.detach())

    def _is_quiet(self, connection: socket.socket) -> bool:
        """Say whether a kept connection can be used: not closed, and nothing came unasked.

        A server that gets bored may say 408 before it closes; that must not pass for an answer.
        """
        try:
            connection.settimeout(0.0)
            connection.recv(1)
        except self._not_yet:
            return True
        except OSError:
            return False
        return False

    def _exchange(self, request: Request, deadline: float) -> Answer:
        """Do one round trip; the connection stays open only after a complete answer."""
        try:
            if self._socket is None:
                self._socket = self._connect(deadline)
            try:
                for piece in self._pieces(request):
                    self._send(self._socket, piece, deadline)
            except self._dead as error:
                # A server may refuse before it has read the body: its answer is there to read.
                answer, _ = read_answer(self._socket, deadline, "POST", instead_of=error)
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
        """Send everything. What can go at once does; with a time limit, Python waits first.

        Each of these calls gives up the interpreter's lock, and a program that computes is
        interrupted each time that it is wanted back.
        """
        while message:
            try:
                connection.settimeout(0.0)
                sent = connection.send(message)
            except self._not_yet:
                connection.settimeout(left_until(deadline))
                sent = connection.send(message)
            message = message[sent:]

    def _pieces(self, request: Request) -> tuple[memoryview, memoryview]:
        """Return the head with what is copied of the body, and the rest, which may be large.

        Views, so that nothing that prints variables prints the key in them.
        """
        lines = [f"{name}: {value}" for name, value in self._headers().items()]
        target = self._prefix + request.path
        if self._proxy() is not None and self._scheme == "http":
            target = f"http://{self._authority()}{target}"
        lines = [f"POST {target} HTTP/1.1", *lines, f"Content-Length: {len(request.body)}"]
        head = "\r\n".join([*lines, "", ""]).encode()
        body = memoryview(request.body)
        return memoryview(head + body[:_COPIED_BYTES]), body[_COPIED_BYTES:]

    def _headers(self) -> dict[str, str]:
        headers = {"Host": self._authority(), "Accept": "application/json"}
        proxy = self._proxy()
        if proxy is not None and self._scheme == "http":
            headers.update(proxy_credentials(proxy))
        return {**headers, **get_headers(self._key.reveal(), __version__)}

    def _authority(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        usual = 443 if self._scheme == "https" else 80
        return host if self._port == usual else f"{host}:{self._port}"

    def _proxy(self) -> str | None:
        return get_proxy(self._scheme, self._host, self._port)

    def _connect(self, deadline: float) -> socket.socket:
        proxy = self._proxy()
        if proxy is None:
            plain = _open(self._host, self._port, deadline)
        else:
            plain = self._connect_through(proxy, deadline)
        if self._scheme == "http":
            return plain
        return self._secured(plain, deadline)

    def _secured(self, plain: socket.socket, deadline: float) -> ssl.SSLSocket:
        try:
            with first_use():
                from . import tls as _tls
            self._dead = (ConnectionError, *_tls.ENDED)
            self._not_yet = (BlockingIOError, *_tls.NOT_YET)
            context = self._ssl_context = self._ssl_context or _tls.default_context()
        except BaseException:
            plain.close()
            raise
        return _tls.secured(plain, self._host, context, deadline)

    def _connect_through(self, proxy: str, deadline: float) -> socket.socket:
        """Connect to a proxy; for https, open a tunnel (RFC 9110, 9.3.6)."""
        parts = parse_proxy(proxy)
        if parts.scheme != "http" or not parts.hostname:
            raise OSError(f"a proxy must be an http:// URL, got scheme {parts.scheme!r}")
        plain = _open(parts.hostname, parts.port or 80, deadline)
        if self._scheme == "http":
            return plain
        try:
            authority = f"{self._authority()}:443" if self._port == 443 else self._authority()  # noqa: PLR2004  # https
            headers = {"Host": authority, **proxy_credentials(proxy)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            ask = f"CONNECT {authority} HTTP/1.1\r\n{lines}\r\n".encode()
            self._send(plain, memoryview(ask), deadline)
            answer, _ = read_answer(plain, deadline, "CONNECT")
            if answer.status // 100 != 2:  # noqa: PLR2004  # 2xx
                raise OSError(f"the proxy refused the tunnel with HTTP {answer.status}")
        except BaseException:
            plain.close()
            raise
        return plain


def _open(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address that answers, all of them under one deadline."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in _addresses_of(host, port):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left_until(deadline))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            failure = error
            connection.close()
        else:
            return connection
    raise failure or OSError(f"no address for {host}")


def _addresses_of(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except RuntimeError:
        # gevent asks in a thread, and Python 3.12 starts none while it ends: ask without gevent.
        return [*_socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
