"""Reports run foreign code, whose exceptions never stop delivery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.pipelines import LIMIT
from whisperr import Whisperr
from whisperr._process.exit import report_rest
from whisperr._queue.memory import MemoryQueue
from whisperr.protocols import Answer
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr import WhisperrError

FAILURES = [RuntimeError("a"), OSError(24, "Too many open files"), SystemExit(1), GeneratorExit()]


@pytest.fixture
def log_filter() -> Iterator[Callable[[BaseException], list[str]]]:
    """Make every log record of ours raise this; return the list of those records."""
    log = logging.getLogger("whisperr")
    added: list[logging.Filter] = []
    report_rest()  # what clients of other tests have left would be reported by the next shutdown

    def add(failure: BaseException) -> list[str]:
        seen: list[str] = []

        class Failing(logging.Filter):
            def filter(self, record: logging.LogRecord) -> bool:
                seen.append(record.getMessage())
                raise failure

        added.append(Failing())
        log.addFilter(added[-1])
        return seen

    yield add
    for one in added:
        log.removeFilter(one)


def make(*replies: Any, **options: Any) -> tuple[Whisperr, MemoryTransport]:
    transport = MemoryTransport(*replies)
    client = Whisperr("wrk_test", transport=transport, max_retries=0, **options)
    return client, transport


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_log_filter_that_raises_does_not_stop_delivery(
    failure: BaseException, log_filter: Callable[[BaseException], list[str]]
) -> None:
    seen = log_filter(failure)
    client, _ = make(Answer(410))
    client.track("u", "some_event")
    assert client.flush(LIMIT)
    client.track("u", "some_event")
    assert client.flush(LIMIT)
    assert (client.stats().delivered, client.stats().dropped) == (1, {"rejected": 1})
    assert seen
    assert client.shutdown(LIMIT)


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_callback_that_raises_does_not_stop_delivery(failure: BaseException) -> None:
    def on_error(_: WhisperrError) -> None:
        raise failure

    client, _ = make(Answer(410), Answer(202), flush_at=1, on_error=on_error)
    client.track("u", "some_event")
    pipeline = client._get_pipeline()
    pipeline.thread.wait_until(
        lambda: pipeline.accounting.dropped["rejected"] == 1 and not pipeline.thread.in_step,
        lambda: False,
        deadline=float("inf"),
    )
    client.track("u", "some_event")
    assert client.flush(LIMIT)
    assert client.stats().delivered == 1
    assert client.shutdown(LIMIT)


@pytest.mark.parametrize("call", ["track", "reject"])
def test_a_report_of_a_client_that_has_ended_raises_nothing(
    call: str, log_filter: Callable[[BaseException], list[str]]
) -> None:
    """It is emitted in the calling thread, because no other one is left."""
    log_filter(RuntimeError("of a filter"))

    def on_error(_: WhisperrError) -> None:
        raise RuntimeError("of the callback")

    client, _ = make(on_error=on_error)
    client.shutdown(LIMIT)
    if call == "track":
        assert client.track("u", "some_event") is None
    else:
        client.reject("track", ValueError("x"))
    assert sum(client.stats().not_accepted.values()) == 1


def test_an_interruption_of_a_callback_in_the_calling_thread_reaches_the_caller() -> None:
    def on_error(_: WhisperrError) -> None:
        raise KeyboardInterrupt

    client, _ = make(on_error=on_error)
    client.shutdown(LIMIT)
    with pytest.raises(KeyboardInterrupt):
        client.track("u", "some_event")
    assert client.stats().not_accepted == {"closed": 1}


class WrongAnswer:
    """An object that a custom transport might return by mistake."""


@pytest.mark.parametrize(
    "wrong", [None, "202", 202, WrongAnswer()], ids=lambda wrong: type(wrong).__name__
)
def test_a_transport_that_returns_no_answer_is_not_called_in_a_loop(wrong: object) -> None:
    errors: list[WhisperrError] = []
    client, transport = make(on_error=errors.append)
    transport.otherwise = lambda _: wrong
    client.track("u", "some_event")
    client.shutdown(1.0)
    assert len(transport.sent) <= 2
    assert "must return an Answer" in errors[0].message
    assert client.stats().dropped == {"shutdown": 1}


class BrokenQueue(MemoryQueue):
    """A queue whose store is damaged: every call in a step fails."""

    calls = 0

    def claim(self, max_events: int) -> Any:  # of the protocol
        self.calls += 1
        raise IndexError("list index out of range")

    def extend(self, _seconds: float) -> bool:
        return True

    def poll(self) -> float:
        self.calls += 1
        raise ValueError("invalid literal for int()")

    stored = unstored = 0


def test_a_step_that_fails_every_time_neither_spins_nor_fills_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = BrokenQueue(100, 100_000)
    errors: list[WhisperrError] = []
    client = Whisperr(
        "wrk_test", transport=MemoryTransport(), buffer=queue, flush_at=1, on_error=errors.append
    )
    for _ in range(8):
        client.track("u", "some_event")
        assert not client.flush(0.1)
    client.shutdown(1.0)
    assert queue.calls <= 20  # a flush asks once for itself; a loop would ask thousands of times
    assert len(caplog.records) <= 12
    assert errors[0].type == "retry_exhausted"
    assert "ValueError at " in errors[0].message
    assert "invalid literal" not in caplog.text  # the text of an error may hold data


class ExpiringQueue(MemoryQueue):
    """A shared queue that finds, when it claims, that its events are too old."""

    accounting: Any = None

    def claim(self, max_events: int) -> Any:
        expired = super().claim(max_events)
        self.ack(len(expired))
        if expired:
            self.accounting.lost(expired, "expired", "too old")
        return ()


def test_a_flush_returns_after_on_error_was_called_for_expired_events() -> None:
    for _ in range(50):
        reported: list[WhisperrError] = []
        queue = ExpiringQueue(100, 100_000)
        client = Whisperr(
            "wrk_test", transport=MemoryTransport(), buffer=queue, on_error=reported.append
        )
        queue.accounting = client._get_pipeline().accounting
        client.track("u", "some_event")
        assert client.flush(LIMIT)
        assert [error.reason for error in reported] == ["expired"]
        assert client.shutdown(LIMIT)
