"""An exception of a signal handler, or a call by one, at any point of a call of the log."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.interrupting import Tracer, interrupt_at, interrupt_everywhere
from tests.queue.logs import OWNER, get_files, make_log, read_left
from whisperr._queue.log import files as log_files
from whisperr._queue.log import log as log_module
from whisperr._queue.log.left import LeftLogs
from whisperr._queue.memory import get_size
from whisperr._queue.store import StoreFullError
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whisperr._queue.log.left import LeftLog

MOST = 4
DESCRIPTORS = Path("/proc/self/fd")
CALLS = ("write", "claim", "ack", "release", "overflow", "close", "held")
# In which state the log is when the call begins.
STATES = (
    *("new", "empty", "waiting", "claimed", "full", "idle", "at the end of a file", "closed"),
    "uncounted",  # an interrupted write has left a line in the file
)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files end, be emptied and be replaced with a few events."""
    size = len(event(0)) + 1
    monkeypatch.setattr(log_module, "_MOST_FILE_BYTES", 3 * size)
    monkeypatch.setattr(log_files, "_MOST_IDLE_BYTES", size)
    monkeypatch.setattr(log_files, "_MOST_EMPTIED_BYTES", 2 * size)


class Scene:
    """A log in one of the states, and what has left it and how."""

    numbers = itertools.count()

    def __init__(self, directory: Path, state: str, *, fsync: bool = False) -> None:
        self.directory = directory / str(next(self.numbers))
        self.log = make_log(self.directory, MOST, fsync=fsync)
        self.sure: list[bytes] = []  # their write has returned
        self.tried: list[bytes] = []
        self.left: list[bytes] = []
        self.ends = itertools.count(100)
        counts = {"empty": 1, "waiting": 2, "claimed": 3, "full": MOST + 1, "idle": 2}
        for number in range(counts.get(state, 0 if state == "new" else 3)):
            self.write(event(number + 10))
        if state in {"empty", "idle"}:
            self.move(5)
        if state == "claimed":
            self.log.claim(2)
        if state == "closed":
            self.log.close()
        if state == "uncounted":
            self.interrupt_write()

    def write(self, data: bytes) -> None:
        self.tried.append(data)
        self.log.write(data)
        self.sure.append(data)

    def write_in_vain(self) -> None:
        with suppress(StoreError):
            self.write(event(20))

    def interrupt_write(self) -> None:
        """Interrupt writes, each at a later point, until one is in the file and not counted."""
        for at in itertools.count(1):
            interrupt_at(partial(self.write, event(1_000 + at)), at)
            if self.log._fresh:
                return

    def move(self, most: int) -> None:
        _, lines = self.log.claim(most)
        self.left += lines
        self.log.ack(len(lines))

    def ack(self) -> None:
        _, lines = self.log.claim(2)
        before = len(lines)
        try:
            self.log.ack(2)
        finally:  # what has left has left, although the call did not return
            self.left += lines[: before - len(self.log._group)]

    def drop(self) -> None:
        self.left += self.log.overflow()

    def get_act(self, name: str) -> Callable[[], object]:
        calls: dict[str, Callable[[], object]] = {
            "write": lambda: self.write(event(20)),
            "claim": lambda: self.log.claim(2),
            "ack": self.ack,
            "release": self.log.release,
            "overflow": self.drop,
            "close": self.log.close,
            "held": lambda: (self.log.held_bytes, len(self.log), self.log.first),
        }
        return calls[name]

    def check(self) -> None:
        """Nothing is stuck, and each event is there once, in order, with an index of its own."""
        self.write(event(next(self.ends)))  # the next call works
        self.write(event(next(self.ends)))
        self.left += self.log.overflow()
        group = self.log.claim(2)[1]
        assert len(self.log) >= len(group) > 0
        if len(self.log) == len(group):
            assert self.log.held_bytes == get_size(group)
        self.left += group
        self.log.ack(len(group))
        log_source, waiting, held = self.log.source, len(self.log), self.log.held_bytes
        self.log.close()
        assert not self.log._fresh
        assert not self.log._files.done_with
        assert not self.log._files.left_behind
        rest = read_left(self.directory)
        assert len({(source, index) for source, index, _ in rest}) == len(rest)
        own = [data for source, _, data in rest if source == log_source]
        assert len(own) == waiting
        assert get_size(own) == held
        found = [*self.left, *(data for _, _, data in rest)]
        assert len(set(found)) == len(found), "twice"
        assert set(self.sure) <= set(found) <= set(self.tried)
        assert get_files(self.directory) == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", CALLS)
