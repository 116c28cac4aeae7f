"""The fault proxy does what it says, seen by a plain socket on the client's side."""

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

    def ask(self) -> bytes:
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
        """Return what comes until the end; raises ConnectionResetError for a reset."""
        data = b""
        while piece := self.socket.recv(65_536):
            data += piece
        return data

    def is_silent(self) -> bool:
        """Say whether nothing comes for a while."""
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
def asked(fault: Fault) -> Iterator[tuple[Raw, LocalServer, FaultProxy]]:
    """Send one request that meets a fault."""
    with LocalServer() as server, FaultProxy(server.port, Schedule.of([fault])) as proxy:
        with closing(Raw(proxy.port)) as client:
            client.socket.sendall(REQUEST)
            yield client, server, proxy
        assert proxy.injected == {fault.kind: 1}


def works(proxy: FaultProxy) -> bool:
    """Say whether a new connection is served, within a bound: a refusal may take its time."""
    deadline = time.monotonic() + LIMIT
    while not is_open(proxy.port) and time.monotonic() < deadline:
        pass
    with closing(Raw(proxy.port)) as client:
        return client.ask().startswith(b"HTTP/1.1 202 ")


def is_open(port: int) -> bool:
    with closing(socket.socket()) as plain:
        plain.settimeout(LIMIT)
        return plain.connect_ex(("127.0.0.1", port)) == 0


class TestWithoutFaults:
    def test_requests_and_answers_pass_unchanged_over_one_connection(self) -> None:
        with LocalServer() as server, FaultProxy(server.port) as proxy:
            with closing(Raw(proxy.port)) as client, closing(Raw(server.port)) as direct:
                through = [client.ask() for _ in range(3)]
                assert [len(answer) for answer in through] == [len(direct.ask())] * 3
            assert (proxy.connections, proxy.exchanges, proxy.injected) == (1, 3, {})
            assert {request.body for request in server.requests()} == {BODY}
            assert {request.connection for request in server.requests()} == {1, 2}

    def test_what_the_server_cuts_is_cut(self) -> None:
        with (
            LocalServer(faults=[faults.cut()]) as server,
            FaultProxy(server.port) as proxy,
            closing(Raw(proxy.port)) as client,
        ):
            client.socket.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                client.rest()

    def test_a_client_that_leaves_is_not_waited_for(self) -> None:
        with LocalServer(faults=[faults.hang()]) as server, FaultProxy(server.port) as proxy:
            with closing(Raw(proxy.port)) as client:
                client.socket.sendall(REQUEST)
                server.wait_requests(1)
            server.set_faults()
            assert works(proxy)

    def test_no_server_is_a_reset(self) -> None:
        with LocalServer() as server:
            port = server.port
        with FaultProxy(port) as proxy, closing(Raw(proxy.port)) as client:
            client.socket.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                client.rest()

    def test_the_end_does_not_wait_for_open_connections(self) -> None:
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

    def test_one_that_was_never_started_closes(self) -> None:
        FaultProxy(1).close()


