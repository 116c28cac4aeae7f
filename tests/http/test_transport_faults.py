"""Step 7: servers that are slow, endless, broken or gone, and what they never get to see."""

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
    serving,
    transport_to,
)
from whisperr._contract import Request
from whisperr._http.response import AnswerError


def silent(connection: Connection) -> None:
    connection.read_request()
    connection.await_close()


def drips(data: bytes) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.drip(data)

    return behave


HUGE = Request("/v1/identify", b"x" * (32 << 20))  # more than sockets keep for both sides


def reads_nothing(connection: Connection) -> None:
    connection.server.ended.wait(LIMIT)


def reads_slowly(connection: Connection) -> None:
    """Read so that no single write has to wait for long."""
    while not connection.server.ended.wait(0.02) and connection.socket.recv(64 << 10):
        pass


class TestDeadline:
    @pytest.mark.parametrize(
        "behaviour",
        [
            silent,
            drips(b"HTTP/1.1 202 " + b"x" * 2_000),
            drips(b"HTTP/1.1 202 OK\r\nX-Long: " + b"x" * 2_000),
            drips(b"HTTP/1.1 202 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2_000),
            drips(b"HTTP/1.1 202 OK\r\n\r\n" + b"x" * 2_000),
            drips(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        ],
        ids=["silence", "status", "header", "body", "endless body", "interim answers"],
    )
    def test_an_attempt_as_a_whole_has_one(self, behaviour: Behaviour) -> None:
        with RawServer(behaviour) as server:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                ask(server, timeout=0.3)
            assert time.monotonic() - began < LIMIT / 2

    @pytest.mark.parametrize(("behaviour", "timeout"), [(reads_nothing, 0.3), (reads_slowly, 1.0)])
    def test_it_also_ends_the_sending(self, behaviour: Behaviour, timeout: float) -> None:
        with serving(behaviour) as (_, transport):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                transport.send(HUGE, timeout)
            assert time.monotonic() - began < LIMIT / 2

    def test_after_a_time_out_the_late_answer_is_not_read(self) -> None:
        def late(connection: Connection) -> None:
            connection.read_request()
            connection.await_close()

        with serving(late, answers(OK)) as (server, transport):
            with pytest.raises(TimeoutError):
                transport.send(REQUEST, 0.05)
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    def test_one_that_is_over_asks_nobody(self) -> None:
        with RawServer(answers(OK)) as server:
            with pytest.raises(TimeoutError):
                ask(server, timeout=0.0)
            assert server.connections == 0


def refuses_early(connection: Connection) -> None:
    connection.read_request(body=False)
    connection.send(answer("413 Too Large", b"{}", "Connection: close"))
    connection.reset()


def floods(head: bytes, piece: bytes) -> Behaviour:
    """Send more than anybody wants, until the client has had enough."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(head)
        for _ in range(4_000):
            connection.send(piece)

    return behave


class TestOddAnswers:
    def test_one_that_comes_before_the_body_was_read_is_read(self) -> None:
        with serving(refuses_early, answers(OK)) as (server, transport):
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
    def test_a_huge_one_is_cut_and_its_connection_not_used_again(
        self, head: bytes, piece: bytes
    ) -> None:
        with serving(floods(b"HTTP/1.1 202 OK\r\n" + head, piece), answers(OK)) as (
            server,
            transport,
        ):
            assert len(transport.send(REQUEST, LIMIT).body) == 64 * 1024
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    @pytest.mark.parametrize("piece", [b"X-Endless: yes\r\n", b"x" * 4096])
    def test_endless_headers_are_refused(self, piece: bytes) -> None:
        server = RawServer(floods(b"HTTP/1.1 202 OK\r\n", piece))
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
    def test_a_broken_one_raises_and_its_connection_is_not_used_again(self, payload: bytes) -> None:
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
    def test_the_key_is_in_no_text_of_the_transport(self) -> None:
        transport = transport_to("https://collect.example")
        assert KEY not in repr(transport) + repr(vars(transport))

    @pytest.mark.parametrize(
        ("behaviour", "request_"),
        [
            (close, REQUEST),
            (Connection.reset, REQUEST),
            (answers(b"HTTP/1.1 abc\r\n\r\n"), REQUEST),
            (reads_nothing, HUGE),
        ],
        ids=["closed", "reset", "broken", "stalled"],
    )
    def test_the_key_is_not_in_a_traceback_that_shows_variables(
        self, behaviour: Behaviour, request_: Request
    ) -> None:
        with serving(behaviour) as (_, transport):
            with pytest.raises(OSError, match=r".") as caught:
                transport.send(request_, 0.5)
            shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        text = "".join(shown.format())
        assert "deadline = " in text
        assert KEY not in text
