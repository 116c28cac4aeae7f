"""Celery's prefork children exit by `os._exit`: a signal of Celery's has to deliver."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import BOUND, NEVER, SOON, Host, counts, needs, once
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = needs("celery")

TASKS = range(8)
CELERY = [
    sys.executable,
    "-m",
    "celery",
    "--app",
    "tests.hosts.apps.celery_shop",
    "worker",
    "--concurrency",
    "2",
]
CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
CELERY += ["--pool", "prefork"]
DONE = r"Task \S+\.charge\S+ succeeded"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LocalServer]]:
    """Run four workers at once, each to its graceful stop; return their servers."""
    with ExitStack() as stack:

        def start(interval: float = NEVER, **environment: object) -> tuple[LocalServer, Host]:
            server = stack.enter_context(LocalServer())
            home = tmp_path_factory.mktemp("broker")
            host = Host([*CELERY], server, interval, BROKER_FOLDER=home, **environment)
            return server, stack.enter_context(host)

        started = {
            "signal": start(REMEDY="signal"),
            # Two children, so each runs half of the tasks and is replaced then.
            "signal, children replaced": start(REMEDY="signal", MAX_TASKS=len(TASKS) // 2),
            "none": start(REMEDY="none"),
            "none, small interval": start(SOON, REMEDY="none"),
        }
        for name in ("none, small interval", "signal, children replaced"):
            started[name][0].wait(len(TASKS), type="task_done", timeout=BOUND)
        for _, host in started.values():
            host.wait_for_output(DONE, len(TASKS))
        for _, host in started.values():
            host.send(signal.SIGTERM)
        assert [host.wait() for _, host in started.values()] == [0] * 4
        yield {name: server for name, (server, _) in started.items()}


@pytest.mark.parametrize(
    ("name", "arrived"),
    [
        ("signal", TASKS),
        ("signal, children replaced", TASKS),
        ("none", []),
        ("none, small interval", TASKS),
    ],
)
def test_a_signal_that_shuts_down_or_a_small_interval_delivers_once(
    servers: dict[str, LocalServer], name: str, arrived: Sequence[int]
) -> None:
    assert counts(servers[name], "task_done") == once(arrived)
