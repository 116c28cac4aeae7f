"""The server of all measurements: it answers at once and counts later.

During a measurement it only keeps what arrives. It counts on `GET /_counts`, so that counting
slows down no package. It listens on loopback only.

    python -m benchmarks.counting_server [--delay SECONDS] [--hang] [--certificate FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import time
import zlib
from collections import Counter

from benchmarks.event import MARK

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_ENCODING = re.compile(rb"\r\ncontent-encoding: *([a-z]+)", re.IGNORECASE)
# One answer that every package accepts as a success: it has the member that each of them reads.
_BODY = b'{"status":1,"error":null,"code":200,"success":true,"accepted":0,"rejected":0,"id":"0"}'
_WINDOW_OF_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def _answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_OK = _answer(b"200 OK", _BODY)
_ACCEPTED = _answer(b"202 Accepted", _BODY)


class CountingServer:
    """What arrived so far."""

    def __init__(self, delay: float, *, hang: bool) -> None:
        self.delay = delay
        self.hang = hang
        self.connections = 0
        self.requests = 0
        self.bytes = 0
        self.bodies: list[tuple[bytes, bytes]] = []
        self.unreadable = 0
        self.last_ns = 0
        self.marks: Counter[bytes] = Counter()

    def add(self, head: bytes, body: bytes) -> None:
        """Keep one request to be counted."""
        encoding = _ENCODING.search(head)
        self.requests += 1
        self.bytes += len(head) + len(body)
        self.bodies.append((encoding.group(1).lower() if encoding else b"", body))
        self.last_ns = time.monotonic_ns()

    def summary(self) -> dict[str, int]:
        """Count the marks in all that arrived."""
        for encoding, body in self.bodies:
            try:
                plain = _plain(encoding, body)
            except (zlib.error, ValueError):
                self.unreadable += 1
                continue
            self.marks.update(re.findall(MARK, plain))
        self.bodies = []
        return {
            "arrived": self.marks.total(),
            "unique": len(self.marks),
            "doubled": self.marks.total() - len(self.marks),
            "requests": self.requests,
            "connections": self.connections,
            "bytes": self.bytes,
            "unreadable": self.unreadable,
            "last_ns": self.last_ns,
        }


def _plain(encoding: bytes, body: bytes) -> bytes:
    if encoding in {b"", b"identity"}:
        return body
    if encoding in {b"gzip", b"deflate"}:
        return zlib.decompress(body, _WINDOW_OF_GZIP_OR_ZLIB)
    raise ValueError(f"no decoder for {encoding!r}")


class Connection(asyncio.Protocol):
    """One connection: it frames requests and sends answers."""

    def __init__(self, server: CountingServer) -> None:
        self._server = server
        self._incoming = bytearray()
        self._counted = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle every complete request that was received."""
        self._incoming += data
        while (end := self._incoming.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._incoming[:end])
            length = _LENGTH.search(head)
            stop = end + 4 + (int(length.group(1)) if length else 0)
            if len(self._incoming) < stop:
                return
            body = bytes(self._incoming[end + 4 : stop])
            del self._incoming[:stop]
            self._request(head, body)

    def _request(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /_counts"):
            self._transport.write(_answer(b"200 OK", json.dumps(self._server.summary()).encode()))
            return
        if not self._counted:
            self._counted = True
            self._server.connections += 1
        self._server.add(head, body)
        answer = _ACCEPTED if head.startswith(b"POST /v1/events") else _OK
        if self._server.hang:
            return
        if self._server.delay:
            asyncio.get_running_loop().call_later(self._server.delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def _serve(server: CountingServer, certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    listener = await loop.create_server(
        lambda: Connection(server), "127.0.0.1", 0, backlog=1024, ssl=context
    )
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


def main() -> None:
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--hang", action="store_true", help="read and never answer")
    parser.add_argument("--certificate", help="its key and chain, in one file: encrypt")
    given = parser.parse_args()
    asyncio.run(_serve(CountingServer(given.delay, hang=given.hang), given.certificate))


if __name__ == "__main__":
    main()
