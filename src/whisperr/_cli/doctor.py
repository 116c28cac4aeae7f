"""`whisperr doctor`: finds out why no events arrive, step by step."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from whisperr._checkup.buffer import OutboxElsewhere
from whisperr._checkup.checkup import checkup
from whisperr._checkup.findings import Finding, to_text
from whisperr._contract import BASE_URL
from whisperr._delivery.pipeline import resolve_buffer
from whisperr._options import OPTIONS, OUTBOX, Config
from whisperr._secret import Secret
from whisperr._terminal import wants_colour

from .command import MAX_SECONDS, UsageError, add_command, to_float
from .database import VARIABLE

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Iterator

    from whisperr._checkup.findings import State

    from .command import Parser

_COLOURS = {"ok": "32", "doubtful": "33", "wrong": "31", "skipped": "2"}
_LEAST_SECONDS = 0.001
_OPTION = "base_url="  # how an error of the client begins
_EXAMPLES = """\
  whisperr doctor
      run it with the environment of the application
  WHISPERR_BUFFER=sqlite:////var/lib/app/events.db whisperr doctor
      also check a buffer: what waits there, and for how long
  whisperr doctor --json | jq '.findings[] | select(.state == "wrong")'
      JSON for programs
"""


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "doctor",
        _run,
        "find out why no events arrive",
        "Find out why no events arrive: check the versions, configuration, proxy, host name, "
        "connection, encryption, key, clock and buffer, and print a fix for each problem. Sends "
        "one request without events and only reads the buffer, so nothing is stored. Reads "
        "WHISPERR_API_KEY, WHISPERR_BASE_URL and WHISPERR_BUFFER as a client does. Exits with "
        "status 1 if something is wrong.",
        _EXAMPLES,
        usage="",
    )
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="address to check (default: WHISPERR_BASE_URL, else the service)",
    )
    parser.add_argument(
        "--timeout",
        default="10",
        metavar="SECONDS",
        help="time limit of each step (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _run(arguments: argparse.Namespace) -> int:
    timeout = to_float(arguments.timeout)
    if not _LEAST_SECONDS <= timeout <= MAX_SECONDS:
        raise UsageError(
            f"--timeout {arguments.timeout}: must be from {_LEAST_SECONDS} to {MAX_SECONDS} seconds"
        )
    found = []
    for finding in diagnose(arguments.base_url, timeout):
        found.append(finding)
        if not arguments.json:
            print(to_text(finding, _paint, sys.stdout.encoding), flush=True)
    wrong = [one.name for one in found if one.state == "wrong"]
    if arguments.json:
        findings = [one._asdict() for one in found]
        print(json.dumps({"ok": not wrong, "findings": findings}, indent=2))
    elif wrong:
        print(f"wrong: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def _paint(sign: str, state: State) -> str:
    return f"\x1b[{_COLOURS[state]}m{sign}\x1b[0m" if wants_colour(sys.stdout) else sign


def diagnose(
    base_url: str | None, timeout: float, ssl_context: ssl.SSLContext | None = None
) -> Iterator[Finding]:
    """Yield every finding about a client in this environment."""

    def read() -> Config:
        options = {option.name: option.default for option in OPTIONS}
        options.update(api_key=Secret(None), base_url=base_url or BASE_URL)
        options.update(request_timeout=timeout, ssl_context=ssl_context)
        if os.environ.get("WHISPERR_BUFFER") == OUTBOX:
            options["buffer"] = OutboxElsewhere()
        try:
            return resolve_buffer(Config(options))
        except ValueError as error:
            text = str(error)
            if text.startswith(_OPTION):  # the command's name of it
                raise ValueError(f"--base-url {text.removeprefix(_OPTION)}") from None
            raise

    yield from checkup(read, given="--base-url")
    if os.environ.get(VARIABLE):
        yield Finding(
            "outbox",
            "skipped",
            f"this command does not check the database of {VARIABLE}",
            "run whisperr outbox, which counts the events that wait there",
        )
