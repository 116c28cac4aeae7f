"""Real processes of the doors' hosts: started, read, asked, stopped, ended for certain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from whisperr.dev import LocalServer

# Machines are noisy: only a process that hangs takes this long.
BOUND = 60
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_ADDRESS = r"127\.0\.0\.1:(\d+)"


class Hosted:
    """One host in a process group of its own, and what it and its children say."""

    def __init__(self, module: str, *arguments: object, server: LocalServer, **given: str) -> None:
        self._changed = Condition()
        self._said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "WHISPERR_API_KEY": "wrk_test",
                "WHISPERR_BASE_URL": server.url,
                **given,
            },
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def says(self, pattern: str) -> str:
        """Wait until the output has a match; return what it captured."""
        found: list[re.Match[str]] = []

        def reached() -> bool:
            found[:] = re.finditer(pattern, self._said)
            return bool(found) or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(reached, BOUND)
        assert found, f"it never said {pattern!r}:\n{self._said}"
        return found[0].group(found[0].lastindex or 0)

    def post(self, path: str, user: str) -> str:
        """Make one request for a user."""
        url = f"http://127.0.0.1:{self.says(_ADDRESS)}{path}"
        request = Request(url, b"", {"X-User": user}, method="POST")
        with urlopen(request, timeout=BOUND) as answer:
            text: str = answer.read().decode()
        return text

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal to the process that was started, wait for the end; return all it said."""
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> str:
        """Wait for the end; return all that was said."""
        self._process.wait(BOUND)
        self._reader.join(BOUND)  # ends with the last process that has inherited the pipe
        assert not self._reader.is_alive(), f"a child outlived its host:\n{self._said}"
        return self._said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):  # all of the group have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(BOUND)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._said += line
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
