"""From sockets to the service and back: one thread per connection, faults played on the wire."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from threading import Condition, Event
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from whisperr.dev._ingest.service import Reply, door, refusal, served
from whisperr.dev._memory.arrivals import ReceivedRequest

from . import api as _api
from . import page as _page
from . import stream as _stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisperr.dev._memory.arrivals import Arrival
    from whisperr.dev.faults import Fault

    from .server import LocalServer

# Closing with SO_LINGER 0 resets the connection: the client sees that it was cut.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LOOK_AGAIN = 0.5
_END_BOUND = 5.0


class HttpServer(ThreadingHTTPServer):
    """Listens on loopback, knows its open connections, and ends them when it closes."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, local: LocalServer, port: int) -> None:
        self.local = local
        self.ending = Event()
        self._open: set[socket.socket] = set()
        self._count = 0
        self.streams = _stream.Streams()
        self._changed = Condition()
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        """Bind without asking a name server what this machine is called."""
        if os.name == "posix":  # else a restart waits for the last run's connections to time out
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def opened(self, connection: socket.socket) -> int:
        """Remember a connection; return its number, from 1."""
        with self._changed:
            self._open.add(connection)
            self._count += 1
            return self._count

    def ended(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def end(self) -> None:
        """Stop listening, cut what is open, and wait for it to end, within a bound."""
        self.ending.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                _cut_input(connection)
            self._changed.wait_for(lambda: not self._open, _END_BOUND)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002  # as declared
        """Stay silent about clients that go away; show a mistake of ours."""
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            traceback.print_exc()


def _cut_input(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was first


class _Connection(BaseHTTPRequestHandler):
    """One connection: reads requests, lets them be judged or meet a fault, answers."""

    protocol_version = "HTTP/1.1"
    server_version = "whisperr-dev"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece

    def setup(self) -> None:
        super().setup()
        self._http = cast("HttpServer", self.server)
        self._local = self._http.local
        self._number = self._http.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self._http.ended(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # as declared
        """Say nothing: what arrives is shown elsewhere, and better."""

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def do_DELETE(self) -> None:
        self._route()

    def _route(self) -> None:
        refused = self._strangers()
        if refused is not None:
            self._answer(refused, close=True)
            return
        url = urlsplit(self.path)
        page = _page.reply_for(url.path) if self.command == "GET" else None
        if page is not None:
            self._answer(page)
            return
        if self.command == "GET" and url.path == _stream.PATH:
            self._stream(url.query)
            return
        ours = url.path.startswith(_api.PREFIX)
        if not ours and self.command != "POST":
            self._answer(refusal(405, "method", "only POST"), {"Allow": "POST"}, close=True)
            return
        size = self.headers.get("Content-Length", "0" if ours else "")
        if not size.isdecimal() or "Transfer-Encoding" in self.headers:
            self._answer(refusal(411, "length_required", "send Content-Length"), close=True)
        elif int(size) > self._local.max_body_bytes:
            self._refuse_size(int(size))
        else:
            body = self.rfile.read(int(size))
            if len(body) < int(size):
                self.close_connection = True  # it went away while sending
            elif ours:
                self._answer(_api.answered(self._local, self.command, url.path, url.query, body))
            else:
                self._ingest(url.path, body)

    def _strangers(self) -> Reply | None:
        """Refuse pages of other sites: a name that was bound to loopback, a foreign origin."""
        host = self.headers.get("Host", "")
        if not _is_loopback(host):
            return refusal(403, "host_not_loopback", "open the local server by a loopback address")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            return refusal(403, "foreign_origin", "pages of other origins may not call")
        return None

    def _stream(self, query: str) -> None:
        """Send server-sent events until the reader goes away or the server closes."""
        with self._http.streams.admitted() as admitted:
            if not admitted:
                busy = refusal(503, "too_many_streams", "close another page or `whisperr tail`")
                self._answer(busy, close=True)
                return
            last = self.headers.get("Last-Event-ID")
            try:
                messages = _stream.opened(self._local, query, last, self._http.ending)
            except ValueError as error:
                self._answer(refusal(400, "bad_call", str(error)), close=True)
                return
            self.close_connection = True
            self.connection.settimeout(_stream.SEND_BOUND)
            self.send_response(200)
            for name, value in _stream.HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            for message in messages:
                self.wfile.write(message)
                self.wfile.flush()

    def _refuse_size(self, size: int) -> None:
        """Answer 413 before the body is read, as edges do."""
        bound = self._local.max_body_bytes
        reply = refusal(413, "too_large", f"{size} bytes; at most {bound}")
        self._keep(urlsplit(self.path).path, b"", reply.status, None)
        self._answer(reply, close=True)

    def _ingest(self, path: str, body: bytes) -> None:
        faults = self._local.pick_faults(path)
        for fault in faults:
            if fault.kind == "latency":
                self._http.ending.wait(fault.seconds)
        failure = next((f for f in faults if f.kind not in {"latency", "legacy"}), None)
        name = next((f.kind for f in reversed(faults)), None)
        if failure is not None and failure.kind in {"status", "hang", "cut"}:
            self._fail(path, body, failure)
            return
        reply, connection_cut = self._judged(path, body, faults, name)
        if failure is not None and failure.kind == "drip":
            self._drip(reply, failure.seconds)
        elif connection_cut:
            self._cut()
        else:
            self._answer(reply)

    def _judged(
        self, path: str, body: bytes, faults: list[Fault], name: str | None
    ) -> tuple[Reply, bool]:
        """Judge the request, keep what it brought, and say whether its answer gets lost."""
        lost = any(fault.kind == "lose_answer" for fault in faults)
        legacy = any(fault.kind == "legacy" for fault in faults)
        reply = door(path, self._plain_headers(), self._local.api_key)
        arrivals: list[Arrival] = []
        number = self._local.next_number()
        if reply is None:
            now = self._local.now()
            reply, arrivals = served(path, body, number=number, now=now, legacy=legacy)
        self._keep(path, body, None if lost else reply.status, name, number, arrivals)
        return reply, lost

    def _fail(self, path: str, body: bytes, fault: Fault) -> None:
        status = fault.code if fault.kind == "status" else None
        self._keep(path, body, status, fault.kind)
        if fault.kind == "hang":
            self._hang()
        elif fault.kind == "cut":
            self._cut()
        else:
            headers = {"Retry-After": fault.retry_after, "Location": fault.location}
            reply = refusal(fault.code, "rehearsed", "a rehearsed fault")
            self._answer(reply, {k: v for k, v in headers.items() if v is not None})

    def _keep(
        self,
        path: str,
        body: bytes,
        status: int | None,
        fault: str | None,
        number: int = 0,
        arrivals: Sequence[Arrival] = (),
    ) -> None:
        request = ReceivedRequest(
            number=number or self._local.next_number(),
            connection=self._number,
            received_at=self._local.now(),
            method=self.command,
            path=path,
            headers=self._plain_headers(),
            body=body,
            status=status,
            fault=fault,
        )
        self._local.keep(request, arrivals)

    def _plain_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _answer(
        self, reply: Reply, headers: dict[str, str] | None = None, *, close: bool = False
    ) -> None:
        data = self._head(reply, headers or {}, close=close)
        self.wfile.write(data)
        self.wfile.flush()

    def _head(self, reply: Reply, headers: dict[str, str], *, close: bool) -> bytes:
        """Queue the head of an answer; return its body."""
        data = reply.data
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        for name, value in {**reply.headers, **headers}.items():
            self.send_header(name, value)
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        return data

    def _drip(self, reply: Reply, pause: float) -> None:
        """Send the answer byte by byte, its head included."""
        head: list[bytes] = []
        whole, self.wfile = self.wfile, cast("Any", _Collector(head))
        try:
            head.append(self._head(reply, {}, close=False))
        finally:
            self.wfile = whole
        for byte in b"".join(head):
            if self._http.ending.wait(pause):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def _hang(self) -> None:
        """Stay silent until the client goes away or the server closes."""
        self.close_connection = True
        while not self._http.ending.is_set():
            readable, _, _ = select.select([self.connection], [], [], _LOOK_AGAIN)
            if readable:
                return

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.connection.close()


class _Collector:
    """A file that keeps what is written to it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.write = pieces.append

    def flush(self) -> None:
        """Do nothing: there is nowhere to go."""


def _is_loopback(host: str) -> bool:
    """Say whether a Host header names this machine by a loopback name or address."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
