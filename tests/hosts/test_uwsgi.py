"""uWSGI forks its workers from a master that has loaded the application, without Python's hooks.

Its version decides whether threads of the application run without an option: from 2.0.27 on.
constraints.txt pins an older version for the Pythons that it has wheels for, so that the tests on
3.10 and 3.11 run the one and those on newer ones the other.
"""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import APPS, BIN, BOUND, NEVER, SOON, Host, counts, needs, once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr.dev import LocalServer

pytestmark = needs("uWSGI", "pyuwsgi")

UWSGI = [BIN / "uwsgi", "--http-socket", "127.0.0.1:0", "--master"]
UWSGI += ["--need-app", "--wsgi-file", APPS / "shop_wsgi.py"]
# A worker that gets the signal to stop before this point never handles it.
UWSGI += ["--hook-accepting", "print:a worker is ready"]
# uWSGI reloads on SIGTERM by default. `--die-on-term` does not let requests finish.
GRACEFUL = ["--hook-master-start", "unix_signal:15 gracefully_kill_them_all"]
BRUTAL = ["--die-on-term"]
THREADS = "--enable-threads"


def threads_by_default() -> bool:
    numbers = re.findall(r"\d+", version("pyuwsgi"))[:3] if find_spec("pyuwsgi") else []
    return tuple(map(int, numbers)) >= (2, 0, 27)


@contextmanager
def uwsgi(
    server: LocalServer,
    *options: str,
    interval: float = NEVER,
    ending: Sequence[str] = GRACEFUL,
    workers: int = 2,
    **environment: object,
) -> Iterator[Host]:
    command = [*UWSGI, "--processes", str(workers), *ending, *options]
    with Host(command, server, interval, **environment) as host:
        host.wait_for_output("WSGI app 0", workers if "--lazy-apps" in options else 1)
        host.wait_for_output('"print:a worker is ready"', workers)
        if ending is GRACEFUL:
            host.wait_for_output(r"gracefully_kill_them_all\" \(master-start\)")
        yield host


@pytest.mark.parametrize("interval", [NEVER, SOON])
@pytest.mark.parametrize("options", [[THREADS], [THREADS, "--lazy-apps"], []])
def test_events_of_requests_arrive_once_after_a_graceful_stop(
    server: LocalServer, options: list[str], interval: float
) -> None:
    lazy = "--lazy-apps" in options
    with uwsgi(server, *options, interval=interval) as host:
        pids = {reply.pid for reply in host.get_all(range(12))}
        host.stop(signal.SIGTERM)
    assert host.pid not in pids
    assert counts(server, "request_made") == once(range(12))
    # What the application tracks while uWSGI loads it is in the master, which has not forked yet
    # and never runs Python's exit. With lazy-apps it is in the workers.
    loaded = counts(server, "app_loaded")
    assert (len(loaded), set(loaded.values())) == ((2, {1}) if lazy else (0, set()))
    assert host.text.count("events wait for flush()") == (0 if lazy else 1)
    warned = not options and not threads_by_default()
    assert host.text.count("add enable-threads to its options") == int(warned)


def test_a_flush_delivers_what_was_tracked_before_the_fork(server: LocalServer) -> None:
    with uwsgi(server, THREADS, FLUSH_AT_IMPORT=1) as host:
        host.get(0)
        host.stop(signal.SIGTERM)
    assert counts(server, "app_loaded") == once([host.pid])
    assert counts(server, "request_made") == once([0])


def test_killed_workers_have_delivered_and_new_ones_deliver(server: LocalServer) -> None:
    # One worker: a graceful stop waits forever for a second one that was respawned just before it.
    with uwsgi(server, THREADS, interval=SOON, workers=1) as host:
        for n in range(3):
            worker = host.get(n).pid
            server.wait(n + 1, type="request_made", timeout=BOUND)
            os.kill(worker, signal.SIGKILL)
            host.wait_for_output("Respawned uWSGI worker", n + 1)
        host.get(3)
        host.stop(signal.SIGTERM)
    assert counts(server, "request_made") == once(range(4))


@pytest.mark.skipif(threads_by_default(), reason="uWSGI 2.0.27 and later always runs threads")
def test_without_threads_events_wait_for_the_end_of_the_worker(server: LocalServer) -> None:
    with uwsgi(server, interval=1.0) as host:
        host.get(0)
        with pytest.raises(TimeoutError):
            server.wait(1, timeout=3)
        host.stop(signal.SIGTERM)
    assert counts(server, "request_made") == once([0])


@pytest.mark.parametrize(("ending", "arrived"), [(GRACEFUL, [0]), (BRUTAL, [])])
def test_only_a_graceful_stop_lets_a_busy_worker_deliver(
    server: LocalServer, ending: list[str], arrived: list[int]
) -> None:
    with uwsgi(server, THREADS, ending=ending, HOLD=1) as host, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(host.get, 0)
        host.wait_for_output("request 0 is held")
        host.stop(signal.SIGTERM)
        assert (answer.exception(BOUND) is None) is bool(arrived)
    assert counts(server, "request_made") == once(arrived)
