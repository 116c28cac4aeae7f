"""Signals, forks and the garbage collector: what the process does to a client."""

from __future__ import annotations

import gc
import os
import signal
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

import pytest

from tests.delivery.pipelines import LIMIT, Pipelines, await_end, get_batches, shut, track
from whisperr import Whisperr
from whisperr._contract import Answer, Request
from whisperr._process.exit import pipelines, shutdown_all
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr._process.exit import Running


@pytest.fixture
def pipeline() -> Iterator[Pipelines]:
    made = Pipelines()
    yield made
    made.end()


class Interruption:
    """A server that answers only after a signal handler has run in the main thread."""

    def __init__(self, handler: Callable[[], object]) -> None:
        self._handler = handler
        self._begun = threading.Event()
        self.free = threading.Event()
        signal.signal(signal.SIGUSR1, self._handle)

    def __call__(self, _: Request) -> Answer:
        main = threading.main_thread().ident
        assert main is not None
        for _attempt in range(200):
            # A signal that comes just before the main thread blocks is only seen after it.
            signal.pthread_kill(main, signal.SIGUSR1)
            if self._begun.wait(LIMIT / 200):
                break
        return Answer(202) if self.free.wait(LIMIT) else Answer(500)

    def _handle(self, *_: object) -> None:
        if not self._begun.is_set():
            self._begun.set()
            self._handler()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
class TestSignals:
    """A signal that arrives in the main thread while it waits in `flush`."""

    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGUSR1)
        yield
        signal.signal(signal.SIGUSR1, before)

    def test_an_exception_raised_into_flush_passes_on_and_loses_nothing(
        self, pipeline: Pipelines
    ) -> None:
        class OutOfTime(Exception):
            pass

        def expire() -> None:
            raise OutOfTime

        server = Interruption(expire)
        transport = MemoryTransport(server)
        one = pipeline(transport)
        track(one, 1, 2)
        with pytest.raises(OutOfTime):
            one.flush(LIMIT)
        assert one.stats().held == 2
        server.free.set()
        assert one.flush(LIMIT)
        assert get_batches(transport) == [[1, 2]]
        assert one.stats().delivered == 2

    @pytest.mark.parametrize("call", ["flush", "track", "shutdown"])
    def test_a_handler_may_call_the_client_during_a_flush(
        self, pipeline: Pipelines, call: str
    ) -> None:
        handled: list[bool] = []

        def handler() -> None:
            server.free.set()
            if call == "track":
                track(one, 2)
            handled.append(shut(one) if call == "shutdown" else one.flush(LIMIT))

        server = Interruption(handler)
        one = pipeline(MemoryTransport(server))
        track(one, 1)
        assert one.flush(LIMIT)
        assert handled == [True]
        assert one.stats().held == 0
        assert one.stats().delivered == (2 if call == "track" else 1)


def test_a_client_that_is_gone_still_delivers_and_then_no_thread_keeps_it() -> None:
    transport = MemoryTransport()
    client = Whisperr("wrk_test", flush_interval=3_600.0, transport=transport)
    client.track("u", "e", {"n": 1})
    delivery = client._get_pipeline().thread
    del client
    gc.collect()
    transport.await_request()
    await_end(delivery)
    assert get_batches(transport) == [[1]]


def test_what_clients_that_are_gone_have_left_is_not_kept_for_ever() -> None:
    def come_and_go() -> weakref.ref[Running]:
        transport = MemoryTransport()
        client = Whisperr("wrk_test", flush_interval=3_600.0, transport=transport)
        client.track("u", "e", {"n": 1})
        delivery = client._get_pipeline().thread
        del client
        gc.collect()
        # The exit would wait for it. A weak reference from before may be dead: see `exit.keep`.
        (left,) = [one for one in pipelines() if vars(one)["_transport"] is transport]
        transport.await_request()
        await_end(delivery)
        return weakref.ref(left)

    first = come_and_go()
    come_and_go()  # the next one that is kept lets go of those that have ended
    gc.collect()
    assert first() is None


