"""The transport over standard streams: forwards each message to the MCP endpoint of a local server.

A client starts `whisperr dev --mcp-stdio`, writes one message per line to its standard input, and
reads the answers from its standard output. Source: "stdio" of the specification at
modelcontextprotocol.io.

Threads: the reading thread calls `run`; each request has a thread of its own, so that a wait does
not delay the next request. Nothing but answers is written to the output.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Any

from whisperr._platform import make_blocking

from . import messages
from .endpoint import (
    MAX_BODY_BYTES,
    METHOD_HEADER,
    NAME_HEADER,
    PATH,
    VERSION_HEADER,
    VERSION_KEY,
    to_header,
)
from .messages import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES = 64 * 1024
_MAX_REQUESTS = 32  # at once
_TIMEOUT = 70.0  # seconds for an answer; longer than the longest wait of a tool
_END_TIMEOUT = 0.5  # seconds for answers after the end of the input; clients wait 2 s and kill


def take_streams() -> tuple[int, int]:
    """Return the standard input and output of this process, for this transport alone.

    From then on the process has an empty standard input, and what it prints goes to its standard
    error: a stray line in the output would break the protocol. A client may pass ends of pipes that
    do not block; here they do, so that a read waits for a message and a write for its reader.
    """
    source, sink = os.dup(0), os.dup(1)
    for stream in (source, sink):
        make_blocking(stream)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return source, sink


class _Exchange:
    """One request on its way: its connection, and whether its client has cancelled it."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        self.is_cancelled = False

    def cancel(self) -> None:
        """Close the connection: to the server, that is the cancellation."""
        self.is_cancelled = True
        opened: socket.socket | None = self._connection.sock
        if opened is not None:  # otherwise `post` sees the mark
            with suppress(OSError):  # it has just ended
                opened.shutdown(socket.SHUT_RDWR)

    def post(self, line: bytes, message: object) -> bytes:
        """Return the reply to a message; empty without one. Raises OSError and HTTPException."""
        try:
            self._connection.connect()
            if self.is_cancelled:
                return b""
            self._connection.request("POST", PATH, line, _get_headers(message))
            response = self._connection.getresponse()
            reply = response.read()
        finally:
            self._connection.close()
        if reply and not reply.startswith((b'{"jsonrpc"', b"[")):
            raise HTTPException(f"it has no MCP endpoint (HTTP {response.status}); start it again")
        return reply


class StdioTransport:
    """Reads messages from one descriptor and writes the answers of a server to another."""

    def __init__(self, port: int, source: int, sink: int) -> None:
        self._port = port
        self._source = source
        self._sink = sink
        self._writing = Lock()
        self._changed = Condition()
        self._exchanges: dict[object, _Exchange] = {}  # by the ids of their requests

    def run(self) -> None:
        """Forward messages until the input ends, then wait shortly for the last answers.

        Raises OSError if the input cannot be read.
        """
        for line in _read_lines(self._source):
            self._receive(line)
        with self._changed:
            self._changed.wait_for(lambda: not self._exchanges, _END_TIMEOUT)

    def _receive(self, line: bytes) -> None:
        if len(line) > MAX_BODY_BYTES:
            text = f"a message has at most {MAX_BODY_BYTES} bytes"
            self._refuse(None, messages.INVALID_REQUEST, text)
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None  # the server says what is wrong with it
        if isinstance(message, dict) and "method" in message and "id" not in message:
            self._notice(message)  # the server does nothing with notifications
            return
        number = messages.get_id(message)
        key = object() if number is None else number
        exchange = _Exchange(self._port)
        with self._changed:
            has_room = len(self._exchanges) < _MAX_REQUESTS
            if has_room:
                self._exchanges[key] = exchange
        if has_room:
            arguments = (exchange, key, line, message)
            Thread(target=self._forward, args=arguments, daemon=True).start()
        else:
            text = f"more than {_MAX_REQUESTS} requests at once"
            self._refuse(number, messages.INTERNAL_ERROR, text)

    def _notice(self, message: dict[str, Any]) -> None:
        """Cancel the request that a notification names."""
        params = message.get("params")
        if message["method"] == "notifications/cancelled" and isinstance(params, dict):
            number = messages.get_id({"id": params.get("requestId")})
            with self._changed:
                exchange = self._exchanges.get(number)
            if exchange is not None:
                exchange.cancel()

    def _forward(self, exchange: _Exchange, key: object, line: bytes, message: object) -> None:
        try:
            reply = exchange.post(line, message)
        except (OSError, HTTPException) as error:
            text = f"no answer from the local server at http://127.0.0.1:{self._port}: {error}"
            reply = _to_error(messages.get_id(message), messages.INTERNAL_ERROR, text)
        if reply and not exchange.is_cancelled:
            self._write(reply)
        with self._changed:
            if self._exchanges.get(key) is exchange:
                del self._exchanges[key]
            self._changed.notify_all()

    def _refuse(self, number: str | int | None, code: int, text: str) -> None:
        self._write(_to_error(number, code, text))

    def _write(self, reply: bytes) -> None:
        left = memoryview(reply + b"\n")
        # An OSError: the client has closed the output, and will end the input.
        with self._writing, suppress(OSError):
            while left:
                left = left[os.write(self._sink, left) :]


def _to_error(number: str | int | None, code: int, text: str) -> bytes:
    return json.dumps(messages.to_error(number, ProtocolError(code, text))).encode()


def _get_headers(message: object) -> dict[str, str]:
    """Return the headers that repeat a request from 2026-07-28 on; earlier ones need none."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    params = message.get("params") if isinstance(message, dict) else None
    if isinstance(message, dict) and isinstance(params, dict):
        meta = params.get("_meta")
        version = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
        if isinstance(version, str):
            given = {VERSION_HEADER: version, METHOD_HEADER: message.get("method")}
            given[NAME_HEADER] = params.get("name")
            headers |= {
                name: to_header(value) for name, value in given.items() if isinstance(value, str)
            }
    return headers


def _read_lines(source: int) -> Iterator[bytes]:
    """Yield the lines of a descriptor without their ends, and of one that is too long a part.

    The descriptor is read directly: a thread that waits in a buffered stream would hold its lock
    while the interpreter ends.
    """
    waiting = bytearray()
    is_skipping = False
    while chunk := os.read(source, _CHUNK_BYTES):
        *ended, rest = (bytes(waiting) + chunk).split(b"\n")
        waiting = bytearray(rest)
        for line in ended:
            if not is_skipping and line.strip():
                yield line
            is_skipping = False
        if len(waiting) > MAX_BODY_BYTES:
            if not is_skipping:
                yield bytes(waiting)
            is_skipping = True
            waiting.clear()
    if waiting.strip() and not is_skipping:
        yield bytes(waiting)
