"""Under gevent, other greenlets run during every wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gevent", reason="gevent: not installed")
pytest.importorskip("trustme", reason="trustme: not installed")

LARGE_REQUESTS = """
from gevent import monkey
monkey.patch_all()
import contextlib, ssl, sys, trustme
from tests.http.raw_server import *
from whisperr._contract import Request
from whisperr._http.transport import HttpTransport
from whisperr._secret import Secret

authority = trustme.CA()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(context)
trusting = ssl.create_default_context()
authority.configure_trust(trusting)

def serve(connection):
    connection.encrypt(context)
    for _ in range(2):
        connection.read_request()
        connection.send(OK)
    connection.await_close()

with RawServer(serve) as server:
    url = f"https://localhost:{server.port}"
    with contextlib.closing(HttpTransport(url, Secret(KEY), ssl_context=trusting)) as transport:
        for _ in range(2):
            print(transport.send(Request("/v1/identify", b"x" * (16 << 20)), 20).status)
"""


RESOLVING = """
from gevent import monkey
monkey.patch_all()
import contextlib, signal
from tests.http.raw_server import *

with RawServer(answers(OK)) as server:
    with contextlib.closing(make_transport(f"http://localhost:{server.port}")) as transport:
        print(transport.send(REQUEST, 20).status)
print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,  # what it said is part of the failure
        text=True,
        timeout=50,
    )


def test_a_lookup_blocks_no_signals_of_the_thread_that_it_shares() -> None:
    done = run(RESOLVING)
    assert done.stdout == "202\nFalse\n", done.stderr


def test_a_large_request_over_tls_waits_for_room_and_does_not_spin() -> None:
    done = run(LARGE_REQUESTS)
    assert done.stdout == "202\n202\n", done.stderr
