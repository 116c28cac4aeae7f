"""Exceptions that interrupt a call are not taken for those that its data raised."""

from __future__ import annotations

import asyncio
import functools
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.facilities import needs_own_signals
from whisperr._process.interruption import is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class LimitError(Exception):
    """A time limit of an unknown task queue."""


def _raise(_number: int, _frame: FrameType | None, text: str = "") -> None:
    _raise_deeper(text)


def _raise_deeper(text: str) -> None:
    raise LimitError(text)


def _raise_with_any_arguments(*given: Any) -> None:
    _raise(*given)


class Handlers:
    def method(self, number: int, frame: FrameType | None) -> None:
        _raise(number, frame)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        _raise(number, frame)


@pytest.fixture
def restore() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@needs_own_signals
@pytest.mark.usefixtures("restore")
@pytest.mark.parametrize(
    "handler",
    [
        _raise,
        Handlers().method,
        Handlers(),
        functools.partial(_raise, text="a"),
        _raise_with_any_arguments,
    ],
    ids=["function", "method", "object", "partial", "any arguments"],
)
def test_what_a_signal_handler_raises_is_an_interruption(handler: signal._HANDLER) -> None:
    signal.signal(signal.SIGUSR1, handler)
    with pytest.raises(LimitError) as raised:
        signal.raise_signal(signal.SIGUSR1)

    assert is_interruption(raised.value)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit()]
)
def test_what_is_no_exception_of_data_is_an_interruption(error: BaseException) -> None:
    assert is_interruption(error)


def test_the_time_limits_of_task_queues_are_interruptions() -> None:
    pytest.importorskip("celery", reason="celery: not installed")
    from celery.exceptions import SoftTimeLimitExceeded

    class OwnLimit(SoftTimeLimitExceeded):  # type: ignore[misc]  # celery has no types
        pass

    assert is_interruption(SoftTimeLimitExceeded())
    assert is_interruption(OwnLimit())
    rq_limit = type("JobTimeoutException", (Exception,), {"__module__": "rq.timeouts"})
    base = type("BaseTimeoutException", (Exception,), {"__module__": "rq.timeouts"})
    assert not is_interruption(rq_limit())
    assert is_interruption(type("JobTimeoutException", (base,), {})())


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), LimitError("x")])
def test_what_data_raises_is_no_interruption(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        raise error

    assert not is_interruption(raised.value)


@needs_own_signals
@pytest.mark.usefixtures("restore")
def test_what_wraps_an_interruption_is_one() -> None:
    """As the codecs of Python wrap what is raised in them."""

    def encode() -> None:
        try:
            signal.raise_signal(signal.SIGUSR1)
        except LimitError as limit:
            raise UnicodeError("encoding failed") from limit

    signal.signal(signal.SIGUSR1, _raise)
    with pytest.raises(UnicodeError) as raised:
        encode()

    assert is_interruption(raised.value)
