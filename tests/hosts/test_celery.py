"""Celery's prefork children end by `os._exit`: a signal of Celery's is the place to deliver."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import BOUND, NEVER, SOON, Host, counts, needs, once

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr.dev import LocalServer

pytestmark = needs("celery")

TASKS = range(8)
CELERY = [sys.executable, "-m", "celery", "--app", "celery_shop", "worker", "--concurrency", "2"]
CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
DONE = r"Task celery_shop.charge\S+ succeeded"


def celery(
    server: LocalServer, home: Path, remedy: str, interval: float = NEVER, **environment: object
) -> Host:
    return Host(
        [*CELERY, "--pool", "prefork"],
        server,
        interval,
        BROKER_FOLDER=home,
        REMEDY=remedy,
        **environment,
    )


@pytest.mark.parametrize("max_tasks", [0, 3])
def test_a_signal_that_shuts_down_delivers_once(
    server: LocalServer, tmp_path: Path, max_tasks: int
) -> None:
    with celery(server, tmp_path, "signal", MAX_TASKS=max_tasks) as host:
        host.says(DONE, len(TASKS))
        assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "task_done") == once(TASKS)


def test_without_it_the_last_moment_is_lost(server: LocalServer, tmp_path: Path) -> None:
    with celery(server, tmp_path, "none") as host:
        host.says(DONE, len(TASKS))
        assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "task_done") == once([])


def test_without_it_what_is_older_than_the_interval_has_arrived(
    server: LocalServer, tmp_path: Path
) -> None:
    with celery(server, tmp_path, "none", SOON) as host:
        server.wait(len(TASKS), type="task_done", timeout=BOUND)
        assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "task_done") == once(TASKS)
