"""Sends a request and returns its answer, over one kept-alive connection. Decides nothing.

Imported with the first request, because that takes twice as long as importing the rest of the
package. `ssl` and the modules for a proxy are imported only when needed.

Threads: used by one thread at a time, the delivery thread; a forked child calls `close_in_child`.
"""

from __future__ import annotations

import time

from whisperr._address import LOOPBACK, parse_url
from whisperr._contract import Misconfigured, get_headers
from whisperr._process.interruption import is_interruption
from whisperr._process.real_clock import monotonic
from whisperr._version import __version__

from .connection import Connection
from .connector import Connector
from .explanation import ENCRYPT, EXCHANGE, TUNNEL, Attempt, name_peer
from .proxy import PROXY_REFUSES, ProxyRefusal, find_proxy, request_tunnel
from .response import begins_answer, read_answer
from .tls import get_default_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from whisperr._contract import Answer, Failure, Request
    from whisperr._secret import Secret

    from .proxy import Proxy

# How much of the body is copied behind the head, so that one system call sends both.
_COPIED_BYTES = 64 * 1024
# Seconds after which an idle connection is not used again: a firewall or NAT may have dropped it
# silently, and a request on it would hang until its timeout.
_LONGEST_IDLE = 30.0


class HttpTransport:
    """Sends POST requests to one service. The timeout of `send` bounds the whole attempt."""

    def __init__(
        self, base_url: str, key: Secret, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        parts = parse_url(base_url)
        if parts is None:
            raise ValueError("base_url: must be an http:// or https:// URL")
        self._scheme, self._host, self._port, self._prefix = parts
        # A trailing dot is for the resolver only, which then tries no search domains. Certificates
        # (RFC 6066, 3) and servers use the name without it.
        self._server = self._host.removesuffix(".") or self._host
        if self._server in LOOPBACK:
            self._host = self._server  # not every resolver knows `localhost.`
        name = f"[{self._server}]" if ":" in self._server else self._server
        self._address = f"{name}:{self._port}"
        self._authority = self._address.removesuffix(":443" if self._scheme == "https" else ":80")
        self._key = key
        self._ssl_context = ssl_context
        self._connector = Connector()
        self._connection: Connection | None = None
        self._used_at = (0.0, 0.0)  # the last answer, by the monotonic and by the wall clock
        self._attempt = Attempt(self._scheme, self._address, 0.0)  # the last one

    def send(self, request: Request, timeout: float) -> Answer:
        """Send a request and return its answer within `timeout` seconds; raise OSError.

        If a kept connection turns out to be closed, the request is sent once more on a new one:
        servers may close idle connections, which does not count as a failed attempt.
        """
        deadline = monotonic() + timeout
        self._attempt = Attempt(self._scheme, self._address, timeout)
        kept = self._connection
        if kept is not None and not (self._is_recent() and kept.is_idle()):
            self.close()
            kept = None
        try:
            return self._exchange(request, deadline)
        except OSError as error:
            is_closed = kept is not None and isinstance(error, kept.closed_errors)
            if not is_closed or is_interruption(error):
                raise
        return self._exchange(request, deadline)

    def explain(self, error: Exception) -> Failure:
        """Return why the last request got no answer; `error` is what `send` raised."""
        return self._attempt.explain(error)

    @property
    def host(self) -> str:
        """The host and port of the service."""
        return self._address

    @property
    def peer(self) -> str:
        """The host and port that answered the last request, with the proxy if there is one."""
        return name_peer(self._address, self._attempt.proxy)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close_in_child(self) -> None:
        """Close an inherited connection in a forked child, without sending anything."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close_in_child()

    def _is_recent(self) -> bool:
        """Return whether the connection was used recently, by both clocks.

        The monotonic clock may stop while the machine sleeps. The wall clock may be set, which at
        worst opens a connection that was not needed.
        """
        used_at, wall_used_at = self._used_at
        idle = max(monotonic() - used_at, time.time() - wall_used_at)
        return idle < _LONGEST_IDLE

    def _exchange(self, request: Request, deadline: float) -> Answer:
        """Send a request and return its answer; keep the connection if the answer is complete."""
        try:
            proxy = self._attempt.proxy = self._find_proxy()
            if self._connection is None:
                self._connection = self._connect(proxy, deadline)
            connection = self._connection
            self._attempt.step = EXCHANGE
            sent = self._send_request(connection, self._to_pieces(request, proxy), deadline)
            answer, reusable = read_answer(connection, deadline, "POST", early=not sent)
            if proxy is not None and answer.status == PROXY_REFUSES:
                raise Misconfigured(
                    f"the proxy {proxy.address} refused the request to {self._address} "
                    f"(HTTP {answer.status})"
                )
        except BaseException:
            self.close()
            raise
        if reusable:
            self._used_at = monotonic(), time.time()
        else:
            self.close()
        return answer

    def _send_request(
        self, connection: Connection, pieces: tuple[memoryview, memoryview], deadline: float
    ) -> bool:
        """Send a request; return False if the server answers before it has received all of it."""
        try:
            return all(connection.send(piece, deadline, begins_answer) for piece in pieces)
        except connection.closed_errors as error:
            # The server may have answered and closed without reading the body.
            if is_interruption(error) or not self._has_answer(connection, deadline):
                raise
            return False

    def _has_answer(self, connection: Connection, deadline: float) -> bool:
        """Return whether the server sent an answer before it closed the connection."""
        try:
            while not begins_answer(connection.unread):
                piece = connection.receive(deadline)
                if not piece:
                    return False
                connection.unread += piece
        except OSError as error:
            if is_interruption(error):
                raise
            return False
        return True

    def _to_pieces(
        self, request: Request, proxy: Proxy | None = None
    ) -> tuple[memoryview, memoryview]:
        """Return the head with the first part of the body, and the rest, which may be large.

        They are views, so that a tool that prints local variables does not show the API key.
        """
        headers = {
            "Host": self._authority,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        target = self._prefix + request.path
        if proxy is not None and self._scheme == "http":
            target = f"http://{self._authority}{target}"
            headers.update(proxy.headers)
        headers["Content-Length"] = str(len(request.body))
        headers.update(get_headers(self._key.reveal(), __version__))
        head = _to_head(f"POST {target}", headers)
        body = memoryview(request.body)
        return memoryview(head + body[:_COPIED_BYTES]), body[_COPIED_BYTES:]

    def _find_proxy(self) -> Proxy | None:
        return find_proxy(self._scheme, self._server, self._port)

    def _connect(self, proxy: Proxy | None, deadline: float) -> Connection:
        """Return a new connection, through the proxy if there is one, encrypted for https."""
        host, port = (self._host, self._port) if proxy is None else (proxy.host, proxy.port)
        connection = Connection(self._connector.connect(host, port, deadline))
        if self._scheme == "http":
            return connection
        try:
            if proxy is not None:
                self._open_tunnel(connection, proxy, deadline)
            self._attempt.step = ENCRYPT
            self._ssl_context = self._ssl_context or get_default_context()
            connection.encrypt(self._ssl_context, self._server, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_tunnel(self, connection: Connection, proxy: Proxy, deadline: float) -> None:
        """Open a tunnel through a proxy; raise OSError if it refuses."""
        self._attempt.step = TUNNEL
        status = request_tunnel(connection, proxy, self._address, deadline)
        message = f"the proxy {proxy.address} refused the tunnel to {self._address} (HTTP {status})"
        if status == PROXY_REFUSES:
            raise Misconfigured(message)
        if status // 100 != 2:  # noqa: PLR2004  # 2xx
            raise ProxyRefusal(message)


def _to_head(request: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{request} HTTP/1.1", *lines, "", ""]).encode()
