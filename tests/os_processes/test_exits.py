"""Exits of real processes: held events are delivered, and no server can delay the exit.

The bound of an exit is 10 seconds. Machines are noisy, so a test waits much longer before it calls
a process hung.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack

import pytest

from tests.os_processes.program import HEAD, numbers, run, start, wait_for_output
from whisperr import Whisperr
from whisperr.dev import LocalServer, faults

LOOP = f"""{HEAD}
for number in range(int(sys.argv[2])):
    client.track("u", "seat_removed", {{"n": number}})
"""
FAULTS = {
    "hangs": faults.hang(),
    "drips": faults.drip(0.4),
    "fails": faults.status(503),
    "limits the rate": faults.status(429, retry_after=60),
    "refuses the key": faults.wrong_key(),
}
COUNTS = (1, 2_000, 10_000)


@pytest.mark.parametrize("count", COUNTS)
def test_events_held_at_exit_are_delivered(server: LocalServer, count: int) -> None:
    assert run(LOOP, server, count) == ("", "")
    assert numbers(server.arrivals(), "seat_removed") == list(range(count))


def test_an_event_tracked_just_before_exit_is_delivered(server: LocalServer) -> None:
    server.set_faults(faults.latency(0.5))  # the exit begins during the first request
    program = f"""
def main():{HEAD.replace(chr(10), chr(10) + "    ")}
    client.track("u", "seat_removed", {{"n": 0}})
main()
"""
    assert run(program, server) == ("", "")
    assert numbers(server.arrivals(), "seat_removed") == [0]


def test_a_shutdown_before_exit_delivers_once(server: LocalServer) -> None:
    assert run(f"{LOOP}client.shutdown()", server, 10) == ("", "")
    assert len(server.arrivals()) == 10


def test_clients_collected_before_exit_have_delivered(server: LocalServer) -> None:
    server.set_faults(faults.latency(0.2))  # the exit begins while their threads deliver
    program = """
import sys
from whisperr import Whisperr
for number in range(5):
    Whisperr("wrk_test", base_url=sys.argv[1]).track("u", "seat_removed", {"n": number})
"""
    assert run(program, server) == ("", "")
    assert sorted(numbers(server.arrivals(), "seat_removed")) == list(range(5))


def test_a_client_collected_in_a_cycle_has_delivered_at_exit(server: LocalServer) -> None:
    server.set_faults(faults.latency(0.2))
    program = """
import gc, sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600)
client.track("u", "seat_removed", {"n": 0})
client.me = client
del client
gc.collect()
"""
    assert run(program, server) == ("", "")
    assert numbers(server.arrivals(), "seat_removed") == [0]


def test_no_server_can_delay_the_exit_beyond_its_bound() -> None:
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(LocalServer(faults=[fault])).url
            for name, fault in FAULTS.items()
        }
        with LocalServer() as closed:
            urls["refuses connections"] = closed.url
        began = time.monotonic()
        processes = {
            (name, count): start(LOOP, url, count) for name, url in urls.items() for count in COUNTS
        }
        errors = {key: wait_for_output(process)[1] for key, process in processes.items()}
        assert time.monotonic() - began < 60
    for (name, count), text in errors.items():
        lost = [int(n) for n in re.findall(r"(\d+) events? dropped \(shutdown\)", text)]
        assert sum(lost) == count, (name, count, text)


@pytest.mark.parametrize("method", ["flush", "shutdown"])
def test_a_timeout_is_kept_against_a_hanging_server(server: LocalServer, method: str) -> None:
    server.set_faults(faults.hang())
    client = Whisperr("wrk_test", base_url=server.url)
    client.track("u", "trial_started")
    began = time.monotonic()
    assert getattr(client, method)(timeout=1) is False
    assert 0.9 < time.monotonic() - began < 8
    server.close()  # ends the request that hangs
    client.shutdown(0)


# One process a task: a client made before the fork, and children that each end with an event.
TASKS = """
import os, sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600)
for task in range(4):
    pid = os.fork()
    if pid == 0:
        client.track("u", "seat_removed", {"n": task})
        client.shutdown(10)
        print(client.stats().requests, flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this platform")
def test_only_the_first_of_many_processes_pays_for_a_service_that_is_away(
    server: LocalServer,
) -> None:
    server.set_faults(faults.status(503))
    out, err = run(TASKS, server, measured=False)
    first, *others = map(int, out.split())
    assert first > 2
    assert others == [1, 1, 1]
    assert err.count("dropped (shutdown)") == 4


def test_only_the_first_of_many_clients_pays_for_a_service_that_is_away(
    server: LocalServer,
) -> None:
    server.set_faults(faults.status(503))
    made = [Whisperr("wrk_test", base_url=server.url, flush_interval=3600) for _ in range(4)]
    requests = []
    for client in made:
        client.track("u", "trial_started")
        assert not client.shutdown(10)
        requests.append(client.stats().requests)
    assert requests[0] > 2
    assert requests[1:] == [1, 1, 1]


# No thread can be started: the exit delivers in the main thread, one client after the other.
THREADLESS = """
import sys, threading
from whisperr import Whisperr

def start(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
clients = [Whisperr("wrk_test", base_url=url, flush_interval=3600) for url in sys.argv[1:]]
for client in clients:
    client.track("u", "seat_removed", {"n": 0})
"""


def test_a_server_that_hangs_leaves_the_other_clients_their_time_at_exit(
    server: LocalServer,
) -> None:
    with LocalServer(faults=[faults.hang()]) as hanging, LocalServer() as other:
        run(THREADLESS, hanging, server.url, hanging.url, other.url)
        for healthy in (server, other):
            assert numbers(healthy.arrivals(), "seat_removed") == [0]
