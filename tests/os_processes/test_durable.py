"""Durable buffers in real processes: killed, forked, several at once, one after the other."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_signals
from tests.faults.kills import BUFFERS, kill_processes
from tests.os_processes.program import numbers, run, start, wait_for_output
from tests.redis_server import why_not
from whisperr import Whisperr
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

# The default run kills a few; `WHISPERR_KILLS=50` more; `python -m tests.faults.kills` a thousand.
KILLS = int(os.environ.get("WHISPERR_KILLS", "4"))
SEED = int(os.environ.get("WHISPERR_KILLS_SEED", "1"))

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this platform")


@pytest.fixture(params=["sqlite", "redis"])
def buffer_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store with the shortest lease."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db?lease=1"
    redis: RedisServer = request.getfixturevalue("redis_server")
    return redis.url(tmp_path.name, lease=1, timeout=5, log=tmp_path / "log")


@needs_signals
@pytest.mark.parametrize("buffer", BUFFERS)
def test_killed_processes_lose_and_reorder_nothing_that_was_promised(buffer: str) -> None:
    if buffer != "sqlite" and (reason := why_not()):
        pytest.skip(reason)
    counts = kill_processes(buffer, KILLS, SEED, together=2)
    assert (counts.lost, counts.unordered) == (0, 0), counts
    assert counts.kills == KILLS
    assert counts.promised > 0


SHARING = """
import json, sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_interval=0.2)
for number in range(int(sys.argv[4])):
    client.track("u", f"lane_{sys.argv[3]}", {"n": number})
flushed = client.flush(100)
stats = client.stats()
client.shutdown(30)  # may deliver events of other processes
requests = client.stats().requests
print(json.dumps([flushed, stats.accepted, stats.delivered, stats.held, requests]))
"""


def test_four_processes_share_one_buffer_and_send_nothing_twice(
    server: LocalServer, buffer_url: str
) -> None:
    count = 1_000
    processes = [start(SHARING, server.url, buffer_url, lane, count) for lane in range(4)]
    results = [json.loads(wait_for_output(process)[0]) for process in processes]
    arrivals = server.arrivals()
    assert {arrival.status for arrival in arrivals} == {"accepted"}
    for lane in range(4):
        assert numbers(arrivals, f"lane_{lane}") == list(range(count))
    # Each counts its own events, whichever process delivered them.
    assert [one[:4] for one in results] == [[True, count, count, 0]] * 4
    assert sum(one[4] for one in results) == server.summary()["requests"]


HANGING = """
import sys
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], request_timeout=6)
client.track("u", "from_the_dead", {"n": 0})
client.flush()
"""


def test_another_process_takes_over_when_the_holder_is_killed_in_a_request(
    server: LocalServer, buffer_url: str
) -> None:
    server.set_faults(faults.hang(times=1))
    holder = start(HANGING, server.url, buffer_url)
    with Whisperr("wrk_test", base_url=server.url, buffer=buffer_url, request_timeout=5) as other:
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


def test_the_next_process_delivers_left_events_without_any_call(
    server: LocalServer, buffer_url: str
) -> None:
    run(LEFT, server, buffer_url)
    assert server.arrivals() == []
    client = Whisperr("wrk_test", base_url=server.url, buffer=buffer_url, flush_interval=0.1)
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


def test_at_exit_nothing_is_dropped_when_the_server_fails(
    server: LocalServer, buffer_url: str
) -> None:
    server.set_faults(faults.status(503))
    _, err = run(AT_EXIT, server, buffer_url)
    assert "dropped" not in err
    assert "3 events kept in the store for the next process" in err
    server.set_faults()
    run(AT_EXIT, server, buffer_url)
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
    server: LocalServer, buffer_url: str
) -> None:
    out, err = run(FORKS, server, buffer_url, measured=False)
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
client = Whisperr(
    "wrk_test", base_url=sys.argv[1], buffer=sys.argv[2], flush_at=50, max_queue_size=100_000
)
made = itertools.count()

def handler(*_):  # one signal may come while another is handled
    client.track("u", "from_handler", {"n": next(made)})

signal.signal(signal.SIGVTALRM, handler)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
for number in range(20_000):
    client.track("u", "from_loop", {"n": number})
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
assert client.flush(60), client.stats()
assert client.stats().held == 0, client.stats()
print(next(made))
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="setitimer: not on this platform")
def test_a_signal_handler_that_interrupts_track_may_track(
    server: LocalServer, buffer_url: str
) -> None:
    out, err = run(HANDLER, server, buffer_url, measured=False)
    assert "dropped" not in err
    arrivals = server.arrivals()
    assert int(out) > 10
    assert sorted(numbers(arrivals, "from_handler")) == list(range(int(out)))
    assert numbers(arrivals, "from_loop") == list(range(20_000))
