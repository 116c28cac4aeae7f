"""A server that answers before it has received the whole request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.raw_server import (
    KEY,
    LIMIT,
    OK,
    REQUEST,
    Behaviour,
    Connection,
    Encrypted,
    RawServer,
    answer,
    answers,
    serving,
)
from whisperr._contract import Request
from whisperr._http.response import AnswerError
from whisperr._http.transport import HttpTransport
from whisperr._secret import Secret

if TYPE_CHECKING:
    import ssl

LARGE = Request("/v1/events/batch", b"x" * (16 << 20))  # more than the buffers of both ends hold


def refuse(payload: bytes) -> Behaviour:
    """Answer after the head, read nothing more, and keep the connection open."""

    def behave(connection: Connection) -> None:
        connection.read_request(body=False)
        connection.send(payload)
        connection.server.ended.wait(LIMIT)

    return behave


@pytest.mark.parametrize(
    "payload",
    [
        answer("413 Too Large", b'{"error":"too_large"}'),
        answer("413 Too Large", b"{}", "Connection: close"),
        b"HTTP/1.1 413 Too Large\r\n\r\nuntil the end, which does not come",
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\nless than that",
        b"HTTP/1.1 102 Processing\r\n\r\n" + answer("413 Too Large"),
    ],
    ids=["with a length", "closing", "without an end", "too short", "after an interim answer"],
)
def test_a_refusal_is_read_although_the_server_keeps_the_connection_open(payload: bytes) -> None:
    with serving(refuse(payload), answers(OK)) as (server, transport):
        assert transport.send(LARGE, LIMIT).status == 413
        server.ended.set()  # for the first behaviour
        server.await_closed()
        server.ended.clear()
        assert transport.send(REQUEST, LIMIT).status == 202
    assert server.connections == 2


def test_over_tls_as_well(encrypted: Encrypted, trusting_context: ssl.SSLContext) -> None:
    behaviour = encrypted("localhost", refuse(answer("413 Too Large")))
    with RawServer(behaviour) as server:
        url = f"https://localhost:{server.port}"
        transport = HttpTransport(url, Secret(KEY), ssl_context=trusting_context)
        assert transport.send(LARGE, LIMIT).status == 413
        transport.close()


def accept_and_reset(connection: Connection) -> None:
    connection.read_request(body=False)
    connection.send(OK)
    connection.reset()


@pytest.mark.parametrize("behaviour", [refuse(OK), accept_and_reset], ids=["open", "reset"])
def test_a_success_before_the_whole_request_was_sent_is_an_error(behaviour: Behaviour) -> None:
    message = "HTTP 202 before the server had the whole request"
    with serving(behaviour) as (_, transport), pytest.raises(AnswerError, match=message):
        transport.send(LARGE, LIMIT)


def test_the_rest_of_a_request_is_sent_after_an_interim_answer() -> None:
    def behave(connection: Connection) -> None:
        request = connection.read_request(body=False)
        connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        size = int(request.header("Content-Length") or 0)
        while len(connection._rest) < size:
            connection._receive()
        connection._rest.clear()
        connection.send(OK)
        connection.await_close()

    with serving(behave) as (server, transport):
        assert transport.send(LARGE, LIMIT).status == 202
    assert server.connections == 1


def test_a_server_that_closes_its_side_is_not_waited_for() -> None:
    def end(connection: Connection) -> None:
        connection.read_request(body=False)
        connection.socket.shutdown(1)
        connection.server.ended.wait(LIMIT)

    with serving(end) as (_, transport), pytest.raises(ConnectionError):
        transport.send(LARGE, LIMIT)


def test_a_status_that_says_what_to_do_needs_no_complete_body() -> None:
    payload = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nless"
    with serving(answers(payload, then=lambda _: None)) as (_, transport):
        got = transport.send(REQUEST, LIMIT)
    assert (got.status, got.headers["retry-after"], got.body) == (503, "7", b"")
