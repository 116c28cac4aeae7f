"""Children of `multiprocessing`: their events arrive at their normal end, by every start method."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import BOUND, kill, numbers
from whisperr import Whisperr

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr.dev import LocalServer

METHODS = multiprocessing.get_all_start_methods()

# A module-level client: a forked child inherits it, a spawned one makes it again with the import.
PROGRAM = """
import multiprocessing, sys, warnings
from concurrent.futures import ProcessPoolExecutor
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a fork with threads is what we test
from whisperr import Whisperr

def make():
    return Whisperr("wrk_test", base_url=sys.argv[1], flush_at=1_000_000, flush_interval=3600)

client = make()

def inherited(n):
    client.track("u", "inherited", {"n": n})

def made(n):
    make().track("u", "made", {"n": n})

def kept(n):
    global mine
    mine = make()
    mine.track("u", "kept", {"n": n})

def given(one):
    pass

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    client.track("u", "parent", {"n": 0})
    if sys.argv[3] == "Process":
        children = [
            context.Process(target=work, args=(n,))
            for work in (inherited, made, kept)
            for n in range(2)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * 6
    elif sys.argv[3] == "Pool":
        pool = context.Pool(2)
        for work in (inherited, made, kept):
            pool.map(work, range(2))
        pool.close()
        pool.join()
    elif sys.argv[3] == "Executor":
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            for work in (inherited, made, kept):
                list(executor.map(work, range(2)))
    else:
        context.Process(target=given, args=(client,)).start()
"""


def run(tmp_path: Path, server: LocalServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program from a file, which a spawned child can import."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(path), server.url, *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Coverage holds a lock now and then, which stays locked forever in a forked child.
        env={name: text for name, text in os.environ.items() if "COVERAGE" not in name},
    )
    try:
        out, err = process.communicate(timeout=BOUND)
    finally:
        kill(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize("kind", ["Process", "Pool", "Executor"])
@pytest.mark.parametrize("method", METHODS)
def test_events_of_children_arrive_at_their_normal_end(
    server: LocalServer, tmp_path: Path, method: str, kind: str
) -> None:
    done = run(tmp_path, server, method, kind)
    assert (done.returncode, done.stderr) == (0, "")
    arrivals = server.arrivals()
    for name in ("inherited", "made", "kept"):
        assert sorted(numbers(arrivals, name)) == [0, 1], name
    assert numbers(arrivals, "parent") == [0]
    assert {arrival.status for arrival in arrivals} == {"accepted"}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "fork"])
def test_a_client_as_an_argument_is_refused_with_a_hint(
    server: LocalServer, tmp_path: Path, method: str
) -> None:
    done = run(tmp_path, server, method, "argument")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    while lines[-1].startswith("when serializing"):  # notes that 3.14 puts behind the error
        lines.pop()
    assert "cannot be copied or pickled" in lines[-1]
    assert "Make one in each process" in lines[-1]
    assert "wrk_test" not in done.stderr


def test_a_client_cannot_be_pickled() -> None:
    client = Whisperr("wrk_test")
    with pytest.raises(TypeError, match="it holds the key, a thread and a connection"):
        pickle.dumps(client)


def test_every_start_method_of_the_platform_is_tested() -> None:
    expected = {"fork", "spawn", "forkserver"} if os.name == "posix" else {"spawn"}
    assert set(METHODS) <= expected
    assert "spawn" in METHODS
