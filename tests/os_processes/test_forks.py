"""A process that tracks forks: the child's events arrive, and the parent's arrive once."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import HEAD, numbers, run
from whisperr._process import identity
from whisperr._process.identity import get_process

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this platform")

LOOP = """
import faulthandler, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: a fork with threads is what we test
from whisperr import Whisperr
faulthandler.dump_traceback_later(100, exit=True)
if sys.argv[2] == "restless":
    sys.setswitchinterval(1e-6)
client = Whisperr(
    "wrk_test", base_url=sys.argv[1], flush_at=20, flush_interval=0.1, max_queue_size=1_000_000
)
stop, made = threading.Event(), [0, 0, 0]

def steady(lane):
    while not stop.wait(0.0005):
        client.track("parent", f"lane_{lane}", {"n": made[lane]})
        made[lane] += 1

threads = [threading.Thread(target=steady, args=(lane,)) for lane in range(3)]
for thread in threads:
    thread.start()
for number in range(200):
    pid = os.fork()
    if pid == 0:
        client.track("child", "child_event", {"n": number})
        os._exit(0 if client.flush(60) else 1)
    assert os.waitpid(pid, 0)[1] == 0, number
stop.set()
for thread in threads:
    thread.join()
assert client.shutdown(60)
print(*made)
"""


@pytest.mark.parametrize("switching", ["calm", "restless"])
def test_two_hundred_forks_lose_and_double_nothing(server: LocalServer, switching: str) -> None:
    out, err = run(LOOP, server, switching, measured=False)
    assert err == ""  # nothing was dropped: however busy the machine, the queue is long enough
    arrivals = server.arrivals()
    assert {arrival.status for arrival in arrivals} == {"accepted"}
    assert sorted(numbers(arrivals, "child_event")) == list(range(200))
    for lane, made in enumerate(map(int, out.split())):
        assert numbers(arrivals, f"lane_{lane}") == list(range(made))
        assert made > 0


def test_a_fork_of_a_fork_delivers_each_its_own(server: LocalServer) -> None:
    program = f"""{HEAD}
import faulthandler, os
faulthandler.dump_traceback_later(100, exit=True)
client.track("u", "generation", {{"n": 0}})
for n in (1, 2):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        break
    client.track("u", "generation", {{"n": n}})
client.shutdown(60)
os._exit(0)
"""
    run(program, server, measured=False)
    assert sorted(numbers(server.arrivals(), "generation")) == [0, 1, 2]
    assert server.summary()["duplicates"] == 0


def test_a_child_of_a_client_that_was_shut_down_reports_calls_as_closed(
    server: LocalServer,
) -> None:
    program = f"""{HEAD}
import os
client.shutdown()
pid = os.fork()
if pid == 0:
    assert client.track("u", "late_event") is None
    client.flush(5)
    print(client.stats().not_accepted, flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    out, err = run(program, server, measured=False)
    assert out == "{'closed': 1}\n"
    assert "the client is shut down" in err
    assert server.arrivals() == []


@pytest.mark.skipif(not hasattr(atexit, "_clear"), reason="atexit._clear: not in this Python")
@pytest.mark.parametrize("made_by", ["parent", "child"])
def test_a_child_that_dropped_the_exit_functions_of_its_parent_delivers_at_its_exit(
    server: LocalServer, made_by: str
) -> None:
    """Airflow does this with the process of each task."""
    program = """
import atexit, os, sys
from whisperr import Whisperr

def make():
    return Whisperr("wrk_test", base_url=sys.argv[1], flush_interval=3600.0)

client = make() if sys.argv[2] == "parent" else None
pid = os.fork()
if pid == 0:
    atexit._clear()
    (client or make()).track("child", "child_event", {"n": 1})
    atexit._run_exitfuncs()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    assert run(program, server, made_by, measured=False) == ("", "")
    assert numbers(server.arrivals(), "child_event") == [1]


SLOW_IMPORT = """
import faulthandler, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from whisperr import Whisperr
faulthandler.dump_traceback_later(100, exit=True)
begun, forked = threading.Event(), threading.Event()

class Slow:
    '''Finds nothing, and delays an import of the transport.'''
    def find_spec(self, name, path=None, target=None):
        if name == "socket" and not begun.is_set():
            begun.set()
            forked.wait(1)  # a fork that does not wait for the import happens now

sys.meta_path.insert(0, Slow())
client = Whisperr("wrk_test", base_url=sys.argv[1], flush_at=1)
client.track("parent", "parent_event", {"n": 0})
assert begun.wait(60)
pid = os.fork()
forked.set()
if pid == 0:
    client.track("child", "child_event", {"n": 1})
    os._exit(0 if client.flush(60) else 1)
status = os.waitpid(pid, 0)[1]
assert client.shutdown(60)
sys.exit(status)
"""


def test_a_fork_during_an_import_leaves_the_child_complete_modules(server: LocalServer) -> None:
    run(SLOW_IMPORT, server, measured=False)
    arrivals = server.arrivals()
    assert numbers(arrivals, "parent_event") == [0]
    assert numbers(arrivals, "child_event") == [1]


# Each generation is process 1 of a new pid namespace, as a container in a container is. With
# "c" the fork is one of C code, which calls none of Python's hooks, as uWSGI's. No thread may run
# in the parent then, for the same reason as under uWSGI: it could hold the interpreter's lock.
NAMESPACES = f"""
import ctypes, os, sys, types
libc = ctypes.PyDLL(None, use_errno=True)

def fork_into_namespace(fork):
    if libc.unshare(0x20000000):  # CLONE_NEWPID
        os.write(1, b"refused")
        os._exit(0)
    pid = fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

fork_into_namespace(os.fork)
{HEAD}
import faulthandler
faulthandler.dump_traceback_later(100, exit=True)
assert os.getpid() == 1
server = types.ModuleType("uwsgi")
server.has_threads, server.worker_id, server.masterpid = 1, lambda: 0, lambda: 0
if sys.argv[2] == "c":
    sys.modules["uwsgi"] = server
client.track("u", "generation", {{"n": 0}})
pid = 0
if libc.unshare(0x20000000) == 0:
    pid = os.fork() if sys.argv[2] == "python" else libc.fork()
if pid:
    status = os.waitpid(pid, 0)[1]
    os._exit(0 if client.shutdown(60) and status == 0 else 1)
assert os.getpid() == 1
server.worker_id = lambda: 1
client.track("u", "generation", {{"n": 1}})
os._exit(0 if client.shutdown(60) else 1)
"""


@pytest.mark.parametrize("by", ["python", "c"])
def test_a_child_with_the_process_id_of_its_parent_sends_only_its_own(
    server: LocalServer, by: str
) -> None:
    if by == "c" and get_process() and identity._page is None:
        pytest.skip("this kernel wipes no pages, so a fork of C code is known by its process id")
    out, _ = run(NAMESPACES, server, by, measured=False)
    if out == "refused":
        pytest.skip("this user may make no pid namespaces")
    arrivals = server.arrivals()
    assert sorted(numbers(arrivals, "generation")) == [0, 1]
    assert server.summary()["duplicates"] == 0
