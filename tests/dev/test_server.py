"""The local server over real HTTP: the documented answers, and injected faults."""

from __future__ import annotations

import socket
from datetime import datetime, timezone
from http.client import HTTPConnection
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.wire import BATCH, HEADERS, call, event, post
from whisperr.dev import Fault, LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 6, 14, 12, 0, 1, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(clock=lambda: NOW, max_body_bytes=100_000) as started:
        yield started


def send_head(server: LocalServer, lines: str) -> bytes:
    """Send a head to the batch path and nothing after it; return the first bytes of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        plain.sendall(f"POST {BATCH} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
        return plain.recv(100)


class TestAnswers:
    def test_a_batch_is_answered_with_its_counts(self, server: LocalServer) -> None:
        events = [event("a"), event("b", properties=[]), event("c")]
        assert post(server, BATCH, {"events": events}) == (202, {"accepted": 2, "rejected": 1})
        assert [a.status for a in server.arrivals()] == ["accepted", "refused", "accepted"]
        assert [p.pointer for p in server.arrivals()[1].problems] == ["/properties"]

    def test_a_single_event_is_queued(self, server: LocalServer) -> None:
        done = {"event": {"mapping_status": "pending"}, "processing": "queued"}
        assert post(server, "/v1/events/track", event("a")) == (202, done)

    def test_an_identify_is_queued(self, server: LocalServer) -> None:
        answer = post(server, "/v1/identify", {"external_user_id": "u"})
        assert answer == (202, {"processing": "queued"})

    @pytest.mark.parametrize(
        ("path", "body", "code"),
        [
            ("/v1/events/track", {"external_user_id": 1}, "invalid_event"),
            ("/v1/identify", {"external_user_id": "u", "email": "a@b"}, "invalid_identify"),
            (BATCH, {"events": []}, "no_events"),
            (BATCH, b"{", "invalid_json"),
        ],
    )
    def test_a_bad_request_is_400_with_a_code(
        self, server: LocalServer, path: str, body: object, code: str
    ) -> None:
        status, answer = post(server, path, body)
        assert (status, answer["error"]) == (400, code)

    def test_the_same_message_id_again_is_a_duplicate(self, server: LocalServer) -> None:
        for _ in range(2):
            body = {"accepted": 1, "rejected": 0}
            assert post(server, BATCH, {"events": [event("a")]}) == (202, body)
        assert [a.status for a in server.arrivals()] == ["accepted", "duplicate"]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"X-API-Key": None}, (401, "invalid_api_key")),
            ({"User-Agent": "Python-urllib/3.11"}, (403, "agent_refused")),
            ({"User-Agent": None}, (403, "agent_refused")),
            ({"Content-Type": "text/plain"}, (415, "content_type")),
            ({"Host": "evil.example:80"}, (403, "host_not_loopback")),
            ({"Host": ""}, (403, "host_not_loopback")),
            ({"Host": "[::1"}, (403, "host_not_loopback")),
            ({"Host": "127.0.0.1.evil.example"}, (403, "host_not_loopback")),
            ({"Host": "localhost@evil.example"}, (403, "host_not_loopback")),
            ({"Host": "evil.example#localhost"}, (403, "host_not_loopback")),
            ({"X-Large": "x" * 65_000, "X-More": "x" * 600}, (431, "headers_too_large")),
            ({"Origin": "http://evil.example"}, (403, "foreign_origin")),
        ],
    )
    def test_headers_are_checked_before_the_body(
        self, server: LocalServer, changes: dict[str, Any], expected: tuple[int, str]
    ) -> None:
        status, answer = post(server, BATCH, {"events": [event("a")]}, **changes)
        assert (status, answer["error"]) == expected
        assert server.arrivals() == []

    def test_a_bearer_key_is_accepted_too(self, server: LocalServer) -> None:
        changes: dict[str, Any] = {"X-API-Key": None, "Authorization": "Bearer wrk_test"}
        assert post(server, BATCH, {"events": [event("a")]}, **changes)[0] == 202

    def test_only_the_given_key_is_accepted(self) -> None:
        with LocalServer(api_key="wrk_one", clock=lambda: NOW) as server:
            body = {"events": [event("a")]}
            assert post(server, BATCH, body)[0] == 401
            assert post(server, BATCH, body, **{"X-API-Key": "wrk_one"})[0] == 202

    def test_other_paths_and_methods_are_refused(self, server: LocalServer) -> None:
        assert post(server, "/v1/event", {})[0] == 404
        assert call(server, "GET", BATCH)[0] == 405
        assert call(server, "DELETE", BATCH)[0] == 405

    def test_a_body_that_is_too_large_is_answered_before_it_is_read(
        self, server: LocalServer
    ) -> None:
        assert send_head(server, "Content-Length: 100001\r\n").startswith(b"HTTP/1.1 413 ")
        assert [request.status for request in server.requests()] == [413]

    def test_the_representation_of_a_request_has_no_key_and_no_body(
        self, server: LocalServer
    ) -> None:
        post(server, BATCH, {"events": [event("a", external_user_id="ada")]})
        (request,) = server.requests()
        size = len(request.body)
        assert repr(request) == f"<ReceivedRequest 1: POST {BATCH}, {size} bytes, HTTP 202>"

    def test_a_length_of_many_digits_is_too_large(self, server: LocalServer) -> None:
        length = f"Content-Length: {'9' * 5_000}\r\n"
        assert send_head(server, length).startswith(b"HTTP/1.1 413 ")

    def test_a_path_that_is_no_address_is_refused(self, server: LocalServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            plain.sendall(b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 400 ")

    @pytest.mark.parametrize("length", ["", "Content-Length: x\r\n", "Content-Length: 2\r\n"])
    def test_a_body_of_unknown_length_is_refused(self, server: LocalServer, length: str) -> None:
        chunked = "Transfer-Encoding: chunked\r\n" if "x" not in length else ""
        assert send_head(server, f"{length}{chunked}").startswith(b"HTTP/1.1 411 ")

    def test_connections_are_kept_and_numbered(self, server: LocalServer) -> None:
        for _ in range(2):
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            for _ in range(2):
                connection.request("POST", "/v1/identify", '{"external_user_id":"u"}', HEADERS)
                connection.getresponse().read()
            connection.close()
        assert [request.connection for request in server.requests()] == [1, 1, 2, 2]


class TestFaults:
    @pytest.mark.parametrize("fault", [faults.cut(), faults.lose_answer()])
    def test_a_cut_connection_gives_no_answer(self, server: LocalServer, fault: Fault) -> None:
        server.set_faults(fault)
        with pytest.raises(ConnectionError):
            post(server, BATCH, {"events": [event("a")]})
        assert len(server.arrivals()) == (fault.kind == "lose_answer")
        assert [(r.status, r.fault) for r in server.requests()] == [(None, fault.kind)]

    def test_a_status_accepts_nothing_and_has_its_headers(self, server: LocalServer) -> None:
        server.set_faults(faults.status(429, retry_after=7), faults.hang())
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", BATCH, b"{}", HEADERS)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Retry-After")) == (429, "7")
        connection.close()
        assert server.arrivals() == []

    def test_a_hanging_server_can_be_closed(self, server: LocalServer) -> None:
        server.set_faults(faults.hang())
        answers: list[bytes] = []
        asking = Thread(target=lambda: answers.append(send_head(server, "Content-Length: 0\r\n")))
        asking.start()
        server.wait_requests(1)
        server.close()
        asking.join(30)
        assert answers == [b""]

    def test_a_dripping_answer_is_complete(self, server: LocalServer) -> None:
        server.set_faults(faults.drip(0.0))
        answer = post(server, BATCH, {"events": [event("a")]})
        assert answer == (202, {"accepted": 1, "rejected": 0})

    def test_latency_only_delays_the_answer(self, server: LocalServer) -> None:
        server.set_faults(faults.latency(0.01))
        assert post(server, BATCH, {"events": [event("a")]})[0] == 202
        assert server.requests()[0].fault == "latency"

    def test_an_older_server_refuses_the_whole_batch(self, server: LocalServer) -> None:
        server.set_faults(faults.legacy())
        status, answer = post(server, BATCH, {"events": [event("a"), event("b", context={})]})
        assert (status, answer["error"]) == (400, "invalid_event")
        assert [a.status for a in server.arrivals()] == ["refused"]
        assert post(server, BATCH, {"events": [event("a")]})[0] == 202


class TestLife:
    def test_a_port_in_use_is_an_oserror(self, server: LocalServer) -> None:
        with pytest.raises(OSError, match="in use"):
            LocalServer(server.port).start()

    def test_it_starts_once_and_closes_twice(self, server: LocalServer) -> None:
        with pytest.raises(RuntimeError, match="started before"):
            server.start()
        server.close()
        server.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port), timeout=30)

    def test_it_has_no_address_before_it_starts(self) -> None:
        with pytest.raises(RuntimeError, match="not started"):
            _ = LocalServer().url

    def test_a_timeout_of_a_wait_says_what_arrived(self, server: LocalServer) -> None:
        post(server, BATCH, {"events": [event("a")]})
        with pytest.raises(TimeoutError, match=r"0\.01 s for 2 \(type=trial_\*\), 1 arrived"):
            server.wait(2, timeout=0.01, type="trial_*")
        with pytest.raises(TimeoutError, match="3 requests"):
            server.wait_requests(3, timeout=0.01)
