"""A delivery thread that Python or the system refuses to start."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.pipelines import Calls, Pipelines, get_batches, track
from whisperr._contract import Answer
from whisperr._delivery import pool
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_SHUTDOWN = "can't create new thread at interpreter shutdown"
AT_A_LIMIT = "can't start new thread"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipelines]:
    """Make pipelines that no thread serves that clients of other tests have kept."""
    monkeypatch.setattr(pool, "_pools", {})
    made = Pipelines()
    yield made
    made.end()


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Refuse to start delivery threads from now on."""

    def start(thread: threading.Thread) -> None:
        if thread.name == "whisperr-delivery":
            raise RuntimeError(reasons[-1])
        begin(thread)

    begin = threading.Thread.start
    reasons: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", start)
    yield reasons.append
    reasons.clear()
    monkeypatch.undo()


def test_when_the_main_thread_has_ended_the_calls_deliver(
    pipeline: Pipelines, refuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(AT_SHUTDOWN)
    transport = MemoryTransport()
    one = pipeline(transport, flush_at=2)
    Calls(lambda: track(one, 1, 2, 3)).join()
    assert get_batches(transport) == [[1, 2]]
    assert transport.sent[0].thread is not threading.current_thread()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "deliver in the threads that call them" in caplog.text


def test_a_call_that_delivers_survives_a_bug_of_the_transport(
    pipeline: Pipelines, refuse: Any
) -> None:
    refuse(AT_SHUTDOWN)
    transport = MemoryTransport(lambda _: "no answer at all")
    one = pipeline(transport, flush_at=1)
    Calls(lambda: track(one, 1)).join()
    assert one.stats().held == 1


def test_a_time_limit_that_interrupts_such_a_delivery_reaches_the_caller(
    pipeline: Pipelines, refuse: Any
) -> None:
    refuse(AT_SHUTDOWN)
    one = pipeline(MemoryTransport(KeyboardInterrupt()), flush_at=1)

    def call() -> None:
        with pytest.raises(KeyboardInterrupt):
            track(one, 1)

    Calls(call).join()
    assert one.stats().held == 1


def test_calls_that_deliver_make_no_attempt_before_its_time(
    pipeline: Pipelines, refuse: Any
) -> None:
    refuse(AT_SHUTDOWN)
    transport = MemoryTransport(Answer(503))
    one = pipeline(transport, flush_at=1)
    Calls(lambda: track(one, 1, 2, 3)).join()
    assert len(transport.sent) == 1


def test_in_the_main_thread_nothing_is_logged_because_the_exit_delivers(
    pipeline: Pipelines, refuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(AT_SHUTDOWN)
    transport = MemoryTransport()
    one = pipeline(transport, flush_at=1)
    track(one, 1)
    assert transport.sent == []
    assert caplog.records == []


def test_at_a_limit_of_the_system_events_wait_and_calls_do_not_deliver(
    pipeline: Pipelines, refuse: Any, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(AT_A_LIMIT)
    transport = MemoryTransport()
    one = pipeline(transport, flush_at=1)
    Calls(lambda: track(one, 1)).join()
    assert transport.sent == []
    assert "events wait for flush() or the exit" in caplog.text
