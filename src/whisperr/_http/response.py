"""Reads one HTTP answer (RFC 9112) from a connection, with a deadline and bounds on its size.

Not `http.client`: it parses headers with the `email` package, which takes three times as long and
imports many modules, each of which waits for the interpreter lock several times while the main
thread is busy. Errors repeat nothing that the server sent: a server that echoes would put events
into the log.

Threads: used by the delivery thread.
"""

from __future__ import annotations

from whisperr._contract import Answer
from whisperr._process.interruption import is_interruption
from whisperr._process.real_clock import monotonic

from .encoding import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .connection import Connection

# More than any documented answer. The rest of a longer one is not read, and the connection closed.
MAX_ANSWER_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_LENGTH_DIGITS = 18
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
# How answers in other protocols begin.
_KINDS = {
    b"HTTP/": "a status line that is not one of HTTP/1",
    b"SSH-": "an SSH server",
    b"<": "HTML without HTTP headers",
    b"\x15\x03": "a TLS record, so the address may need https://",
    b"\x16\x03": "a TLS record, so the address may need https://",
}
_STATUS_BYTES = len(b"HTTP/1.1 202")
# Seconds for the body of an answer that came before the whole request was sent. The status is
# enough, and such a server may keep the connection open without ending the body.
_EARLY_BODY_SECONDS = 1.0


class AnswerError(OSError):
    """Raised when the server sent anything but one complete HTTP/1 answer."""


def read_answer(
    connection: Connection, deadline: float, method: str, *, early: bool = False
) -> tuple[Answer, bool]:
    """Return one answer, and whether the connection can be used again; raise OSError.

    `early`: the server has not received the whole request. Then it has accepted nothing, whatever
    it answers, and the connection cannot be used again.

    An incomplete body is dropped if the status alone says what to do, which a 2xx does not.
    """
    incoming = _Incoming(connection, deadline)
    version, status, headers = _read_head(incoming)
    while 100 <= status < 200 and status != 101:  # noqa: PLR2004  # interim answers
        version, status, headers = _read_head(incoming)
    if method == "CONNECT":
        return Answer(status), True
    succeeded = status // 100 == 2  # noqa: PLR2004  # 2xx
    if early and succeeded:
        raise AnswerError(f"HTTP {status} before the server had the whole request")
    if early:
        incoming.limit_rest(_EARLY_BODY_SECONDS)
    try:
        body, complete = _read_body(incoming, status, headers)
    except (AnswerError, ConnectionError, TimeoutError) as error:
        if succeeded or is_interruption(error):
            raise
        body, complete = b"", False
    body = decode(body, headers.get("content-encoding", ""), MAX_ANSWER_BYTES)
    reusable = complete and not early and not incoming.unread and _stays_open(version, headers)
    return Answer(status, headers, body), reusable


def begins_answer(unread: bytearray) -> bool:
    """Return whether a final answer begins here; remove interim answers."""
    while len(unread) >= _STATUS_BYTES:
        is_interim = unread.startswith(b"HTTP/1.") and unread[8:10] == b" 1"
        if not is_interim or unread[9:12] == b"101":
            return True
        end = unread.find(b"\n\r\n")
        if end < 0:
            return len(unread) > _MAX_HEAD_BYTES
        del unread[: end + len(b"\n\r\n")]
    return False


def _read_head(incoming: _Incoming) -> tuple[bytes, int, dict[str, str]]:
    """Return the version, the status and the headers, with lower-case names."""
    line = incoming.read_line()
    version, code, *_ = *line.split(b" ", 2), b""
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():  # noqa: PLR2004  # RFC 9112, 4
        raise AnswerError(f"not an HTTP/1 answer: {_get_kind(line)}, {len(line)} bytes")
    headers: dict[str, str] = {}
    while line := incoming.read_line():
        name, colon, value = line.partition(b":")
        if colon:  # a line without one is not a header, and is ignored
            headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return version, int(code), headers


def _get_kind(line: bytes) -> str:
    """Return what an invalid status line looks like."""
    for start, kind in _KINDS.items():
        if line.startswith(start):
            return kind
    return "text" if line.decode("latin-1").isprintable() else "binary data"


def _read_body(incoming: _Incoming, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """Return the body, cut at its bound, and whether it is complete (RFC 9112, 6.3)."""
    if status in (101, 204, 304):
        return b"", status != 101  # noqa: PLR2004  # after a 101 the connection speaks another protocol
    if headers.get("transfer-encoding", "").lower().endswith("chunked"):
        return _read_chunks(incoming)
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > _MAX_LENGTH_DIGITS:
        return incoming.read(MAX_ANSWER_BYTES), False
    wanted = min(int(length), MAX_ANSWER_BYTES)
    body = incoming.read(wanted)
    if len(body) < wanted:
        raise AnswerError(f"the answer ended after {len(body)} of {length} bytes")
    return body, wanted == int(length)


def _read_chunks(incoming: _Incoming) -> tuple[bytes, bool]:
    body = b""
    while True:
        size_text = incoming.read_line().partition(b";")[0].strip()
        if not size_text or not _HEX_DIGITS.issuperset(size_text):
            raise AnswerError(f"invalid chunk size, {len(size_text)} bytes")
        size = int(size_text, 16)
        if size == 0:
            while incoming.read_line():
                pass  # trailers
            return body, True
        wanted = min(size, MAX_ANSWER_BYTES - len(body))
        piece = incoming.read(wanted)
        body += piece
        if len(piece) < wanted:
            raise AnswerError("the answer ended within a chunk")
        if wanted < size:
            return body, False
        if incoming.read_line():
            raise AnswerError("a chunk of the answer is longer than its size")


def _stays_open(version: bytes, headers: Mapping[str, str]) -> bool:
    """Return whether the server keeps the connection open (RFC 9112, 9.3)."""
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return "close" not in options and (version != b"HTTP/1.0" or "keep-alive" in options)


class _Incoming:
    """The bytes of one answer. One deadline covers all of them, not each `recv`."""

    __slots__ = ("_connection", "_deadline", "_head_bytes", "unread")

    def __init__(self, connection: Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self.unread = connection.unread  # received while the request was being sent
        self._head_bytes = 0

    def limit_rest(self, seconds: float) -> None:
        """Limit the time for the rest of the answer."""
        self._deadline = min(self._deadline, monotonic() + seconds)

    def read_line(self) -> bytes:
        """Return the next line without its end; one bound covers all lines of an answer."""
        while (end := self.unread.find(b"\n")) < 0:
            if self._head_bytes + len(self.unread) > _MAX_HEAD_BYTES:
                raise AnswerError("the head of the answer is longer than 64 KiB")
            if not self._receive():
                if self._head_bytes or self.unread:
                    raise AnswerError("the answer ended within its head")
                raise ConnectionResetError("the server closed the connection without an answer")
        line = bytes(self.unread[:end])
        del self.unread[: end + 1]
        self._head_bytes += end + 1
        return line.removesuffix(b"\r")

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer if the server has closed the connection."""
        while len(self.unread) < count and self._receive():
            pass
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data

    def _receive(self) -> bool:
        piece = self._connection.receive(self._deadline)
        self.unread += piece
        return bool(piece)
