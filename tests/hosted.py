"""Hosts of the integrations: a module that is started, gets requests, and is stopped.

`tests.hosts.host` starts, reads and ends the processes.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.hosts.host import BOUND, ROOT, Host

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

    from whisperr.dev import LocalServer

__all__ = ["BOUND", "EXAMPLES", "Hosted"]

EXAMPLES = ROOT / "examples"
_ADDRESS = r"127\.0\.0\.1:(\d+)"
_ATTEMPTS = 600  # a tenth of a second apart: no machine takes so long to listen


class Hosted:
    """One host, started by `python -m`, and the output of it and its children."""

    def __init__(self, module: str, *arguments: object, server: LocalServer, **given: str) -> None:
        environment: dict[str, Any] = dict(given)
        self._host = Host([sys.executable, "-m", module, *arguments], server, **environment)

    def wait_for_output(self, pattern: str) -> str:
        """Wait until the output has a match; return the captured group."""
        return self._host.wait_for_output(pattern)[0]

    def post(self, path: str, user: str, headers: Mapping[str, str] | None = None) -> str:
        """Make one request for a user; return the text of the answer."""
        return self._request(path, b"", {"X-User": user, **(headers or {})})

    def get(self, path: str) -> str:
        """Make one request without a user; return the text of the answer."""
        return self._request(path, None, {})

    def _request(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> str:
        url = f"http://127.0.0.1:{self.wait_for_output(_ADDRESS)}{path}"
        request = Request(url, body, dict(headers))
        for _ in range(_ATTEMPTS):
            with suppress(ConnectionRefusedError), _open(request) as answer:
                text: str = answer.read().decode()
                return text
            # A worker of uvicorn reports its start a moment before it listens.
            Event().wait(0.1)
        raise AssertionError(f"no process listens:\n{self._host.text}")

    def send(self, number: int) -> None:
        """Send a signal to the process that was started."""
        self._host.send(number)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal to the process that was started; wait for the end and return the output."""
        self.send(number)
        return self.wait()

    def wait(self) -> str:
        """Wait for the end; return the output."""
        self._host.wait()
        return self._host.text

    def __enter__(self) -> Self:
        self._host.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._host.__exit__(kind, error, trace)


def _open(request: Request) -> Any:
    """Make a request; raises what the socket raised."""
    try:
        return urlopen(request, timeout=BOUND)
    except URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else error from error
