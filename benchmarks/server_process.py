"""Runs the counting server in a process of its own, and measures its limit."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from benchmarks.certificate import Certificate, get_certificate
from benchmarks.event import NAME, USER, make_properties

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


class ServerProcess:
    """A server that listens on `url`; `environment` is what a client needs to trust it."""

    def __init__(self, port: int, certificate: Certificate | None = None) -> None:
        self.port = port
        self._certificate = certificate
        self.url = (
            f"http://127.0.0.1:{port}" if certificate is None else f"https://localhost:{port}"
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a client trust this server."""
        found = self._certificate
        return {} if found is None else {"SSL_CERT_FILE": str(found.authorities)}

    def summary(self) -> dict[str, int]:
        """Return the counts of what arrived."""
        handlers: list[Any] = [ProxyHandler({})]
        if self._certificate is not None:
            trusting = ssl.create_default_context(cafile=str(self._certificate.authorities))
            handlers.append(HTTPSHandler(context=trusting))
        with build_opener(*handlers).open(f"{self.url}/_counts", timeout=120) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


@contextmanager
def run_server(
    *, delay: float = 0.0, hang: bool = False, encrypted: bool = False
) -> Iterator[ServerProcess]:
    """Run a server while the block runs."""
    certificate = get_certificate() if encrypted else None
    command = [sys.executable, "-m", "benchmarks.counting_server", "--delay", str(delay)]
    command += ["--hang"] if hang else []
    command += [] if certificate is None else ["--certificate", str(certificate.server)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield ServerProcess(int(process.stdout.readline()), certificate)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def closed_port_url() -> str:
    """Return a URL of this machine where no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def ceiling(seconds: float) -> dict[str, float]:
    """Measure what the server accepts from a bare sender, since it must not be the bottleneck."""
    one = json.dumps({"user": USER, "event": NAME, "properties": make_properties(0)}).encode()
    return {
        "requests per second, with one event each": _rate(one, seconds),
        "events per second, with 500 in each request": 500 * _rate(b",".join([one] * 500), seconds),
    }


def _rate(body: bytes, seconds: float) -> float:
    message = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with run_server() as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            connection.sendall(message)
            if not connection.recv(65536):
                raise ConnectionError("the server closed the connection")
            sent += 1
        return sent / (time.perf_counter() - began)


def count_losses(expected: int, counts: dict[str, int]) -> dict[str, Any]:
    """Return how many events never arrived, and how many arrived again."""
    return {"lost": expected - counts["unique"], "doubled": counts["doubled"]}
