"""Signals of real processes: the delivery thread takes none of them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import HEAD, numbers, run, start, wait_for_output

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytest.importorskip("fcntl", reason="needs POSIX signals")

# The main thread blocks SIGTERM after the delivery thread has started, then asks for it itself.
BLOCKED_LATER = f"""{HEAD}
import os, signal
client.track("u", "seat_removed", {{"n": 0}})
assert client.flush(60)
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
os.kill(os.getpid(), signal.SIGTERM)
client.track("u", "seat_removed", {{"n": 1}})
assert client.flush(60)
print(signal.sigwait({{signal.SIGTERM}}).name)
"""


def test_a_signal_that_the_main_thread_blocks_later_waits_for_it(server: LocalServer) -> None:
    out, _ = run(BLOCKED_LATER, server, measured=False)
    assert out == "SIGTERM\n"
    assert numbers(server.arrivals(), "seat_removed") == [0, 1]


SERVED = """
import os, signal
from whisperr.dev import LocalServer
with LocalServer():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)
    print(signal.sigwait({signal.SIGTERM}).name)
"""


def test_the_threads_of_a_local_server_take_no_signal_either(server: LocalServer) -> None:
    assert run(SERVED, server, measured=False)[0] == "SIGTERM\n"


PIPE = f"""{HEAD}
import signal, socket
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
left, right = socket.socketpair()
right.close()

class Broken:
    '''Writes to a closed connection, as TLS does where no flag can be given.'''
    def send(self, request, timeout):
        import os
        os.write(left.fileno(), request.body)
    def close(self):
        pass

client = Whisperr("wrk_test", transport=Broken(), max_retries=0, flush_interval=3600)
client.track("u", "seat_removed")
assert not client.flush(60)
print("BrokenPipeError" in client.stats().problem)
client.shutdown(0)
"""


def test_a_closed_connection_fails_where_sigpipe_would_end_the_process(
    server: LocalServer,
) -> None:
    assert run(PIPE, server, measured=False)[0] == "True\n"


GREENLETS = f"""
from gevent import monkey
monkey.patch_all()
{HEAD}
client.track("u", "seat_removed", {{"n": 0}})
assert client.flush(60)
print("ready", flush=True)
import time
time.sleep(120)
"""


def test_sigterm_still_ends_a_process_of_greenlets(server: LocalServer) -> None:
    pytest.importorskip("gevent")
    process = start(GREENLETS, server.url, measured=False)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    with pytest.raises(AssertionError) as ended:
        wait_for_output(process)
    assert str(-signal.SIGTERM) in str(ended.value)
