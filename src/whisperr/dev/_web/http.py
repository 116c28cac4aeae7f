"""The connections of the local server: reads, routes and answers requests, and injects faults.

Threads: one per connection. `closing` is set when the server closes; every wait ends with it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socketserver import TCPServer
from threading import Condition, Event, Semaphore, Thread
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from whisperr._process.signals import block_in_this_thread, get_thread_id
from whisperr.dev._ingest.model import ReceivedRequest
from whisperr.dev._ingest.service import MAX_REASON_CHARS, ingest, refuse, with_response
from whisperr.dev._mcp import endpoint as _mcp
from whisperr.dev._mcp.tools import Source

from . import api as _api
from . import stream as _stream
from .origin import check_head, is_of_browser
from .page import get_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whisperr.dev._ingest.model import Arrival
    from whisperr.dev._ingest.service import Response
    from whisperr.dev._memory.arrivals import Arrivals
    from whisperr.dev.faults import FaultInjector

# Closing with SO_LINGER 0 resets the connection, so that the client notices the cut.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
SERVER_NAME = "whisperr-dev"
_POLL_INTERVAL = 0.5
_CLOSE_TIMEOUT = 5.0
_CLOSE = {"Connection": "close"}
_MAX_HANDSHAKE_BYTES = 64 * 1024
_NO_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TLS_HANDSHAKE = b"\x16"  # the first byte of a connection with TLS
_UNREAD_INTERVAL = 1.0
_MAX_LENGTH_DIGITS = 18  # of a Content-Length that is read as a number


class Settings(Protocol):
    """The options of the server that connections read with each request."""

    api_key: str | None
    max_body_bytes: int
    now: Callable[[], float]


class HttpServer(ThreadingHTTPServer):
    """Listens on loopback, tracks open connections, and ends them when it closes."""

    allow_reuse_address = os.name == "posix"  # so that a restart waits for no old connections
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int, settings: Settings, memory: Arrivals, injector: FaultInjector
    ) -> None:
        self.settings = settings
        self.memory = memory
        self.injector = injector
        self.closing = Event()
        self.free_streams = Semaphore(_stream.MAX_STREAMS)
        self._open: set[socket.socket] = set()
        self._count = 0
        self._changed = Condition()
        self._next_unread = 0.0
        super().__init__(("127.0.0.1", port), _Connection)
        serve = partial(self._serve, get_thread_id())
        self._thread = Thread(target=serve, name="whisperr-dev", daemon=True)
        self._thread.start()

    def _serve(self, starter: int | None) -> None:
        block_in_this_thread(starter)  # the threads of the connections inherit that
        self.serve_forever(poll_interval=0.02)

    def server_bind(self) -> None:
        """Bind without looking up the name of this machine."""
        exclusive: int | None = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        if exclusive is not None:  # Windows: otherwise any program may bind to the same port
            self.socket.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def add(self, connection: socket.socket) -> int:
        """Remember an open connection; return its number, from 1."""
        with self._changed:
            self._open.add(connection)
            self._count += 1
            return self._count

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  # as declared
        """Close and forget a connection, as the last step of its thread."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def may_keep_unread(self) -> bool:
        """Return whether to record a request without a readable head: at most one per second.

        A page of another site can make a browser send such requests without an origin.
        """
        now = monotonic()
        with self._changed:
            is_allowed = now >= self._next_unread
            if is_allowed:
                self._next_unread = now + _UNREAD_INTERVAL
        return is_allowed

    def close(self) -> None:
        """Stop listening, cut the open connections, and wait a few seconds for their threads."""
        self.closing.set()
        self.memory.end_waits()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):  # the client closed it first
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, _CLOSE_TIMEOUT)
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002  # as declared
        """Ignore clients that disconnect; print internal errors."""
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            traceback.print_exc()


def _is_own(path: str) -> bool:
    """Return whether a path is for people and tools: its requests are not those of a client."""
    return path.startswith(_api.PREFIX) or path == _mcp.PATH