def test_after_it_nothing_is_stuck_and_each_event_is_there_once(
    name: str, state: str, tmp_path: Path
) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path, state)
        interrupt(scene.get_act(name))
        if name == "overflow":
            scene.left += scene.log.overflow()  # what the interrupted call did not return
        scene.check()

    interrupt_everywhere(story)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", CALLS)
def test_a_signal_handler_may_write_at_any_point_of_a_call(
    name: str, state: str, tmp_path: Path
) -> None:
    points = check_nested_writes(tmp_path, state, name)
    if name not in {"held", "release", "overflow"}:
        assert points > 5


def check_nested_writes(tmp_path: Path, state: str, name: str) -> int:
    """Write within a call at each of its points; return how many there are."""
    at = 0
    while True:
        at += 1
        scene = Scene(tmp_path, state)
        tracer = Tracer(at, partial(scene.write, event(30)))
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True
        act = scene.get_act(name)
        sys.settrace(tracer.trace)
        try:
            with suppress(StoreFullError):
                act()
        finally:
            sys.settrace(before)
        if not tracer.where:
            return at
        try:
            scene.check()
        except AssertionError as error:
            error.args = (f"interrupted at {tracer.where} (point {at}): {error}",)
            raise


def write_only_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the volume take only a part of event 20, again and again."""
    real = os.write

    def write(file: int, data: bytes) -> int:
        return real(file, data[:9] if data.startswith(event(20)) else data)

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("state", ["new", "waiting", "uncounted"])
def test_a_part_of_a_line_is_cut_off_although_the_call_is_interrupted(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_only_a_part(monkeypatch)

    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path, state)
        interrupt(scene.write_in_vain)
        scene.check()

    assert interrupt_everywhere(story) > 10


@pytest.mark.parametrize("state", ["new", "waiting", "uncounted"])
def test_a_part_of_a_line_is_cut_off_although_a_signal_handler_writes(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_only_a_part(monkeypatch)
    check_nested_writes(tmp_path, state, "write")


@pytest.mark.parametrize("failing", [False, True])
def test_a_write_that_waits_for_the_disk_can_be_interrupted(
    failing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(_: int) -> None:
        raise OSError(errno.EIO, "the disk fails")

    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path, "waiting", fsync=True)
        with monkeypatch.context() as patch:
            if failing:
                patch.setattr(log_module, "sync", sync)
            interrupt(scene.write_in_vain)
        scene.check()

    assert interrupt_everywhere(story) > 5


@pytest.mark.parametrize("name", ["adopt", "claim", "ack", "close"])
def test_a_log_that_is_being_adopted_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
        scene = Scene(tmp_path, "claimed")
        scene.log.close()
        logs = LeftLogs(str(scene.directory), OWNER)
        found: list[bytes] = []
        if name == "adopt":
            adopted: list[LeftLog | None] = []
            interrupt(lambda: adopted.append(logs.adopt()))
            for one in filter(None, adopted):
                one.close()
        else:
            left = logs.adopt()
            assert left is not None
            lines = left.claim(2)[1]
            calls: dict[str, Callable[[], object]] = {
                "claim": partial(left.claim, 1),
                "ack": partial(left.ack, 1),
            }
            interrupt(calls.get(name, left.close))
            if name != "close":
                before = left.claim(2)[1]
                found += [one for one in lines if one not in before]
            left.close()
        found += [data for _, _, data in read_left(scene.directory)]
        assert found == scene.sure

    assert interrupt_everywhere(story) > 3


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")
def test_no_descriptor_is_lost(tmp_path: Path) -> None:
    before = len([*DESCRIPTORS.iterdir()])
    test_after_it_nothing_is_stuck_and_each_event_is_there_once("write", "new", tmp_path)
    test_after_it_nothing_is_stuck_and_each_event_is_there_once("close", "waiting", tmp_path)
    assert len([*DESCRIPTORS.iterdir()]) == before
