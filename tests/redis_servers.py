"""Several real Redis servers: a master with a replica and a sentinel, and clusters."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.redis_server import connect, get_program, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

# Far more than a start, a fail-over or a change of slots takes.
LIMIT = 60.0
SERVICE = "shop-master"
_SLOTS = 16_384
_LOWEST_PORT = 12_000  # below those that the kernel gives out
_BUS = 10_000
_PAUSE = threading.Event()  # never set


class Node:
    """One server process, of any role, on a port of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = get_port_with_bus()
        self.home = directory / str(self.port)
        self.home.mkdir()
        command = [get_program() or "", *self._get_file(), "--port", str(self.port)]
        command += ["--bind", "127.0.0.1", "--dir", str(self.home), "--save", "", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_until(self._answers, "a server does not answer")
        except BaseException:
            self.stop()
            raise

    def connect(self) -> redis.Redis:
        """Return a client of its own, as an administrator uses one."""
        return connect(self.port)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)

    def _get_file(self) -> list[str]:
        return []

    def _answers(self) -> bool:
        import redis

        assert self.process.poll() is None, "redis-server ended"
        try:
            return bool(self.connect().ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


class Sentinel(Node):
    """A sentinel that watches one master."""

    def __init__(self, directory: Path, master: int, password: str = "") -> None:
        self._file = directory / f"sentinel-{master}-{password}.conf"
        self._file.write_text(
            f"sentinel monitor {SERVICE} 127.0.0.1 {master} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 300\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
            f'requirepass "{password}"\n'
        )
        super().__init__(directory, "--sentinel")

    def _get_file(self) -> list[str]:
        return [str(self._file)]


def get_port_with_bus() -> int:
    """Return a free port; the port that other servers of a cluster derive from it is free too."""
    while True:
        port = random.randrange(_LOWEST_PORT, _LOWEST_PORT + _BUS)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + _BUS))
            return port


def wait_until(is_true: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_true():
        assert time.monotonic() < deadline, problem
        _PAUSE.wait(0.02)  # not to take the processor from what is waited for


class Servers:
    """Server processes that end together, even if one of them does not start."""

    def __init__(self, directory: Path) -> None:
        self.nodes: list[Node] = []
        try:
            self._start(directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _start(self, directory: Path) -> None:
        raise NotImplementedError


class Guarded(Servers):
    """A master, its replica, and a sentinel that makes the replica the master when it is gone."""

    def _start(self, directory: Path) -> None:
        self.master = self._add(Node(directory))
        of_master = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.replica = self._add(Node(directory, *of_master))
        wait_until(
            lambda: self.replica.connect().info("replication")["master_link_status"] == "up",
            "the replica does not follow",
        )
        self.sentinel = self._add(Sentinel(directory, self.master.port))
        wait_until(
            lambda: self.sentinel.connect().sentinel_master(SERVICE)["num-slaves"] == 1,
            "the sentinel does not know the replica",
        )

    def _add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def url(self, stream: str, *, before: str = "") -> str:
        """Return the URL of a buffer; `before`: hosts that are named first."""
        hosts = f"{before}127.0.0.1:{self.sentinel.port}"
        return f"redis+sentinel://{hosts}/{SERVICE}?stream={stream}&timeout=5"

    def fail_over(self) -> None:
        """End the master and wait until the replica is the master."""
        self.master.stop()
        wait_until(
            lambda: self.replica.connect().info("replication")["role"] == "master",
            "the replica was not promoted",
        )


class Cluster(Servers):
    """Two servers that share the slots of a cluster evenly."""

    def _start(self, directory: Path) -> None:
        count = 2
        for _ in range(count):
            self.nodes.append(Node(directory, "--cluster-enabled", "yes"))
        share = -(-_SLOTS // count)
        for at, node in enumerate(self.nodes):
            client = node.connect()
            slots = range(at * share, min((at + 1) * share, _SLOTS))
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for node in self.nodes[1:]:
            node.connect().execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(
            lambda: all(self._is_ready(node) for node in self.nodes), "the cluster does not form"
        )

    def url(self, stream: str, *, before: str = "", **options: object) -> str:
        """Return the URL of a buffer that names the first server only."""
        rest = "".join(f"&{name}={value}" for name, value in options.items())
        hosts = f"{before}127.0.0.1:{self.nodes[0].port}"
        return f"redis+cluster://{hosts}?stream={stream}&timeout=5{rest}"

    def get_owner(self, key: str) -> Node:
        """Return the server that has the slot of a key."""
        slot = self.nodes[0].connect().execute_command("CLUSTER", "KEYSLOT", key)
        return self.nodes[int(slot) // -(-_SLOTS // len(self.nodes))]

    def _is_ready(self, node: Node) -> bool:
        client = node.connect()
        state = client.execute_command("CLUSTER", "INFO")
        text = state.decode() if isinstance(state, bytes) else str(state)
        return "cluster_state:ok" in text or "'cluster_state': 'ok'" in text


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    if reason := why_not():
        pytest.skip(reason)
    made = Guarded(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()
