"""Run a command beside the local server: `whisperr dev -- COMMAND`. It ends with the command.

Ctrl-C in a terminal reaches the command as well as us: then we wait for it. A signal that was
sent to us alone is passed on. A command that does not end within its time is ended; a second
signal ends it at once.
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

_GRACE = 10.0
_DUMMY_KEY = "wrk_dev"
_LOOK_AGAIN = 0.5
_PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def run_command(command: Sequence[str], url: str, api_key: str | None) -> int:
    """Run it with WHISPERR_BASE_URL set, and a key if none is; return its exit code.

    128 and the signal's number when a signal ended it, as shells say it; 127 or 126 when it
    cannot be started.
    """
    environment = {**os.environ, "WHISPERR_BASE_URL": url}
    if not environment.get("WHISPERR_API_KEY"):
        environment["WHISPERR_API_KEY"] = api_key or _DUMMY_KEY
    signals = _Signals()
    before = {number: signal.signal(number, signals.came) for number in _PASSED_ON}
    try:
        child = subprocess.Popen(list(command), env=environment)  # noqa: S603  # what was asked for
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        print(f"whisperr dev: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
    signals.watch(child)
    while True:
        told = signals.count > 0  # one that comes while we wait is followed by a whole grace
        try:
            code = child.wait(_GRACE if told else _LOOK_AGAIN)
        except subprocess.TimeoutExpired:
            if told:
                signals.end()
            continue
        return code if code >= 0 else 128 - code


class _Signals:
    """What to do when a signal comes; called by the interpreter between two instructions."""

    def __init__(self) -> None:
        self.count = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._early: int | None = None  # a signal that came before there was a command

    def watch(self, child: subprocess.Popen[bytes]) -> None:
        """Pass signals on to this command, also the one that came while it was started."""
        self._child = child
        if self._early is not None:
            child.send_signal(self._early)

    def came(self, number: int, _frame: object) -> None:
        self.count += 1
        if self._child is None:
            self._early = number
        elif self.count > 1:
            self._child.kill()
        elif number == signal.SIGTERM or not _from_terminal():
            self._child.send_signal(number)

    def end(self) -> None:
        """Ask with SIGTERM what did not end in time; the second time, make it end."""
        self.count += 1
        assert self._child is not None  # it did not end in time, so it was started
        if self.count > 2:  # noqa: PLR2004  # the first was the signal, the second the request
            self._child.kill()
        else:
            self._child.terminate()


def _from_terminal() -> bool:
    """Say whether Ctrl-C goes to us and the command alike: we are a terminal's foreground."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no terminal, or a system without groups
        return False
