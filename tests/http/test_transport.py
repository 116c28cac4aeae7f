"""The request on the wire, and how long a connection is kept."""

from __future__ import annotations

import socket
import time

import pytest

from tests.http.raw_server import (
    KEY,
    LIMIT,
    OK,
    REQUEST,
    Behaviour,
    Connection,
    RawServer,
    after_reading,
    answer,
    answers,
    ask,
    close,
    make_transport,
    serving,
)
from whisperr import __version__


class TestRequest:
    def test_the_request_is_exactly_that_of_the_contract(self) -> None:
        with RawServer(answers(OK)) as server:
            ask(server)
        (request,) = server.requests
        assert request.line == "POST /v1/events/batch HTTP/1.1"
        assert request.body == REQUEST.body
        assert sorted(request.headers) == [
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
            ("Content-Length", str(len(REQUEST.body))),
            ("Content-Type", "application/json"),
            ("Host", f"127.0.0.1:{server.port}"),
            ("User-Agent", f"whisperr-python/{__version__}"),
            ("X-API-Key", KEY),
        ]

    @pytest.mark.parametrize("prefix", ["/ingest", "/ingest/", "/a/b"])
    def test_the_path_of_the_base_url_precedes_that_of_the_request(self, prefix: str) -> None:
        with serving(answers(OK), path=prefix) as (server, transport):
            transport.send(REQUEST, LIMIT)
        assert server.requests[0].target == prefix.rstrip("/") + "/v1/events/batch"

    @pytest.mark.parametrize(
        ("url", "authority"),
        [
            ("http://collect.example", "collect.example"),
            ("http://collect.example:80", "collect.example"),
            ("http://collect.example:443", "collect.example:443"),
            ("https://collect.example:443", "collect.example"),
            ("https://collect.example:80", "collect.example:80"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://[fd00::1]", "[fd00::1]"),
        ],
    )
    def test_the_host_header_omits_the_default_port_and_brackets_ipv6_addresses(
        self, url: str, authority: str
    ) -> None:
        head, _ = make_transport(url)._to_pieces(REQUEST)
        assert f"\r\nHost: {authority}\r\n".encode() in bytes(head)

    def test_an_invalid_url_is_refused(self) -> None:
        with pytest.raises(ValueError, match="base_url"):
            make_transport("ftp://collect.example")

    def test_header_names_of_an_answer_become_lower_case(self) -> None:
        with RawServer(answers(answer("429 Slow", b"", "Retry-After: 7"))) as server:
            got = ask(server)
        assert (got.status, got.headers["retry-after"]) == (429, "7")

    def test_a_redirect_is_returned_and_not_followed(self) -> None:
        with RawServer(answers(OK)) as other:
            moved = answer("302 Found", b"", f"Location: {other.url}/elsewhere")
            with RawServer(answers(moved)) as server:
                got = ask(server)
            assert (got.status, got.headers["location"]) == (302, f"{other.url}/elsewhere")
            assert other.connections == 0


class TestKeepAlive:
    def test_three_requests_share_one_connection(self) -> None:
        with serving(answers(OK, answer("500 Oops"), OK)) as (server, transport):
            got = [transport.send(REQUEST, LIMIT).status for _ in range(3)]
        assert got == [202, 500, 202]
        assert server.connections == 1

    @pytest.mark.parametrize(
        "payload",
        [
            answer("204 No Content", b""),
            b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        ],
    )
    def test_any_complete_answer_keeps_the_connection(self, payload: bytes) -> None:
        with serving(answers(payload, OK)) as (server, transport):
            transport.send(REQUEST, LIMIT)
            transport.send(REQUEST, LIMIT)
        assert server.connections == 1

    @pytest.mark.parametrize(
        "payload",
        [
            answer("202 Accepted", b"{}", "Connection: close"),
            b"HTTP/1.0 202 OK\r\nContent-Length: 2\r\n\r\n{}",
        ],
    )
    def test_a_connection_that_the_server_wants_to_close_is_not_used_again(
        self, payload: bytes
    ) -> None:
        with serving(answers(payload), answers(OK)) as (server, transport):
            assert transport.send(REQUEST, LIMIT).body == b"{}"
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    @pytest.mark.parametrize("end", [close, Connection.reset, Connection.read_request])
    def test_a_request_on_a_closed_connection_is_sent_again_on_a_new_one(
        self, end: Behaviour
    ) -> None:
        with serving(answers(OK, then=after_reading(end)), answers(OK)) as (server, transport):
            transport.send(REQUEST, LIMIT)
            server.answer_was_read.set()
            if end is not Connection.read_request:  # it closes only after the next request
                server.await_closed()
            assert transport.send(REQUEST, LIMIT).status == 202
        assert server.connections == 2

    def test_a_request_is_sent_again_only_once(self) -> None:
        with serving(answers(OK, then=close), answers(then=close), answers(OK)) as (
            server,
            transport,
        ):
            transport.send(REQUEST, LIMIT)
            server.await_closed()
            with pytest.raises(ConnectionError):
                transport.send(REQUEST, LIMIT)
            assert server.connections == 2

    def test_bytes_received_before_a_request_are_not_taken_for_its_answer(self) -> None:
        def time_out(connection: Connection) -> None:
            connection.send(answer("408 Request Timeout", b"", "Connection: close"))

        with serving(answers(OK, then=after_reading(time_out)), answers(OK)) as (server, transport):
            assert transport.send(REQUEST, LIMIT).status == 202
            server.answer_was_read.set()
            server.await_closed()
            assert transport.send(REQUEST, LIMIT).status == 202

    @pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints"])
    def test_an_interim_answer_is_skipped(self, status: str) -> None:
        interim = f"HTTP/1.1 {status}\r\nLink: </>\r\n\r\n".encode()
        with RawServer(answers(interim + OK)) as server:
            assert ask(server).status == 202

    def test_a_new_connection_is_opened_after_closing(self) -> None:
        with serving(answers(OK), answers(OK)) as (server, transport):
            transport.send(REQUEST, LIMIT)
            transport.close()
            transport.close()
            transport.send(REQUEST, LIMIT)
            transport.close_in_child()
            transport.close_in_child()
        assert server.connections == 2


class TestIdleConnection:
    """A firewall may drop a connection silently; a request on it would hang."""

    @pytest.mark.parametrize("clock", ["clock_gettime", "time"])
    def test_one_that_was_not_used_for_half_a_minute_is_not_used_again(
        self, monkeypatch: pytest.MonkeyPatch, clock: str
    ) -> None:
        # One of the clocks: the monotonic one stands still while the machine sleeps.
        read = getattr(time, clock)
        with serving(answers(OK, OK), answers(OK, OK)) as (server, transport):
            transport.send(REQUEST, LIMIT)
            monkeypatch.setattr(time, clock, lambda *which: read(*which) + 29)
            transport.send(REQUEST, LIMIT)
            assert server.connections == 1
            monkeypatch.setattr(time, clock, lambda *which: read(*which) + 29 + 31)
            transport.send(REQUEST, LIMIT)
            assert server.connections == 2
            transport.send(REQUEST, LIMIT)
            assert server.connections == 2

    def test_a_clock_that_is_set_back_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(answers(OK, OK)) as (server, transport):
            transport.send(REQUEST, LIMIT)
            read = time.time
            monkeypatch.setattr(time, "time", lambda: read() - 100_000)
            transport.send(REQUEST, LIMIT)
            assert server.connections == 1


class TestFirstConnection:
    def test_a_refused_connection_raises(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            make_transport(f"http://127.0.0.1:{port}").send(REQUEST, LIMIT)

    @pytest.mark.parametrize("end", [close, Connection.reset, Connection.read_request])
    def test_a_new_connection_that_closes_without_an_answer_raises(self, end: Behaviour) -> None:
        with RawServer(end, answers(OK)) as server:
            with pytest.raises(ConnectionError):
                ask(server)
            assert server.connections == 1