@pytest.mark.parametrize("way", ["request", "answer"])
class TestBothWays:
    @pytest.mark.parametrize(
        "fault", [Fault("latency", seconds=0.3), Fault("drip", seconds=0.005)], ids=str
    )
    def test_late_and_slow_messages_arrive_whole(self, fault: Fault, way: Way) -> None:
        began = time.monotonic()
        with asked(Fault(fault.kind, way, fault.seconds)) as (client, server, _):
            assert client.answer().startswith(b"HTTP/1.1 202 ")
            assert time.monotonic() - began > 0.2
            assert [arrival.status for arrival in server.arrivals()] == ["accepted"]
            (request,) = server.requests()
            assert request.body == BODY
            assert client.ask().startswith(b"HTTP/1.1 202 ")

    def test_a_truncated_one_ends_after_so_many_bytes(self, way: Way) -> None:
        with asked(Fault("truncate", way, after_bytes=12)) as (client, server, proxy):
            assert client.rest() == (b"HTTP/1.1 202" if way == "answer" else b"")
            assert works(proxy)
            assert len(server.wait(1 + (way == "answer"))) == 1 + (way == "answer")

    def test_a_half_closed_connection_says_nothing_and_still_listens(self, way: Way) -> None:
        with asked(Fault("half_close", way)) as (client, server, proxy):
            assert client.rest() == b""
            for _ in range(3):
                client.socket.sendall(REQUEST)
            assert works(proxy)
            assert len(server.wait(1 + (way == "answer"))) == 1 + (way == "answer")
            assert proxy.exchanges == 2

    def test_a_reset_is_seen_as_one(self, way: Way) -> None:
        with asked(Fault("reset", way, after_bytes=5)) as (client, server, proxy):
            with pytest.raises(ConnectionResetError):
                client.rest()
            assert works(proxy)
            assert len(server.wait(1 + (way == "answer"))) == 1 + (way == "answer")

    def test_a_black_hole_takes_everything_and_stays_silent(self, way: Way) -> None:
        with asked(Fault("black_hole", way)) as (client, server, proxy):
            if way == "answer":
                server.wait(1)
            assert client.is_silent()
            client.socket.sendall(REQUEST)
            assert client.is_silent()
            assert len(server.arrivals()) == (way == "answer")
            assert works(proxy)


def test_a_lost_answer_is_lost_after_the_server_accepted() -> None:
    with asked(Fault("lose_answer")) as (client, server, _):
        with pytest.raises(ConnectionResetError):
            client.rest()
        (arrival,) = server.arrivals()
        assert (arrival.status, server.requests()[0].status) == ("accepted", 202)


def test_nobody_can_connect_for_a_while() -> None:
    with asked(Fault("refuse", "request", seconds=0.3)) as (client, server, proxy):
        with pytest.raises(ConnectionResetError):
            client.rest()
        with pytest.raises(ConnectionRefusedError):
            Raw(proxy.port)
        assert server.arrivals() == []
        assert works(proxy)


def test_a_part_of_a_dripped_answer_comes_before_the_whole() -> None:
    with asked(Fault("drip", seconds=0.01)) as (client, _, _):
        assert len(client.socket.recv(65_536)) < 20


class TestSchedule:
    def test_the_same_seed_gives_the_same_faults(self) -> None:
        first, second, other = (Schedule(seed, rate=0.5) for seed in (3, 3, 4))
        given = [[schedule.next() for _ in range(200)] for schedule in (first, second, other)]
        assert given[0] == given[1] != given[2]
        assert list(first.given) == given[0]

    def test_a_printed_one_is_replayed(self) -> None:
        schedule = Schedule(5, rate=0.7)
        given = [schedule.next() for _ in range(200)]
        assert str(schedule).startswith("seed 5, rate 0.7: ")
        again = Schedule.replay(str(schedule))
        assert [again.next() for _ in range(200)] == given
        assert again.next() is None

    def test_every_kind_comes_and_about_as_often_as_asked(self) -> None:
        schedule = Schedule(1, rate=0.3)
        given = [schedule.next() for _ in range(1_000)]
        faults_ = [fault for fault in given if fault is not None]
        assert {fault.kind for fault in faults_} == set(KINDS)
        assert 200 < len(faults_) < 400

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_the_kinds_that_are_asked_for_come(self, kind: Kind) -> None:
        schedule = Schedule(1, rate=1.0, kinds=[kind])
        given = [schedule.next() for _ in range(20)]
        assert {fault.kind for fault in given if fault is not None} == {kind}

    @pytest.mark.parametrize("text", ["latency/answer/1", "nothing/answer/0/0", "reset/x/0/0"])
    def test_what_is_no_fault_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"no such fault|not enough values"):
            Schedule.replay(f"seed 1: {text}")

    def test_it_can_be_changed_while_the_proxy_runs(self) -> None:
        with LocalServer() as server, FaultProxy(server.port) as proxy:
            assert works(proxy)
            proxy.use(Schedule.of([Fault("lose_answer")]))
            with closing(Raw(proxy.port)) as client:
                client.socket.sendall(REQUEST)
                with pytest.raises(ConnectionResetError):
                    client.rest()
            proxy.use(None)
            assert works(proxy)
            assert proxy.injected == {"lose_answer": 1}
