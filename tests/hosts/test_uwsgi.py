"""uWSGI forks its workers from a master that has loaded the application, without Python's hooks.

Its version decides whether threads of the application run when nobody asks for them: not before
2.0.27. constraints.txt pins an older one for the Pythons that it has wheels for, so that the tests
on 3.10 and 3.11 see the one and those on newer ones the other.
"""

from __future__ import annotations

import os
import re
import signal
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import APPS, BIN, BOUND, NEVER, SOON, Host, counts, needs, once

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = needs("uWSGI", "pyuwsgi")

UWSGI = [BIN / "uwsgi", "--http-socket", "127.0.0.1:0", "--master", "--processes", "2"]
UWSGI += ["--need-app", "--die-on-term", "--wsgi-file", APPS / "shop_wsgi.py"]
THREADS = "--enable-threads"
WARNED = "add enable-threads to its options"


def threads_by_default() -> bool:
    numbers = re.findall(r"\d+", version("pyuwsgi"))[:3] if find_spec("pyuwsgi") else []
    return tuple(map(int, numbers)) >= (2, 0, 27)


def uwsgi(server: LocalServer, *options: str, interval: float = NEVER) -> Host:
    return Host([*UWSGI, *options], server, interval)


@pytest.mark.parametrize("options", [[THREADS], [THREADS, "--lazy-apps"], ["--threads", "2"], []])
def test_what_requests_tracked_arrives_once_after_a_graceful_stop(
    server: LocalServer, options: list[str]
) -> None:
    with uwsgi(server, *options) as host:
        host.says("WSGI app 0", 2 if "--lazy-apps" in options else 1)
        host.says("spawned uWSGI worker", 2)
        pids = {reply.pid for reply in host.get_all(range(12))}
        host.stop(signal.SIGTERM)
    assert host.pid not in pids
    assert counts(server, "request_made") == once(range(12))
    loaded = counts(server, "app_loaded")
    assert set(loaded.values()) == {1}
    assert len(loaded) == 2 if "--lazy-apps" in options else set(loaded) == {host.pid}
    warned = not options and not threads_by_default()
    assert host.text.count(WARNED) == int(warned)


@pytest.mark.skipif(threads_by_default(), reason="this uWSGI always runs threads (2.0.27 and later)")
def test_without_threads_events_wait_for_the_end_of_the_worker(server: LocalServer) -> None:
    with uwsgi(server, interval=SOON) as host:
        host.says("spawned uWSGI worker", 2)
        worker = host.get(0).pid
        os.kill(worker, signal.SIGKILL)
        host.says("Respawned uWSGI worker")
        host.get(1)
        host.stop(signal.SIGTERM)
    assert counts(server, "request_made") == once([1])
    assert host.text.count(WARNED) == 1


def test_with_threads_the_killed_worker_has_delivered(server: LocalServer) -> None:
    with uwsgi(server, THREADS, interval=SOON) as host:
        host.says("spawned uWSGI worker", 2)
        worker = host.get(0).pid
        server.wait(1, type="request_made", timeout=BOUND)
        os.kill(worker, signal.SIGKILL)
        host.says("Respawned uWSGI worker")
        host.get(1)
        host.stop(signal.SIGTERM)
    assert counts(server, "request_made") == once([0, 1])
