"""An exception of a signal handler during encoding reaches the caller, whatever its type."""

from __future__ import annotations

import signal
import sys
from collections import OrderedDict
from datetime import datetime, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.interrupting import Tracer
from whisperr import InvalidEvent
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

if not hasattr(signal, "SIGUSR1"):
    pytest.skip("no signal to use", allow_module_level=True)

LIMIT = (TypeError, ValueError, RuntimeError, KeyError, OverflowError, InvalidEvent, Exception)


@pytest.fixture(params=LIMIT, ids=lambda kind: kind.__name__)
def limit(request: pytest.FixtureRequest) -> Iterator[type[Exception]]:
    """Return the type of the exception that the handler of SIGUSR1 raises."""
    kind: type[Exception] = request.param

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise kind("the time limit of the task")

    before = signal.signal(signal.SIGUSR1, handle)
    yield kind
    signal.signal(signal.SIGUSR1, before)


def interrupt(*_: object) -> Any:
    signal.raise_signal(signal.SIGUSR1)


class Slow:
    """A value that is interrupted while it is read."""

    __str__ = interrupt


class SlowZone(tzinfo):
    utcoffset = dst = tzname = interrupt


MOMENT = datetime.now(timezone.utc).replace(tzinfo=SlowZone())
CALLS: dict[str, Callable[[], object]] = {
    "a value": lambda: EventEncoder("9.9.9").encode("u", "e", {"a": Slow()}),
    "a value in a list": lambda: EventEncoder("9.9.9").encode("u", "e", {"a": [{"b": Slow()}]}),
    "a key": lambda: EventEncoder("9.9.9").encode("u", "e", {"a": {Slow(): 1}}),
    "a value of the context": lambda: EventEncoder("9.9.9").encode("u", "e", None, {"a": Slow()}),
    "a user": lambda: EventEncoder("9.9.9").encode(Slow(), "e"),
    "a message id": lambda: EventEncoder("9.9.9").encode("u", "e", message_id=Slow()),
    "a time": lambda: EventEncoder("9.9.9").encode("u", "e", occurred_at=MOMENT),
    "before_send": lambda: EventEncoder("9.9.9", before_send=interrupt).encode("u", "e"),
    "a trait": lambda: encode_identify("u", traits={"a": Slow()}),
    "an anonymous id": lambda: encode_identify("u", anonymous_id=Slow()),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_limit_that_is_raised_in_foreign_code_reaches_the_caller(
    call: str, limit: type[Exception]
) -> None:
    with pytest.raises(limit, match="the time limit of the task") as caught:
        CALLS[call]()
    assert type(caught.value) is limit


@pytest.mark.parametrize("error", [RecursionError, MemoryError, TimeoutError])
def test_what_a_value_itself_raises_is_bad_data(error: type[Exception]) -> None:
    class Bad:
        def __str__(self) -> str:
            raise error

    with pytest.raises(InvalidEvent, match=f"cannot be read \\({error.__name__}\\)"):
        EventEncoder("9.9.9").encode("u", "e", {"a": Bad()})


def is_interrupted(call: Callable[[], object], at: int, limit: type[Exception]) -> bool:
    """Make the call, interrupted at this point; return False if it has fewer points."""
    tracer, before = Tracer(at, lambda: signal.raise_signal(signal.SIGUSR1)), sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 asks for it when tracing begins
    sys.settrace(tracer.trace)
    try:
        call()
    except limit as error:
        assert error.args == ("the time limit of the task",)  # noqa: PT017  # it may raise nothing
        return True
    finally:
        sys.settrace(before)
    assert tracer.points < at, f"the limit at {tracer.where} did not reach the caller"
    return False


EVENTS: dict[str, dict[str, Any]] = {
    "few members": {"plan": "pro", "count": 3, "more": [1, "x", {"ok": True}]},
    "many members": {**dict.fromkeys(map(str, range(20)), 1), "deep": [[[["x"]]]]},
    "many containers": {
        "many": [{"n": n, "at": datetime.now(timezone.utc)} for n in range(3)] * 30
    },
    "a container that is copied": {"odd": [{1.5: float("nan")}, OrderedDict(a=1)]},
    "any values": {"amount": Decimal("19.90"), "at": datetime.now(timezone.utc), "of": {1, 2}},
}


@pytest.mark.parametrize("event", EVENTS)
def test_the_limit_that_is_raised_anywhere_in_the_encoder_reaches_the_caller(
    event: str, limit: type[Exception]
) -> None:
    one = EventEncoder("9.9.9")
    at = 1
    while is_interrupted(lambda: one.encode("u", "e", EVENTS[event]), at, limit):
        at += 1
    assert at > 20, "the tracer has seen too little"
