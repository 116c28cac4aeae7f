"""Starts real host processes on free ports, reads their output, and ends them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from whisperr.dev import LocalServer

# Machines are noisy: only a process that hangs takes this long.
BOUND = 60
APPS = Path(__file__).parent / "apps"
ROOT = APPS.parents[2]
BIN = Path(sys.executable).parent
# Intervals of a client that delivers only at a flush or at exit, and of one that delivers at once.
NEVER = 3600.0
SOON = 0.05

_ADDRESS = r"127\.0\.0\.1:(\d+)"


def needs(host: str, module: str | None = None) -> pytest.MarkDecorator:
    """Skip where a host is not installed; the reason names it."""
    is_installed = os.name == "posix" and find_spec(module or host) is not None
    reason = f"{host} is not installed here: see the extra `hosts` in pyproject.toml"
    return pytest.mark.skipif(not is_installed, reason=reason)


class Served(NamedTuple):
    """The answer of an application of a test: its process and what `track` returned."""

    pid: int
    message_id: str


class Host:
    """One host process in a process group of its own, and the output of it and its children."""

    def __init__(
        self,
        command: Iterable[object],
        server: LocalServer,
        flush_interval: float = NEVER,
        **environment: object,
    ) -> None:
        self._changed = Condition()
        self._lines: list[str] = []
        given = {
            "WHISPERR_API_KEY": "wrk_test",
            "WHISPERR_BASE_URL": server.url,
            "FLUSH_INTERVAL": flush_interval,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        # Other tests measure coverage; here it would slow every start.
        inherited = {name: text for name, text in os.environ.items() if "COVERAGE" not in name}
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**inherited, **{name: str(value) for name, value in given.items()}},
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """The process that was started: the master, where there is one."""
        return self._process.pid

    @property
    def text(self) -> str:
        """The output so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_for_output(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until the output has so many matches; return their captured groups."""
        found: list[str] = []

        def reached() -> bool:
            found[:] = re.findall(pattern, "".join(self._lines), re.MULTILINE)
            return len(found) >= times or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(reached, BOUND)
        assert len(found) >= times, f"the output has {pattern!r} not {times} times:\n{self.text}"
        return found

    def get(self, n: int) -> Served:
        """Make the request number `n` of the application; it tracks one event."""
        port = self.wait_for_output(_ADDRESS)[0]
        with urlopen(f"http://127.0.0.1:{port}/?{n}", timeout=BOUND) as answer:
            pid, message_id = answer.read().decode().split()
        return Served(int(pid), message_id)

    def get_all(self, numbers: Iterable[int]) -> list[Served]:
        """Make requests, four at a time."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(self.get, numbers))

    def send(self, number: int) -> None:
        """Send a signal to the process that was started."""
        self._process.send_signal(number)

    def send_to_all(self, number: int) -> None:
        """Send a signal to the process that was started and to its children."""
        os.killpg(self._process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the process that was started and wait for the end of all of them."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; the output is complete then. Return the exit status."""
        status = self._process.wait(BOUND)
        self._reader.join(BOUND)  # ends with the last process that has inherited the pipe
        assert not self._reader.is_alive(), f"a child outlived its host:\n{self.text}"
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):  # none of the group is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(BOUND)
        self._reader.join(BOUND)
        if self._process.stdout is not None:
            self._process.stdout.close()
        if error is not None:
            print(self.text)  # noqa: T201  # pytest shows it with the failure


def counts(server: LocalServer, name: str) -> Counter[int]:
    """Count, by its number `n`, how often each event of a type was accepted.

    Fails when one arrived twice: the server marks that one as a duplicate.
    """
    arrivals = server.arrivals(type=name)
    assert [a.status for a in arrivals if a.status != "accepted"] == []
    return Counter(a.body["properties"]["n"] for a in arrivals)


def once(numbers: Iterable[int]) -> Counter[int]:
    """Return the counts of events that arrived exactly once each."""
    return Counter(dict.fromkeys(numbers, 1))
