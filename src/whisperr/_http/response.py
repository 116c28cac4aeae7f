"""Step 7, its second half: read one answer (RFC 9112), under one deadline and within bounds.

By hand: `http.client` reads the head of an answer with the `email` package, which takes three times
as long and brings many modules. Imported in the delivery thread, each of them waits several times
for a busy main thread. Threads: used by the one that drives the worker.
"""

from __future__ import annotations

import time

from whisperr._contract import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

# More than any documented answer; what is longer is not read, and the connection not kept.
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
_LONGEST_LENGTH = 18  # digits
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")


class AnswerError(OSError):
    """What came is no complete HTTP/1 answer."""


def left_until(deadline: float) -> float:
    """Return the seconds left until `deadline` (monotonic); raises TimeoutError when it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no complete answer within request_timeout")
    return left


def read_answer(
    connection: socket.socket,
    deadline: float,
    method: str,
    instead_of: OSError | None = None,
) -> tuple[Answer, bool]:
    """Read one answer; also say whether the connection can be used again.

    Raises OSError, or `instead_of` when there is no answer to read.
    """
    incoming = _Incoming(connection, deadline)
    try:
        version, status, headers = _read_head(incoming)
        while 100 <= status < 200 and status != 101:  # noqa: PLR2004  # they only announce it
            version, status, headers = _read_head(incoming)
        if method == "CONNECT":
            return Answer(status), True
        body, complete = _read_body(incoming, status, headers)
    except OSError:
        if instead_of is not None:
            raise instead_of from None
        raise
    kept = complete and incoming.is_empty and _stays_open(version, headers)
    return Answer(status, headers, body), kept


def _read_head(incoming: _Incoming) -> tuple[bytes, int, dict[str, str]]:
    """Return the version, the status and the headers, with lower-case names."""
    line = incoming.line()
    version, code, *_ = *line.split(b" ", 2), b""
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():  # noqa: PLR2004  # RFC 9112, 4
        raise AnswerError(f"not an HTTP/1 answer: {line[:60]!r}")
    headers: dict[str, str] = {}
    while line := incoming.line():
        name, colon, value = line.partition(b":")
        if colon:  # what is no header says nothing
            headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return version, int(code), headers


def _read_body(incoming: _Incoming, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """Return the body, cut where it is too long, and whether that is all of it (RFC 9112, 6.3)."""
    if status in (101, 204, 304):
        return b"", status != 101  # noqa: PLR2004  # after a 101 the connection is something else
    if headers.get("transfer-encoding", "").lower().endswith("chunked"):
        return _read_chunks(incoming)
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > _LONGEST_LENGTH:
        return incoming.take(_MAX_ANSWER_BYTES), False
    wanted = min(int(length), _MAX_ANSWER_BYTES)
    body = incoming.take(wanted)
    if len(body) < wanted:
        raise AnswerError(f"the answer ended after {len(body)} of {length} bytes")
    return body, wanted == int(length)


def _read_chunks(incoming: _Incoming) -> tuple[bytes, bool]:
    body = b""
    while True:
        size_text = incoming.line().partition(b";")[0].strip()
        if not size_text or not _HEX_DIGITS.issuperset(size_text):
            raise AnswerError(f"not the size of a chunk: {size_text[:60]!r}")
        size = int(size_text, 16)
        if size == 0:
            while incoming.line():
                pass  # trailers
            return body, True
        wanted = min(size, _MAX_ANSWER_BYTES - len(body))
        piece = incoming.take(wanted)
        body += piece
        if len(piece) < wanted:
            raise AnswerError("the answer ended within a chunk")
        if wanted < size:
            return body, False
        if incoming.line():
            raise AnswerError("a chunk of the answer is longer than its size")


def _stays_open(version: bytes, headers: Mapping[str, str]) -> bool:
    """Say whether the server keeps the connection (RFC 9112, 9.3)."""
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return "close" not in options and (version != b"HTTP/1.0" or "keep-alive" in options)


class _Incoming:
    """The bytes of one answer, read under one deadline for all of them, not one per `recv`."""

    __slots__ = ("_bytes", "_connection", "_deadline", "_head_bytes")

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._bytes = bytearray()
        self._head_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing came that nobody has read."""
        return not self._bytes

    def line(self) -> bytes:
        """Return the next line without its end; all lines of an answer together are bounded."""
        while (end := self._bytes.find(b"\n")) < 0:
            if self._head_bytes + len(self._bytes) > _MAX_HEAD_BYTES:
                raise AnswerError("the head of the answer is longer than 64 KiB")
            if not self._more():
                if self._head_bytes or self._bytes:
                    raise AnswerError("the answer ended within its head")
                raise ConnectionResetError("the server closed the connection without an answer")
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        self._head_bytes += end + 1
        return line.removesuffix(b"\r")

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer only where the other side has closed."""
        while len(self._bytes) < count and self._more():
            pass
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken

    def _more(self) -> bool:
        self._connection.settimeout(left_until(self._deadline))
        piece = self._connection.recv(_PIECE_BYTES)
        self._bytes += piece
        return bool(piece)
