"""Servers that are slow, endless, malformed or closed; and where the key never appears."""

from __future__ import annotations

import time
import traceback

import pytest

from tests.http.raw_server import (
    KEY,
    LIMIT,
    OK,
    REQUEST,
    Behaviour,
    Connection,
    RawServer,
    answer,
    answers,
    ask,
    close,
    make_transport,
    serving,
)
from whisperr._contract import Request
from whisperr._http.response import AnswerError


def stay_silent(connection: Connection) -> None:
    connection.read_request()
    connection.await_close()


def drip(data: bytes) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.drip(data)

    return behave


HUGE = Request("/v1/identify", b"x" * (32 << 20))  # more than the buffers of both sockets hold


def read_nothing(connection: Connection) -> None:
    connection.server.ended.wait(LIMIT)


def read_slowly(connection: Connection) -> None:
    """Read so that no single write waits for long."""
    while not connection.server.ended.wait(0.02) and connection.socket.recv(64 << 10):
        pass


class TestDeadline:
    @pytest.mark.parametrize(
        "behaviour",
        [
            stay_silent,
            drip(b"HTTP/1.1 202 " + b"x" * 2_000),
            drip(b"HTTP/1.1 202 OK\r\nX-Long: " + b"x" * 2_000),
            drip(b"HTTP/1.1 202 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2_000),
            drip(b"HTTP/1.1 202 OK\r\n\r\n" + b"x" * 2_000),
            drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        ],
        ids=["silence", "status", "header", "body", "endless body", "interim answers"],
    )
    def test_the_deadline_is_for_the_whole_attempt(self, behaviour: Behaviour) -> None:
        with RawServer(behaviour) as server:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                ask(server, timeout=0.3)
            assert time.monotonic() - began < LIMIT / 2

    @pytest.mark.parametrize(("behaviour", "timeout"), [(read_nothing, 0.3), (read_slowly, 1.0)])
    def test_the_deadline_also_ends_sending(self, behaviour: Behaviour, timeout: float) -> None:
        with serving(behaviour) as (_, transport):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                transport.send(HUGE, timeout)
            assert time.monotonic() - began < LIMIT / 2

    def test_a_late_answer_is_not_read_as_that_of_the_next_request(self) -> None:
        def late(connection: Connection) -> None:
            connection.read_request()
            connection.await_close()

        with serving(late, answers(OK)) as (server, transport):
            with pytest.raises(TimeoutError):
                transport.send(REQUEST, 0.05)
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    def test_a_deadline_in_the_past_opens_no_connection(self) -> None:
        with RawServer(answers(OK)) as server:
            with pytest.raises(TimeoutError):
                ask(server, timeout=0.0)
            assert server.connections == 0


def refuse_early(connection: Connection) -> None:
    connection.read_request(body=False)
    connection.send(answer("413 Too Large", b"{}", "Connection: close"))
    connection.reset()


def flood(head: bytes, piece: bytes) -> Behaviour:
    """Send without end, until the client closes the connection."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(head)
        for _ in range(4_000):
            connection.send(piece)

    return behave


class TestOddAnswers:
    def test_an_answer_before_the_end_of_the_request_is_read(self) -> None:
        with serving(refuse_early, answers(OK)) as (server, transport):
            large = Request("/v1/identify", b"x" * (8 << 20))
            assert transport.send(large, LIMIT).status == 413
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    @pytest.mark.parametrize(
        ("head", "piece"),
        [
            (b"Content-Length: 16384000\r\n\r\n", b"x" * 4096),
            (b"\r\n", b"x" * 4096),
            (b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        ],
        ids=["with a length", "until the end", "in chunks"],
    )
    def test_a_huge_answer_is_cut_and_its_connection_is_not_used_again(
        self, head: bytes, piece: bytes
    ) -> None:
        with serving(flood(b"HTTP/1.1 202 OK\r\n" + head, piece), answers(OK)) as (
            server,
            transport,
        ):
            assert len(transport.send(REQUEST, LIMIT).body) == 64 * 1024
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    @pytest.mark.parametrize("piece", [b"X-Endless: yes\r\n", b"x" * 4096])
    def test_endless_headers_are_refused(self, piece: bytes) -> None:
        server = RawServer(flood(b"HTTP/1.1 202 OK\r\n", piece))
        with server, pytest.raises(AnswerError):
            ask(server)

    @pytest.mark.parametrize(
        "payload",
        [
            b"GARBAGE\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/1.1 42 OK\r\n\r\n",
            b"SMTP/1.1 202 OK\r\n\r\n",
            b"HTTP/9 202 OK\r\n\r\n",
            b"\x00\xff" * 100 + b"\r\n",
            b"HTTP/1.1 202 OK\r\nContent-Length: 10\r\n\r\nshort",
            b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ],
    )
    def test_a_malformed_answer_raises_and_its_connection_is_not_used_again(
        self, payload: bytes
    ) -> None:
        with serving(answers(payload, then=close), answers(OK)) as (server, transport):
            with pytest.raises(AnswerError):
                transport.send(REQUEST, LIMIT)
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    def test_chunks_are_joined(self) -> None:
        chunks = b'5\r\n{"a":\r\n3;note\r\n 1}\r\n0\r\nX-Trailer: yes\r\n\r\n'
        payload = b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        with RawServer(answers(payload)) as server:
            assert ask(server).body == b'{"a": 1}'


class TestSecrecy:
    def test_repr_does_not_contain_the_key(self) -> None:
        transport = make_transport("https://collect.example")
        assert KEY not in repr(transport) + repr(vars(transport))

    @pytest.mark.parametrize(
        ("behaviour", "request_"),
        [
            (close, REQUEST),
            (Connection.reset, REQUEST),
            (answers(b"HTTP/1.1 abc\r\n\r\n"), REQUEST),
            (read_nothing, HUGE),
        ],
        ids=["closed", "reset", "broken", "stalled"],
    )
    def test_a_traceback_with_variables_does_not_contain_the_key(
        self, behaviour: Behaviour, request_: Request
    ) -> None:
        with serving(behaviour) as (_, transport):
            with pytest.raises(OSError, match=r".") as caught:
                transport.send(request_, 0.5)
            report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        text = "".join(report.format())
        assert "deadline = " in text
        assert KEY not in text
