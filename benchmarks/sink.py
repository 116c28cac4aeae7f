"""The server that everything is sent to: it answers at once and counts later.

While it is measured it only keeps what arrives; `GET /_sink` makes the count, so that the counting
costs no package anything. It listens on loopback only.

    python -m benchmarks.sink [--delay SECONDS] [--hang]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
import zlib
from collections import Counter

from benchmarks.event import MARK

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_ENCODING = re.compile(rb"\r\ncontent-encoding: *([a-z]+)", re.IGNORECASE)
# One answer that every package takes for success, each by the member that it looks at.
_BODY = b'{"status":1,"error":null,"code":200,"success":true,"accepted":0,"rejected":0,"id":"0"}'
_WINDOW_OF_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def _answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_OK = _answer(b"200 OK", _BODY)
_ACCEPTED = _answer(b"202 Accepted", _BODY)


class Sink:
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

    def take(self, head: bytes, body: bytes) -> None:
        """Keep one request for the count."""
        encoding = _ENCODING.search(head)
        self.requests += 1
        self.bytes += len(head) + len(body)
        self.bodies.append((encoding.group(1).lower() if encoding else b"", body))
        self.last_ns = time.monotonic_ns()

    def summary(self) -> dict[str, int]:
        """Count the marks in all that came."""
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
    """One connection: requests in, answers out, nothing understood."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._incoming = bytearray()
        self._counted = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take every complete request out of what came."""
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
        if head.startswith(b"GET /_sink"):
            self._transport.write(_answer(b"200 OK", json.dumps(self._sink.summary()).encode()))
            return
        if not self._counted:
            self._counted = True
            self._sink.connections += 1
        self._sink.take(head, body)
        answer = _ACCEPTED if head.startswith(b"POST /v1/events") else _OK
        if self._sink.hang:
            return
        if self._sink.delay:
            asyncio.get_running_loop().call_later(self._sink.delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def _serve(sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--hang", action="store_true", help="read and never answer")
    given = parser.parse_args()
    asyncio.run(_serve(Sink(given.delay, hang=given.hang)))


if __name__ == "__main__":
    main()
