"""Logs of real processes: killed, forked, and adopted by others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, get_number
from tests.facilities import needs_signals
from tests.queue.logs import get_files, make_log, read_events, read_left

if TYPE_CHECKING:
    from pathlib import Path

BOUND = 120

# Writes until it is killed, and says what was written; acknowledges some of it on the way.
WRITER = """
import os, sys
from pathlib import Path
from tests.delivery.rig import event
from tests.queue.logs import make_log
log = make_log(Path(sys.argv[1]))
for number in range(10_000_000):
    log.write(event(number))
    os.write(1, b"%d\\n" % number)
    if number % 7 == 6:
        _, lines = log.claim(5)
        os.write(1, b"ack %d\\n" % len(lines))
        log.ack(len(lines))
"""

# Takes what killed processes left, for each line of its input, and says what it had.
MOVER = """
import sys
from pathlib import Path
from tests.delivery.rig import get_number
from tests.queue.logs import read_left
for line in sys.stdin:
    for source, index, data in read_left(Path(sys.argv[1])):
        print(source, index, get_number(data))
    print("done", flush=True)
"""


def start(program: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def write_until_killed(directory: Path, lines: int) -> tuple[list[int], int]:
    """Run a writer until it has said so many lines; return what it wrote, and acknowledged."""
    writer = start(WRITER, directory)
    assert writer.stdout is not None
    try:
        said = [writer.stdout.readline() for _ in range(lines)]
    finally:
        writer.kill()
        said += writer.stdout.readlines()
        writer.communicate(timeout=BOUND)
    whole = [line for line in said if line.endswith("\n")]
    acknowledged = sum(int(line.split()[1]) for line in whole if line.startswith("ack"))
    return [int(line) for line in whole if not line.startswith("ack")], acknowledged


@needs_signals
@pytest.mark.parametrize("lines", [1, 30, 5_000])
def test_every_line_of_a_killed_process_is_there_for_the_next(lines: int, tmp_path: Path) -> None:
    directory = tmp_path / "log"
    written, acknowledged = write_until_killed(directory, lines)
    left = [get_number(data) for data in read_events(directory)]
    assert left == sorted(left), "in order, and none twice"
    # One acknowledgement may have been announced and not made, or made no longer.
    assert left[0] in range(acknowledged - 5, acknowledged + 1)
    assert left[-1] - written[-1] in {0, 1}
    assert left == list(range(left[0], left[-1] + 1))
    assert get_files(directory) == []


@needs_signals
def test_processes_that_adopt_at_once_get_each_event_once_and_those_of_a_log_in_order(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "log"
    for _ in range(4):
        write_until_killed(directory, 300)
    movers = [start(MOVER, directory) for _ in range(3)]
    try:
        outputs = [mover.communicate("go\n", timeout=BOUND)[0] for mover in movers]
    finally:
        for mover in movers:
            mover.kill()
    events = [
        tuple(map(int, line.split()))
        for output in outputs
        for line in output.splitlines()
        if line != "done"
    ]
    assert len(set(events)) == len(events)
    assert len({source for source, _, _ in events}) == 4
    for source in {source for source, _, _ in events}:
        indices = [index for one, index, _ in events if one == source]
        assert sorted(indices) == list(range(min(indices), max(indices) + 1))
    assert get_files(directory) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
class TestForks:
    def test_a_child_has_a_log_of_its_own_and_leaves_that_of_its_parent(
        self, tmp_path: Path
    ) -> None:
        directory = tmp_path / "log"
        log = make_log(directory)
        log.write(event(0))
        source = log.source
        child = os.fork()
        if child == 0:
            try:
                log.close_in_child()
                assert (len(log), log.written) == (0, 0)
                log.write(event(1))
                assert read_left(directory) == []  # the parent lives
                log.close()
            finally:
                os._exit(sys.exc_info()[0] is not None)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        log.write(event(2))
        assert log.claim(5) == (0, [event(0), event(2)])
        ((other, _, data),) = read_left(directory)
        assert data == event(1)
        assert other != source
        log.close()
        assert [data for _, _, data in read_left(directory)] == [event(0), event(2)]

    def test_a_child_that_keeps_the_descriptor_keeps_a_dead_parent_from_being_adopted(
        self, tmp_path: Path
    ) -> None:
        """As under uWSGI, which forks without the hooks of Python: nothing is lost, only later."""
        directory = tmp_path / "log"
        program = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from tests.delivery.rig import event\n"
            "from tests.queue.logs import make_log\n"
            "log = make_log(Path(sys.argv[1]))\n"
            "log.write(event(0))\n"
            "read, write = os.pipe()\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    os.close(write)\n"
            "    os.read(read, 1)\n"  # until the parent is dead
            "    print('orphan', flush=True)\n"
            "    sys.stdin.read()\n"
            "    os._exit(0)\n"
            "os.kill(os.getpid(), 9)\n"
        )
        parent = start(program, directory)
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "orphan\n"
            assert parent.wait(BOUND) == -signal.SIGKILL
            assert read_left(directory) == []
        finally:
            parent.communicate(timeout=BOUND)  # the child ends with its input
        assert read_events(directory) == [event(0)]

    def test_a_parent_that_closes_its_log_releases_it_although_a_child_has_the_descriptor(
        self, tmp_path: Path
    ) -> None:
        directory = tmp_path / "log"
        log = make_log(directory)
        log.write(event(0))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        try:
            log.close()
            assert read_events(directory) == [event(0)]
        finally:
            os.close(read)
            os.close(write)
            os.waitpid(child, 0)
