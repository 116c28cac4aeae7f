"""`whisperr dev -- COMMAND`: run a command beside the local server, and end with it.

A terminal sends Ctrl-C to the command as well as to this process, which then only waits. A signal
that was sent to this process alone is forwarded. A command that does not end within the grace
period is terminated; a second signal kills it at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_FOUND = 127
NOT_RUNNABLE = 126

_GRACE_PERIOD = 10.0  # seconds
_DUMMY_KEY = "wrk_dev"
_POLL_INTERVAL = 0.5
_FORWARDED = (signal.SIGINT, signal.SIGTERM)


def run_command(command: Sequence[str], url: str, api_key: str | None) -> int:
    """Run it with WHISPERR_BASE_URL set, and a key if none is; return its exit code.

    128 plus the signal's number when a signal ended it, as in a shell; 127 or 126 when it cannot
    be started.
    """
    environment = {**os.environ, "WHISPERR_BASE_URL": url}
    if not environment.get("WHISPERR_API_KEY"):
        environment["WHISPERR_API_KEY"] = api_key or _DUMMY_KEY
    forwarder = _SignalForwarder()
    before = {number: signal.signal(number, forwarder.handle) for number in _FORWARDED}
    try:
        child = subprocess.Popen(list(command), env=environment)  # noqa: S603  # the user's own command
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        print(f"whisperr dev: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
    forwarder.watch(child)
    while True:
        signalled = forwarder.count > 0  # a signal while waiting still gets a whole period
        try:
            code = child.wait(_GRACE_PERIOD if signalled else _POLL_INTERVAL)
        except subprocess.TimeoutExpired:
            if signalled:
                forwarder.terminate()
            continue
        return code if code >= 0 else 128 - code


class _SignalForwarder:
    """Handles signals; the interpreter calls it between two instructions of the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._early: int | None = None  # a signal that arrived before the command was started

    def watch(self, child: subprocess.Popen[bytes]) -> None:
        """Forward signals to this command, also one that arrived while it was started."""
        self._child = child
        if self._early is not None:
            child.send_signal(self._early)

    def handle(self, number: int, _frame: object) -> None:
        self.count += 1
        if self._child is None:
            self._early = number
        elif self.count > 1:
            self._child.kill()
        elif number == signal.SIGTERM or not _from_terminal():
            self._child.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM to a command that did not end in time; the second time, SIGKILL."""
        self.count += 1
        assert self._child is not None  # the caller waits for it, so it was started
        if self.count > 2:  # noqa: PLR2004  # the first was the signal, the second SIGTERM
            self._child.kill()
        else:
            self._child.terminate()


def _from_terminal() -> bool:
    """Return whether Ctrl-C reaches this process and the command: a terminal's foreground."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no terminal, or a system without groups
        return False
