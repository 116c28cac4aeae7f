"""uvicorn ends by the signal that stopped it: only the lifespan of the application can deliver."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import BOUND, NEVER, SOON, Host, counts, needs, once

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = needs("uvicorn")

UVICORN = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "0"]


def uvicorn(server: LocalServer, workers: int, lifespan: bool, interval: float = NEVER) -> Host:
    command = [*UVICORN, "--workers", workers, "tests.hosts.apps.shop_asgi:application"]
    return Host(command, server, interval, LIFESPAN=int(lifespan))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_lifespan_that_shuts_down_delivers_once(
    server: LocalServer, workers: int, number: signal.Signals
) -> None:
    with uvicorn(server, workers, lifespan=True) as host:
        host.wait_for_output("Application startup complete", workers)
        host.get_all(range(12))
        host.stop(number)
    assert counts(server, "request_made") == once(range(12))
    assert len(counts(server, "app_loaded")) == workers


@pytest.mark.parametrize(
    ("workers", "number", "arrived"),
    [
        (1, signal.SIGTERM, []),
        (1, signal.SIGINT, [0]),  # a KeyboardInterrupt, which is a normal exit
        (2, signal.SIGTERM, []),
        (2, signal.SIGINT, []),  # the parent sends SIGTERM to its workers
    ],
)
def test_without_a_lifespan_the_last_events_are_lost_on_sigterm(
    server: LocalServer, workers: int, number: signal.Signals, arrived: list[int]
) -> None:
    with uvicorn(server, workers, lifespan=False) as host:
        host.wait_for_output("Application startup complete", workers)
        host.get(0)
        host.stop(number)
    assert counts(server, "request_made") == once(arrived)


def test_without_a_lifespan_events_older_than_the_interval_have_arrived(
    server: LocalServer,
) -> None:
    with uvicorn(server, 2, lifespan=False, interval=SOON) as host:
        host.wait_for_output("Application startup complete", 2)
        host.get_all(range(6))
        server.wait(6, type="request_made", timeout=BOUND)
        host.stop()
    assert counts(server, "request_made") == once(range(6))
