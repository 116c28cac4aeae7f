"""A signal handler that raises anywhere in a request: the next request is sent and answered."""

from __future__ import annotations

import gc
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import LIMIT, OK, REQUEST, RawServer, answers, make_transport
from tests.http.test_connector import NAME, black_hole, resolve_to
from tests.interrupting import interrupt_everywhere
from whisperr._contract import Request

if TYPE_CHECKING:
    from collections.abc import Callable


def count_sockets() -> int:
    # By the type: `isinstance` would wake the lazy proxies of other libraries.
    found = [one for one in gc.get_objects() if issubclass(type(one), socket.socket)]
    return sum(one.fileno() >= 0 for one in found)


# A socket that is interrupted before it has a name is closed when its last reference ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_an_interruption_anywhere_the_next_request_is_sent_and_no_socket_is_left() -> None:
    endless = [answers(*[OK] * 9)] * 5_000

    def story(interrupt: Callable[[Callable[[], object]], object]) -> None:
        transport = make_transport(server.url)
        try:
            interrupt(lambda: transport.send(REQUEST, LIMIT))
            assert transport.send(REQUEST, LIMIT).status == 202
            interrupt(lambda: transport.send(REQUEST, LIMIT))
            assert transport.send(REQUEST, LIMIT).status == 202
        finally:
            transport.close()

    with RawServer(*endless) as server:
        before = count_sockets()
        assert interrupt_everywhere(story) > 50
        gc.collect()
        assert count_sockets() <= before + 2  # the server may not have closed its last ones yet


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 here")
@pytest.mark.parametrize("where", ["resolving", "connecting", "sending", "reading"])
def test_a_time_limit_that_looks_like_an_error_of_the_network_reaches_the_caller(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    class Limit(TimeoutError):
        pass

    def stop(*_: object) -> None:
        raise Limit("the limit of the task")

    number = signal.SIGUSR1
    before = signal.signal(number, stop)
    reached = threading.Event()
    main = threading.get_ident()

    def interrupt() -> None:
        assert reached.wait(LIMIT)
        ended.wait(0.1)  # so that it comes while the calling thread waits
        signal.pthread_kill(main, number)

    def hang(*_: Any, **__: Any) -> Any:
        reached.set()
        ended.wait(LIMIT)
        return []

    def behave(connection: Any) -> None:
        connection.read_request(body=where == "reading")
        reached.set()
        ended.wait(LIMIT)

    ended = threading.Event()
    killer = threading.Thread(target=interrupt)
    killer.start()
    try:
        with black_hole() as hole, RawServer(behave) as server:
            url = server.url
            if where == "resolving":
                monkeypatch.setattr(socket, "getaddrinfo", hang)
                url = f"http://{NAME}"
            elif where == "connecting":
                resolve_to(monkeypatch, hole.getsockname(), ("127.0.0.1", server.port))
                url = f"http://{NAME}"
                reached.set()
            body = b"x" * (16 << 20 if where == "sending" else 1)
            with pytest.raises(Limit):
                make_transport(url).send(Request("/v1/identify", body), LIMIT)
            ended.set()
            monkeypatch.undo()
    finally:
        ended.set()
        killer.join(LIMIT)
        signal.signal(number, before)
