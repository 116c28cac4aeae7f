"""`whisperr dev` in a terminal: a line for each event and fault, and a command beside the server.

A terminal sends Ctrl-C to the command as well as to this process, which then only waits. A signal
that was sent to this process alone is forwarded. A command that does not end within the grace
period is terminated; a second signal kills it at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from threading import Event, Lock
from typing import TYPE_CHECKING, TextIO

from whisperr._contract import PAGES_URL, SDK_NAME
from whisperr._events.batch import to_request
from whisperr._foreign import printable
from whisperr._options import get_flag
from whisperr._platform import WINDOWS
from whisperr._process.signals import ENDING
from whisperr._terminal import wants_colour

from .running import REFUSED_KEYS, get_counts, get_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest
    from whisperr.dev._web.server import LocalServer

NOT_FOUND = 127
NOT_RUNNABLE = 126
_NOT_RUN = (NOT_FOUND, NOT_RUNNABLE)

_GRACE_PERIOD = 10.0  # seconds
_DUMMY_KEY = "wrk_dev"
_POLL_INTERVAL = 0.5
_REFUSED_BODY = 400
_MAX_DETAILS_CHARS = 100
_MAX_NAME_CHARS = 200
_MAX_PROBLEM_CHARS = 500
_MAX_PROBLEMS = 20  # of one arrival; the API has all of them
# Why a command may have succeeded without sending anything.
_NOTHING = (
    "nothing arrived. Possible reasons:",
    "  - the command called neither track() nor identify(), or all calls were invalid: see above",
    "  - the visitor is anonymous: integrations send nothing until a user logs in",
    "  - the client has base_url=... or disabled=True",
    "  - a buffer or an outbox keeps the events: start the relay of an outbox in another terminal,",
    "    whisperr dev -- python manage.py whisperr_relay, or -- whisperr relay --database URL",
    "With WHISPERR_DEBUG=1 the client logs what happens to each call",
)
_SIGNALLED = 128  # exit codes from here on mean that a signal ended the command
_SIGNS = {"accepted": ("✓", "32"), "duplicate": ("=", "36"), "refused": ("✗", "31")}


class Terminal:
    """Writes lines for people to a stream. Any thread may call any method."""

    def __init__(self, stream: TextIO, *, is_optional: bool = False) -> None:
        self._stream = stream
        self._is_optional = is_optional  # whether errors of the stream are ignored
        self._colour = wants_colour(stream)
        self._lock = Lock()

    def line(self, text: str) -> None:
        """Write one line, whole."""
        try:
            with self._lock:
                self._stream.write(f"{text}\n")
                self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, a full disk, a closed stream
            if not self._is_optional:
                raise

    def arrival(self, arrival: Arrival) -> None:
        """Write an arrival, with the reasons if it was refused."""
        sign, colour = _SIGNS[arrival.status]
        name = arrival.type or arrival.kind
        user = arrival.user if arrival.user is not None else "(no user)"
        start = f"{_format_time(arrival.received_at)} {self._paint(colour, sign)}"
        what = f"{printable(name, _MAX_NAME_CHARS):<24} {printable(user, _MAX_NAME_CHARS):<12}"
        self.line(f"{start} {what} {_format_details(arrival)}{_format_webhook(arrival)}".rstrip())
        for problem in arrival.problems[:_MAX_PROBLEMS]:
            text = printable(str(problem), _MAX_PROBLEM_CHARS)
            self.line(f"{'':15}{self._paint('31', text)}")

    def request(self, request: ReceivedRequest) -> None:
        """Write a request that failed or met a fault, with the reason if it was refused."""
        if request.status == _REFUSED_BODY and _is_probe(request):
            moment = _format_time(request.received_at)
            self.line(f"{moment} - whisperr doctor asked about the key: it is accepted")
            return
        fine = request.status is not None and request.status // 100 == 2  # noqa: PLR2004  # 2xx
        if fine and request.fault is None:
            return
        answered = "no answer" if request.status is None else f"HTTP {request.status}"
        injected = f", injected: {request.fault}" if request.fault else ""
        line = f"{_format_time(request.received_at)} {self._paint('33', '!')} "
        called = f"{request.method} {request.path}".strip() or "(no HTTP)"
        self.line(f"{line}{printable(called, _MAX_NAME_CHARS)} {answered}{injected}")
        if request.reason is not None and not (request.fault or request.refused):
            text = printable(request.reason, _MAX_PROBLEM_CHARS)
            self.line(f"{'':15}{self._paint('31', text)}")

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def _is_probe(request: ReceivedRequest) -> bool:
    """Return whether the request comes from the doctor: one of the client without events."""
    agent = request.headers.get("user-agent", "")
    return request.body == to_request(()).body and agent.startswith(f"{SDK_NAME}/")


def open_terminal(*, to_stderr: bool) -> Terminal:
    """Return a terminal; it writes to stderr where stdout is that of a command or of a protocol.

    The server continues even if the reader of the stream has gone.
    """
    return Terminal(sys.stderr if to_stderr else sys.stdout, is_optional=True)


def serve(server: LocalServer, terminal: Terminal, command: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM, or until the command ends; return the exit code.

    The caller has started the server; this closes it at the end.
    """
    try:
        end = "ends with the command" if command else "Ctrl-C ends it"
        terminal.line(f"whisperr dev listens on {server.url} (open it in a browser); {end}")
        if not command:
            key = "" if server.api_key is not None else f" WHISPERR_API_KEY={_DUMMY_KEY}"
            terminal.line(f"point an app at it: export WHISPERR_BASE_URL={server.url}{key}")
        for fault in server.faults:
            kind = f"status {fault.code}" if fault.kind == "status" else fault.kind
            terminal.line(f"injecting {kind}, for {fault.rate:.0%} of the requests")
        if command:
            _warn_if_disabled(terminal)
        api_key = server.api_key
        code = run_command(command, server.url, api_key) if command else wait_for_signal()
    finally:
        server.close()
    print_summary(terminal, server.summary(), code if command else None)
    return code


