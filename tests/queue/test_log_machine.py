"""Whatever happens in whatever order: a log does what a list of indices and events would do."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.delivery.rig import event
from tests.queue.logs import OWNER, get_files, make_log
from whisperr._queue.log import files as log_files
from whisperr._queue.log import log as log_module
from whisperr._queue.log.left import LeftLogs
from whisperr._queue.memory import get_size
from whisperr._queue.store import StoreFullError

Line = tuple[int, int, bytes]  # source, index, event


class LogMachine(RuleBasedStateMachine):
    """Compares with the group and the other lines that wait, and with what was left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.group: list[Line] = []
        self.claimed = False
        self.lines: list[Line] = []
        self.left: list[Line] = []
        # Given up behind a group that is in the log yet: the next process may find them.
        self.hole: list[Line] = []
        self.given_up: list[Line] = []
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name) / "log"

    @initialize(
        max_events=st.integers(1, 12),
        max_bytes=st.sampled_from([150, 1_000, 1 << 30]),
        size=st.integers(1, 8),
    )
    def start(self, max_events: int, max_bytes: int, size: int) -> None:
        line = len(event(0)) + 1
        log_module._MOST_FILE_BYTES = size * line
        sources = itertools.count(1)  # the same ones in each run of an example
        setattr(log_files, "get_new_source", lambda: next(sources))  # noqa: B010  # for mypy
        log_files._MOST_IDLE_BYTES = line
        log_files._MOST_EMPTIED_BYTES = size * line // 2
        self.max_events, self.max_bytes = max_events, max_bytes
        self.log = make_log(self.path, max_events, max_bytes)

    @rule(sizes=st.lists(st.sampled_from([0, 0, 5, 300]), min_size=1, max_size=8))
    def write(self, sizes: list[int]) -> None:
        for size in sizes:
            data = event(next(self.numbers))[:-1] + b" " * size + b"}"
            index = self.log.written
            self.log.write(data)
            self.lines.append((self.log.source, index, data))
            assert self.log.written == index + 1
        self.check()

    @rule(part=st.integers(0, 20))
    def write_only_a_part(self, part: int) -> None:
        real, calls = os.write, itertools.count()

        def write(file: int, data: bytes) -> int:
            if data.startswith(b"whsplog"):
                return real(file, data)
            return real(file, data[:part]) if next(calls) < 2 else real(file, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(StoreFullError):
                self.log.write(event(next(self.numbers)))

    @precondition(lambda self: self.group or self.lines)
    @rule(most=st.integers(1, 5))
    def claim(self, most: int) -> None:
        if not self.group:
            self.group, self.lines = self.lines[:most], self.lines[most:]
        self.claimed = bool(self.group)
        index, lines = self.log.claim(most)
        assert lines == [data for _, _, data in self.group]
        assert index == (self.group[0][1] if self.group else self.log.written)

    @precondition(lambda self: self.claimed)
    @rule(count=st.integers(0, 6))
    def ack(self, count: int) -> None:
        self.log.ack(count)
        self.group = self.group[count:]
        self.claimed = bool(self.group)
        self.hole = self.hole if self.group else []
        self.check()

    @precondition(lambda self: self.claimed)
    @rule()
    def release(self) -> None:
        self.log.release()
        self.claimed = False

    @precondition(lambda self: self.lines)
    @rule()
    def overflow(self) -> None:
        wanted = []
        while True:
            counted = self.lines if self.claimed else self.group + self.lines
            size = get_size([data for _, _, data in counted])
            if size <= self.max_bytes and len(counted) <= self.max_events:
                break
            events = self.group if self.group and not self.claimed else self.lines
            dropped = events.pop(0)
            wanted.append(dropped[2])
            self.hole = [*self.hole, dropped] if events is self.lines and self.group else self.hole
        assert self.log.overflow() == wanted
        self.hole = self.hole if self.group else []
        self.check()

    def forget(self) -> None:
        self.group, self.lines, self.claimed, self.hole = [], [], False, []

    @precondition(lambda self: self.lines)
    @rule(tail=st.sampled_from([b"", b"", event(1)[:9], bytes(99)]))
    def end_the_process(self, tail: bytes) -> None:
        """Also in the middle of a write: the end of the newest file is no whole line."""
        before = set(get_files(self.path)) if self.path.exists() else set()
        names = [one.path for one in self.log._files.opened]
        self.log.close()
        self.left += self.group + self.lines
        self.given_up += self.hole
        self.forget()
        remaining = [one for one in names if Path(one).exists()]
        if remaining:
            with Path(remaining[-1]).open("ab") as file:
                file.write(tail)
        assert set(get_files(self.path) if self.path.exists() else ()) <= before
        self.log = make_log(self.path, self.max_events, self.max_bytes)

    @precondition(lambda self: self.left)
    @rule(most=st.integers(1, 5), steps=st.integers(1, 4))
    def adopt(self, most: int, steps: int) -> None:
        """Take some events out of logs that were left; each of them is one that is missing."""
        logs = LeftLogs(str(self.path), OWNER)
        for _ in range(steps):
            found = logs.adopt()
            if found is None:
                return
            index, lines = found.claim(most)
            for at, data in enumerate(lines):
                line = (found.source, index + at, data)
                own = [one for one in self.left if one[0] == found.source]
                if line in self.left:
                    assert own[0] == line, "not the oldest of its log"
                    self.left.remove(line)
                else:
                    assert line in self.given_up, line
                    self.given_up.remove(line)
            found.ack(len(lines))
            found.close()

    def teardown(self) -> None:
        if not hasattr(self, "log"):  # not begun
            return
        self.check()
        self.end_the_process(b"")
        self.adopt(5, 10_000)
        assert not self.left
        logs = LeftLogs(str(self.path), OWNER)
        assert logs.adopt() is None
        if self.path.exists():
            assert get_files(self.path) == []
        self.directory.cleanup()

    def check(self) -> None:
        waiting = self.group + self.lines
        assert len(self.log) == len(waiting)
        assert self.log.held_bytes == get_size([data for _, _, data in waiting])
        assert self.log.first == (waiting[0][1] if waiting else self.log.written)


def test_a_log_does_what_a_list_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_MOST_FILE_BYTES", 0)  # put back at the end, whatever is set
    monkeypatch.setattr(log_files, "get_new_source", None)
    monkeypatch.setattr(log_files, "_MOST_IDLE_BYTES", 0)
    monkeypatch.setattr(log_files, "_MOST_EMPTIED_BYTES", 0)
    run_state_machine_as_test(
        LogMachine, settings=settings(max_examples=60, stateful_step_count=60, deadline=None)
    )
