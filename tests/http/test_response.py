"""Answers are parsed alike in whatever pieces they are received."""

from __future__ import annotations

import io
import re
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr._http.response import AnswerError, read_answer

if TYPE_CHECKING:
    from whisperr._contract import Answer

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
OK = b"HTTP/1.1 202 Accepted\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-", min_size=1, max_size=12)


class Pieces:
    """A connection that returns an answer in pieces and is then closed."""

    def __init__(self, payload: bytes, sizes: tuple[int, ...] = ()) -> None:
        self._payload = payload
        self._sizes = list(sizes)
        self.unread = bytearray()

    def receive(self, deadline: float) -> bytes:
        assert deadline > time.monotonic()
        size = self._sizes.pop(0) if self._sizes else 16 * 1024
        piece, self._payload = self._payload[:size], self._payload[size:]
        return piece


def read(payload: bytes, sizes: tuple[int, ...] = (), method: str = "POST") -> tuple[Answer, bool]:
    connection: Any = Pieces(payload, sizes)
    return read_answer(connection, time.monotonic() + 60, method)


class FakeSocket:
    """The part of a socket that `http.client` uses."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._payload)


def read_with_http_client(payload: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    connection: Any = FakeSocket(payload)
    response = HTTPResponse(connection, method="POST")
    response.begin()
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, body, not response.will_close


def in_chunks(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Return a well-formed answer with a length, in chunks, or until the end."""
    version = draw(st.sampled_from([b"1.0", b"1.1"]))
    status = draw(st.sampled_from([200, 202, 204, 304, 400, 401, 413, 429, 500, 503]))
    body = b"" if status in (204, 304) else draw(st.binary(max_size=300))
    lines = [b"HTTP/%s %d Some reason" % (version, status)]
    names = draw(st.lists(TOKEN, max_size=4, unique_by=str.lower))
    lines += [b"x-%s: %s" % (name.encode(), draw(TOKEN).encode()) for name in names]
    option = draw(st.sampled_from([None, b"close", b"keep-alive", b"Close", b"upgrade"]))
    if option:
        lines.append(b"Connection: " + option)
    framing = draw(st.sampled_from(["length", "chunks", "end"]))
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks" and version == b"1.1" and status not in (204, 304):
        lines.append(b"Transfer-Encoding: chunked")
        body = in_chunks(body, draw(st.integers(1, 99)))
    return b"\r\n".join([*lines, b"", body])


@SAME_EACH_TIME
@given(payloads(), st.lists(st.integers(1, 60), max_size=40).map(tuple))
def test_an_answer_is_read_as_http_client_reads_it(payload: bytes, sizes: tuple[int, ...]) -> None:
    answer, kept = read(payload, sizes)
    status, headers, body, open_ = read_with_http_client(payload)
    assert (answer.status, answer.headers, answer.body, kept) == (status, headers, body, open_)


@SAME_EACH_TIME
@given(
    st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(OK.__add__), payloads()),
    st.integers(0, 400),
)
def test_any_bytes_are_an_answer_or_raise_an_error_of_the_connection(
    payload: bytes, end: int
) -> None:
    try:
        answer, _ = read(payload[:end])
    except (AnswerError, ConnectionResetError):
        return
    assert len(answer.body) <= 64 * 1024


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", True),
        (OK + b"content-length:2\r\n\r\n{}", True),
        (OK + b"Content-Length: 2\n\n{}", True),
        (OK + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 202 OK\r\n", False),
        (OK + b"Content-Length: 2\r\nConnection: Keep-Alive, CLOSE\r\n\r\n{}", False),
        (OK + b"Content-Length: two\r\n\r\n{}", False),
        (OK + b"Content-Length: -2\r\n\r\n{}", False),
        (OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{}", False),
        (
            OK + b"Content-Length: 70\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            True,
        ),
        (b"HTTP/1.0 202 OK\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"HTTP/1.0 202 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}", True),
        (b"HTTP/1.1 202\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}", True),
    ],
)
def test_only_a_complete_answer_without_further_bytes_keeps_the_connection(
    payload: bytes, kept: bool
) -> None:
    answer, reusable = read(payload)
    assert (answer.status, answer.body, reusable) == (202, b"{}", kept)


@pytest.mark.parametrize(
    "payload",
    [
        OK,
        OK + b"Content-Length: 2\r\n",
        b"HTTP/1.1 2020 OK\r\n\r\n",
        b"HTTP/1.1 42\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/2 202\r\n\r\n",
        OK + CHUNKED + b"-1\r\n",
        OK + CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
        OK + CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
        OK + CHUNKED + b"2\r\n{}\r\n0\r\n",
        OK + b"X: y\r\n" * 20_000,
    ],
)
def test_a_malformed_answer_is_refused(payload: bytes) -> None:
    with pytest.raises(AnswerError):
        read(payload)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b'{"external_user_id":"ada@example.com"}\r\n', "text, 38 bytes"),
        (b"ada\x1b[2J\r\n", "binary data, 7 bytes"),
        (b"<html>ada\r\n", "HTML without HTTP headers, 9 bytes"),
        (b"SSH-2.0-ada\r\n", "an SSH server, 11 bytes"),
        (b"HTTP/2 ada\r\n", "a status line that is not one of HTTP/1, 10 bytes"),
        (b"HTTP/1.1 ada\r\n", "a status line that is not one of HTTP/1, 12 bytes"),
        (b"\x15\x03\x01\x00\n", "a TLS record, so the address may need https://, 4 bytes"),
        (b"\n", "text, 0 bytes"),
    ],
)
def test_what_is_no_answer_is_named_and_not_repeated(payload: bytes, kind: str) -> None:
    with pytest.raises(AnswerError) as caught:
        read(payload)
    assert str(caught.value) == f"not an HTTP/1 answer: {kind}"


@pytest.mark.parametrize("payload", [b"ada@example.com\r\n", b"ada\x1b[2J\r\n", b"\xff" * 9_000])
def test_the_size_of_a_chunk_is_not_repeated(payload: bytes) -> None:
    with pytest.raises(AnswerError) as caught:
        read(OK + CHUNKED + payload + b"\r\n")
    assert re.fullmatch(r"invalid chunk size, \d+ bytes", str(caught.value))


def test_an_end_before_the_first_byte_is_a_closed_connection() -> None:
    with pytest.raises(ConnectionResetError):
        read(b"")


def test_the_answer_to_connect_has_no_body() -> None:
    answer, _ = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", method="CONNECT")
    assert (answer.status, answer.body) == (200, b"")