def run_beside(port: int, terminal: Terminal, command: Sequence[str], api_key: str | None) -> int:
    """Run a command with the `whisperr dev` that already runs on a port; return the exit code."""
    url = get_url(port)
    terminal.line(f"using the whisperr dev that already runs at {url}: events are shown there")
    _warn_if_disabled(terminal)
    before = get_counts(port) or {}
    code = run_command(command, url, api_key)
    after = get_counts(port)
    if after is None:
        terminal.line(f"the whisperr dev at {url} has ended in the meantime")
    else:
        counts = {name: max(count - before.get(name, 0), 0) for name, count in after.items()}
        if counts[REFUSED_KEYS]:  # its own server prints that
            terminal.line(
                "it answered 401: if it was started with --key KEY, use the same option here"
            )
        print_summary(terminal, counts, code)
    return code


def _is_disabled() -> bool:
    """Return whether the environment disables the client of the command."""
    try:
        return get_flag("disabled")
    except ValueError:  # its client says what is wrong
        return False


def _warn_if_disabled(terminal: Terminal) -> None:
    if _is_disabled():
        terminal.line("WHISPERR_DISABLED is set, so the command will send nothing: unset it")


def print_summary(terminal: Terminal, counts: Mapping[str, int], code: int | None) -> None:
    """Print what arrived, or why nothing did; `code` is the exit code of the command, if any."""
    requests = counts["requests"]
    if code is not None and code not in _NOT_RUN and not requests:
        if 0 < code < _SIGNALLED:
            terminal.line(f"nothing arrived: the command ended with {code}; see above")
        elif _is_disabled():
            terminal.line("nothing arrived: WHISPERR_DISABLED is set")
        else:
            first, *others = _NOTHING
            for line in (first, *_blame_signal(code), *others):
                terminal.line(line)
    terminal.line(
        f"accepted {counts['accepted']}, duplicates {counts['duplicates']}, "
        f"refused {counts['refused']}, in {requests} request{'' if requests == 1 else 's'}"
    )


