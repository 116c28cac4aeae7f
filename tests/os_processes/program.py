"""Runs programs as real processes, and reads what they did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from whisperr._platform import WINDOWS

if TYPE_CHECKING:
    from whisperr.dev import Arrival, LocalServer

# Machines are noisy: only a process that hangs takes this long.
BOUND = 120

# The start of every program: a client that delivers only at a flush or at exit.
HEAD = """
import sys, threading
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_at=1_000_000, flush_interval=3600)
"""


def start(
    program: str, url: str, *arguments: object, measured: bool = True
) -> subprocess.Popen[str]:
    """Start a program; `sys.argv` of it begins with the address of the server.

    `measured=False` is for a program that forks while its threads run, and for one whose signal
    handlers track: coverage holds a lock now and then. In a forked child it stays locked forever,
    and a handler that interrupts coverage waits for a thread that waits for that lock.
    """
    command = [sys.executable, "-c", program, url, *map(str, arguments)]
    env = {name: text for name, text in os.environ.items() if measured or "COVERAGE" not in name}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # ends when `wait_for_output` begins
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )


def wait_for_output(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait until a process has ended with 0; return its stdout and stderr."""
    try:
        out, err = process.communicate(timeout=BOUND)
    finally:
        kill(process)
        process.communicate()
    assert process.returncode == 0, (process.returncode, err)
    return out, err


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its children, which would hold its output open."""
    if not WINDOWS:
        with suppress(ProcessLookupError):  # none is left
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def run(
    program: str, server: LocalServer, *arguments: object, measured: bool = True
) -> tuple[str, str]:
    """Run a program that ends with 0; return its stdout and stderr."""
    return wait_for_output(start(program, server.url, *arguments, measured=measured))


def numbers(arrivals: list[Arrival], name: str) -> list[int]:
    """Return the property `n` of the arrivals of a type, in their order."""
    return [a.body["properties"]["n"] for a in arrivals if a.type == name]
