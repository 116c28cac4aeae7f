"""What `whisperr dev` prints: one line for each event as it arrives, and for each fault."""

from __future__ import annotations

import json
import signal
import sys
import time
from threading import Event, Lock
from typing import TYPE_CHECKING, TextIO

from whisperr._terminal import printable, wants_colour
from whisperr.dev._web.server import LocalServer

from .subprocess import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisperr.dev._memory.arrivals import Arrival, ReceivedRequest
    from whisperr.dev.faults import Fault

_PROPERTIES_WIDTH = 100
_SIGNS = {"accepted": ("✓", "32"), "duplicate": ("=", "36"), "refused": ("✗", "31")}


class Terminal:
    """Writes lines for people to one stream; any thread may call any method."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._lock = Lock()

    def line(self, text: str) -> None:
        """Write one line, whole."""
        with self._lock:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def arrival(self, arrival: Arrival) -> None:
        """Write what arrived, and why it was refused."""
        sign, colour = _SIGNS[arrival.status]
        name = arrival.type or arrival.kind
        user = arrival.user if arrival.user is not None else "(no user)"
        line = f"{_clock(arrival.received_at)} {self._in(colour, sign)} {printable(name):<28} "
        self.line(f"{line}{printable(user):<16} {_details(arrival)}".rstrip())
        for problem in arrival.problems:
            self.line(f"{'':15}{self._in('31', printable(str(problem)))}")

    def request(self, request: ReceivedRequest) -> None:
        """Write about a request only when something was wrong with it."""
        fine = request.status is not None and request.status // 100 == 2  # noqa: PLR2004  # 2xx
        if fine and request.fault is None:
            return
        answered = "no answer" if request.status is None else f"HTTP {request.status}"
        rehearsed = f", rehearsed: {request.fault}" if request.fault else ""
        line = f"{_clock(request.received_at)} {self._in('33', '!')} "
        self.line(f"{line}{request.method} {printable(request.path)} {answered}{rehearsed}")

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def serve(
    *,
    port: int,
    api_key: str | None,
    max_body_bytes: int,
    seed: int,
    faults: Sequence[Fault],
    store: str | None,
    command: Sequence[str],
) -> int:
    """Serve until SIGINT or SIGTERM, or until the command ends, and print what arrives.

    Returns the exit code. Raises OSError or ValueError if it cannot listen or use the store.
    """
    stream = sys.stderr if command else sys.stdout  # the command's own output stays clean
    terminal = Terminal(stream, colour=wants_colour(stream))
    server = LocalServer(
        port,
        api_key=api_key,
        faults=faults,
        seed=seed,
        max_body_bytes=max_body_bytes,
        store=store,
        on_arrival=terminal.arrival,
        on_request=terminal.request,
    )
    with server:
        terminal.line(f"whisperr dev listens on {server.url}; Ctrl-C ends it")
        terminal.line(f"the page: open {server.url} in a browser")
        if not command:
            terminal.line(f"point an app at it: export WHISPERR_BASE_URL={server.url}")
        for fault in faults:
            terminal.line(f"rehearsed: {fault.kind}, for {fault.rate:.0%} of the requests")
        code = run_command(command, server.url, api_key) if command else _until_signalled()
    counts = server.summary()
    terminal.line(
        f"accepted {counts['accepted']}, duplicates {counts['duplicates']}, "
        f"refused {counts['refused']}, in {counts['requests']} requests"
    )
    return code


def _until_signalled() -> int:
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(1.0):  # a bounded wait, so that a signal is seen on every platform
        continue
    return 0


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"


def _details(arrival: Arrival) -> str:
    body = arrival.body if isinstance(arrival.body, dict) else {}
    shown = {k: v for k, v in body.items() if k in {"traits", "channels"}}
    if arrival.kind == "event":
        shown = body.get("properties", {})
    text = printable(json.dumps(shown, ensure_ascii=False)) if shown else ""
    return text if len(text) <= _PROPERTIES_WIDTH else f"{text[: _PROPERTIES_WIDTH - 1]}…"
