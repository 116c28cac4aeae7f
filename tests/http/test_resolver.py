"""A resolver that hangs, fails or finds nothing: limits hold, and known addresses are used."""

from __future__ import annotations

import _socket
import _thread
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.facilities import needs_signal_masks
from tests.http.raw_server import LIMIT, OK, REQUEST, answers, make_transport, serving
from whisperr._http.resolver import Resolver, encode_host

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACE = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
OTHER = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 80))


class System:
    """A fake of the system's resolver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.result: list[Any] | Exception = [PLACE]
        self.hangs = False
        self.go_on = threading.Event()
        self.masks: list[set[int]] = []
        self._running = threading.Semaphore(0)
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, *_: Any, **__: Any) -> list[Any]:
        self.calls += 1
        result = self.result
        if hasattr(signal, "pthread_sigmask"):
            self.masks.append({int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())})
        try:
            if self.hangs:
                assert self.go_on.wait(LIMIT * 3)
        finally:
            self._running.release()
        if isinstance(result, Exception):
            raise result
        return result

    def await_end(self) -> None:
        """Wait for one more lookup to end."""
        assert self._running.acquire(timeout=LIMIT)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    made = System(monkeypatch)
    yield made
    made.go_on.set()


def resolve(resolver: Resolver, timeout: float = LIMIT) -> list[Any]:
    return resolver.resolve("collect.example", 80, time.monotonic() + timeout)


class TestHanging:
    def test_a_lookup_that_hangs_ends_by_the_deadline(self, system: System) -> None:
        system.hangs = True
        transport = make_transport("http://collect.example")
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="not resolved within request_timeout"):
            transport.send(REQUEST, 0.2)
        assert time.monotonic() - began < LIMIT / 2

    def test_there_is_one_thread_for_all_attempts_and_its_late_result_is_used(
        self, system: System
    ) -> None:
        resolver = Resolver()
        system.hangs = True
        for _ in range(3):
            with pytest.raises(TimeoutError):
                resolve(resolver, 0.05)
        assert system.calls == 1
        system.go_on.set()
        assert resolve(resolver) == [PLACE]

    def test_known_addresses_are_used_while_it_hangs(self, system: System) -> None:
        resolver = Resolver()
        assert resolve(resolver) == [PLACE]
        system.hangs = True
        assert resolve(resolver, 0.2) == [PLACE]
        assert resolve(resolver, LIMIT) == [PLACE]  # which does not wait for half of that again
        assert system.calls == 2

    def test_half_of_the_time_is_left_for_connecting(
        self, monkeypatch: pytest.MonkeyPatch, system: System
    ) -> None:
        with serving(answers(OK), answers(OK)) as (server, transport):
            place = (*PLACE[:4], ("127.0.0.1", server.port))
            system.result = [place]
            named = make_transport(f"http://collect.example:{server.port}")
            assert named.send(REQUEST, LIMIT).status == 202
            named.close()
            system.hangs = True
            assert named.send(REQUEST, 1.0).status == 202
            named.close()
            transport.close()
            monkeypatch.undo()  # the server resolves its own address when it ends

    @needs_signal_masks
    def test_signals_of_the_application_are_not_for_the_thread(self, system: System) -> None:
        resolve(Resolver())
        assert signal.SIGTERM in system.masks[0]
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


class TestFailing:
    def test_known_addresses_are_used_while_it_is_away(self, system: System) -> None:
        resolver = Resolver()
        resolve(resolver)
        system.result = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        assert resolve(resolver) == [PLACE]

    def test_a_name_that_exists_no_more_is_not_resolved_from_memory(self, system: System) -> None:
        resolver = Resolver()
        resolve(resolver)
        system.result = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        with pytest.raises(socket.gaierror, match="not known"):
            resolve(resolver)

    def test_new_addresses_replace_known_ones(self, system: System) -> None:
        resolver = Resolver()
        resolve(resolver)
        system.result = [OTHER]
        assert resolve(resolver) == [OTHER]

    def test_no_address_is_an_error_of_the_connection(self, system: System) -> None:
        system.result = []
        with pytest.raises(OSError, match="no address"):
            resolve(Resolver())

    @pytest.mark.parametrize("host", ["a..b", "..", f"{'x' * 70}.example", ".example"])
    def test_what_is_no_name_of_a_host_is_an_error_of_the_connection(self, host: str) -> None:
        with pytest.raises(OSError, match=r"host|known|name"):
            make_transport(f"http://{host}").send(REQUEST, LIMIT)

    def test_an_address_needs_no_resolver_and_no_thread(
        self, monkeypatch: pytest.MonkeyPatch, system: System
    ) -> None:
        def start(*_: object) -> int:
            raise AssertionError("a thread was started")

        monkeypatch.setattr(_thread, "start_new_thread", start)
        found = Resolver().resolve("127.0.0.1", 80, time.monotonic() + LIMIT)
        assert found[0][4] == ("127.0.0.1", 80)
        assert system.calls == 0


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> int:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_thread, "start_new_thread", start)


class TestWithoutThreads:
    def test_the_name_is_resolved_in_the_calling_thread(
        self, monkeypatch: pytest.MonkeyPatch, system: System
    ) -> None:
        asked: list[bytes] = []

        def here(host: bytes, *_: Any, **named: Any) -> list[Any]:
            if named.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "not a number")
            asked.append(host)
            return [PLACE]

        refuse_threads(monkeypatch)
        monkeypatch.setattr(_socket, "getaddrinfo", here)
        assert resolve(Resolver()) == [PLACE]
        assert (asked, system.calls) == ([b"collect.example"], 0)

    def test_known_addresses_are_used_without_asking(
        self, monkeypatch: pytest.MonkeyPatch, system: System
    ) -> None:
        resolver = Resolver()
        resolve(resolver)
        refuse_threads(monkeypatch)
        assert resolve(resolver) == [PLACE]
        assert system.calls == 1

    def test_a_host_is_resolved_when_gevent_cannot_start_a_thread(
        self, monkeypatch: pytest.MonkeyPatch, system: System
    ) -> None:
        system.result = RuntimeError("can't create new thread at interpreter shutdown")
        with serving(answers(OK)) as (server, _):
            transport = make_transport(f"http://localhost:{server.port}")
            assert transport.send(REQUEST, LIMIT).status == 202
            transport.close()
            monkeypatch.undo()


IN_SUB_INTERPRETER = """
import _xxsubinterpreters as interpreters
other = interpreters.create(isolated=False)
interpreters.run_string(other, '''
import sys, time, _thread
sys.path[:0] = {path!r}
from whisperr._http.resolver import Resolver, encode_host
_thread.start_new_thread = None
assert Resolver().resolve("localhost", 80, time.monotonic() + 10)
print("resolved", flush=True)
'''.replace("{path!r}", repr(__import__("sys").path)))
interpreters.destroy(other)
"""


@pytest.mark.skipif(
    not (3, 10) <= sys.version_info < (3, 13) or sys.implementation.name == "pypy",
    reason="sub-interpreters are made differently here",
)
def test_a_sub_interpreter_gets_no_thread_that_could_end_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_SUB_INTERPRETER],
        capture_output=True,
        check=False,  # what it said is part of the failure
        text=True,
        timeout=50,
    )
    assert done.stdout == "resolved\n", done.stderr


AT_EXIT = """
import atexit, socket, sys, threading, time
from tests.http.raw_server import *