class _Connection(BaseHTTPRequestHandler):
    """One connection: reads requests, and answers each or injects a fault."""

    server: HttpServer
    protocol_version = "HTTP/1.1"
    server_version = SERVER_NAME
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is sent in one piece

    def setup(self) -> None:
        super().setup()
        self._number = self.server.add(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # as declared
        """Log nothing: `whisperr dev` prints what arrives."""

    def handle(self) -> None:
        """Serve the connection; record and refuse one that begins with TLS."""
        self._started = perf_counter()
        if self.connection.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
            super().handle()
            return
        text = "the client speaks TLS (https://); this server speaks plain HTTP only"
        self._keep_unread(None, "tls", text)
        # Answer as other servers do, so that the client reports that this server does not speak
        # TLS. Read the handshake first: closing with unread bytes could discard the answer.
        self.connection.recv(_MAX_HANDSHAKE_BYTES)
        self.connection.sendall(_NO_TLS)

    def do_GET(self) -> None:
        """Route a request of any method."""
        self._started = perf_counter()
        try:
            url = urlsplit(self.path)
        except ValueError:
            self._refuse(
                self.path, refuse(400, "bad_address", "the path of the request is wrong", _CLOSE)
            )
            return
        refusal = check_head(self.command, url.path, self.headers)
        page = get_pages().get(url.path) if self.command == "GET" else None
        is_api = url.path.startswith(_api.PREFIX)
        if refusal is not None:
            self._refuse(url.path, refusal)
        elif page is not None:
            self._answer(page)
        elif self.command == "GET" and url.path == _stream.PATH:
            self._stream(url.query)
        elif not is_api and self.command != "POST":
            text = f"{self.command} is not allowed; only POST is"
            self._refuse(url.path, refuse(405, "method", text, {"Allow": "POST", **_CLOSE}))
        else:
            body = self._read_body(url.path, default_size="0" if is_api else "")
            if body is not None and is_api:
                memory, injector = self.server.memory, self.server.injector
                self._answer(_api.call(memory, injector, self.command, url.path, url.query, body))
            elif body is not None and url.path == _mcp.PATH:
                self._answer(_mcp.answer(self._to_source(), self.headers, body, self._is_gone))
            elif body is not None:
                self._ingest(url.path, body)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  # as http.server names them

    def _read_body(self, path: str, default_size: str) -> bytes | None:
        """Return the body; None if it cannot be used, after sending an answer."""
        length = self.headers.get("Content-Length", default_size)
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self._refuse(path, refuse(411, "length_required", "send Content-Length", _CLOSE))
            return None
        is_mcp = path == _mcp.PATH
        limit = _mcp.MAX_BODY_BYTES if is_mcp else self.server.settings.max_body_bytes
        size = int(length) if len(length) <= _MAX_LENGTH_DIGITS else sys.maxsize
        if size > limit:  # answered before the body is read, as load balancers do
            text = f"a body of {length[:20]} bytes; at most {limit} are allowed"
            self._refuse(path, refuse(413, "too_large", text, _CLOSE))
            return None
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True  # the client disconnected while sending
            if not _is_own(path):
                text = f"the client disconnected after {len(body)} of {size} bytes"
                request = self._to_request(path, body)
                self._keep(replace(request, error="disconnected", reason=text))
            return None
        return body

    def _refuse(self, path: str, response: Response) -> None:
        """Answer and record a request that is refused because of its head."""
        if not _is_own(path) and not is_of_browser(self.headers):
            self._keep(with_response(self._to_request(path, b""), response))
        self._answer(response)

    def _keep(self, request: ReceivedRequest, arrivals: Iterable[Arrival] = ()) -> None:
        """Record a request with the time since its head."""
        duration = perf_counter() - self._started
        self.server.memory.keep(replace(request, duration=duration), arrivals)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a head that cannot be read, or an unknown method, and record the request."""
        self._started = perf_counter()
        text = message or "the head of the request is too large"
        if code != HTTPStatus.NOT_IMPLEMENTED:
            self._keep_unread(int(code), "not_http", text)
        elif not is_of_browser(self.headers):
            request = self._to_request(self.path.partition("?")[0], b"")
            self._keep(with_response(request, refuse(int(code), "method", text)))
        super().send_error(code, message, explain)

    def _keep_unread(self, status: int | None, error: str, reason: str) -> None:
        """Record a request whose head could not be read."""
        if self.server.may_keep_unread():
            now, reason = self.server.settings.now(), reason[:MAX_REASON_CHARS]
            self._keep(
                ReceivedRequest(
                    *(0, self._number, now, "", "", {}, b"", status, None),
                    error=error,
                    reason=reason,
                )
            )

    def _stream(self, query: str) -> None:
        """Send server-sent events until the reader disconnects or the server closes."""
        last = self.headers.get("Last-Event-ID")
        try:
            http = self.server
            any_key = http.settings.api_key is None
            source = _stream.Source(http.memory, http.injector, any_key)
            messages = _stream.open_stream(source, query, last, http.closing)
        except ValueError as error:
            self._answer(refuse(400, "bad_call", str(error), _CLOSE))
            return
        if not self.server.free_streams.acquire(blocking=False):
            text = "close another page or `whisperr tail`"
            self._answer(refuse(503, "too_many_streams", text, _CLOSE))
            return
        try:
            self.connection.settimeout(_stream.SEND_TIMEOUT)
            self._send_head(200, _stream.HEADERS)
            for message in messages:
                self.wfile.write(message)
                self.wfile.flush()
        finally:
            self.server.free_streams.release()

    def _ingest(self, path: str, body: bytes) -> None:
        """Answer a request of a client, or inject the last of its faults."""
        faults = self.server.injector.pick(path)
        for fault in faults:
            if fault.kind == "latency":
                self.server.closing.wait(fault.seconds)
        last = faults[-1] if faults else None
        kind = None if last is None else last.kind
        request = self._to_request(path, body)
        response: Response | None = None
        arrivals: list[Arrival] = []
        if last is not None and kind == "status":
            headers = {"Retry-After": last.retry_after, "Location": last.location}
            given = {name: value for name, value in headers.items() if value is not None}
            response = refuse(last.code, "injected_fault", "an injected fault", given)
        elif kind not in {"hang", "cut"}:
            legacy = any(fault.kind == "legacy" for fault in faults)
            response, arrivals = ingest(request, self.server.settings.api_key, legacy=legacy)
        if kind == "lose_answer":
            response = None
        self._keep(with_response(request, response, kind), arrivals)
        if kind == "hang":
            self._hang()
        elif response is None:
            self._cut()
        elif last is not None and kind == "drip":
            self._drip(response, last.seconds)
        else:
            self._answer(response)

    def _to_request(self, path: str, body: bytes) -> ReceivedRequest:
        headers = {name.lower(): value for name, value in self.headers.items()}
        now = self.server.settings.now()
        return ReceivedRequest(0, self._number, now, self.command, path, headers, body, None, None)

    def _to_source(self) -> Source:
        http = self.server
        url, any_key = f"http://127.0.0.1:{http.server_port}", http.settings.api_key is None
        return Source(http.memory, http.injector, url, any_key)

    def _is_gone(self) -> bool:
        """Return whether the client has closed the connection, or the server closes."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        has_ended = bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        return has_ended or self.server.closing.is_set()

    def _answer(self, response: Response) -> None:
        data = response.data
        headers = {
            "Content-Type": response.content_type,
            "Content-Length": str(len(data)),
            "Cache-Control": "no-store",
            **response.headers,
        }
        self._send_head(response.status, headers)
        self.wfile.write(data)
        self.wfile.flush()

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, response: Response, pause: float) -> None:
        """Send the answer byte by byte, its head included."""
        answer = BytesIO()
        output, self.wfile = self.wfile, answer
        try:
            self._answer(response)
        finally:
            self.wfile = output
        for byte in answer.getvalue():
            if self.server.closing.wait(pause):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def _hang(self) -> None:
        """Send nothing until the client disconnects or the server closes."""
        self.close_connection = True
        readable: list[object] = []
        while not readable and not self.server.closing.is_set():
            readable, _, _ = select.select([self.connection], [], [], _POLL_INTERVAL)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.connection.close()