class PipeTransport:
    """Writes the numbers of delivered events into a pipe; needs no lock that a fork could copy."""

    def __init__(self, end: int) -> None:
        self._end = end

    def send(self, request: Request, timeout: float) -> Answer:
        os.write(self._end, b"%d:%b\n" % (os.getpid(), request.body))
        return Answer(202)

    def close(self) -> None:
        return


def in_a_fork(work: Callable[[], bool]) -> tuple[int, int]:
    """Run `work` in a forked child; return its process id and 0 when it says True."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads: the subject
        pid = os.fork()
    if pid:
        return pid, os.waitpid(pid, 0)[1]
    signal.alarm(int(LIMIT) * 2)  # a child that hangs dies
    try:
        os._exit(0 if work() else 1)
    finally:
        os._exit(2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_client_starts_empty_and_delivers_its_own_events() -> None:
    reader, writer = os.pipe()
    client = Whisperr("wrk_test", flush_interval=3_600.0, transport=PipeTransport(writer))
    client.track("u", "parents", {"n": 1})

    def child() -> bool:
        empty = client.stats().accepted == 0 and client.stats().held == 0
        client.track("u", "childs", {"n": 2})
        return empty and client.flush(LIMIT) and client.shutdown(LIMIT)

    pid, status = in_a_fork(child)
    assert status == 0
    assert client.stats().held == 1
    assert client.shutdown(LIMIT)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [line.split(b":")[0] for line in lines] == [b"%d" % pid, b"%d" % os.getpid()]
    assert b"childs" in lines[0]
    assert b"parents" not in lines[0]
    assert b"parents" in lines[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_client_that_was_shut_down_stays_so_in_a_forked_child() -> None:
    transport = MemoryTransport()
    client = Whisperr("wrk_test", transport=transport)
    assert client.shutdown(LIMIT)

    def child() -> bool:
        refused = client.track("u", "e") is None and not client.ready
        return refused and client.shutdown(LIMIT) and transport.sent == []

    assert in_a_fork(child)[1] == 0


@pytest.mark.skipif(not hasattr(gc, "set_threshold"), reason="a collector that can be hurried")
def test_a_collector_that_comes_while_the_clients_are_listed_breaks_nothing() -> None:
    threshold = gc.get_threshold()
    with Whisperr("wrk_test", transport=MemoryTransport()) as client:
        try:
            for later in range(1, 12):  # at another moment each time
                gc.disable()
                for _ in range(20):
                    gone = Whisperr("wrk_test", transport=MemoryTransport())
                    vars(gone)["itself"] = gone
                del gone
                gc.set_threshold(gc.get_count()[0] + later)
                gc.enable()
                assert client._get_pipeline() in pipelines()
        finally:
            gc.set_threshold(*threshold)
            gc.enable()


@pytest.mark.parametrize("failure", [RuntimeError("a"), KeyboardInterrupt()], ids=repr)
def test_a_client_whose_shutdown_fails_does_not_keep_the_others_from_theirs(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_error(_: object) -> None:
        raise failure

    broken = Whisperr("wrk_test", transport=MemoryTransport(Answer(410)), on_error=on_error)
    others = [Whisperr("wrk_test", transport=MemoryTransport()) for _ in range(3)]
    clients = [broken, *others]
    for client in clients:
        # The calling thread delivers, as at the end of an interpreter: it hears what is raised.
        monkeypatch.setattr(client._get_pipeline().thread, "_ensure_thread", lambda: False)
        client.track("u", "some_event")
    raised = None
    try:
        shutdown_all(LIMIT)
    except KeyboardInterrupt as error:
        raised = error
    assert raised is (failure if isinstance(failure, KeyboardInterrupt) else None)
    assert [client.stats().delivered for client in others] == [1, 1, 1]
    assert [client.stats().held for client in clients] == [0] * 4
