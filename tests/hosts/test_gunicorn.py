"""gunicorn: a worker that stops gracefully delivers; the master delivers its own events once."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import APPS, BOUND, NEVER, SOON, Host, counts, needs, once

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr.dev import LocalServer

pytestmark = needs("gunicorn")

GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0"]
GUNICORN += ["--config", str(APPS / "gunicorn_ready.py")]
WORKERS = [
    "sync",
    "gthread",
    pytest.param("gevent", marks=needs("gevent")),
]


def gunicorn(server: LocalServer, home: Path, *options: str, interval: float = NEVER) -> Host:
    command = [
        *GUNICORN,
        "--control-socket",
        home / "control",
        *options,
        "tests.hosts.apps.shop_wsgi:application",
    ]
    return Host(command, server, interval)


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("worker", WORKERS)
def test_events_of_requests_arrive_once_after_a_graceful_stop(
    server: LocalServer, tmp_path: Path, worker: str, preload: bool
) -> None:
    options = ["--workers", "2", "--worker-class", worker, *(["--preload"] if preload else [])]
    with gunicorn(server, tmp_path, *options) as host:
        host.wait_for_output("worker ready", 2)
        pids = {reply.pid for reply in host.get_all(range(12))}
        assert host.stop(signal.SIGTERM) == 0
    assert host.pid not in pids
    assert counts(server, "request_made") == once(range(12))
    loaded = counts(server, "app_loaded")
    assert set(loaded.values()) == {1}
    if preload:
        assert set(loaded) == {host.pid}
    else:
        assert set(loaded) >= pids
        assert len(loaded) == 2


def test_replaced_workers_deliver_while_the_host_keeps_running(
    server: LocalServer, tmp_path: Path
) -> None:
    options = ["--workers", "2", "--preload", "--max-requests", "2"]
    with gunicorn(server, tmp_path, *options) as host:
        host.wait_for_output("worker ready", 2)
        host.get_all(range(8))
        host.wait_for_output("Autorestarting worker", 2)
        server.wait(4, type="request_made", timeout=BOUND)
        assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "request_made") == once(range(8))


def test_a_reload_of_the_host_loses_nothing(server: LocalServer, tmp_path: Path) -> None:
    with gunicorn(server, tmp_path, "--workers", "2") as host:
        host.wait_for_output("worker ready", 2)
        before = {reply.pid for reply in host.get_all(range(6))}
        os.kill(host.pid, signal.SIGHUP)
        host.wait_for_output("worker ready", 4)
        server.wait(6, type="request_made", timeout=BOUND)
        after = {reply.pid for reply in host.get_all(range(6, 12))}
        assert host.stop(signal.SIGTERM) == 0
    assert before & after == set()
    assert counts(server, "request_made") == once(range(12))


@pytest.mark.parametrize(("interval", "arrived"), [(SOON, [0]), (NEVER, [])])
def test_a_killed_worker_has_delivered_events_older_than_the_interval(
    server: LocalServer, tmp_path: Path, interval: float, arrived: list[int]
) -> None:
    with gunicorn(server, tmp_path, "--workers", "1", "--preload", interval=interval) as host:
        host.wait_for_output("worker ready")
        worker = host.get(0).pid
        server.wait(len(arrived), type="request_made", timeout=BOUND)
        os.kill(worker, signal.SIGKILL)
        host.wait_for_output("worker ready", 2)
        assert host.get(1).pid != worker
        assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "request_made") == once([*arrived, 1])
