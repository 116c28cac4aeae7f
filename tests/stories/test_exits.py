"""Ends of real processes: what is held is delivered, and no server can hold the exit up.

The bound of an exit is 10 seconds. Machines are noisy, so a process gets a minute before a test
calls it hung; the shorter bounds that are asked for get a generous margin.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import Whisperr

    ClientOf = Callable[..., Whisperr]

PROGRAM = """
import sys, threading
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_at=1_000_000, flush_interval=3600)
for number in range(int(sys.argv[2])):
    client.track("u", "seat_removed", {"number": number})
"""


def started(program: str, url: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_by(process: subprocess.Popen[str], bound: float = 60) -> str:
    """Wait for the good end of a process; return what it said on stderr."""
    try:
        said = process.communicate(timeout=bound)[1]
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("count", [1, 2_000])
def test_what_is_held_at_the_end_is_delivered(server: LocalServer, count: int) -> None:
    assert said_by(started(PROGRAM, server.url, count)) == ""
    numbers = [arrival.body["properties"]["number"] for arrival in server.arrivals()]
    assert numbers == list(range(count))


def test_a_shutdown_before_the_end_delivers_once(server: LocalServer) -> None:
    assert said_by(started(f"{PROGRAM}client.shutdown()", server.url, 10)) == ""
    assert len(server.arrivals()) == 10


def test_no_server_holds_the_exit_up() -> None:
    played = {
        "hangs": faults.hang(),
        "drips": faults.drip(0.4),
        "fails": faults.status(503),
        "limits the rate": faults.status(429, retry_after=60),
    }
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(LocalServer(faults=[fault])).url
            for name, fault in played.items()
        }
        with LocalServer() as closed:
            urls["refuses"] = closed.url
        began = time.monotonic()
        processes = {name: started(PROGRAM, url, 100) for name, url in urls.items()}
        said = {name: said_by(process) for name, process in processes.items()}
        assert time.monotonic() - began < 30
    for name, text in said.items():
        assert "dropped, shutdown" in text, name
        assert "(100 events)" in text, name


def test_an_event_of_an_exit_handler_is_delivered_or_told(server: LocalServer) -> None:
    program = """
import atexit, sys
late = atexit.register(lambda: print("late", client.track("u", "late_event"), file=sys.stderr))
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1])
atexit.register(lambda: client.track("u", "early_event"))  # before ours, and the first one
"""
    said = said_by(started(program, server.url, 1))
    assert [arrival.type for arrival in server.arrivals()] == ["early_event"]
    assert "late None" in said
    assert "track: the client is shut down" in said


@pytest.mark.parametrize("method", ["flush", "shutdown"])
def test_a_timeout_is_kept_against_a_hanging_server(
    server: LocalServer, client_of: ClientOf, method: str
) -> None:
    server.set_faults(faults.hang())
    client = client_of()
    client.track("u", "trial_started")
    began = time.monotonic()
    assert getattr(client, method)(timeout=1) is False
    assert 0.9 < time.monotonic() - began < 8
