"""The page's configuration of a real gunicorn: each worker has a port with its own counters."""

from __future__ import annotations

import signal
import socket
from importlib.util import find_spec
from threading import Event
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.docs.page import get_blocks
from tests.facilities import needs_signals
from tests.hosted import BOUND, Hosted
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    needs_signals,
    *(
        pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
        for name in ("gunicorn", "prometheus_client")
    ),
]

APP = """
import os
from prometheus_client import REGISTRY
from whisperr import Whisperr
from whisperr.prometheus import collector

client = Whisperr(flush_interval=3_600, flush_at=10_000)
REGISTRY.register(collector(client))

def app(environ, start_response):
    client.track(environ["HTTP_X_USER"], "seen")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
PORTS = "range(9700, 9704)"
WORKERS = 2
EVENTS = 12


def find_free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def scrape(port: int) -> float | None:
    """Return how many events the worker of a port has accepted; None if no worker has it."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=BOUND) as answer:
            lines = answer.read().decode().splitlines()
    except (URLError, ConnectionError):
        return None
    (line,) = [one for one in lines if one.startswith("whisperr_client_event_accepted ")]
    return float(line.split()[1])


def scrape_all(ports: list[int]) -> list[float]:
    return [value for port in ports if (value := scrape(port)) is not None]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
def test_the_ports_of_all_workers_have_all_events(tmp_path: Path, preload: list[str]) -> None:
    blocks = get_blocks("docs/delivery/metrics.md", "python")
    (config,) = [block for block in blocks if "gunicorn" in block]
    ports = find_free_ports(2 * WORKERS)
    assert PORTS in config
    (tmp_path / "gunicorn.conf.py").write_text(config.replace(PORTS, str(ports)))
    (tmp_path / "shop.py").write_text(APP)
    options = ["--chdir", tmp_path, "-c", tmp_path / "gunicorn.conf.py", "-b", "127.0.0.1:0"]
    with (
        LocalServer() as server,
        Hosted("gunicorn", *options, *preload, "shop:app", server=server) as host,
    ):
        for _ in range(600):
            if len(scrape_all(ports)) == WORKERS:
                break
            Event().wait(0.1)
        workers = {host.post("/", f"user_{n}") for n in range(EVENTS)}
        counts = scrape_all(ports)
        assert len(counts) == WORKERS
        assert sum(counts) == EVENTS
        assert len([count for count in counts if count]) == len(workers)
        output = host.stop(signal.SIGTERM)
    assert "Traceback" not in output
    assert len(server.arrivals()) == EVENTS
