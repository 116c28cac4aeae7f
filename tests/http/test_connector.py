"""A host with several addresses: one that does not answer costs a moment, and no event."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import LIMIT, OK, REQUEST, RawServer, answers, close, make_transport
from whisperr._http.connector import Connector
from whisperr._platform import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = tuple[str, int]
NAME = "collect.example"


@contextmanager
def black_hole() -> Iterator[socket.socket]:
    """Return a listener that answers no connection, because its queue is full."""
    if WINDOWS:
        pytest.skip("a listener whose queue is full refuses connections here")
    waiting: list[socket.socket] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        try:
            for _ in range(8):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
                waiting.append(one)
            yield listener
        finally:
            for one in waiting:
                one.close()


def accept_all(listener: socket.socket) -> None:
    listener.setblocking(False)
    try:
        while True:
            listener.accept()[0].close()
    except BlockingIOError:
        return


def get_closed_address() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: Address = listener.getsockname()
    return address


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Make the name resolve to these addresses, in this order."""
    resolve_to_found(
        monkeypatch, [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    )


def resolve_to_found(monkeypatch: pytest.MonkeyPatch, found: list[Any]) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **named: Any) -> list[Any]:
        return list(found) if host == NAME else [*real(host, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def connect(connector: Connector, timeout: float = LIMIT) -> Address:
    """Open a connection and close it; return the address of its other end."""
    with connector.connect(NAME, 80, time.monotonic() + timeout) as one:
        address: Address = one.getpeername()
    return address


class TestBlackHole:
    @pytest.mark.parametrize("holes", [1, 3])
    def test_the_next_address_is_tried_while_one_does_not_answer(
        self, monkeypatch: pytest.MonkeyPatch, holes: int
    ) -> None:
        with black_hole() as hole, RawServer(answers(OK)) as server:
            resolve_to(monkeypatch, *[hole.getsockname()] * holes, ("127.0.0.1", server.port))
            transport = make_transport("http://collect.example")
            assert transport.send(REQUEST, LIMIT).status == 202
            transport.close()

    def test_a_short_deadline_is_divided_over_the_addresses(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with black_hole() as hole, RawServer(close) as server:
            good = ("127.0.0.1", server.port)
            resolve_to(monkeypatch, hole.getsockname(), hole.getsockname(), good)
            assert connect(Connector(), timeout=0.6) == good

    def test_the_next_connection_begins_with_the_address_that_answered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with black_hole() as hole, RawServer(close, close) as server:
            good, connector = ("127.0.0.1", server.port), Connector()
            resolve_to(monkeypatch, hole.getsockname(), good)
            assert connect(connector) == good
            accept_all(hole)  # from now on it answers
            assert connect(connector) == good

    def test_when_nothing_answers_all_of_them_are_tried_in_their_order_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with black_hole() as hole, RawServer(close, close) as server:
            first, good, connector = get_closed_address(), ("127.0.0.1", server.port), Connector()
            resolve_to(monkeypatch, first, good)
            assert connect(connector) == good
            resolve_to(monkeypatch, hole.getsockname())
            with pytest.raises(TimeoutError):
                connect(connector, timeout=0.3)
            resolve_to(monkeypatch, good, first)
            assert connect(connector) == good

    def test_addresses_that_never_answer_end_by_the_deadline(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with black_hole() as hole:
            resolve_to(monkeypatch, *[hole.getsockname()] * 3)
            began = time.monotonic()
            with pytest.raises(TimeoutError, match="no connection within request_timeout"):
                connect(Connector(), timeout=0.4)
            assert time.monotonic() - began < LIMIT / 2


class TestRefusal:
    def test_an_address_that_refuses_is_skipped_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with RawServer(close) as server:
            good = ("127.0.0.1", server.port)
            resolve_to(monkeypatch, get_closed_address(), get_closed_address(), good)
            assert connect(Connector()) == good

    def test_the_last_refusal_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolve_to(monkeypatch, get_closed_address(), get_closed_address())
        with pytest.raises(ConnectionRefusedError):
            connect(Connector())

    def test_a_family_that_the_system_does_not_have_is_skipped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with RawServer(close) as server:
            good = ("127.0.0.1", server.port)
            found: list[Any] = [
                (9_999, socket.SOCK_STREAM, 6, "", ("::1", 1)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", good),
            ]
            resolve_to_found(monkeypatch, found)
            assert connect(Connector()) == good


def test_families_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without IPv6 must not cost a moment for each of many IPv6 addresses."""
    with RawServer(close) as server:
        good = ("127.0.0.1", server.port)
        six = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("100::1", 9, 0, 0))] * 30
        four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", good)
        resolve_to_found(monkeypatch, [*six, four])
        made: list[int] = []
        real = socket.socket

        def count(family: int = -1, *rest: Any, **named: Any) -> socket.socket:
            made.append(family)
            return real(family, *rest, **named)

        monkeypatch.setattr(socket, "socket", count)
        assert connect(Connector()) == good
        monkeypatch.undo()
    assert made[:2] == [socket.AF_INET6, socket.AF_INET]
