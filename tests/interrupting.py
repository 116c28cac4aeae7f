"""Raises an exception at each point of a call where a signal handler could raise one.

CPython runs signal handlers after a call, at the start of a function, and at the end of a loop's
body. `interrupt_everywhere` runs a story once for each such point within the package, so that no
gap between two steps is left to chance. Only the calling thread is interrupted, as by signals.
"""

from __future__ import annotations

import dis
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import whisperr

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

_HANDLER = dis.opmap.get("PUSH_EXC_INFO")  # the first opcode of an `except`; none in 3.10
PACKAGE = str(Path(whisperr.__file__).parent)
# CPython handles signals after these; the intrinsics of 3.12 are not calls.
_OPCODES = {
    number
    for name, number in dis.opmap.items()
    if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
    and not name.startswith(("CALL_INTRINSIC", "JUMP_BACKWARD_NO_INTERRUPT"))
}


class Interrupted(BaseException):
    """What the signal handler of these tests would raise."""


def _interrupt() -> None:
    raise Interrupted


class Tracer:
    """Counts the points of a call; calls `strike` at one of them (from 1; None: nowhere)."""

    def __init__(self, at: int | None, strike: Callable[[], object] = _interrupt) -> None:
        self.at = at
        self._strike = strike
        self.points = 0
        self.where = ""
        self._last: dict[int, int] = {}

    def trace(self, frame: FrameType, event: str, _: object) -> Any:  # of `settrace`
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "call":
            frame.f_trace = self.trace  # from 3.13 on, before the next line
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            last = self._last.get(id(frame))
            self._last[id(frame)] = frame.f_code.co_code[frame.f_lasti]
            if self._last[id(frame)] == _HANDLER or frame.f_lineno is None:
                return self.trace  # the call raised: no signal handler runs on that way
            if last is None or last in _OPCODES:  # the first opcode: the start of the function
                self.points += 1
                if self.points == self.at:
                    self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    self._strike()
        elif event == "return":
            self._last.pop(id(frame), None)
        return self.trace


def interrupt_at(act: Callable[[], object], at: int | None) -> Tracer:
    """Run `act`, interrupted at this point (from 1; None: nowhere); Interrupted is caught."""
    tracer = Tracer(at)
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 asks for it when tracing begins
    gc.disable()  # what is raised in a `__del__` reaches no caller
    sys.settrace(tracer.trace)
    try:
        act()
    except Interrupted:
        assert tracer.where, "interrupted by something else"
    else:
        assert not tracer.where, f"the interruption at {tracer.where} did not reach the caller"
    finally:
        sys.settrace(before)
        gc.enable()
    return tracer


def interrupt_everywhere(
    story: Callable[[Callable[[Callable[[], object]], Tracer]], object], *, every: int = 1
) -> int:
    """Run `story` for every point; it calls its argument with what is to be interrupted.

    Returns how many points there are. A failing story names the point. `every`: leave some out.
    """
    points = 0

    def count(act: Callable[[], object]) -> Tracer:
        nonlocal points
        tracer = interrupt_at(act, None)
        points = tracer.points
        return tracer

    story(count)
    for at in range(1, points + 1, every):
        tracer = Tracer(None)

        def interrupt(act: Callable[[], object], at: int = at) -> Tracer:
            nonlocal tracer
            tracer = interrupt_at(act, at)
            return tracer

        try:
            story(interrupt)
        except Exception as error:
            error.args = (f"interrupted at {tracer.where} (point {at}): {error}",)
            raise
    return points
