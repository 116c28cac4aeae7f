"""Calls that interrupt calls: from signal handlers, collections, callbacks and late threads."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import HEAD, numbers, run

if TYPE_CHECKING:
    from whisperr.dev import LocalServer


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="setitimer: not on this platform")
def test_a_signal_handler_that_interrupts_track_may_track(server: LocalServer) -> None:
    program = """
import faulthandler, itertools, signal, sys
from whisperr import Whisperr
faulthandler.dump_traceback_later(100, exit=True)
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_at=50, max_queue_size=1_000_000)
made = itertools.count()
handled = -1

def again():
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002)

def handler(*_):
    global handled
    handled = n = next(made)
    if n % 10 == 0:  # interrupted by the next one, which is not: else a slow machine does only this
        again()
    client.track("u", "from_handler", {"n": n})
    if n % 10:
        again()

signal.signal(signal.SIGVTALRM, handler)
again()
for number in range(500_000):  # the timer's ticks are up to 10 ms apart: on until enough came
    if number >= 20_000 and handled >= 20:
        break
    client.track("u", "from_loop", {"n": number})
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
assert client.flush(60), client.stats()
print(next(made), number)
"""
    out, _ = run(program, server, measured=False)
    handled, looped = map(int, out.split())
    arrivals = server.arrivals()
    assert handled > 20
    # Not in order: a handler may interrupt a handler, and then comes first.
    assert sorted(numbers(arrivals, "from_handler")) == list(range(handled))
    assert numbers(arrivals, "from_loop") == list(range(looped))


def test_a_collection_inside_track_may_track(server: LocalServer) -> None:
    program = f"""{HEAD}
import gc, itertools
made = itertools.count()

class Node:
    def __init__(self):
        self.me = self
    def __del__(self):
        client.track("u", "from_del", {{"n": next(made)}})

def collected():
    yield gc.collect()  # read by track(), so inside of it

if hasattr(gc, "set_threshold"):  # not on PyPy; there `collected` has to do
    gc.set_threshold(1, 1, 1)
for number in range(3_000):
    Node()
    properties = {{"n": number, "list": [{{}}, {{}}]}}
    if number % 100 == 99:
        properties["collected"] = collected()
    client.track("u", "from_loop", properties)
gc.disable()
assert client.flush(60)
print(next(made))
"""
    out, _ = run(program, server)
    assert int(out) > 100
    assert sorted(numbers(server.arrivals(), "from_del")) == list(range(int(out)))
    assert numbers(server.arrivals(), "from_loop") == list(range(3_000))


def test_on_error_and_before_send_may_call_the_client(server: LocalServer) -> None:
    program = """
import sys
from whisperr import Whisperr

def report(error):
    client.track("u", "from_on_error", {"n": 0})
    client.flush(5)
    client.stats()

def review(event):
    if event["event_type"] == "from_loop":
        client.track("u", "from_before_send", event["properties"])
    return event

client = Whisperr("wrk_test", base_url=sys.argv[1], on_error=report, before_send=review)
client.track("u", "Bad Name")
for number in range(50):
    client.track("u", "from_loop", {"n": number})
assert client.flush(60)
"""
    run(program, server)
    arrivals = server.arrivals()
    assert numbers(arrivals, "from_on_error") == [0]
    assert numbers(arrivals, "from_before_send") == list(range(50))
    assert numbers(arrivals, "from_loop") == list(range(50))


@pytest.mark.parametrize("before", ["", 'client.track("u", "from_main", {"n": 0})'])
def test_a_thread_that_outlives_the_main_thread_may_track(server: LocalServer, before: str) -> None:
    program = f"""{HEAD}
{before}
def late():
    threading.main_thread().join()
    for number in range(100):
        client.track("u", "from_thread", {{"n": number}})

threading.Thread(target=late).start()
"""
    _, err = run(program, server)
    assert numbers(server.arrivals(), "from_thread") == list(range(100))
    assert err == ""


def test_an_event_of_an_exit_handler_is_delivered_or_reported(server: LocalServer) -> None:
    program = """
import atexit, sys
late = atexit.register(lambda: print("late", client.track("u", "late_event"), file=sys.stderr))
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1])
atexit.register(lambda: client.track("u", "early_event"))  # before ours, and the first one
"""
    _, err = run(program, server)
    assert [arrival.type for arrival in server.arrivals()] == ["early_event"]
    assert "late None" in err
    assert "track: the client is shut down" in err


def test_a_sigterm_handler_that_shuts_down_waits_only_once(server: LocalServer) -> None:
    program = f"""{HEAD}
import signal
def leave(*_):
    client.shutdown(30)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
for number in range(100):
    client.track("u", "from_loop", {{"n": number}})
signal.raise_signal(signal.SIGTERM)
threading.Event().wait(60)
"""
    run(program, server)
    assert numbers(server.arrivals(), "from_loop") == list(range(100))
