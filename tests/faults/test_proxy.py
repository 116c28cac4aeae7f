"""The fault proxy injects the faults of its schedule, as a plain socket of a client sees them."""

from __future__ import annotations

import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from whisperr.dev import LocalServer, faults

from .proxy import FaultProxy
from .schedule import KINDS, Fault, Kind, Schedule, Way

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10.0  # far more than anything here takes
BODY = b'{"external_user_id":"u"}'
REQUEST = (
    b"POST /v1/identify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"User-Agent: raw\r\nX-API-Key: wrk_test\r\n"
    + f"Content-Length: {len(BODY)}\r\n\r\n".encode()
    + BODY
)


class Raw:
    """A client of bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), LIMIT)

    def request(self) -> bytes:
        """Send one request; return its whole answer."""
        self.socket.sendall(REQUEST)
        return self.answer()

    def answer(self) -> bytes:
        """Return one whole answer."""
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"}"):
            piece = self.socket.recv(65_536)
            assert piece, data
            data += piece
        return data

    def rest(self) -> bytes:
        """Return what is received until the end; raises ConnectionResetError for a reset."""
        data = b""
        while piece := self.socket.recv(65_536):
            data += piece
        return data

    def is_silent(self) -> bool:
        """Return whether nothing is received for a while."""
        self.socket.settimeout(0.2)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(LIMIT)
        return False

    def close(self) -> None:
        self.socket.close()


@contextmanager
def send_with(fault: Fault) -> Iterator[tuple[Raw, LocalServer, FaultProxy]]:
    """Send one request that a fault hits."""
    with LocalServer() as server, FaultProxy(server.port, Schedule.from_faults([fault])) as proxy:
        with closing(Raw(proxy.port)) as client:
            client.socket.sendall(REQUEST)
            yield client, server, proxy
        assert proxy.injected == {fault.kind: 1}


def is_served(proxy: FaultProxy) -> bool:
    """Return whether a new connection is served within a bound."""
    deadline = time.monotonic() + LIMIT
    while not is_open(proxy.port) and time.monotonic() < deadline:
        pass
    with closing(Raw(proxy.port)) as client:
        return client.request().startswith(b"HTTP/1.1 202 ")


def is_open(port: int) -> bool:
    with closing(socket.socket()) as plain:
        plain.settimeout(LIMIT)
        return plain.connect_ex(("127.0.0.1", port)) == 0


class TestWithoutFaults:
    def test_requests_and_answers_pass_unchanged_over_one_connection(self) -> None:
        with LocalServer() as server, FaultProxy(server.port) as proxy:
            with closing(Raw(proxy.port)) as client, closing(Raw(server.port)) as direct:
                through = [client.request() for _ in range(3)]
                assert [len(answer) for answer in through] == [len(direct.request())] * 3
            assert (proxy.connections, proxy.exchanges, proxy.injected) == (1, 3, {})
            assert {request.body for request in server.requests()} == {BODY}
            assert {request.connection for request in server.requests()} == {1, 2}

    def test_an_answer_cut_by_the_server_is_forwarded_cut(self) -> None:
        with (
            LocalServer(faults=[faults.cut()]) as server,
            FaultProxy(server.port) as proxy,
            closing(Raw(proxy.port)) as client,
        ):
            client.socket.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                client.rest()

    def test_the_proxy_does_not_wait_for_a_client_that_left(self) -> None:
        with LocalServer(faults=[faults.hang()]) as server, FaultProxy(server.port) as proxy:
            with closing(Raw(proxy.port)) as client:
                client.socket.sendall(REQUEST)
                server.wait_requests(1)
            server.set_faults()
            assert is_served(proxy)

    def test_a_missing_server_becomes_a_reset(self) -> None:
        with LocalServer() as server:
            port = server.port
        with FaultProxy(port) as proxy, closing(Raw(proxy.port)) as client:
            client.socket.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                client.rest()

    def test_close_does_not_wait_for_open_connections(self) -> None:
        began = time.monotonic()
        with LocalServer(faults=[faults.hang()]) as server:
            with FaultProxy(server.port) as proxy:
                clients = [Raw(proxy.port) for _ in range(3)]
                clients[0].socket.sendall(REQUEST)
                clients[1].socket.sendall(REQUEST[:20])
                server.wait_requests(1)
            with pytest.raises(ConnectionRefusedError):
                Raw(proxy.port)
            for client in clients:
                client.close()
        assert time.monotonic() - began < LIMIT

    def test_a_proxy_that_was_never_started_can_be_closed(self) -> None:
        FaultProxy(1).close()


@pytest.mark.parametrize("way", ["request", "answer"])
class TestBothWays:
    @pytest.mark.parametrize(
        "fault", [Fault("latency", seconds=0.3), Fault("drip", seconds=0.005)], ids=str
    )
    def test_late_and_slow_messages_arrive_complete(self, fault: Fault, way: Way) -> None:
        began = time.monotonic()
        with send_with(Fault(fault.kind, way, fault.seconds)) as (client, server, _):
            assert client.answer().startswith(b"HTTP/1.1 202 ")
            assert time.monotonic() - began > 0.2
            assert [arrival.status for arrival in server.arrivals()] == ["accepted"]
            (request,) = server.requests()
            assert request.body == BODY
            assert client.request().startswith(b"HTTP/1.1 202 ")

    def test_a_truncated_message_ends_after_so_many_bytes(self, way: Way) -> None:
        with send_with(Fault("truncate", way, after_bytes=12)) as (client, server, proxy):
            assert client.rest() == (b"HTTP/1.1 202" if way == "answer" else b"")
            assert is_served(proxy)
            assert len(server.wait(1 + (way == "answer"))) == 1 + (way == "answer")

    def test_a_half_closed_connection_sends_nothing_and_still_receives(self, way: Way) -> None:
        with send_with(Fault("half_close", way)) as (client, server, proxy):
            assert client.rest() == b""
            for _ in range(3):
                client.socket.sendall(REQUEST)
            assert is_served(proxy)
            assert len(server.wait(1 + (way == "answer"))) == 1 + (way == "answer")
            assert proxy.exchanges == 2

    def test_a_reset_is_received_as_a_reset(self, way: Way) -> None:
        with send_with(Fault("reset", way, after_bytes=5)) as (client, server, proxy):
            with pytest.raises(ConnectionResetError):
                client.rest()
            assert is_served(proxy)
            assert len(server.wait(1 + (way == "answer"))) == 1 + (way == "answer")

    def test_a_black_hole_receives_everything_and_sends_nothing(self, way: Way) -> None:
        with send_with(Fault("black_hole", way)) as (client, server, proxy):
            if way == "answer":
                server.wait(1)
            assert client.is_silent()
            client.socket.sendall(REQUEST)
            assert client.is_silent()
            assert len(server.arrivals()) == (way == "answer")
            assert is_served(proxy)


def test_a_lost_answer_is_lost_after_the_server_accepted() -> None:
    with send_with(Fault("lose_answer")) as (client, server, _):
        with pytest.raises(ConnectionResetError):
            client.rest()
        (arrival,) = server.arrivals()
        assert (arrival.status, server.requests()[0].status) == ("accepted", 202)


def test_connections_are_refused_for_a_while() -> None:
    with send_with(Fault("refuse", "request", seconds=0.3)) as (client, server, proxy):
        with pytest.raises(ConnectionResetError):
            client.rest()
        with pytest.raises(ConnectionRefusedError):
            Raw(proxy.port)
        assert server.arrivals() == []
        assert is_served(proxy)


def test_a_part_of_a_dripped_answer_comes_before_the_whole() -> None:
    with send_with(Fault("drip", seconds=0.01)) as (client, _, _):
        assert len(client.socket.recv(65_536)) < 20


class TestSchedule:
    def test_the_same_seed_gives_the_same_faults(self) -> None:
        first, second, other = (Schedule(seed, rate=0.5) for seed in (3, 3, 4))
        given = [[schedule.next() for _ in range(200)] for schedule in (first, second, other)]
        assert given[0] == given[1] != given[2]
        assert list(first.given) == given[0]

    def test_a_printed_schedule_is_replayed(self) -> None:
        schedule = Schedule(5, rate=0.7)
        given = [schedule.next() for _ in range(200)]
        assert str(schedule).startswith("seed 5, rate 0.7: ")
        again = Schedule.replay(str(schedule))
        assert [again.next() for _ in range(200)] == given
        assert again.next() is None

    def test_every_kind_is_chosen_about_as_often_as_its_rate(self) -> None:
        schedule = Schedule(1, rate=0.3)
        given = [schedule.next() for _ in range(1_000)]
        faults_ = [fault for fault in given if fault is not None]
        assert {fault.kind for fault in faults_} == set(KINDS)
        assert 200 < len(faults_) < 400

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_the_given_kinds_are_chosen(self, kind: Kind) -> None:
        schedule = Schedule(1, rate=1.0, kinds=[kind])
        given = [schedule.next() for _ in range(20)]
        assert {fault.kind for fault in given if fault is not None} == {kind}

    @pytest.mark.parametrize("text", ["latency/answer/1", "nothing/answer/0/0", "reset/x/0/0"])
    def test_an_unknown_fault_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"no such fault|not enough values"):
            Schedule.replay(f"seed 1: {text}")

    def test_the_schedule_can_be_changed_while_the_proxy_runs(self) -> None:
        with LocalServer() as server, FaultProxy(server.port) as proxy:
            assert is_served(proxy)
            proxy.use(Schedule.from_faults([Fault("lose_answer")]))
            with closing(Raw(proxy.port)) as client:
                client.socket.sendall(REQUEST)
                with pytest.raises(ConnectionResetError):
                    client.rest()
            proxy.use(None)
            assert is_served(proxy)
            assert proxy.injected == {"lose_answer": 1}
