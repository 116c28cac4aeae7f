"""A peer that closes does not end a process whose SIGPIPE has its default action."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="no SIGPIPE here")

BEGIN = """
import signal, socket, ssl, sys, time
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from tests.http.raw_server import *
from whisperr._contract import Request
from whisperr._http.connection import Connection as Ours
from whisperr._http.transport import HttpTransport

LARGE = Request("/v1/events/batch", b"x" * (32 << 20))

def end(connection):
    connection.read_request(body=False)
    connection.socket.shutdown(1)  # first its own side, then all of it
    connection.socket.close()

def attempt(act):
    try:
        act()
    except OSError as error:
        print(isinstance(error, (ConnectionError, ssl.SSLError)))

def show_signals():
    print(signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL)
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(), signal.sigpending() == set())
"""
PLAIN = """
with RawServer(end) as server:
    attempt(lambda: make_transport(server.url).send(LARGE, 10))
show_signals()
"""
PAIR = """
ours, theirs = socket.socketpair()
ours.setblocking(False)
theirs.close()
connection = Ours(ours)
attempt(lambda: connection.send(memoryview(b"x"), time.monotonic() + 10, len))
show_signals()
"""
ENCRYPTED = """
import threading, trustme
authority = trustme.CA()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(context)
trusting = ssl.create_default_context()
authority.configure_trust(trusting)
ours, theirs = socket.socketpair()
ours.setblocking(False)
served = []
thread = threading.Thread(
    target=lambda: served.append(context.wrap_socket(theirs, server_side=True))
)
thread.start()
connection = Ours(ours)
connection.encrypt(trusting, "localhost", time.monotonic() + 10)
thread.join(10)
served[0].close()
attempt(lambda: connection.send(memoryview(b"x"), time.monotonic() + 10, len))
show_signals()
"""


def run(story: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + story],
        capture_output=True,
        check=False,  # the code of a killed process is part of the failure
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@pytest.mark.parametrize("story", [PLAIN, PAIR], ids=["a request", "a closed socket"])
def test_a_plain_connection_that_is_closed_is_an_error(story: str) -> None:
    assert run(story) == "True\nTrue\nTrue True\n"


def test_an_encrypted_one_too_and_the_signals_are_as_before() -> None:
    pytest.importorskip("trustme", reason="trustme: not installed")
    assert run(ENCRYPTED) == "True\nTrue\nTrue True\n"
