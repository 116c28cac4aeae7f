"""Durable buffers in real processes: killed, forked, several at once, one after the other."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.kills import toll_of
from tests.os_processes.program import numbers, run, said_by, started
from whisperr import Whisperr
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

# The default run kills a few; `WHISPERR_KILLS=50` many.
KILLS = int(os.environ.get("WHISPERR_KILLS", "4"))
SEED = int(os.environ.get("WHISPERR_KILLS_SEED", "1"))

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this platform")


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh place; its leases are as short as they may be."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db?lease=1"
    redis: RedisServer = request.getfixturevalue("redis_server")
    return redis.url(tmp_path.name, lease=1, timeout=5)


def test_killed_processes_lose_and_double_nothing(place: str) -> None:
    toll = toll_of(KILLS, place, SEED, most=500)
    assert (toll.lost, toll.doubled, toll.unordered) == (0, 0, 0), toll
    assert toll.kills == KILLS
    assert toll.requests > KILLS
    assert toll.returned > KILLS


CROWD = """
import json, sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_interval=0.2)
for number in range(int(sys.argv[4])):
    client.track("u", f"lane_{sys.argv[3]}", {"n": number})
flushed = client.flush(100)
stats = client.stats()
client.shutdown(30)  # may deliver what others put in
requests = client.stats().requests
print(json.dumps([flushed, stats.accepted, stats.delivered, stats.held, requests]))
"""


def test_four_processes_share_one_place_and_send_nothing_twice(
    server: LocalServer, place: str
) -> None:
    count = 1_000
    crowd = [started(CROWD, server.url, place, lane, count) for lane in range(4)]
    said = [json.loads(said_by(process)[0]) for process in crowd]
    arrivals = server.arrivals()
    assert {arrival.status for arrival in arrivals} == {"accepted"}
    for lane in range(4):
        assert numbers(arrivals, f"lane_{lane}") == list(range(count))
    # Each counts its own events, whoever delivered them.
    assert [one[:4] for one in said] == [[True, count, count, 0]] * 4
    assert sum(one[4] for one in said) == server.summary()["requests"]


HANGING = """
import sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], request_timeout=6)
client.track("u", "from_the_dead", {"n": 0})
client.flush()
"""


def test_when_the_holder_is_killed_inside_a_request_another_takes_over(
    server: LocalServer, place: str
) -> None:
    server.set_faults(faults.hang(times=1))
    holder = started(HANGING, server.url, place)
    with Whisperr("wrk_test", base_url=server.url, buffer=place, request_timeout=5) as other:
        server.wait_requests(1, timeout=60)
        other.track("u", "from_the_living", {"n": 1})
        assert other.flush(0.5) is False  # the holder is alive, its lease stands
        assert server.arrivals() == []
        holder.kill()
        holder.communicate()
        assert other.flush(60)
    assert [one.type for one in server.arrivals()] == ["from_the_dead", "from_the_living"]


LEFT = """
import os, sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_interval=3600)
for number in range(10):
    client.track("u", "left_over", {"n": number})
os._exit(0)
"""


def test_the_next_process_delivers_what_was_left_without_any_call(
    server: LocalServer, place: str
) -> None:
    run(LEFT, server, place)
    assert server.arrivals() == []
    client = Whisperr("wrk_test", base_url=server.url, buffer=place, flush_interval=0.1)
    try:
        server.wait(10, timeout=60)
        assert numbers(server.arrivals(), "left_over") == list(range(10))
        assert client.stats().accepted == 0
    finally:
        client.shutdown()


AT_EXIT = """
import sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], max_retries=0)
for number in range(3):
    client.track("u", "at_exit", {"n": number})
"""


def test_at_exit_nothing_is_dropped_when_the_server_fails(server: LocalServer, place: str) -> None:
    server.set_faults(faults.status(503))
    _, err = run(AT_EXIT, server, place)
    assert "dropped" not in err
    assert "retry_exhausted" in err
    server.set_faults()
    run(AT_EXIT, server, place)
    assert numbers(server.arrivals(), "at_exit") == [0, 1, 2, 0, 1, 2]


FORKS = """
import faulthandler, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a fork with threads is what we test
from whisperr import Whisperr
faulthandler.dump_traceback_later(100, exit=True)
sys.setswitchinterval(1e-5)
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_interval=0.1,
    max_queue_size=100_000)
stop, made = threading.Event(), [0, 0]

def steady(lane):
    while not stop.wait(0.001):
        client.track("parent", f"lane_{lane}", {"n": made[lane]})
        made[lane] += 1

threads = [threading.Thread(target=steady, args=(lane,)) for lane in range(2)]
for thread in threads:
    thread.start()
for number in range(40):
    pid = os.fork()
    if pid == 0:
        client.track("child", "child_event", {"n": number})
        good = client.flush(60) and client.stats().problem is None
        client.shutdown(60)  # or the lease that it may hold would have to run out
        os._exit(0 if good else 1)
    assert os.waitpid(pid, 0)[1] == 0, number
stop.set()
for thread in threads:
    thread.join()
assert client.flush(60)
stats = client.stats()
assert (stats.accepted, stats.delivered, stats.held) == (sum(made), sum(made), 0), stats
assert client.shutdown(60)
print(*made)
"""


@needs_fork
def test_forks_of_a_process_that_tracks_lose_and_double_nothing(
    server: LocalServer, place: str
) -> None:
    out, err = run(FORKS, server, place, measured=False)
    assert "dropped" not in err
    arrivals = server.arrivals()
    assert {arrival.status for arrival in arrivals} == {"accepted"}
    assert sorted(numbers(arrivals, "child_event")) == list(range(40))
    for lane, made in enumerate(map(int, out.split())):
        assert numbers(arrivals, f"lane_{lane}") == list(range(made))
        assert made > 0


HANDLER = """
import faulthandler, itertools, signal, sys
from whisperr import Whisperr
faulthandler.dump_traceback_later(100, exit=True)
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_at=50)
made = itertools.count()

def handler(*_):  # one signal may come while another is handled
    client.track("u", "from_handler", {"n": next(made)})

signal.signal(signal.SIGVTALRM, handler)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
for number in range(5_000):
    client.track("u", "from_loop", {"n": number})
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
assert client.flush(60), client.stats()
assert client.stats().held == 0, client.stats()
print(next(made))
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="setitimer: not on this platform")
def test_a_signal_handler_that_interrupts_track_may_track(server: LocalServer, place: str) -> None:
    out, err = run(HANDLER, server, place, measured=False)
    assert "dropped" not in err
    arrivals = server.arrivals()
    assert int(out) > 10
    assert sorted(numbers(arrivals, "from_handler")) == list(range(int(out)))
    assert numbers(arrivals, "from_loop") == list(range(5_000))