def _blame_signal(code: int) -> list[str]:
    """Return the reason that a signal gives for missing events, as lines; none if it gives none.

    After Ctrl-C, Python still runs its exit functions, which deliver.
    """
    number = code - _SIGNALLED
    if number not in set(signal.Signals) - {signal.SIGINT}:
        return []
    return [
        f"  - {signal.Signals(number).name} killed the command, and its queued events with it: see",
        f"    {PAGES_URL}delivery/processes.md",
    ]


def wait_for_signal(stop: Event | None = None) -> int:
    """Wait until SIGINT or SIGTERM comes, or `stop` is set; return the exit code."""
    stop = stop or Event()
    for number in ENDING:
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(1.0):  # a bounded wait, so that a signal is seen on every platform
        continue
    return 0


def run_command(command: Sequence[str], url: str, api_key: str | None) -> int:
    """Run a command with WHISPERR_BASE_URL set, and a key if none is; return its exit code.

    As in a shell, this is 128 plus the number of the signal that ended the command, and 127 or 126
    if it cannot be started.
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
            _send(child, number)

    before = {number: signal.signal(number, forward) for number in ENDING}
    try:
        child = subprocess.Popen(list(command), env=environment)  # noqa: S603  # the user's own command
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        text = f"whisperr dev: cannot run {command[0]}: {error.strerror}"
        if len(command) == 1 and " " in command[0]:
            text += "; write the command without quotation marks around it"
        print(printable(text), file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
    for early in received[-1:]:
        _send(child, early)
    code = _wait(child, received)
    return code if code >= 0 else 128 - code


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    if WINDOWS:  # where one process cannot send Ctrl-C to another one alone
        child.terminate()
    else:
        child.send_signal(number)


def _wait(child: subprocess.Popen[bytes], received: Sequence[int]) -> int:
    """Return the exit code; after a signal, terminate and then kill a command that does not end."""
    terminated = False
    left = _GRACE_PERIOD
    while True:
        signalled = bool(received)  # a signal while waiting still gets a whole period
        try:
            return child.wait(_POLL_INTERVAL)  # so short that Windows notices a second Ctrl-C
        except subprocess.TimeoutExpired:
            left -= _POLL_INTERVAL if signalled else 0.0
            if left > 0:
                continue
            left = _GRACE_PERIOD
            if terminated:
                child.kill()
            else:
                child.terminate()
                terminated = True


def _from_terminal() -> bool:
    """Return whether Ctrl-C reaches this process and the command: a terminal's foreground.

    Always on Windows: Ctrl-C and Ctrl-Break go to all processes of a console.
    """
    if sys.platform == "win32" or not hasattr(os, "tcgetpgrp"):
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no terminal
        return False


def _format_time(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"


def _format_webhook(arrival: Arrival) -> str:
    """Return which webhook of a billing provider an event is a signal of; "" if it is none."""
    body = arrival.body if isinstance(arrival.body, dict) else {}
    context = body.get("context")
    if not isinstance(context, dict) or not isinstance(context.get("provider_event_id"), str):
        return ""
    names = (context.get("provider"), context["provider_event_id"])
    return printable(
        f" [{' '.join(name for name in names if isinstance(name, str))}]", 2 * _MAX_NAME_CHARS
    )


def _format_details(arrival: Arrival) -> str:
    body = arrival.body if isinstance(arrival.body, dict) else {}
    details = {k: v for k, v in body.items() if k in {"traits", "channels"}}
    if arrival.kind == "event":
        details = body.get("properties", {})
    if not details:
        return ""
    # Cut first, because escapes make it longer, and then to the width.
    text = printable(json.dumps(details, ensure_ascii=False)[: _MAX_DETAILS_CHARS + 1])
    return text if len(text) <= _MAX_DETAILS_CHARS else f"{text[: _MAX_DETAILS_CHARS - 1]}…"
