"""Processes with many clients: their threads, their exit, and their forks."""

from __future__ import annotations

import os
import time

import pytest

from tests.os_processes.program import numbers, run
from whisperr.dev import LocalServer, faults

# Prints how many delivery threads there are when all clients have tracked, when each of them has
# delivered, and when all have ended.
MANY = """
import sys, threading
from whisperr import Whisperr

def count():
    return sum(thread.name == "whisperr-delivery" for thread in threading.enumerate())

clients = [Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600) for _ in range(60)]
for n, client in enumerate(clients):
    client.track("u", "seat_removed", {"n": n})
print(count())
for client in clients:
    assert client.flush(60)
print(count())
delivery = [thread for thread in threading.enumerate() if thread.name == "whisperr-delivery"]
for client in clients:
    assert client.shutdown(60)
for thread in delivery:
    thread.join(60)
print(count())
clients[0] = Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600)
clients[0].track("u", "seat_removed", {"n": 60})
"""


def test_sixty_clients_have_one_thread_and_one_that_stands_by_until_the_last_of_them_ends(
    server: LocalServer,
) -> None:
    out, err = run(MANY, server)
    tracked, delivered, ended = map(int, out.split())
    assert (tracked, ended) == (1, 0)
    assert delivered in {1, 2}
    assert err == ""
    assert numbers(server.arrivals(), "seat_removed") == list(range(61))


# Holds one event in each client at the exit. `sys.argv[2:]`: the servers that hang.
EXIT = """
import sys, threading
from whisperr import Whisperr

def make(url):
    return Whisperr("wrk_test", base_url=url, flush_interval=3600, request_timeout=2, max_retries=0)

clients = [make(url) for url in sys.argv[2:]] + [make(sys.argv[1]) for _ in range(60)]
for n, client in enumerate(clients, 1 - len(sys.argv) + 1):
    client.track("u", "seat_removed", {"n": n})
"""

# As Python 3.12.0 to 3.12.2 do it.
NO_FURTHER_THREAD = (
    EXIT
    + """
def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

threading.Thread.start = start
"""
)


@pytest.mark.parametrize(
    ("program", "hanging"),
    [(EXIT, 1), (EXIT, 10), (NO_FURTHER_THREAD, 1)],
    ids=["one hangs", "ten hang", "one hangs and no thread can be started"],
)
def test_servers_that_hang_at_the_exit_leave_the_other_clients_their_time(
    server: LocalServer, program: str, hanging: int
) -> None:
    with LocalServer(faults=[faults.hang()]) as other:
        began = time.monotonic()
        run(program, server, *[other.url] * hanging)
        assert time.monotonic() - began < 30  # 61 times the limit of a request would be two minutes
    assert sorted(numbers(server.arrivals(), "seat_removed")) == list(range(60))


FORKED = """
import faulthandler, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a fork with threads is what we test
from whisperr import Whisperr
faulthandler.dump_traceback_later(100, exit=True)
blocked = Whisperr("wrk_test", base_url=sys.argv[2], flush_at=1, request_timeout=60)
clients = [Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600) for _ in range(3)]
blocked.track("u", "seat_removed", {"n": -1})
for client in clients:
    client.track("u", "seat_removed", {"n": 0})
for number in range(1, 21):
    pid = os.fork()
    if pid == 0:
        own = clients[number % 3]
        assert own.stats().held == 0
        own.track("u", "seat_removed", {"n": number})
        os._exit(0 if own.flush(60) and own.shutdown(60) else 1)
    assert os.waitpid(pid, 0)[1] == 0, number
print([client.flush(60) for client in clients])
blocked.shutdown(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this platform")
def test_a_fork_while_a_thread_is_blocked_gives_the_child_threads_of_its_own(
    server: LocalServer,
) -> None:
    with LocalServer(faults=[faults.hang()]) as hanging:
        out, _ = run(FORKED, server, hanging.url, measured=False)
    assert out.strip() == "[True, True, True]"
    assert sorted(numbers(server.arrivals(), "seat_removed")) == [0, 0, 0, *range(1, 21)]


# gevent replaces threads and locks while a thread runs that was started before.
PATCHED_LATER = """
import sys, threading
from whisperr import Whisperr
before = [Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600) for _ in range(3)]
for n, client in enumerate(before):
    client.track("u", "seat_removed", {"n": n})
assert before[0].flush(60)
from gevent import monkey
monkey.patch_all()
import gevent
hanging = Whisperr("wrk_test", base_url=sys.argv[2], flush_at=1, request_timeout=60)
hanging.track("u", "trial_started")
after = [Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600) for _ in range(3)]
for n, client in enumerate(after, 3):
    client.track("u", "seat_removed", {"n": n})
ticks = []

def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.01)

ticking = gevent.spawn(tick)
print([client.flush(60) for client in before + after], len(ticks) > 0)
ticking.kill()
print([client.shutdown(60) for client in before + after], hanging.shutdown(0))
"""


def test_clients_from_before_gevent_patches_threads_and_from_after_it_deliver(
    server: LocalServer,
) -> None:
    pytest.importorskip("gevent", reason="gevent: not installed")
    with LocalServer(faults=[faults.hang()]) as hanging:
        out, _ = run(PATCHED_LATER, server, hanging.url, measured=False)
    assert out.splitlines() == [f"{[True] * 6} True", f"{[True] * 6} False"]
    assert sorted(numbers(server.arrivals(), "seat_removed")) == list(range(6))
