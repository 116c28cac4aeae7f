"""Programs whose main thread has ended, or which run in a sub-interpreter."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import numbers, run, start, wait_for_output
from whisperr.dev import faults

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

MADE = """
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_at=1, flush_interval=0.1)
"""

# The main thread ends; another one goes on and tracks until events have been delivered, and ends
# when its input does. Python 3.12.0 and 3.12.1 start no thread then, so its calls deliver.
ENDED = f"""
import sys, threading, time
from whisperr import Whisperr
{MADE}
def work():
    threading.main_thread().join()
    number, pause, end = 0, threading.Event(), time.monotonic() + 60
    while client.stats().delivered < 3 and time.monotonic() < end:
        client.track("u", "seat_removed", {{"n": number}})
        number += 1
        pause.wait(0.05)
    sys.stdin.read()
    print(number)

threading.Thread(target=work).start()
"""

# Up to 3.12 `threading` takes the thread that imports it first for the main thread.
IMPORTED_ELSEWHERE = f"""
import _thread, sys

def first():
    import threading

_thread.start_new_thread(first, ())
while "threading" not in sys.modules or len(sys._current_frames()) > 1:
    pass  # until that thread has ended
from whisperr import Whisperr
{MADE}
for number in range(3):
    client.track("u", "seat_removed", {{"n": number}})
sys.stdin.read()
print(3)
"""


@pytest.mark.parametrize("program", [ENDED, IMPORTED_ELSEWHERE], ids=["ended", "taken"])
def test_delivery_goes_on_when_the_main_thread_has_ended(server: LocalServer, program: str) -> None:
    process = start(program, server.url, measured=False)
    try:
        server.wait(3, type="seat_removed", timeout=60)  # while the process still runs
    finally:
        out, err = wait_for_output(process)
    assert numbers(server.arrivals(), "seat_removed") == list(range(int(out)))
    assert "a bug" not in err


IN_SUB_INTERPRETER = """
import sys, _testcapi
program = f'''
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url={sys.argv[1]!r}, flush_interval=3600, request_timeout=2)
client.track("u", "seat_removed", {{"n": 0}})
''' + sys.argv[2]
sys.exit(_testcapi.run_in_subinterp(program))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None, reason="_testcapi: makes sub-interpreters"
)
@pytest.mark.parametrize("last", ["", "client.shutdown()", "client.flush(); del client"])
def test_a_sub_interpreter_ends_after_its_events_are_delivered(
    server: LocalServer, last: str
) -> None:
    for _ in range(3):  # the thread ends at the same moment as its interpreter: a race
        assert run(IN_SUB_INTERPRETER, server, last, measured=False) == ("", "")
    assert numbers(server.arrivals(), "seat_removed") == [0, 0, 0]


@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None, reason="_testcapi: makes sub-interpreters"
)
def test_a_sub_interpreter_with_a_request_in_flight_ends_without_killing_the_process(
    server: LocalServer,
) -> None:
    server.set_faults(faults.hang())
    last = "client.shutdown(0.2)"
    _, err = run(IN_SUB_INTERPRETER, server, last, measured=False)
    assert "dropped (shutdown)" in err
    assert "Fatal" not in err