server = RawServer(answers(OK), answers(OK))
server.__enter__()
found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
socket.getaddrinfo = lambda *_, **__: found
transport = make_transport("http://collect.example")
assert transport.send(REQUEST, 10).status == 202
transport.close()
socket.getaddrinfo = lambda *_, **__: time.sleep(60)

@atexit.register
def deliver():
    print(transport.send(REQUEST, 2.0).status)
"""


def test_a_resolver_that_hangs_does_not_hold_up_the_exit() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout == "202\n", done.stderr
    assert time.monotonic() - began < 40


class TestNames:
    @pytest.mark.parametrize(
        "host",
        [
            *("localhost", "localhost.", "127.0.0.1", "::1", "fd00::1%lo", "A_b.example"),
            *("x" * 63, "xn--bcher-kva.example", "b\u00fccher.example", "\uff11\uff12\uff17.0.0.1"),
        ],
    )
    def test_a_name_is_encoded_as_python_does(self, host: str) -> None:
        assert encode_host(host) == host.encode("idna")

    @pytest.mark.parametrize(
        "host", ["a..b", "..", ".example", "x" * 64, "x" * 64 + ".b", "\u00fc..b", "\u00fc" * 64]
    )
    def test_what_python_cannot_encode_is_an_error_of_the_connection(self, host: str) -> None:
        with pytest.raises(UnicodeError):
            host.encode("idna")
        with pytest.raises(OSError, match="has no valid host name"):
            encode_host(host)
