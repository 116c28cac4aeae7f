"""`whisperr dev` in a terminal: a line for each event as it arrives, and for each fault."""

from __future__ import annotations

import json
import signal
import sys
import time
from threading import Event, Lock
from typing import TYPE_CHECKING, TextIO

from whisperr._terminal import printable, wants_colour

from .subprocess import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest
    from whisperr.dev._web.server import LocalServer

_MAX_DETAILS_CHARS = 100
_SIGNS = {"accepted": ("✓", "32"), "duplicate": ("=", "36"), "refused": ("✗", "31")}


class Terminal:
    """Writes lines for people to one stream; any thread may call any method."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = wants_colour(stream)
        self._lock = Lock()

    def line(self, text: str) -> None:
        """Write one line, whole."""
        with self._lock:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def arrival(self, arrival: Arrival) -> None:
        """Write an arrival, and why it was refused."""
        sign, colour = _SIGNS[arrival.status]
        name = arrival.type or arrival.kind
        user = arrival.user if arrival.user is not None else "(no user)"
        start = f"{_format_time(arrival.received_at)} {self._paint(colour, sign)}"
        what = f"{printable(name):<28} {printable(user):<16}"
        self.line(f"{start} {what} {_format_details(arrival)}".rstrip())
        for problem in arrival.problems:
            self.line(f"{'':15}{self._paint('31', printable(str(problem)))}")

    def request(self, request: ReceivedRequest) -> None:
        """Write a line for a request that failed or met a fault."""
        fine = request.status is not None and request.status // 100 == 2  # noqa: PLR2004  # 2xx
        if fine and request.fault is None:
            return
        answered = "no answer" if request.status is None else f"HTTP {request.status}"
        injected = f", injected: {request.fault}" if request.fault else ""
        line = f"{_format_time(request.received_at)} {self._paint('33', '!')} "
        self.line(f"{line}{request.method} {printable(request.path)} {answered}{injected}")

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def open_terminal(command: Sequence[str]) -> Terminal:
    """Return a terminal on stderr beside a command, since stdout is for its output."""
    return Terminal(sys.stderr if command else sys.stdout)


def serve(server: LocalServer, terminal: Terminal, command: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM, or until the command ends; return the exit code.

    Raises OSError when it cannot listen.
    """
    with server:
        terminal.line(f"whisperr dev listens on {server.url}; Ctrl-C ends it")
        terminal.line(f"the page: open {server.url} in a browser")
        if not command:
            terminal.line(f"point an app at it: export WHISPERR_BASE_URL={server.url}")
        for fault in server.faults:
            terminal.line(f"injecting {fault.kind}, for {fault.rate:.0%} of the requests")
        api_key = server.api_key
        code = run_command(command, server.url, api_key) if command else _wait_for_signal()
    counts = server.summary()
    terminal.line(
        f"accepted {counts['accepted']}, duplicates {counts['duplicates']}, "
        f"refused {counts['refused']}, in {counts['requests']} requests"
    )
    return code


def _wait_for_signal() -> int:
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(1.0):  # a bounded wait, so that a signal is seen on every platform
        continue
    return 0


def _format_time(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"


def _format_details(arrival: Arrival) -> str:
    body = arrival.body if isinstance(arrival.body, dict) else {}
    details = {k: v for k, v in body.items() if k in {"traits", "channels"}}
    if arrival.kind == "event":
        details = body.get("properties", {})
    text = printable(json.dumps(details, ensure_ascii=False)) if details else ""
    return text if len(text) <= _MAX_DETAILS_CHARS else f"{text[: _MAX_DETAILS_CHARS - 1]}…"
