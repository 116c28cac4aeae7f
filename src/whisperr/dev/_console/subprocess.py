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
    received: list[int] = []  # the signals
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: object) -> None:
        """Forward a signal; the interpreter calls it between two instructions of this thread."""
        received.append(number)
        if child is None:
            return  # forwarded below, when the command is started
        if len(received) > 1:
            child.kill()
        elif number == signal.SIGTERM or not _from_terminal():
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        child = subprocess.Popen(list(command), env=environment)  # noqa: S603  # the user's own command
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        print(f"whisperr dev: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
    for early in received[-1:]:
        child.send_signal(early)
    code = _wait(child, received)
    return code if code >= 0 else 128 - code


def _wait(child: subprocess.Popen[bytes], received: Sequence[int]) -> int:
    """Return the exit code; after a signal, terminate and then kill what does not end in time."""
    terminated = False
    while True:
        signalled = bool(received)  # a signal while waiting still gets a whole period
        try:
            return child.wait(_GRACE_PERIOD if signalled else _POLL_INTERVAL)
        except subprocess.TimeoutExpired:
            if terminated:
                child.kill()
            elif signalled:
                child.terminate()
                terminated = True


def _from_terminal() -> bool:
    """Return whether Ctrl-C reaches this process and the command: a terminal's foreground."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no terminal, or a system without groups
        return False
