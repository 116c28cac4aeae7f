"""Hosts without a hook: a plain Python program, here with wsgiref's server, and waitress.

SIGINT is a KeyboardInterrupt and so a normal exit. SIGTERM and SIGKILL end the process at once:
events tracked before the last delivery have arrived, later ones are lost.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import APPS, BOUND, NEVER, SOON, Host, counts, needs, once

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

PROGRAMS = [
    pytest.param("shop_wsgi.py", id="plain", marks=needs("a POSIX system", "wsgiref")),
    pytest.param("shop_waitress.py", id="waitress", marks=needs("waitress")),
]
UNHANDLED = [signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)]

everywhere = pytest.mark.parametrize("program", PROGRAMS)


def start(server: LocalServer, program: str, interval: float = NEVER) -> Host:
    return Host([sys.executable, APPS / program], server, interval)


@everywhere
def test_ctrl_c_is_a_normal_exit_and_delivers(server: LocalServer, program: str) -> None:
    with start(server, program) as host:
        host.get_all(range(4))
        host.stop(signal.SIGINT)
    assert counts(server, "request_made") == once(range(4))


@everywhere
@pytest.mark.parametrize("number", UNHANDLED, ids=["SIGTERM", "SIGKILL"])
def test_events_older_than_the_interval_have_arrived(
    server: LocalServer, program: str, number: signal.Signals
) -> None:
    with start(server, program, SOON) as host:
        host.get_all(range(4))
        server.wait(4, type="request_made", timeout=BOUND)
        assert host.stop(number) == -number
    assert counts(server, "request_made") == once(range(4))


@everywhere
@pytest.mark.parametrize("number", UNHANDLED, ids=["SIGTERM", "SIGKILL"])
def test_the_last_events_are_lost(
    server: LocalServer, program: str, number: signal.Signals
) -> None:
    with start(server, program) as host:
        host.get(0)
        assert host.stop(number) == -number
    assert counts(server, "request_made") == once([])


@needs("a POSIX system", "wsgiref")
def test_a_handler_that_exits_makes_sigterm_a_normal_exit(server: LocalServer) -> None:
    with Host([sys.executable, APPS / "shop_wsgi.py"], server, HANDLE_SIGTERM=1) as host:
        host.get_all(range(4))
        assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "request_made") == once(range(4))
