"""The example in real workers: every pool, stopped as operators stop it, loses nothing.

Its client is replaced by one that only the integration makes deliver: see shop.py.
"""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosted import BOUND, EXAMPLES, Hosted
from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(find_spec("celery") is None, reason="Celery is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="the prefork pool needs fork"),
]

TASKS = 6


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


def queue_tasks(folder: Path) -> None:
    """Send the tasks as another process would: by name, half of the users by position."""
    from celery import Celery

    for name in ("messages", "control"):
        (folder / name).mkdir()
    options = {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
    }
    with Celery("sender", broker="filesystem://", set_as_current=False) as app:
        app.conf.broker_transport_options = options
        for n in range(TASKS):
            by_name = n % 2 == 0
            user = f"user_{n}"
            given = {"kwargs": {"user_id": user}} if by_name else {"args": (user,)}
            app.send_task("shop.export", **given)


def worker(server: LocalServer, folder: Path, *options: Any, **more: str) -> Hosted:
    command = ["-A", "tests.celery.shop", "worker", "-l", "INFO", *options]
    path = os.pathsep.join([str(EXAMPLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    given = {"BROKER_FOLDER": str(folder), "PYTHONPATH": path}
    return Hosted("celery", *command, server=server, **given, **more)


@pytest.mark.parametrize(
    "options",
    [
        ["-P", "prefork", "-c", 2],
        ["-P", "threads", "-c", 2],
        ["-P", "solo"],
    ],
    ids=["prefork", "threads", "solo"],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["SIGTERM", "SIGQUIT"])
def test_a_worker_that_is_stopped_delivers_what_its_tasks_tracked(
    server: LocalServer, tmp_path: Path, options: list[Any], number: signal.Signals
) -> None:
    queue_tasks(tmp_path)
    with worker(server, tmp_path, *options) as host:
        host.wait_for_output(rf"(?s)(?:succeeded in.*){{{TASKS}}}")
        host.send(number)
        # Not for the end of Celery itself, which once took more than a minute after SIGQUIT.
        arrivals = server.wait(TASKS, timeout=BOUND)
    assert sorted(str(a.user) for a in arrivals) == [f"user_{n}" for n in range(TASKS)]


def test_a_process_for_each_task_loses_nothing(server: LocalServer, tmp_path: Path) -> None:
    queue_tasks(tmp_path)
    options = ["-P", "prefork", "-c", 2, "--max-tasks-per-child", 1]
    with worker(server, tmp_path, *options) as host:
        server.wait(TASKS, timeout=BOUND)
        host.stop()
    users = sorted(str(a.user) for a in server.arrivals())
    assert users == [f"user_{n}" for n in range(TASKS)]


def test_a_flush_after_each_task_leaves_nothing_for_a_kill(
    server: LocalServer, tmp_path: Path
) -> None:
    queue_tasks(tmp_path)
    with worker(server, tmp_path, "-P", "prefork", "-c", 2, FLUSH_AFTER_TASK="30") as host:
        host.wait_for_output("ready")
        arrivals = server.wait(TASKS, timeout=BOUND)
    # The end of the block killed all of them; nothing else made them deliver.
    assert sorted(str(a.user) for a in arrivals) == [f"user_{n}" for n in range(TASKS)]


def test_events_in_a_sqlite_file_survive_a_killed_worker_and_another_process_delivers_them(
    server: LocalServer, tmp_path: Path
) -> None:
    queue_tasks(tmp_path)
    url = f"sqlite:///{tmp_path}/whisperr.db"
    with worker(server, tmp_path, "-P", "prefork", "-c", 2, WHISPERR_BUFFER=url) as host:
        host.wait_for_output(rf"(?s)(?:succeeded in.*){{{TASKS}}}")
    # The end of the block killed all of them, and none had delivered.
    assert server.arrivals() == []
    with Whisperr("wrk_test", base_url=server.url, buffer=url, flush_interval=0.1) as other:
        other.track("user_6", "export_failed")
        arrivals = server.wait(TASKS + 1, timeout=BOUND)
    assert sorted(str(a.user) for a in arrivals) == [f"user_{n}" for n in range(TASKS + 1)]


def test_without_the_integration_a_pool_process_loses_what_is_queued(
    server: LocalServer, tmp_path: Path
) -> None:
    queue_tasks(tmp_path)
    with worker(server, tmp_path, "-P", "prefork", "-c", 2, WITHOUT_SIGNAL="1") as host:
        host.wait_for_output(rf"(?s)(?:succeeded in.*){{{TASKS}}}")
        host.stop()
    assert server.arrivals() == []
